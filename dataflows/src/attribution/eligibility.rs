//! Of whom a touch can be, and how long it can be credited, by channel and method.

use std::collections::BTreeMap;

use schemas::view::Method;
use schemas::{EventType, Symbol};

use crate::params::{InstallsParams, PersonRule, Windows};

/// Of whom a touch can be, and how long it can be credited.
#[derive(Clone, Debug)]
pub struct Eligibility {
    pub(super) person: PersonRule,
    click: ChannelWindows,
    view: ChannelWindows,
    pub(super) fingerprint_ms: i64,
}

#[derive(Clone, Debug)]
struct ChannelWindows {
    default_ms: i64,
    by_channel_ms: BTreeMap<Symbol, i64>,
}

impl ChannelWindows {
    fn of(windows: &Windows) -> ChannelWindows {
        let by_channel_ms = windows.by_symbol().into_iter().map(|(channel, span)| (channel, span.0)).collect();
        ChannelWindows { default_ms: windows.default.0, by_channel_ms }
    }

    fn of_channel_ms(&self, channel: Symbol) -> i64 {
        self.by_channel_ms.get(&channel).copied().unwrap_or(self.default_ms)
    }

    pub fn longest_ms(&self) -> i64 {
        self.by_channel_ms.values().copied().fold(self.default_ms, i64::max)
    }
}

impl Eligibility {
    /// What these parameters say.
    pub fn of(params: &InstallsParams) -> Eligibility {
        Eligibility {
            person: params.person,
            click: ChannelWindows::of(&params.click_window),
            view: ChannelWindows::of(&params.view_window),
            fingerprint_ms: params.fingerprint_window.0,
        }
    }

    /// The window of a touch of this type and channel, matched by this method.
    pub fn window_ms(&self, event_type: EventType, channel: Symbol, method: Method) -> i64 {
        let windows = if event_type == EventType::Click { &self.click } else { &self.view };
        let window_ms = windows.of_channel_ms(channel);
        if method == Method::Fingerprint { window_ms.min(self.fingerprint_ms) } else { window_ms }
    }

    /// No touch that is older than this can be matched by this method.
    pub fn longest_ms(&self, method: Method) -> i64 {
        let longest_ms = self.click.longest_ms().max(self.view.longest_ms());
        if method == Method::Fingerprint { longest_ms.min(self.fingerprint_ms) } else { longest_ms }
    }
}
