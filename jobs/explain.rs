//! `bidstream explain`: why rows are as they are.

use std::path::PathBuf;

use bidstream::job::{self, lake_directory};
use bidstream::sql;
use clap::Subcommand;

use crate::IdKey;
use crate::tables::finish;

/// Explain rows.
#[derive(clap::Args)]
pub struct Explain {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Show the touches that could be credited for an install or conversion, which was, and why each other was not.
    Credit(Credit),
}

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  bidstream explain credit --lake ./lake --tenant acme order-4711
  bidstream explain credit --lake ./lake 0b5c77f0a1f04fdc9a9d1f2d1c6a0f3e --format json
Of a conversion that follows an install it explains the path that the install froze, with what each touch of it earned, in
millionths. Touches that do not stand (withdrawn, replaced by another copy) are in `superseded`, those that came too late in `late_events`.")]
struct Credit {
    /// The event id of the install or conversion: as its producer sent it, or the 32 hexadecimal digits that tables show.
    id: String,
    /// Directory of the lake.
    #[arg(long, value_parser = lake_directory)]
    lake: PathBuf,
    /// The tenant that the event belongs to.
    #[arg(long)]
    tenant: Option<String>,
    /// Explain what was known at a cut: ms since the epoch or RFC 3339.
    #[arg(long, value_name = "CUT")]
    as_of: Option<String>,
    /// How to print. JSON is an array of objects: event_id, text, touches.
    #[arg(long, value_enum, default_value_t = sql::Format::Table)]
    format: sql::Format,
    /// The memory that it may take, as 512MiB or 4GiB. Half of what is available by default, and at least 512MiB.
    #[arg(long, value_name = "SIZE")]
    memory: Option<sql::Memory>,
    #[command(flatten)]
    id_key: IdKey,
}

impl Explain {
    /// Explains and prints.
    pub fn run(self) -> anyhow::Result<()> {
        let What::Credit(Credit { id, lake, tenant, as_of, format, memory, id_key }) = self.what;
        let hasher = job::id_hasher(id_key.id_key_file.as_deref())?;
        let memory = memory.unwrap_or_else(sql::Memory::of_machine);
        let options = sql::explain::ExplainOptions { lake, id, tenant, as_of, format, memory };
        finish(sql::explain::run(&options, &hasher, std::io::stdout().lock()))??;
        Ok(())
    }
}
