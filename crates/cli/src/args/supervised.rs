//! What the node says to `stockade run` when it is the supervisor of a run of somebody else's.

use clap::Args;

/// Not for people: a caller who is a program, and who asks on behalf of others.
#[derive(Debug, Default, Args)]
pub(crate) struct Supervised {
    /// Write the report, or the refusal, as one JSON document to this descriptor
    #[arg(long, hide = true, value_name = "NUMBER")]
    pub(crate) report_fd: Option<u32>,

    /// End, with the run, as soon as this process, the parent, has ended
    #[arg(long, hide = true, value_name = "PID", requires = "report_fd")]
    pub(crate) parent: Option<u32>,

    /// Who asks for the run, for its record
    #[arg(long, hide = true, value_name = "NAME@REALM", requires = "report_fd")]
    pub(crate) principal: Option<String>,

    /// Keep an engine of this language between pieces of code, which are ordered over standard input, a socket
    #[arg(long, hide = true, value_name = "LANGUAGE", requires = "report_fd", value_parser = ["python"])]
    pub(crate) session: Option<String>,

    /// Run the code as this user and group of the host, and the gate as the next one: no one's, leased to this run
    #[arg(long, hide = true, value_name = "ID", requires = "parent", value_parser = clap::value_parser!(u32).range(1..i64::from(u32::MAX) - 1))]
    pub(crate) host_user: Option<u32>,
}
