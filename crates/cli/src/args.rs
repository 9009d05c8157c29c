//! Every flag and its help, in one place.

mod audit;
mod env;
mod supervised;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

pub(crate) use audit::*;
pub(crate) use env::*;
pub(crate) use supervised::{Look, Supervised};

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

/// Run Python, R and SQL that nobody has audited, inside walls.
#[derive(Debug, Parser)]
#[command(name = "stockade", version = version(), arg_required_else_help = true, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// A binary that tests may weaken says so.
const fn version() -> &'static str {
    if cfg!(feature = "dangerous-test-hooks") {
        concat!(env!("CARGO_PKG_VERSION"), " with dangerous-test-hooks")
    } else {
        env!("CARGO_PKG_VERSION")
    }
}

// Deferred: the options of a command are made only when it is the one.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Run a script, a notebook, a query or a program inside walls
    #[command(override_usage = RUN_USAGE, after_help = RUN_EXAMPLES)]
    Run(Box<Run>),
    /// Print what `run` would do, and run nothing
    #[command(override_usage = PLAN_USAGE, after_help = "Takes the same options as `stockade run`.")]
    Plan(Box<Run>),
    /// Build, list, check and remove environments of packages
    #[command(subcommand)]
    Env(Env),
    /// Look at the audit trail: whether it is whole, what is in it
    #[command(subcommand)]
    Audit(TrailCommand),
    /// Run code for many people behind one interface: `stockade node start`
    #[command(disable_help_flag = true)]
    Node {
        /// See `stockade node --help`
        #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true, num_args = 0..)]
        words: Vec<OsString>,
    },
    /// Look after a node: `stockade admin support-bundle`
    #[command(disable_help_flag = true)]
    Admin {
        /// See `stockade admin --help`
        #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true, num_args = 0..)]
        words: Vec<OsString>,
    },
    /// Log in at a node over TLS: `stockade login --username ann@acme node.example`
    #[command(disable_help_flag = true)]
    Login {
        /// See `stockade login --help`
        #[arg(value_name = "FLAGS", trailing_var_arg = true, allow_hyphen_values = true, num_args = 0..)]
        words: Vec<OsString>,
    },
    /// Log out again
    #[command(disable_help_flag = true)]
    Logout {
        /// See `stockade logout --help`
        #[arg(value_name = "FLAGS", trailing_var_arg = true, allow_hyphen_values = true, num_args = 0..)]
        words: Vec<OsString>,
    },
    /// Try to break each layer on this machine, and say what is missing
    #[command(
        after_help = "Examples:\n  stockade doctor\n  stockade doctor --json\n\nEnds with status 1 when a layer that every run requires is missing or broken."
    )]
    Doctor(Doctor),
    /// Say which rules hold here, and where each of them comes from
    #[command(subcommand)]
    Explain(Explain),
    /// Print completions for a shell
    #[command(
        after_help = "Example:\n  stockade completions bash > ~/.local/share/bash-completion/completions/stockade"
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print a manual page
    #[command(after_help = "Examples:\n  stockade man | man -l -\n  stockade man run | man -l -")]
    Man {
        /// The subcommand it is about; the command itself when left out
        command: Option<String>,
    },
    /// What the doctor runs inside; not for people
    #[command(hide = true)]
    InternalProbe(Probe),
    /// What the doctor runs inside; not for people
    #[command(hide = true)]
    InternalProbeMemory(Probe),
    /// What the doctor runs inside; not for people
    #[command(hide = true)]
    InternalProbeGate(Probe),
    /// The system-call filter as the kernel takes it, for benchmarks beside other tools; not for people
    #[command(hide = true)]
    InternalFilter,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Explain {
    /// What the machine's policy and these files permit together
    #[command(after_help = "Example:\n  stockade explain policy --policy team.conf")]
    Policy {
        /// A policy file, as `stockade run --policy` takes it
        #[arg(long = "policy", value_name = "FILE")]
        policies: Vec<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Look at what a node cannot enforce by itself instead: its account, its files, keys, the clock, the kernel
    #[arg(long)]
    pub(crate) node: bool,

    /// The node's user, with --node
    #[arg(long, value_name = "USER", requires = "node")]
    pub(crate) user: Option<OsString>,

    /// The node's folder, with --node
    #[arg(long, value_name = "DIR", requires = "node")]
    pub(crate) folder: Option<OsString>,

    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Probe {
    /// A process of the host
    pub(crate) pid: u32,
    /// A port of the host's loopback
    pub(crate) port: u16,
    /// The host's namespaces
    pub(crate) namespaces: Vec<String>,
}

const RUN_USAGE: &str = "\
stockade run [OPTIONS] SCRIPT [ARGUMENT]...
       stockade run [OPTIONS] -c CODE [ARGUMENT]...
       stockade run [OPTIONS] -- PROGRAM [ARGUMENT]...";

const PLAN_USAGE: &str = "\
stockade plan [OPTIONS] SCRIPT [ARGUMENT]...
       stockade plan [OPTIONS] -c CODE [ARGUMENT]...
       stockade plan [OPTIONS] -- PROGRAM [ARGUMENT]...";

const RUN_EXAMPLES: &str = "\
Examples:
  stockade run analysis.py
  stockade run --with pandas --in sales.csv --out results report.py --year 2026
  stockade run --project . --out results src/main.py
  stockade run --in sales.parquet query.sql
  stockade run -c 'print(1)'
  stockade run --net api.example.com fetch.py
  stockade run -- ./any-program --flag
  stockade run --node unix:/run/stockade/node.sock --out results report.py

Options of Stockade come before the script; what comes after it is the script's.";

/// Whether the tree is bounded by a cgroup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Cgroup {
    // No help of their own: it would make the whole help page the long, airy one.
    #[default]
    Auto,
    Require,
    Off,
}

/// What the walls are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tier {
    #[default]
    Namespaces,
    Landlock,
    Gvisor,
    Oci,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Run {
    /// Python code to run, as `python -c`; what follows are its arguments
    #[arg(short = 'c', value_name = "CODE", help_heading = "Code")]
    pub(crate) code: Option<String>,

    /// A Spotfire data function, described by this JSON file; its results are files of --out DIR
    #[arg(long, value_name = "FILE", help_heading = "Code", requires = "out", conflicts_with_all = ["code", "project", "dry_run", "apply", "diff"])]
    pub(crate) data_function: Option<PathBuf>,

    /// Script (.py, .ipynb, .R, .sql), `-` for Python from standard input, or after `--` any program;
    /// then its arguments
    #[arg(value_name = "SCRIPT", trailing_var_arg = true, allow_hyphen_values = true, num_args = 0..)]
    pub(crate) words: Vec<OsString>,

    /// Stage a file or folder into the working folder (copy-on-write)
    #[arg(long = "in", value_name = "PATH[=NAME]", help_heading = "Files")]
    pub(crate) inputs: Vec<String>,

    /// Make a folder of code the working folder (copy-on-write); leaves out what looks like a secret
    #[arg(long, value_name = "DIR", help_heading = "Files")]
    pub(crate) project: Option<PathBuf>,

    /// With --project, take what looks like a secret too
    #[arg(long, help_heading = "Files")]
    pub(crate) all: bool,

    /// Share a folder live, without staging; writable only with `:rw`
    #[arg(long, value_name = "PATH[:ro|:rw][=NAME]", help_heading = "Files")]
    pub(crate) share: Vec<String>,

    /// Collect what the code created or changed into this folder
    #[arg(long, value_name = "DIR", help_heading = "Files")]
    pub(crate) out: Option<PathBuf>,

    /// Let collected outputs replace files that exist
    #[arg(long, help_heading = "Files")]
    pub(crate) overwrite: bool,

    /// Show what would be collected, and write nothing
    #[arg(long, help_heading = "Files")]
    pub(crate) dry_run: bool,

    /// Show the changes to files as a diff
    #[arg(long, help_heading = "Files")]
    pub(crate) diff: bool,

    /// Write changes back onto the project folder, after showing them
    #[arg(long, help_heading = "Files")]
    pub(crate) apply: bool,

    /// With --apply, permit a path that is otherwise never written (.git, hooks, dotfiles, CI files)
    #[arg(long, value_name = "PATH", help_heading = "Files")]
    pub(crate) apply_also: Vec<String>,

    #[command(flatten)]
    pub(crate) packages: Packages,

    /// An environment that `stockade env build` made, as it is: nothing is resolved, fetched or built
    #[arg(long, value_name = "NAME|DIGEST", help_heading = "Packages")]
    pub(crate) environment: Option<String>,

    /// An existing virtual environment, read-only
    #[arg(long, value_name = "DIR", help_heading = "Packages")]
    pub(crate) venv: Option<PathBuf>,

    /// Grant the network HOST or HOST:PORT, through a gate that checks and records: a name, `*.name`, an address or a
    /// block; `METHOD https://HOST/PATH` for requests, `tcp://HOST:PORT` for bytes nobody checks, `deny:HOST`
    #[arg(long, value_name = "GRANT", help_heading = "Network")]
    pub(crate) net: Vec<String>,

    /// Bound the network: bytes_up, bytes_down, connections, connections_at_once, names_per_wildcard and more
    #[arg(long, value_name = "KEY=NUMBER", help_heading = "Network")]
    pub(crate) net_budget: Vec<String>,

    /// Let the gate put the caller's variable NAME into requests to this host only; the code gets a placeholder
    #[arg(long = "secret", value_name = "NAME=HOST[:HEADER]", help_heading = "Network")]
    pub(crate) secrets: Vec<String>,

    /// Permit at most what this policy file says; of several, each must permit
    #[arg(long = "policy", value_name = "FILE", help_heading = "Walls")]
    pub(crate) policies: Vec<PathBuf>,

    /// Set a limit: time, cpu-time, memory, processes, open-files, scratch, scratch-files, file-size,
    /// output, output-files, output-depth, streams, cpus
    #[arg(long = "limit", value_name = "NAME=VALUE", help_heading = "Walls")]
    pub(crate) limits: Vec<String>,

    /// Keep what the code writes on disk, in a fresh folder made in this one, instead of in memory; its
    /// limits are watched then, not walled
    #[arg(long, value_name = "DIR", help_heading = "Walls")]
    pub(crate) scratch_dir: Option<PathBuf>,

    /// Refuse to run without these layers
    #[arg(long, value_name = "LAYER,...", value_delimiter = ',', help_heading = "Walls")]
    pub(crate) require: Vec<String>,

    /// What the walls are made of; `landlock` is what can be had without namespaces, `gvisor` adds a second
    /// kernel, `oci` a container of runc or crun
    #[arg(long, value_name = "TIER", value_enum, default_value_t, help_heading = "Walls")]
    pub(crate) tier: Tier,

    /// Bound all processes by a cgroup: if it can be had, or refuse to run, or sample instead
    #[arg(long, value_name = "WHEN", value_enum, default_value_t, help_heading = "Walls")]
    pub(crate) cgroup: Cgroup,

    /// Give the code a variable: with a value, or the caller's
    #[arg(long = "env", value_name = "NAME[=VALUE]", help_heading = "Walls")]
    pub(crate) vars: Vec<String>,

    /// Have a node run it: unix:PATH
    #[arg(long, value_name = "ADDRESS", help_heading = "Node")]
    pub(crate) node: Option<String>,

    /// Keep terminal control sequences of the code's output
    #[arg(long, help_heading = "Report")]
    pub(crate) raw: bool,

    /// Print the report as one JSON document on standard error
    #[arg(long, help_heading = "Report")]
    pub(crate) json: bool,

    /// Print no report unless something was refused or went wrong
    #[arg(short, long, help_heading = "Report")]
    pub(crate) quiet: bool,

    /// Write a commented proposal of what the code asked for
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub(crate) learn: Option<PathBuf>,

    /// Print the plan and run nothing
    #[arg(long, help_heading = "Report")]
    pub(crate) explain: bool,

    #[command(flatten)]
    pub(crate) supervised: Supervised,
}

impl Run {
    /// Whether the words are a program and its arguments: `--` stands right before them.
    ///
    /// The parser drops that `--`, but the words are always the end of the command line.
    pub(crate) fn is_program(&self) -> bool {
        let line: Vec<OsString> = std::env::args_os().collect();
        let before = line.len().checked_sub(self.words.len() + 1);
        !self.words.is_empty() && before.and_then(|index| line.get(index)).is_some_and(|word| word == "--")
    }

    /// An option that does not exist: the parser takes it for the script, and what follows for its arguments.
    pub(crate) fn unknown_option(&self) -> Option<&OsStr> {
        let first = self.words.first().filter(|_| self.code.is_none() && !self.is_program())?;
        (first.as_encoded_bytes().starts_with(b"-") && first != "-").then_some(first)
    }

    /// Whether a refusal is to be a document, too.
    pub(crate) fn wants_document(&self) -> bool {
        self.json || (self.unknown_option().is_some() && Typed::now().json)
    }
}

/// What can be known of a command line that could not be parsed.
#[derive(Debug)]
pub(crate) struct Typed {
    pub(crate) command: Option<String>,
    pub(crate) json: bool,
}

impl Typed {
    pub(crate) fn now() -> Self {
        let words: Vec<OsString> = std::env::args_os().skip(1).take_while(|word| word != "--").collect();
        let first = words.first().and_then(|word| word.to_str());
        let command = first.filter(|name| Arguments::command().find_subcommand(name).is_some());
        Self { command: command.map(ToOwned::to_owned), json: words.iter().any(|word| word == "--json") }
    }
}
