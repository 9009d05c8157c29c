//! What the node says to `stockade run` when it is the supervisor of a run of somebody else's.

use clap::{Args, ValueEnum};

/// Not for people: a caller who is a program, and who asks on behalf of others.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Supervised {
    /// Write the report, or the refusal, as one JSON document to this descriptor
    #[arg(long, hide = true, value_name = "NUMBER")]
    pub(crate) report_fd: Option<u32>,

    /// End, with the run, as soon as this process, the parent, has ended
    #[arg(long, hide = true, value_name = "PID")]
    pub(crate) parent: Option<u32>,

    /// Believe this list of files that are root's alone, for here it cannot be seen
    #[arg(long, hide = true, value_name = "NUMBER", requires = "parent")]
    pub(crate) witness_fd: Option<u32>,

    /// Give the code this descriptor of sealed memory, which `NAME` in the working folder leads to
    #[arg(long, hide = true, value_name = "NUMBER:NAME")]
    pub(crate) table_fd: Vec<String>,

    /// Who asks for the run, for its record
    #[arg(long, hide = true, value_name = "NAME@REALM", requires = "report_fd")]
    pub(crate) principal: Option<String>,

    /// Keep an engine of this language between pieces of code, which are ordered over standard input, a socket
    #[arg(long, hide = true, value_name = "LANGUAGE", requires = "report_fd", value_parser = ["python", "r", "sql"])]
    pub(crate) session: Option<String>,

    /// Run the code as this user and group of the host, and the gate as the next one: no one's, leased to this run
    #[arg(long, hide = true, value_name = "ID", requires = "parent", value_parser = clap::value_parser!(u32).range(1..i64::from(u32::MAX) - 1))]
    pub(crate) host_user: Option<u32>,

    /// Take no packages that the command line or the code names, built or not: who asks has no right to have any built
    #[arg(long, hide = true, requires = "report_fd")]
    pub(crate) only_built: bool,

    /// Run nothing: tell the rules, the environments, one of them, or what would be decided about this run
    #[arg(long, hide = true, value_name = "WHAT", requires = "report_fd", conflicts_with_all = ["session", "pool"])]
    pub(crate) look: Option<Look>,

    /// Keep warm engines for runs, whose users are of these ids; orders and engines go over standard input, a socket
    #[arg(long, hide = true, value_name = "FIRST:COUNT", requires = "parent", conflicts_with_all = ["report_fd", "session", "host_user"])]
    pub(crate) pool: Option<stockade_core::warm::Ids>,

    /// Import this module in the template of warm engines
    #[arg(long, hide = true, value_name = "MODULE", requires = "pool")]
    pub(crate) preload: Vec<String>,

    /// How many warm engines may wait
    #[arg(long, hide = true, value_name = "COUNT", requires = "pool", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) ahead: u32,
}

/// What a caller wants to know without running anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Look {
    /// What the policies permit together
    Policies,
    /// The environments that have names
    Environments,
    /// The one of `--environment`
    Environment,
    /// What would be decided about the run of this command line
    Run,
}
