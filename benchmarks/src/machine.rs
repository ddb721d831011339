//! Where and on what a result was measured: without both it is no result.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde::Serialize;

/// The commit, the machine and how busy it was.
#[derive(Clone, Debug, Serialize)]
pub struct Setting {
    /// The commit, with `+` when files differ from it.
    pub commit: String,
    /// The model of processor.
    pub processor: String,
    /// Processors that this process may use.
    pub processors: usize,
    /// Memory in GiB.
    pub memory_gib: u64,
    /// Whether this is a release build.
    pub release: bool,
    /// The load average of the last minute, when asked: above `processors` others were in the way.
    pub load: f64,
    /// What a byte of memory cost that this machine took for the first time, and once it had taken it, ns; see [`Setting::with_memory`].
    pub memory_ns_per_byte: Option<[f64; 2]>,
}

impl Setting {
    /// The setting now.
    pub fn now() -> Setting {
        let git = |arguments: &[&str]| {
            let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
            String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
        };
        let dirty = git(&["status", "--porcelain", "-uno"]).is_some_and(|changes| !changes.is_empty());
        let commit = git(&["rev-parse", "--short", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
        let load = fs::read_to_string("/proc/loadavg").ok();
        let load = load.and_then(|text| text.split_whitespace().next()?.parse().ok());
        Setting {
            commit: if dirty { commit + "+" } else { commit },
            processor: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: bytes("/proc/meminfo", "MemTotal") >> 30,
            release: !cfg!(debug_assertions),
            load: load.unwrap_or(f64::NAN),
            memory_ns_per_byte: None,
        }
    }

    /// Takes a GiB of memory twice and tells what a byte cost. A virtual machine may hand its free memory back to its host within seconds;
    /// then who takes it pays for getting it again, up to 35 times as much as for clearing it, and so does what is measured.
    pub fn with_memory(self) -> Setting {
        const TAKEN: usize = 1 << 30;
        let take = || {
            let started = Instant::now();
            std::hint::black_box(vec![1_u8; TAKEN]);
            started.elapsed().as_nanos() as f64 / TAKEN as f64
        };
        Setting { memory_ns_per_byte: Some([take(), take()]), ..self }
    }
}

/// How much of this process is in memory.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Resident {
    /// The most there ever was.
    pub peak_bytes: u64,
    /// Now.
    pub now_bytes: u64,
}

impl Resident {
    /// Asks the kernel.
    pub fn now() -> Resident {
        let status = "/proc/self/status";
        Resident { peak_bytes: bytes(status, "VmHWM"), now_bytes: bytes(status, "VmRSS") }
    }
}

/// The time that this thread has run on a processor: on a busy machine, what it would have taken on an idle one.
/// The kernel brings it up to date every few ms, so take it over many ticks.
pub fn thread_cpu() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split_whitespace().next().and_then(|field| field.parse().ok()).unwrap_or(0))
}

/// The value of the first line `name : value` of a file.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
}

/// A field given in kB, in bytes; 0 where the system has none.
fn bytes(path: &str, name: &str) -> u64 {
    let value = field(path, name);
    value.and_then(|value| value.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_answers() {
        let resident = Resident::now();
        // The kernel counts pages per thread and adds them up now and then, so the two need not agree to the page.
        assert!(resident.peak_bytes > 1 << 20 && resident.now_bytes > 1 << 20, "{resident:?}");
        let start = Instant::now();
        while thread_cpu() < Duration::from_millis(1) {
            assert!(start.elapsed() < Duration::from_secs(60), "this thread runs and is not counted");
        }
        let setting = Setting::now();
        assert!(setting.memory_gib > 0 && setting.processors > 0, "{setting:?}");
    }
}
