//! User agents: the system and device that they name, by the rules of the ua-parser project.

use std::collections::HashMap;
use std::sync::LazyLock;

use ua_parser::{Regexes, device, os};

/// What is past it in a user agent is not looked at: patterns over hostile texts would cost milliseconds.
const USER_AGENT_BYTES_MAX: usize = 512;

/// The user agents that a worker remembers; when there are more, it starts anew.
const REMEMBERED_MAX: usize = 16_384;

/// What a user agent names; empty where it does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Agent {
    /// Operating system, lower case.
    pub(crate) os: Box<str>,
    /// Its version, as far as known.
    pub(crate) os_version: Box<str>,
    /// Device model.
    pub(crate) device_model: Box<str>,
}

/// A worker's user agents. To parse one takes some 50 µs, to find it again a fraction of one.
#[derive(Default)]
pub(crate) struct Agents {
    /// Where in `agents` each is.
    known: HashMap<Box<str>, usize, foldhash::fast::RandomState>,
    agents: Vec<Agent>,
}

impl Agents {
    pub(crate) fn get(&mut self, text: &str) -> &Agent {
        let text = &text[..text.floor_char_boundary(USER_AGENT_BYTES_MAX)];
        if let Some(at) = self.known.get(text) {
            return &self.agents[*at];
        }
        if self.agents.len() == REMEMBERED_MAX {
            self.known.clear();
            self.agents.clear();
        }
        self.known.insert(text.into(), self.agents.len());
        self.agents.push(RULES.parse(text));
        &self.agents[self.agents.len() - 1]
    }
}

/// The rules are made when the first user agent comes, once for all workers.
static RULES: LazyLock<Rules> = LazyLock::new(Rules::new);

struct Rules {
    os: os::Extractor<'static>,
    device: device::Extractor<'static>,
}

impl Rules {
    fn new() -> Rules {
        // The tests make the rules, so that what is compiled in here is known to be well-formed.
        let rules: Regexes<'static> =
            serde_saphyr::from_str(include_str!("../uap-core/regexes.yaml")).expect("the rules are well-formed");
        let (os, device) = (os::Builder::new(), device::Builder::new());
        let os = os.push_all(rules.os_parsers).expect("well-formed patterns").build();
        let device = device.push_all(rules.device_parsers).expect("well-formed patterns").build();
        Rules { os: os.expect("patterns of a usual size"), device: device.expect("patterns of a usual size") }
    }

    fn parse(&self, text: &str) -> Agent {
        let mut agent = Agent::default();
        if let Some(os) = self.os.extract(text) {
            agent.os = os.os.to_lowercase().into();
            let version = [os.major.as_deref(), os.minor.as_deref(), os.patch.as_deref()];
            let version: Vec<&str> = version.into_iter().map_while(|part| part).collect();
            agent.os_version = version.join(".").into();
        }
        if let Some(device) = self.device.extract(text) {
            agent.device_model = device.model.unwrap_or_default().trim().into();
        }
        agent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_version_and_model_are_found() {
        let mut agents = Agents::default();
        let mut check = |text: &str, expected: [&str; 3]| {
            for _ in 0..2 {
                let agent = agents.get(text);
                assert_eq!([&*agent.os, &*agent.os_version, &*agent.device_model], expected, "{text}");
            }
        };
        check(
            "Mozilla/5.0 (Linux; Android 13; SM-S918B Build/TP1A.220624.014) AppleWebKit/537.36 (KHTML, like Gecko) \
             Chrome/112.0.0.0 Mobile Safari/537.36",
            ["android", "13", "SM-S918B"],
        );
        check(
            "Mozilla/5.0 (iPhone; CPU iPhone OS 16_5_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
             Version/16.5 Mobile/15E148 Safari/604.1",
            ["ios", "16.5.1", "iPhone"],
        );
        check("Dalvik/2.1.0 (Linux; U; Android 12; Pixel 6 Build/SD1A.210817.036)", ["android", "12", "Pixel 6"]);
        check("Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/112.0.0.0 Safari/537.36", ["windows", "10", ""]);
        check("nothing known", ["", "", ""]);
        check(&"ü".repeat(4_000), ["", "", ""]);
    }
}
