//! What queries may take of the machine: so much memory, and a temporary directory for what does not fit.
//!
//! All contexts of a session share one runtime, so that the bound holds for all that they do. Operators that can write what they
//! hold to disk (sorts, aggregates) share the memory fairly and do so; one that cannot fails, and the message says what to do. The
//! directory is made when the first operator spills, in `TMPDIR` or `/tmp`, and removed with the [`Resources`].

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The least that a query can be carried out with.
const MEMORY_BYTES_MIN: u64 = 64 * MIB;
/// The least that is taken by default, however little the machine has free.
const DEFAULT_BYTES_MIN: u64 = 512 * MIB;
/// What is taken by default where the machine does not say what it has.
const UNKNOWN_MACHINE_BYTES: u64 = 2 * GIB;
/// Each partition of a plan sorts and merges for itself and holds 10 MiB for the merge alone: with less than this for each, a
/// query of many cores would fail where one of few goes through.
const PARTITION_BYTES_MIN: u64 = 64 * MIB;

/// An amount of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Memory(u64);

/// What is wrong with an amount of memory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// It cannot be read.
    #[error("{0:?} is no amount of memory: write a number and a unit, as 512MiB or 4GiB")]
    Text(String),
    /// It is too little.
    #[error("{given} is too little: a query needs {least} at least")]
    TooLittle {
        /// What was given.
        given: Memory,
        /// What is needed.
        least: Memory,
    },
}

impl Memory {
    /// So many bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }

    /// Half of what the machine, or the container, has available: at least 512 MiB.
    pub fn of_machine() -> Memory {
        let available = available_bytes(Path::new("/proc"), Path::new("/sys/fs/cgroup"));
        Memory((available.unwrap_or(2 * UNKNOWN_MACHINE_BYTES) / 2).max(DEFAULT_BYTES_MIN))
    }
}

impl FromStr for Memory {
    type Err = MemoryError;

    fn from_str(text: &str) -> Result<Memory, MemoryError> {
        let bad = || MemoryError::Text(text.to_owned());
        let trimmed = text.trim();
        let digits = trimmed.find(|char: char| !char.is_ascii_digit()).unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(digits);
        let unit: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
            "b" => 1,
            "kib" => KIB,
            "mib" => MIB,
            "gib" => GIB,
            "tib" => 1 << 40,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "tb" => 1_000_000_000_000,
            _ => return Err(bad()),
        };
        let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or_else(bad)?;
        let (given, least) = (Memory(bytes), Memory(MEMORY_BYTES_MIN));
        if given < least { Err(MemoryError::TooLittle { given, least }) } else { Ok(given) }
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes >= GIB && bytes.is_multiple_of(GIB) => write!(f, "{}GiB", bytes / GIB),
            bytes if bytes >= MIB => write!(f, "{}MiB", bytes / MIB),
            bytes => write!(f, "{bytes}B"),
        }
    }
}

/// What can be had without taking it from another program: what the kernel says, or what the container's limit leaves where
/// that is less.
fn available_bytes(proc: &Path, cgroup: &Path) -> Option<u64> {
    let meminfo = std::fs::read_to_string(proc.join("meminfo")).ok();
    let machine = meminfo.and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * KIB)
    });
    let number = |name: &str| std::fs::read_to_string(cgroup.join(name)).ok()?.trim().parse::<u64>().ok();
    let left = |max: &str, used: &str| Some(number(max)?.saturating_sub(number(used).unwrap_or(0)));
    // Version 2 writes "max" where there is no limit, version 1 a number beyond any machine.
    let container = left("memory.max", "memory.current")
        .or_else(|| left("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"));
    [machine, container].into_iter().flatten().min()
}

/// The runtime that all queries of a session share.
pub struct Resources {
    runtime: Arc<RuntimeEnv>,
    memory: Memory,
}

impl Resources {
    /// Resources with so much memory.
    pub fn new(memory: Memory) -> Result<Arc<Resources>, DataFusionError> {
        let bytes = usize::try_from(memory.0).unwrap_or(usize::MAX);
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(FairSpillPool::new(bytes))).build_arc()?;
        Ok(Arc::new(Resources { runtime, memory }))
    }

    /// Resources with the memory that is taken by default.
    pub fn of_machine() -> Result<Arc<Resources>, DataFusionError> {
        Resources::new(Memory::of_machine())
    }

    /// What DataFusion's contexts run in.
    pub fn runtime(&self) -> &Arc<RuntimeEnv> {
        &self.runtime
    }

    /// How many partitions a plan may have: as many as there are cores, unless the memory is too little for so many.
    pub fn partitions(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let fitting = usize::try_from(self.memory.0 / PARTITION_BYTES_MIN).unwrap_or(usize::MAX);
        cores.min(fitting).max(1)
    }
}

impl Drop for Resources {
    fn drop(&mut self) {
        // A cancelled query may end a moment later than its session, and the process does not wait for it.
        for directory in self.runtime.disk_manager.temp_dir_paths() {
            let _gone = std::fs::remove_dir_all(directory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_of_memory_are_read_and_said() {
        for (text, bytes, said) in [
            ("512MiB", 512 * MIB, "512MiB"),
            (" 4 gib ", 4 * GIB, "4GiB"),
            ("1536MiB", 1536 * MIB, "1536MiB"),
            ("1TiB", 1024 * GIB, "1024GiB"),
            ("100MB", 100_000_000, "95MiB"),
            ("67108864B", 64 * MIB, "64MiB"),
        ] {
            let memory: Memory = text.parse().unwrap();
            assert_eq!((memory.bytes(), memory.to_string().as_str()), (bytes, said), "{text}");
        }
        for text in ["", "4", "GiB", "4G", "-1GiB", "1.5GiB", "4 gigabytes", "99999999999TiB"] {
            let said = text.parse::<Memory>().unwrap_err().to_string();
            assert_eq!(said, format!("{text:?} is no amount of memory: write a number and a unit, as 512MiB or 4GiB"));
        }
        let said = "1MiB".parse::<Memory>().unwrap_err().to_string();
        assert_eq!(said, "1MiB is too little: a query needs 64MiB at least");
    }

    #[test]
    fn the_default_is_half_of_what_machine_and_container_leave() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let available = || available_bytes(dir.path(), dir.path());
        assert_eq!(available(), None);
        write("meminfo", "MemTotal:       24000 kB\nMemAvailable:   16000 kB\n");
        assert_eq!(available(), Some(16_000 * KIB));
        write("memory.max", "max\n");
        write("memory.current", "1024\n");
        assert_eq!(available(), Some(16_000 * KIB));
        write("memory.max", "10240\n");
        assert_eq!(available(), Some(9_216));
        assert!(Memory::of_machine() >= Memory(DEFAULT_BYTES_MIN));
    }

    #[test]
    fn partitions_have_memory_enough_each() {
        let partitions = |mib: u64| Resources::new(Memory(mib * MIB)).unwrap().partitions();
        assert_eq!(partitions(64), 1);
        assert!(partitions(128) <= 2);
        assert_eq!(partitions(1 << 20), std::thread::available_parallelism().map_or(1, usize::from));
    }
}
