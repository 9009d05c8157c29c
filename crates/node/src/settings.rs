//! Every flag of the node and its help, in one place.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::range::Range;

/// Where the node is asked that the machine's service manager keeps.
pub const INSTALLED: &str = "/run/stockade/node.sock";

/// The file of a node's folder that has the flags it was started with.
pub const NOTE: &str = "settings.json";

/// Run code for many people behind one interface.
#[derive(Debug, Parser)]
#[command(
    name = "stockade-node",
    bin_name = "stockade node",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub struct Arguments {
    /// What is to be done.
    #[command(subcommand)]
    pub command: Command,
}

/// What is to be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve until told to end
    #[command(
        after_help = "Examples:\n  stockade node start --folder node --socket node.sock --shared-user\n  stockade node start --run-as stockade --folder /var/lib/stockade --socket /run/stockade/node.sock --socket-mode 666\n\nEnds with SIGTERM or SIGINT: it takes no new runs then, finishes those under way, keeps those that wait, and ends sessions."
    )]
    Start(Box<Start>),
    /// Ask a node how it is
    Status(Status),
    /// Tell or change how much a node logs, while it runs: for whoever administers it
    #[command(after_help = "Examples:\n  stockade node log\n  stockade node log info,stockade_node::queue=debug")]
    Log(Log),
    /// Make a user, a folder and the units of systemd
    #[command(
        after_help = "Examples:\n  stockade node install --dry-run\n  stockade node install\n  stockade node install -- --policy /etc/stockade/policy.conf\n\nWhat follows `--` are more flags of `stockade node start`."
    )]
    Install(Install),
    /// Make the certificate that a node shows over TLS, if it has none yet, and print its SHA-256
    #[command(
        after_help = "Example:\n  stockade node certificate --folder node --listen 192.0.2.7:8443\n\n`stockade node start --listen` makes it too; this one tells clients what to look for before that."
    )]
    Certificate(Certificate),
    /// Look at what a node cannot enforce by itself; called by `stockade doctor --node`
    #[command(hide = true)]
    Doctor(Doctor),
    /// Look after a node; called by `stockade admin`
    #[command(hide = true, disable_help_flag = true)]
    Admin {
        /// See `stockade admin help`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, num_args = 0..)]
        words: Vec<String>,
    },
    /// Log in at a node over TLS, and keep what it gives for the next commands
    #[command(
        hide = true,
        override_usage = "stockade login [OPTIONS] <NODE>",
        after_help = "Examples:\n  stockade login --username ann@acme --fingerprint 3A:0F:... node.example\n  stockade login --username ann --cafile authority.pem --password-stdin node.example:8443 < secret\n  stockade login --device node.example\n\nWhat the node gives is kept in a file that nobody else may read; `stockade admin --hostname=HOST` takes it from there."
    )]
    Login(Login),
    /// Log out at a node, and forget what it gave
    #[command(
        hide = true,
        override_usage = "stockade logout <NODE>",
        after_help = "Example:\n  stockade logout node.example"
    )]
    Logout(Logout),
    /// What a node answers, for the support bundle; not for people
    #[command(hide = true)]
    InternalAsk {
        /// Its socket
        socket: PathBuf,
        /// The path that is asked for
        path: String,
    },
    /// The process that starts runs; not for people
    #[command(hide = true)]
    InternalLauncher(Launcher),
}

/// The flags of `start`.
#[derive(Clone, Debug, Args, serde::Serialize)]
pub struct Start {
    /// Where the node keeps everything; made if it is not there
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,

    /// The socket it is asked at; `node.sock` in its folder if left out
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,

    /// Who may connect: 600 its own user, 660 its group too, 666 everybody on this machine
    #[arg(long, value_name = "MODE", default_value = "600", value_parser = ["600", "660", "666"])]
    pub socket_mode: String,

    /// Serve over TLS too, at this address of the machine; several times for several. Callers log in with a password
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Vec<SocketAddr>,

    /// The certificate that is shown there, as PEM, with those above it; one that the node makes if left out
    #[arg(long, value_name = "FILE", requires_all = ["tls_key", "listen"])]
    pub tls_certificate: Option<PathBuf>,

    /// The key of that certificate, as PEM
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub tls_key: Option<PathBuf>,

    /// Offer there what this server profile of the configuration says, as soon as it is in force, and nothing before:
    /// with certificates of clients, for one
    #[arg(long, value_name = "NAME", requires = "listen", conflicts_with = "tls_certificate")]
    pub tls_profile: Option<String>,

    /// A TCP port that the node may connect to: that of a directory whose users log in; several times for several. It
    /// connects to none if left out
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub connect_port: Vec<u16>,

    /// A PEM file that a profile of the configuration names, as its `trustFile`, `certificateFile` or `keyFile`; several times for
    /// several. It is read at the start, since the node opens none later
    #[arg(long, value_name = "FILE")]
    pub security_file: Vec<PathBuf>,

    /// What the node is called, by those who look after it; the machine's name and `stockade` if left out
    #[arg(long, value_name = "NODE.CLUSTER")]
    pub service_name: Option<String>,

    /// The folder of files with secrets that configuration may name as `file:PATH`; each its owner's alone
    #[arg(long, value_name = "FOLDER")]
    pub secrets: Option<PathBuf>,

    /// Permit at most what this policy file says; of several, each must permit
    #[arg(long = "policy", value_name = "FILE")]
    pub policies: Vec<PathBuf>,

    /// Runs at once; as many as there are CPUs if left out
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub runs: Option<u16>,

    /// Runs of one principal at once; one fewer than in all if left out
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub runs_each: Option<u16>,

    /// Runs that may wait
    #[arg(long, value_name = "NUMBER", default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..))]
    pub queue: u16,

    /// Runs of one principal that may wait
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..))]
    pub queue_each: u16,

    /// Sessions at once
    #[arg(long, value_name = "NUMBER", default_value_t = 16, value_parser = clap::value_parser!(u16).range(0..=1000))]
    pub sessions: u16,

    /// Sessions of one principal at once
    #[arg(long, value_name = "NUMBER", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub sessions_each: u16,

    /// CPU seconds that each principal's runs and sessions may use in a day of UTC; no bound if left out
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    pub cpu_each: Option<u32>,

    /// Classes of principals, by user and group of the machine: whose runs come first, and what each may have
    #[arg(long, value_name = "FILE")]
    pub classes: Option<PathBuf>,

    /// How long a session may be idle before it ends
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub session_idle: u32,

    /// How long a session lives at most
    #[arg(long, value_name = "SECONDS", default_value_t = 1800, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub session_maxtime: u32,

    /// Kinds of runs at once that warm engines are kept for: each kind has an environment and what it imports; 0 for
    /// none. They need --run-as, or users of /etc/subuid, and a cgroup
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u16).range(0..=16))]
    pub warm: u16,

    /// Seconds that a run or an execution may take: what it has, and the most it may ask for. 10 and 60 minutes if left out
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub run_time: Option<u32>,

    /// MiB of memory of a run or a session: what it has, and the most it may ask for. 1 and 4 GiB if left out
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(16..=4096))]
    pub run_memory_mib: Option<u32>,

    /// MiB of a form, with all its files
    #[arg(long, value_name = "MIB", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub form_mib: u16,

    /// MiB of memory for tables that one principal may have until its runs and sessions are over; 0 gives none. It is
    /// charged to who writes it
    #[arg(long, value_name = "MIB", default_value_t = 8192, value_parser = clap::value_parser!(u32).range(0..=1_048_576))]
    pub table_mib: u32,

    /// Connections at once
    #[arg(long, value_name = "NUMBER", default_value_t = 512, value_parser = clap::value_parser!(u16).range(1..))]
    pub connections: u16,

    /// How long a run that is over is kept, with its output
    #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = clap::value_parser!(u16).range(1..))]
    pub keep_hours: u16,

    /// How many runs that are over are kept of one principal
    #[arg(long, value_name = "NUMBER", default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..))]
    pub keep_each: u16,

    /// How many MiB of what they said and made are kept of one principal
    #[arg(long, value_name = "MIB", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..))]
    pub keep_mib: u32,

    /// MiB that stay free on the disk, so that how runs ended can always be kept
    #[arg(long, value_name = "MIB", default_value_t = 64)]
    pub reserve_mib: u32,

    /// MiB of memory that must be available before another run is accepted; 429 until then
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    pub reserve_memory_mib: u32,

    /// Take settings from a custom.properties file of Spotfire Service for Python; flags come before it
    #[arg(long, value_name = "FILE")]
    pub properties: Option<PathBuf>,

    /// How much of what is logged: a level, or levels by target as `info,stockade_node::queue=debug`. The variable
    /// STOCKADE_LOG, then `info`, if left out; `stockade node log` changes it later
    #[arg(long, value_name = "LEVELS")]
    pub log_level: Option<String>,

    /// Log into two files of this folder that take turns, instead of to standard error; the launcher's few lines stay there
    #[arg(long, value_name = "DIR")]
    pub log_dir: Option<PathBuf>,

    /// MiB of each of them
    #[arg(long, value_name = "MIB", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub log_mib: u16,

    /// How long runs may take to end when the node is told to
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub drain: u16,

    /// Host ids for engines, which are no one's: each run has a user and group of its own out of them. Without it those
    /// of /etc/subuid and /etc/subgid, or as root some that nobody has
    #[arg(long, value_name = "START:COUNT", conflicts_with = "shared_user")]
    pub uid_range: Option<Range>,

    /// Let all runs have the node's own user on the host: walls hold them apart, the host's users do not
    #[arg(long)]
    pub shared_user: bool,

    /// Become this user for good, before anything is opened: a name of the password file, or a number
    #[arg(long, value_name = "USER")]
    pub run_as: Option<String>,
}

/// The flags of `status`.
#[derive(Clone, Debug, Args)]
pub struct Status {
    /// The node's folder
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,

    /// The node's socket; that of the caller's own node if left out, else that of the machine's
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
}

/// The flags of `log`.
#[derive(Clone, Debug, Args)]
pub struct Log {
    /// A level, or levels by target
    pub levels: Option<String>,

    /// The node's folder
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,

    /// The node's socket; that of the caller's own node if left out, else that of the machine's
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
}

/// The flags of `stockade doctor --node`.
#[derive(Clone, Debug, Args)]
#[command(bin_name = "stockade doctor --node")]
pub struct Doctor {
    /// The service's user
    #[arg(long, value_name = "USER", default_value = "stockade")]
    pub user: String,

    /// The node's folder
    #[arg(long, value_name = "DIR", default_value = "/var/lib/stockade")]
    pub folder: PathBuf,

    /// Print one JSON document
    #[arg(long)]
    pub json: bool,

    /// A folder that looks like a machine
    #[arg(long, hide = true, default_value = "/")]
    pub root: PathBuf,
}

/// Make one archive for a report of a bug, without secrets
#[derive(Clone, Debug, Parser)]
#[command(
    bin_name = "stockade admin support-bundle",
    after_help = "Example:\n  stockade admin support-bundle --folder /var/lib/stockade --out bundle.tar\n\nRead it before you send it: names of people and runs are in it."
)]
pub struct SupportBundle {
    /// The archive to write; there must be none of this name
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,

    /// The node's folder
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,

    /// The node's socket; as it was started with if left out
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,

    /// Its folder of logs; as it was started with if left out
    #[arg(long, value_name = "DIR")]
    pub log_dir: Option<PathBuf>,

    /// Where its units lie
    #[arg(long, hide = true, value_name = "DIR")]
    pub units: Option<PathBuf>,
}

/// The flags of `install`.
#[derive(Clone, Debug, Args)]
pub struct Install {
    /// Write below this folder instead of `/`, and make no user: for a package, or another machine
    #[arg(long, value_name = "DIR")]
    pub prefix: Option<PathBuf>,

    /// Print what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,

    /// The user of the service; made if there is none
    #[arg(long, value_name = "USER", default_value = "stockade")]
    pub user: String,

    /// The node's folder
    #[arg(long, value_name = "DIR", default_value = "/var/lib/stockade")]
    pub folder: PathBuf,

    /// The socket it is asked at
    #[arg(long, value_name = "PATH", default_value = INSTALLED)]
    pub socket: PathBuf,

    /// Who may connect: 600 root, 660 its group too, 666 everybody on this machine
    #[arg(long, value_name = "MODE", default_value = "666", value_parser = ["600", "660", "666"])]
    pub socket_mode: String,

    /// The folder of stockade, stockade-gate and stockade-node; that of this program if left out
    #[arg(long, value_name = "DIR")]
    pub programs: Option<PathBuf>,

    /// More flags of `stockade node start`
    #[arg(last = true, value_name = "FLAG")]
    pub flags: Vec<String>,
}

/// The flags of `certificate`.
#[derive(Debug, Args)]
pub struct Certificate {
    /// The node's folder
    #[arg(long, value_name = "DIR")]
    pub folder: PathBuf,

    /// An address that the certificate is to name; several times for several
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Vec<SocketAddr>,
}

/// What the node tells its launcher.
#[derive(Clone, Debug, Args)]
pub struct Launcher {
    /// Runs at once
    #[arg(long)]
    pub runs: usize,
    /// Sessions at once
    #[arg(long)]
    pub sessions: usize,
    /// Pools of warm engines at once
    #[arg(long)]
    pub pools: usize,
    /// Whom it is outside
    #[arg(long)]
    pub user: u32,
    /// And in which group
    #[arg(long)]
    pub group: u32,
    /// Users of runs; without them all have the launcher's
    #[arg(long)]
    pub users: Option<Range>,
}

/// The flags of `stockade login`.
#[derive(Debug, Args)]
pub struct Login {
    /// Where the node listens: HOST, or HOST:PORT
    #[arg(value_name = "NODE")]
    pub node: String,

    /// Who you are: USER, or USER@REALM
    #[arg(long, value_name = "NAME", required_unless_present = "device")]
    pub username: Option<String>,

    /// Log in with a browser, wherever you have one, at the provider of a realm of OpenID
    #[arg(long, conflicts_with_all = ["username", "password_stdin", "password_file"])]
    pub device: bool,

    /// Which realm; the only one if left out
    #[arg(long, value_name = "NAME", requires = "device")]
    pub realm: Option<String>,

    /// Read the password from standard input; asked for at the terminal if left out
    #[arg(long, conflicts_with = "password_file")]
    pub password_stdin: bool,

    /// Read the password from this file
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<String>,

    /// Who vouches for the node: a PEM file with certificates; the authorities of this machine if left out
    #[arg(long, value_name = "FILE", conflicts_with = "fingerprint")]
    pub cafile: Option<String>,

    /// The SHA-256 of the node's certificate, as `stockade admin display node` tells it at the node
    #[arg(long, value_name = "SHA256")]
    pub fingerprint: Option<String>,

    /// A certificate of yours, as PEM, for a node that wants one
    #[arg(long, value_name = "FILE", requires = "client_key")]
    pub client_certificate: Option<String>,

    /// The key of that certificate
    #[arg(long, value_name = "FILE", requires = "client_certificate")]
    pub client_key: Option<String>,
}

/// The flags of `stockade logout`.
#[derive(Debug, Args)]
pub struct Logout {
    /// Where the node listens, as it was said at login
    #[arg(value_name = "NODE")]
    pub node: String,
}

/// The folder of a node, by the flag or the caller's surroundings.
#[must_use]
pub fn folder(named: Option<&PathBuf>) -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    named
        .cloned()
        .or_else(|| absolute("STOCKADE_NODE_DIR"))
        .or_else(|| absolute("XDG_STATE_HOME").map(|state| state.join("stockade-node")))
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state/stockade-node")))
}
