//! From an order to the command line of its supervisor. The only place where one is put together.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::io::FdFlags;
use stockade_core::limits::Limit;

use super::Settings;
use super::kind::Kind;
use super::users::Lease;
use crate::look::Look;
use crate::opening::Opening;
use crate::order::{Bounds, Order, Table};

/// What a supervisor is told of its surroundings; where its interpreter, its index and its authorities are is the
/// operator's word.
const VARS: [&str; 9] = [
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NETRC",
    "STOCKADE_CONFIG_DIR",
    "STOCKADE_WARM_LIBRARY",
];
const VARS_OF: [&str; 2] = ["UV_", "PIP_"];

/// Where the run's streams and its report go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streams<'a> {
    pub(super) out: &'a OwnedFd,
    pub(super) error: &'a OwnedFd,
    pub(super) report: &'a OwnedFd,
}

/// What a supervisor is started for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Task<'a> {
    /// A run.
    Run(&'a Order),
    /// A session, whose orders come over this socket.
    Session(&'a Opening, &'a OwnedFd),
    /// A question, for which nothing is run.
    Look(&'a Look),
}

impl Task<'_> {
    /// The run that it is, or is about.
    fn order(&self) -> Option<&Order> {
        match self {
            Self::Run(order) => Some(order),
            Self::Look(look) => look.order(),
            Self::Session(..) => None,
        }
    }

    /// Names of its files, as they lie beside it.
    pub(super) fn files(&self) -> impl Iterator<Item = &String> {
        self.script().into_iter().chain(self.inputs())
    }

    pub(super) fn tables(&self) -> &[Table] {
        self.order().map_or(&[], |order| &order.tables)
    }

    pub(super) fn script(&self) -> Option<&String> {
        self.order().map(|order| &order.script)
    }

    pub(super) fn arguments(&self) -> &[String] {
        self.order().map_or(&[], |order| &order.arguments)
    }

    pub(super) fn inputs(&self) -> &[String] {
        match self {
            Self::Session(opening, _) => &opening.inputs,
            Self::Run(_) | Self::Look(_) => self.order().map_or(&[], |order| &order.inputs),
        }
    }

    fn with(&self) -> &[String] {
        match self {
            Self::Session(opening, _) => &opening.with,
            Self::Run(_) | Self::Look(_) => self.order().map_or(&[], |order| &order.with),
        }
    }

    fn environment(&self) -> Option<&str> {
        match self {
            Self::Run(order) => order.environment.as_deref(),
            Self::Session(opening, _) => opening.environment.as_deref(),
            Self::Look(look) => look.environment(),
        }
    }

    pub(super) fn limits(&self) -> &BTreeMap<String, u64> {
        static NONE: BTreeMap<String, u64> = BTreeMap::new();
        match self {
            Self::Session(opening, _) => &opening.limits,
            Self::Run(_) | Self::Look(_) => self.order().map_or(&NONE, |order| &order.limits),
        }
    }

    pub(super) fn limit(&self, limit: Limit) -> Option<u64> {
        self.limits().get(limit.name()).copied()
    }
}

/// Whose run it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker<'a> {
    /// For its record.
    pub(super) principal: &'a str,
    /// The host's user that its code has, where that is not the launcher's own.
    pub(super) user: Option<u32>,
}

/// What a supervisor is given besides its words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given<'a> {
    pub(super) streams: Streams<'a>,
    /// The folder of its files.
    pub(super) inputs: &'a Path,
    /// The memory of its tables, which was checked.
    pub(super) tables: &'a [OwnedFd],
}

/// Starts the supervisor of a run or a session.
pub(super) fn spawn(settings: &Settings, asker: Asker<'_>, task: Task<'_>, given: Given<'_>) -> io::Result<Child> {
    let Given { streams, inputs, tables } = given;
    // Numbers of their own that stay open over the execution; nothing else is started meanwhile.
    let report = inherited(streams.report)?;
    let tables = tables.iter().map(inherited).collect::<io::Result<Vec<_>>>()?;
    let numbers = Numbers { report: report.as_raw_fd(), tables: tables.iter().map(AsRawFd::as_raw_fd).collect() };
    let input = match task {
        Task::Run(_) | Task::Look(_) => Stdio::null(),
        Task::Session(_, socket) => socket.try_clone()?.into(),
    };
    command(settings)
        .args(words(settings, asker, task, &numbers, std::process::id()))
        .current_dir(inputs)
        .stdin(input)
        .stdout(streams.out.try_clone()?)
        .stderr(streams.error.try_clone()?)
        .spawn()
}

fn inherited(descriptor: &OwnedFd) -> io::Result<OwnedFd> {
    let own = descriptor.try_clone()?;
    rustix::io::fcntl_setfd(&own, FdFlags::empty())?;
    Ok(own)
}

/// Descriptors that a supervisor inherits.
#[derive(Debug)]
struct Numbers {
    report: i32,
    tables: Vec<i32>,
}

/// Starts a pool of warm engines of a kind, with these users, which is spoken to over `socket`.
pub(super) fn spawn_pool(settings: &Settings, kind: &Kind, lease: Lease, socket: OwnedFd) -> io::Result<Child> {
    command(settings)
        .args(words_of_pool(settings, kind, lease, std::process::id()))
        .current_dir(&settings.folder)
        .stdin(socket)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

/// The command, with what it is told of its surroundings.
fn command(settings: &Settings) -> Command {
    let folder = &settings.folder;
    let vars = std::env::vars_os().filter(|(name, _)| {
        name.to_str().is_some_and(|name| VARS.contains(&name) || VARS_OF.iter().any(|start| name.starts_with(start)))
    });
    let mut command = Command::new(&settings.program);
    command
        .env_clear()
        .envs(vars)
        .env("HOME", folder.join("home"))
        .env("STOCKADE_STATE_DIR", folder.join("state"))
        .env("STOCKADE_CACHE_DIR", folder.join("cache"))
        // Keys of a terminal are for the node, which lets runs finish.
        .process_group(0);
    command
}

/// As of a run: what comes from an order stands behind a `=`.
fn words_of_pool(settings: &Settings, kind: &Kind, lease: Lease, parent: u32) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec![
        "run".into(),
        "--quiet".into(),
        format!("--pool={}:{}", lease.first, lease.count).into(),
        format!("--parent={parent}").into(),
    ];
    words.extend(settings.witness.map(|number| format!("--witness-fd={number}").into()));
    words.extend(kind.tier.modules().iter().map(|module| format!("--preload={module}").into()));
    words.extend(words_of_policies(settings));
    let usual = Bounds::default().usual;
    let limits = Limit::ALL.into_iter().map(|limit| (limit, usual.of(limit)));
    words.extend(limits.map(|(limit, value)| format!("--limit={}={}", limit.name(), exact(limit, value)).into()));
    words.extend(kind.environment.iter().map(|reference| format!("--environment={reference}").into()));
    words
}

fn words_of_policies(settings: &Settings) -> impl Iterator<Item = OsString> {
    settings.policies.iter().map(|policy| {
        let mut word = OsString::from("--policy=");
        word.push(policy);
        word
    })
}

/// The words. What comes from an order stands behind a `=` of its flag, or is a file's name that begins with no dash,
/// or follows the script and is the script's.
fn words(settings: &Settings, asker: Asker<'_>, task: Task<'_>, numbers: &Numbers, parent: u32) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec![
        "run".into(),
        "--quiet".into(),
        format!("--report-fd={}", numbers.report).into(),
        format!("--parent={parent}").into(),
        format!("--principal={}", asker.principal).into(),
        "--out=../out".into(),
    ];
    words.extend(settings.witness.map(|number| format!("--witness-fd={number}").into()));
    words.extend(asker.user.map(|user| format!("--host-user={user}").into()));
    let tables = task.tables().iter().zip(&numbers.tables);
    words.extend(tables.map(|(table, number)| format!("--table-fd={number}:{}", table.name).into()));
    words.extend(words_of_policies(settings));
    for limit in Limit::ALL {
        if let Some(value) = task.limit(limit) {
            words.push(format!("--limit={}={}", limit.name(), exact(limit, value)).into());
        }
    }
    // Those of a data function are named by its description.
    if !task.order().is_some_and(|order| order.data_function) {
        words.extend(task.inputs().iter().map(|name| format!("--in={name}").into()));
    }
    words.extend(task.with().iter().map(|package| format!("--with={package}").into()));
    words.extend(task.environment().iter().map(|reference| format!("--environment={reference}").into()));
    words.extend(task.order().is_some_and(|order| order.only_built).then(|| "--only-built".into()));
    match task {
        Task::Session(opening, _) => words.push(format!("--session={}", opening.language.name()).into()),
        Task::Look(look) => words.push(format!("--look={}", look.name()).into()),
        Task::Run(_) => {}
    }
    match task.order() {
        Some(order) if order.data_function => words.push(format!("--data-function={}", order.script).into()),
        Some(order) => {
            words.push(order.script.clone().into());
            words.extend(order.arguments.iter().map(Into::into));
        }
        None => {}
    }
    words
}

/// A value as a flag takes it, to the last digit.
fn exact(limit: Limit, value: u64) -> String {
    match limit {
        Limit::Time | Limit::CpuTime => format!("{value}ms"),
        Limit::Cpus => limit.show(value),
        Limit::Memory
        | Limit::Processes
        | Limit::OpenFiles
        | Limit::Scratch
        | Limit::ScratchFiles
        | Limit::FileSize
        | Limit::Output
        | Limit::OutputFiles
        | Limit::OutputDepth
        | Limit::Streams => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::tests::order;

    #[test]
    fn every_limit_is_written_as_it_is_read() {
        for limit in Limit::ALL {
            let value = Bounds::default().usual.of(limit) + 1;
            assert_eq!(limit.parse(&exact(limit, value)), Ok(value), "{limit}");
        }
    }

    #[test]
    fn no_word_of_an_order_stands_where_a_flag_could() {
        let order = Order {
            script: "x.py".to_owned(),
            arguments: vec!["--out=/etc".to_owned(), "--".to_owned(), "sh".to_owned()],
            inputs: vec!["a.csv".to_owned()],
            tables: vec![Table { name: "t:1.arrow".to_owned(), bytes: 1 }],
            with: vec!["pandas>=2".to_owned()],
            only_built: true,
            ..order()
        };
        let settings = Settings {
            folder: "/n".into(),
            program: "/p".into(),
            policies: vec!["/policy".into()],
            concurrent: 1,
            sessions: 1,
            pools: 0,
            users: None,
            witness: None,
        };
        let asker = Asker { principal: "uid-1@local", user: Some(100_000) };
        let numbers = Numbers { report: 7, tables: vec![9] };
        let words = words(&settings, asker, Task::Run(&order), &numbers, 8);
        let script = words.iter().position(|word| word == "x.py").unwrap();
        assert!(words[1..script].iter().all(|word| word.to_str().unwrap().starts_with("--")));
        assert_eq!(words[script + 1..], ["--out=/etc", "--", "sh"]);
        for word in [
            "--host-user=100000",
            "--in=a.csv",
            "--table-fd=9:t:1.arrow",
            "--with=pandas>=2",
            "--only-built",
            "--policy=/policy",
            "--limit=time=600000ms",
            "--report-fd=7",
        ] {
            assert!(words[..script].iter().any(|one| one == word), "{word}: {words:?}");
        }
        let opening = Opening { inputs: vec!["a.csv".to_owned()], ..crate::opening::tests::opening() };
        let (socket, _) = crate::wire::pair().unwrap();
        let words = self::words(&settings, asker, Task::Session(&opening, &socket), &numbers, 8);
        assert!(words[1..].iter().all(|word| word.to_str().unwrap().starts_with("--")), "{words:?}");
        assert!(words.iter().any(|word| word == "--session=python"));
        // What is told of a run is told of the very words that would run it.
        let of_run = self::words(&settings, asker, Task::Run(&order), &numbers, 8);
        let look = Look::Run { order };
        let of_look = self::words(&settings, asker, Task::Look(&look), &numbers, 8);
        let but_for_that: Vec<OsString> = of_look.into_iter().filter(|word| word != "--look=run").collect();
        assert_eq!(but_for_that, of_run);
    }
}
