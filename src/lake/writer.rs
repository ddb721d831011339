//! Who writes a lake, and how often it tries again when others came first.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How often a commit may find that others came first. Compaction comes now and then, never so often in a row.
pub(super) const OVERTAKEN_MAX: u32 = 20;

/// Who writes: a name of its own for each start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writer {
    /// Unique to this start.
    pub id: String,
    /// Name of the host.
    pub host: String,
    /// Process id.
    pub pid: u32,
}

impl Writer {
    /// This process.
    pub(super) fn here() -> Writer {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned());
        let host = host.or_else(|_| std::env::var("HOSTNAME")).unwrap_or_else(|_| "unknown host".to_owned());
        Writer { id: Uuid::new_v4().to_string(), host, pid: std::process::id() }
    }
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} on {} (writer {})", self.pid, self.host, self.id)
    }
}
