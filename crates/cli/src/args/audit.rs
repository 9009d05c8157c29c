//! The flags of `stockade audit`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use stockade_audit::Link;

/// What is to be done about an audit trail.
#[derive(Debug, Subcommand)]
pub(crate) enum TrailCommand {
    /// Find the first record that was changed, removed, put in or is missing
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(AuditVerify),
    /// Show what is on record, a line for each
    #[command(
        after_help = "Examples:\n  stockade audit display\n  stockade audit display --run 3fa94c27b1e05d68\n  stockade audit display --last 1000 --json"
    )]
    Display(AuditDisplay),
    /// Write every record to standard output, for programs of others
    #[command(
        after_help = "Examples:\n  stockade audit export > trail.jsonl\n  stockade audit export --format ocsf > events.jsonl\n\nEnds with status 1 at a record that was changed; `stockade audit verify` says more."
    )]
    Export(AuditExport),
}

const VERIFY_EXAMPLES: &str = "\
Examples:
  stockade audit verify
  stockade audit verify --trail /var/lib/stockade/state --key 3fa9…
  stockade audit verify --expect 4711:9c1b… --json

Keep the key and the last record that it prints somewhere else, and give them to the next
verification: who can change the trail can change what lies beside it.
Ends with status 1 when something is wrong.";

#[derive(Debug, Args)]
pub(crate) struct AuditPlace {
    /// The folder that the trail is in; your own if it is left out
    #[arg(long, value_name = "DIR")]
    pub(crate) trail: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct AuditVerify {
    #[command(flatten)]
    pub(crate) place: AuditPlace,

    /// The public key that checkpoints must be signed with; the one beside the trail if it is left out
    #[arg(long, value_name = "HEX")]
    pub(crate) key: Option<String>,

    /// A record that must be there, as an earlier verification printed it
    #[arg(long, value_name = "SEQ:HASH", value_parser = link)]
    pub(crate) expect: Vec<Link>,

    /// Accept that records are missing before this one: somebody has looked into it
    #[arg(long, value_name = "SEQ")]
    pub(crate) accept: Vec<u64>,

    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AuditDisplay {
    #[command(flatten)]
    pub(crate) place: AuditPlace,

    /// Show so many of the last records
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    pub(crate) last: usize,

    /// Show records of this run only
    #[arg(long, value_name = "ID")]
    pub(crate) run: Option<String>,

    /// Print the records as they are, one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AuditExport {
    #[command(flatten)]
    pub(crate) place: AuditPlace,

    /// The form of the records
    #[arg(long, value_name = "FORM", value_enum, default_value_t)]
    pub(crate) format: AuditFormat,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum AuditFormat {
    /// As they stand in the trail, one JSON object a line
    #[default]
    Jsonl,
    /// Events of the Open Cybersecurity Schema Framework 1.3, one JSON object a line
    Ocsf,
}

fn link(text: &str) -> Result<Link, String> {
    Link::parse(text).ok_or_else(|| "it is no NUMBER:HASH of 64 hexadecimal digits".to_owned())
}
