//! What will happen, as plain data with a stable text form.
//!
//! A plan holds no handle and no closure, and leaves nothing to the launcher's choice: what may be
//! done instead when the kernel refuses is written down too. It can only be built from a [`Grant`].

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt;

use thiserror::Error;

use crate::container;
use crate::facts::{HostFacts, Source, SourceKind, SystemKind};
use crate::ground::{self, Ground};
use crate::layer::Layers;
use crate::limits::{Limit, Limits};
use crate::network::{BLOCKS_MAX, Network, PORTS_MAX, PROXY_PORT};
use crate::paths::{self, InsidePath};
use crate::policy::Grant;
use crate::request::{
    Access, CgroupMode, Input, Over, Request, ResultDescriptor, Scratch, Share, Start, Streams, Table, Tier, Tree,
};
use crate::syscalls::{Architecture, Profile};
use crate::text;
use crate::trust::Libraries;
use crate::warm::Role;

/// The user and group id of the code, as it sees itself.
pub const INSIDE_ID: u32 = 1000;
/// First of the host ids that runs started by root use; the supervisor's process id is added.
const THROW_AWAY_BASE: u32 = 0x7000_0000;
/// The name of the throw-away user.
const USER: &str = "runner";
/// Most tables of a run.
pub const TABLES_MAX: usize = 16;
/// The number that the first table has inside; the others follow. Above those of our own descriptors.
const TABLES_FROM: u32 = 100;
/// `PATH` of every run.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// One run, fully decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The run's id.
    pub run: String,
    /// How the code is called in reports.
    pub label: String,
    /// The policies that permitted it, with their versions.
    pub policy: String,
    /// Where the paths inside are.
    pub ground: Ground,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Every variable the code sees.
    pub vars: BTreeMap<String, String>,
    /// Whose rights the code has.
    pub identity: Identity,
    /// What its process is to others.
    pub role: Role,
    /// What the root file system is made of, in order.
    pub mounts: Vec<Mount>,
    /// What Landlock lets the code reach.
    pub landlock: Vec<Reach>,
    /// Which system calls are permitted, refused, or refused and told.
    pub syscalls: Profile,
    /// The network.
    pub network: Network,
    /// The streams.
    pub streams: Streams,
    /// Whether descriptor 3 carries results.
    pub result: ResultDescriptor,
    /// What bounds it.
    pub limits: Limits,
    /// How strictly a cgroup is wanted.
    pub cgroup: CgroupMode,
    /// Where scratch lies.
    pub scratch: Scratch,
    /// Layers without which it does not start.
    pub required: Layers,
    /// The libraries of strangers that the code has, as they were judged.
    pub libraries: Libraries,
}

/// The throw-away user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User id outside.
    pub outside_uid: u32,
    /// Group id outside.
    pub outside_gid: u32,
    /// What becomes of supplementary groups.
    pub groups: Groups,
}

/// Supplementary groups of the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Groups {
    /// Dropped.
    Dropped,
    /// The kernel refuses an ordinary user to drop them; none of them is mapped inside.
    Unmapped,
    /// The kernel refuses an ordinary user to drop them, and there is no map (the tier `landlock`).
    Kept,
}

/// One piece of the root file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mount {
    /// A system folder or file of the host, bound read-only, nosuid, nodev.
    System {
        /// The path, the same outside and inside.
        path: InsidePath,
        /// Folder or file, so that the mount point can be made.
        folder: bool,
    },
    /// A symbolic link.
    Link {
        /// Where.
        target: InsidePath,
        /// Its text.
        text: String,
    },
    /// A file made for this run.
    File {
        /// Where.
        target: InsidePath,
        /// Its bytes.
        contents: Cow<'static, [u8]>,
    },
    /// A caller's tree, read-only, through a lower-only overlay: no socket or FIFO of the host is
    /// reachable, no outside path shows.
    Layered {
        /// The tree.
        source: Source,
        /// Where.
        target: InsidePath,
        /// What lies over it.
        over: Vec<Over>,
    },
    /// A caller's folder, copy-on-write; copied when the kernel refuses an overlay.
    CopyOnWrite {
        /// The folder.
        source: Source,
        /// Where.
        target: InsidePath,
        /// Paths below it that the code shall not see.
        hidden: Vec<String>,
    },
    /// A caller's folder, copied to scratch.
    CopiedTree {
        /// The folder.
        source: Source,
        /// Where.
        target: InsidePath,
        /// Paths below it that the code shall not see.
        hidden: Vec<String>,
    },
    /// A caller's file, copied to scratch.
    Copied {
        /// The file.
        source: Source,
        /// Where.
        target: InsidePath,
    },
    /// A caller's sealed memory, as a descriptor to be read, and a link to it.
    Table {
        /// The memory.
        source: Source,
        /// Where the link is.
        target: InsidePath,
        /// The descriptor's number inside.
        number: u32,
    },
    /// A caller's folder the code writes to, live.
    Shared {
        /// The folder.
        source: Source,
        /// Where.
        target: InsidePath,
    },
    /// A folder of the bounded scratch.
    Scratch {
        /// Where.
        target: InsidePath,
        /// Whether everyone may write (`/tmp`), or the owner only.
        sticky: bool,
    },
    /// A device of the host: one of the harmless ones.
    Device {
        /// Where.
        target: InsidePath,
    },
    /// A terminal file system of its own.
    Terminals,
    /// A process file system of its own.
    Proc,
    /// What only a container runtime sees.
    ForRuntime(ForRuntime),
}

/// A piece of the root for a container runtime, which the container does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForRuntime {
    /// Everything mounted so far, once more: the root of the container.
    Root,
    /// The run's control groups, as far as it sees them: some runtimes do not start without.
    Groups,
    /// A process file system with nothing laid over it: else the kernel refuses the container one.
    Proc,
}

/// One Landlock rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The path it holds for, and everything below.
    pub path: InsidePath,
    /// What it permits.
    pub permits: Permits,
}

/// What a Landlock rule permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permits {
    /// Listing folders.
    List,
    /// Reading files and listing folders.
    Read,
    /// Reading and executing.
    Execute,
    /// Everything but devices.
    Write,
    /// Reading, writing and controlling devices.
    Devices,
}

/// A request that cannot be planned.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unplannable {
    /// Two things would lie at the same path.
    #[error("`{0}` would be staged twice")]
    Collision(String),
    /// A path below a share or a single file.
    #[error("`{0}` lies below a shared folder or a single file, which would cover it")]
    Covered(String),
    /// A path that the sandbox itself needs.
    #[error("`{0}` is no path for an input")]
    Reserved(String),
    /// A variable that cannot be set.
    #[error("`{}` is no name of a variable", text::shown(.0, 64))]
    Variable(String),
    /// There is no system-call profile for this machine.
    #[error("there is no system-call profile for this machine's architecture")]
    Architecture,
    /// Something that only namespaces give.
    #[error("the tier `landlock` cannot give {0}: it has no mounts and no network of its own")]
    Tier(&'static str),
    /// A path of the host that cannot be named to Landlock.
    #[error("`{0}` cannot be used without a root of the run's own: its path is relative or has control characters")]
    Place(String),
    /// Tables for a tier that has no way to give them.
    #[error("the tier `{}` cannot give tables by descriptor", .0.name())]
    NoTables(Tier),
    /// Tables with nowhere to lie.
    #[error("the code is given {0} tables, and may have {1} files open")]
    Tables(usize, u64),
    /// A tier whose runtime is not on this machine.
    #[error("the tier `{}` needs {}, which is not in PATH", .0.name(), runtimes(*.0))]
    NoRuntime(Tier),
    /// A runtime outside of the system folders.
    #[error("the container runtime `{}` lies outside of the system folders, and those are all a run sees", text::shown(.0, 400))]
    RuntimeElsewhere(String),
    /// A tier without a way to the gate.
    #[error("the tier `{}` cannot give a network: its second kernel has only a loopback of its own", .0.name())]
    NoNetwork(Tier),
    /// Staged files are larger than scratch.
    #[error("the files to stage are {} together, more than scratch ({})", text::bytes(*.0), text::bytes(*.1))]
    TooLarge(u64, u64),
    /// The same variable twice: as a secret and as itself.
    #[error("variable `{0}` is a secret of the gate, and the code has it besides")]
    SecretTwice(String),
    /// The gate's own port.
    #[error("port {PROXY_PORT} is that of the gate's proxy inside")]
    ProxyPort,
    /// More ports than listeners.
    #[error("the network grants are for more than {PORTS_MAX} different ports")]
    Ports,
    /// More address blocks than the sandbox answers for.
    #[error("the network grants are for more than {BLOCKS_MAX} address blocks")]
    Blocks,
    /// Scratch would lie in what the code is given, where it could reach behind its own walls.
    #[error("the folder of scratch lies in `{}`, which is given to the code", text::shown(.0, 400))]
    ScratchWithin(String),
}

impl Unplannable {
    /// What to do next.
    #[must_use]
    pub const fn next(&self) -> &'static str {
        match self {
            Self::Collision(_) => "give one of them another name: --in PATH=NAME",
            Self::Covered(_) => "give it a name outside of that: --in PATH=NAME",
            Self::Reserved(_) => "choose a name below the working folder",
            Self::Variable(_) => "use letters, digits and underscores",
            Self::Architecture => "use an x86-64 or 64-bit ARM machine",
            Self::Tier(_) => "stage it with --in, or run without --tier landlock",
            Self::NoTables(_) => "give them as files, or run without --tier",
            Self::Tables(..) => "give fewer of them, or raise --limit open-files=COUNT",
            Self::NoRuntime(Tier::Gvisor) => "install gVisor (Debian: apt install runsc), or leave out --tier",
            Self::NoRuntime(_) => "install one of them (Debian: apt install runc), or leave out --tier",
            Self::RuntimeElsewhere(_) => "install it below /usr",
            Self::NoNetwork(_) => "stage the data with --in, or run with --tier oci or without --tier",
            Self::Place(_) => "set TMPDIR to another folder, or use what has a plain path",
            Self::TooLarge(..) => {
                "give the folder that holds them (folders are not copied), or raise --limit scratch=SIZE"
            }
            Self::SecretTwice(_) => "name it once: --secret gives the code a placeholder, --env the value itself",
            Self::ProxyPort => "let the server listen on another port",
            Self::Ports => "grant fewer ports",
            Self::Blocks => "grant wider blocks, or names",
            Self::ScratchWithin(_) => "name a folder outside of it: --scratch-dir DIR",
        }
    }
}

const fn runtimes(tier: Tier) -> &'static str {
    match tier {
        Tier::Gvisor => "the container runtime `runsc`",
        Tier::Namespaces | Tier::Landlock | Tier::Oci => "a container runtime, `runc` or `crun`",
    }
}

/// Builds the plan of a granted request.
///
/// # Errors
/// [`Unplannable`] when the request contradicts itself.
pub fn build(grant: Grant, host: &HostFacts, run: &str) -> Result<Plan, Unplannable> {
    let (request, limits, required, policy) = grant.into_parts();
    check_inputs(&request, &limits)?;
    check_tables(&request, &limits)?;
    let syscalls = Architecture::native().map(Profile::builtin).ok_or(Unplannable::Architecture)?;
    check_scratch(&request)?;
    let Request {
        label, start, inputs, tables, shares, network, vars, cgroup, scratch, streams, tier, libraries, ..
    } = request;
    check_network(&network, &vars)?;
    let vars = all_vars(&start, &network, vars)?;
    let mut mounts = Vec::with_capacity(48);
    system(&mut mounts, host);
    made_etc(&mut mounts);
    devices(&mut mounts);
    let Start { argv, trees, files, result, .. } = start;
    mounts.extend(files.into_iter().map(|file| Mount::File { target: file.target, contents: file.contents }));
    given(&mut mounts, trees)?;
    writable(&mut mounts, inputs, shares);
    mounts.extend((TABLES_FROM..).zip(tables).map(|(number, Table { source, target })| Mount::Table {
        source,
        target,
        number,
    }));
    mounts.push(Mount::Proc);
    let landlock = reach(&mounts);
    let plan = Plan {
        run: run.to_owned(),
        label,
        policy,
        ground: Ground::OwnRoot,
        argv,
        vars,
        identity: identity(host, tier),
        role: Role::Run,
        mounts,
        landlock,
        syscalls,
        network,
        streams,
        result,
        limits,
        cgroup,
        scratch,
        required,
        libraries,
    };
    match tier {
        Tier::Namespaces => Ok(plan),
        Tier::Landlock => ground::onto_host(plan, host),
        Tier::Gvisor | Tier::Oci => container::into_container(plan, host, tier),
    }
}

/// No given folder holds the one that scratch is made in: an overlay cannot lie over itself, and
/// through a share the code would reach what the supervisor relies on.
fn check_scratch(request: &Request) -> Result<(), Unplannable> {
    let Scratch::Disk(folder) = &request.scratch else { return Ok(()) };
    let inputs = request.inputs.iter().map(|input| &input.source);
    let shares = request.shares.iter().map(|share| &share.source);
    let trees = request.start.trees.iter().map(|tree| &tree.source);
    match inputs.chain(shares).chain(trees).find(|source| folder.path.starts_with(&source.path)) {
        Some(source) => Err(Unplannable::ScratchWithin(source.path.to_string_lossy().into_owned())),
        None => Ok(()),
    }
}

/// The id of a run that root started, by the process id of its supervisor, which is unique while it lives.
#[must_use]
pub const fn throw_away_id(pid: u32) -> u32 {
    THROW_AWAY_BASE + pid
}

/// Whether an id outside can only be that of a run started by root.
#[must_use]
pub const fn is_throw_away(id: u32) -> bool {
    // Process ids have at most 22 bits (PID_MAX_LIMIT).
    id >= THROW_AWAY_BASE && id - THROW_AWAY_BASE < 1 << 22
}

/// The id of a service that root started, beyond those of runs.
#[must_use]
pub const fn service_id(pid: u32) -> u32 {
    THROW_AWAY_BASE + (1 << 22) + pid
}

const fn identity(host: &HostFacts, tier: Tier) -> Identity {
    if matches!(tier, Tier::Landlock) && !(host.uid == 0 && host.maps_every_id) {
        Identity { outside_uid: host.uid, outside_gid: host.gid, groups: Groups::Kept }
    } else if host.uid == 0 {
        let id = host.throw_away;
        Identity { outside_uid: id, outside_gid: id, groups: Groups::Dropped }
    } else {
        Identity { outside_uid: host.uid, outside_gid: host.gid, groups: Groups::Unmapped }
    }
}

fn check_inputs(request: &Request, limits: &Limits) -> Result<(), Unplannable> {
    let mut targets: Vec<&InsidePath> = request.inputs.iter().map(|input| &input.target).collect();
    targets.extend(request.tables.iter().map(|table| &table.target));
    targets.extend(request.shares.iter().map(|share| &share.target));
    for target in &targets {
        if target.below(paths::JOB).is_none() {
            return Err(Unplannable::Reserved(target.to_string()));
        }
    }
    targets.sort();
    if let Some(twice) = targets.iter().zip(targets.iter().skip(1)).find(|(one, other)| one == other) {
        return Err(Unplannable::Collision(twice.0.to_string()));
    }
    // A share is mounted last, and below a single file there is no place.
    let files =
        request.inputs.iter().filter(|input| input.source.kind != SourceKind::Folder).map(|input| &input.target);
    let tables = request.tables.iter().map(|table| &table.target);
    let covers: Vec<&InsidePath> =
        request.shares.iter().map(|share| &share.target).chain(tables).chain(files).collect();
    let covered = |target: &&InsidePath| {
        covers.iter().any(|cover| target.below(cover.as_str()).is_some_and(|below| !below.is_empty()))
    };
    if let Some(target) = targets.iter().find(|target| covered(target)) {
        return Err(Unplannable::Covered(target.to_string()));
    }
    let copied: u64 = request
        .inputs
        .iter()
        .filter(|input| input.source.kind != SourceKind::Folder)
        .map(|input| input.source.bytes)
        .sum();
    if copied > limits.scratch_bytes {
        return Err(Unplannable::TooLarge(copied, limits.scratch_bytes));
    }
    Ok(())
}

/// Their links are made where nothing of the caller's lies on the way, and their numbers are not taken.
fn check_tables(request: &Request, limits: &Limits) -> Result<(), Unplannable> {
    let Some(first) = request.tables.first() else { return Ok(()) };
    if request.tier != Tier::Namespaces {
        return Err(Unplannable::NoTables(request.tier));
    }
    let is_deep =
        |table: &&Table| table.target.below(paths::JOB).is_none_or(|name| name.is_empty() || name.contains('/'));
    if let Some(table) = request.tables.iter().find(is_deep) {
        return Err(Unplannable::Reserved(table.target.to_string()));
    }
    if request.inputs.iter().any(|input| input.target.as_str() == paths::JOB) {
        return Err(Unplannable::Covered(first.target.to_string()));
    }
    let count = request.tables.len();
    let last = u64::from(TABLES_FROM) + u64::try_from(count).unwrap_or(u64::MAX);
    // Some are the engine's own.
    if count > TABLES_MAX || last > limits.open_files {
        return Err(Unplannable::Tables(count, limits.open_files));
    }
    Ok(())
}

/// Each port and block costs the sandbox a listener or an address before the code starts.
fn check_network(network: &Network, vars: &BTreeMap<String, String>) -> Result<(), Unplannable> {
    let Network::Gate(egress) = network else { return Ok(()) };
    if egress.ports().len() > PORTS_MAX {
        return Err(Unplannable::Ports);
    }
    if egress.ports().contains(&PROXY_PORT) {
        return Err(Unplannable::ProxyPort);
    }
    if egress.blocks().len() > BLOCKS_MAX || egress.addresses_v6().len() > BLOCKS_MAX {
        return Err(Unplannable::Blocks);
    }
    let mut names = BTreeSet::new();
    for secret in &egress.secrets {
        let name = &secret.variable;
        if !is_variable(name) {
            return Err(Unplannable::Variable(name.clone()));
        }
        if !names.insert(name) || vars.contains_key(name) {
            return Err(Unplannable::SecretTwice(name.clone()));
        }
    }
    Ok(())
}

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
}

/// What programs look at that know of proxies; the others are served without.
fn network_vars(network: &Network) -> Vec<(String, String)> {
    let Network::Gate(egress) = network else { return Vec::new() };
    let proxy = format!("http://127.0.0.1:{PROXY_PORT}");
    let own = "localhost,127.0.0.1,::1";
    let mut vars: Vec<(String, String)> = ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"]
        .map(|name| (name.to_owned(), proxy.clone()))
        .into_iter()
        .chain(["NO_PROXY", "no_proxy"].map(|name| (name.to_owned(), own.to_owned())))
        .collect();
    if egress.inspects() {
        vars.extend(CERTIFICATE_VARS.map(|name| (name.to_owned(), AUTHORITIES.to_owned())));
    }
    vars
}

/// Where the authorities that an inspected run trusts lie: the machine's and the gate's own.
const AUTHORITIES: &str = "/etc/stockade/authorities.pem";
/// The variables by which OpenSSL, requests, curl, R, pip, git, Node.js and AWS tools find them.
const CERTIFICATE_VARS: [&str; 7] = [
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "PIP_CERT",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "AWS_CA_BUNDLE",
];

fn all_vars(
    start: &Start,
    network: &Network,
    asked: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Unplannable> {
    let fixed = [
        ("PATH", PATH),
        ("HOME", paths::HOME),
        ("USER", USER),
        ("LOGNAME", USER),
        ("SHELL", "/bin/sh"),
        ("TMPDIR", "/tmp"),
        ("LANG", "C.UTF-8"),
        ("XDG_CACHE_HOME", "/home/runner/.cache"),
    ];
    let mut vars: BTreeMap<String, String> =
        fixed.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    vars.extend(network_vars(network));
    vars.extend(start.vars.clone());
    if let Network::Gate(egress) = network {
        for secret in &egress.secrets {
            if vars.insert(secret.variable.clone(), secret.placeholder.clone()).is_some() {
                return Err(Unplannable::SecretTwice(secret.variable.clone()));
            }
        }
    }
    for (name, value) in asked {
        if !is_variable(&name) || value.contains('\0') {
            return Err(Unplannable::Variable(name));
        }
        vars.insert(name, value);
    }
    Ok(vars)
}

fn system(mounts: &mut Vec<Mount>, host: &HostFacts) {
    for entry in host.system.iter().chain(&host.etc) {
        let Ok(path) = InsidePath::parse(&entry.path) else { continue };
        mounts.push(match &entry.kind {
            SystemKind::Folder => Mount::System { path, folder: true },
            SystemKind::File => Mount::System { path, folder: false },
            SystemKind::Link(text) => Mount::Link { target: path, text: text.clone() },
        });
    }
}

const MADE: [(&str, &str); 6] = [
    (
        "/etc/passwd",
        "root:x:0:0:root:/:/bin/false\nrunner:x:1000:1000:throw-away user:/home/runner:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    ),
    ("/etc/group", "root:x:0:\ntty:x:5:\nrunner:x:1000:\nnogroup:x:65534:\n"),
    ("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n"),
    ("/etc/hosts", "127.0.0.1 localhost sandbox\n::1 localhost sandbox\n"),
    ("/etc/hostname", "sandbox\n"),
    ("/etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1 ndots:0\n"),
];

fn made_etc(mounts: &mut Vec<Mount>) {
    for (path, contents) in MADE {
        mounts.push(Mount::File { target: InsidePath::fixed(path), contents: Cow::Borrowed(contents.as_bytes()) });
    }
}

const DEVICES: [&str; 6] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];
const DEVICE_LINKS: [(&str, &str); 5] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
];

fn devices(mounts: &mut Vec<Mount>) {
    mounts.extend(DEVICES.map(|path| Mount::Device { target: InsidePath::fixed(path) }));
    mounts.extend(
        DEVICE_LINKS.map(|(path, text)| Mount::Link { target: InsidePath::fixed(path), text: text.to_owned() }),
    );
    mounts.push(Mount::Terminals);
}

/// Trees of the caller; single files are copied to scratch and linked to, so that no outside path shows.
fn given(mounts: &mut Vec<Mount>, trees: Vec<Tree>) -> Result<(), Unplannable> {
    let home = InsidePath::fixed("/opt/stockade/given");
    if trees.iter().any(|tree| tree.source.kind != SourceKind::Folder) {
        mounts.push(Mount::Scratch { target: home.clone(), sticky: false });
    }
    for (number, Tree { source, target, over }) in trees.into_iter().enumerate() {
        if source.kind == SourceKind::Folder {
            mounts.push(Mount::Layered { source, target, over });
            continue;
        }
        let copy = home.join(&number.to_string()).map_err(|_| Unplannable::Reserved(target.to_string()))?;
        mounts.push(Mount::Link { target, text: copy.to_string() });
        mounts.push(Mount::Copied { source, target: copy });
    }
    Ok(())
}

fn writable(mounts: &mut Vec<Mount>, mut inputs: Vec<Input>, shares: Vec<Share>) {
    for (path, sticky) in [("/tmp", true), (paths::SHARED_MEMORY, true), (paths::HOME, false)] {
        mounts.push(Mount::Scratch { target: InsidePath::fixed(path), sticky });
    }
    // Outer folders first, so that what lies deeper is mounted on top of them.
    inputs.sort_by(|one, other| one.target.cmp(&other.target));
    if !inputs.iter().any(|input| input.target.as_str() == paths::JOB) {
        mounts.push(Mount::Scratch { target: InsidePath::fixed(paths::JOB), sticky: false });
    }
    for Input { source, target, hidden } in inputs {
        mounts.push(match source.kind {
            SourceKind::Folder => Mount::CopyOnWrite { source, target, hidden },
            SourceKind::File { .. } => Mount::Copied { source, target },
        });
    }
    for Share { source, target, access } in shares {
        mounts.push(match access {
            Access::Read => Mount::Layered { source, target, over: Vec::new() },
            Access::Write => Mount::Shared { source, target },
        });
    }
}

fn reach(mounts: &[Mount]) -> Vec<Reach> {
    let mut rules: Vec<Reach> = mounts
        .iter()
        .filter_map(|mount| match mount {
            Mount::System { path, folder: true } if path.below("/etc").is_none() => Some((path, Permits::Execute)),
            Mount::Layered { target, .. } => Some((target, Permits::Execute)),
            Mount::CopyOnWrite { target, .. } | Mount::Shared { target, .. } | Mount::Scratch { target, .. } => {
                Some((target, Permits::Write))
            }
            Mount::System { .. }
            | Mount::Link { .. }
            | Mount::File { .. }
            | Mount::Copied { .. }
            | Mount::CopiedTree { .. }
            | Mount::Table { .. }
            | Mount::Device { .. }
            | Mount::Terminals
            | Mount::Proc
            | Mount::ForRuntime(_) => None,
        })
        .map(|(path, permits)| Reach { path: path.clone(), permits })
        .collect();
    rules.push(Reach { path: InsidePath::root(), permits: Permits::List });
    for (path, permits) in
        [("/etc", Permits::Read), ("/opt", Permits::Read), ("/proc", Permits::Read), ("/dev", Permits::Devices)]
    {
        rules.push(Reach { path: InsidePath::fixed(path), permits });
    }
    rules
}

impl Mount {
    /// Where the code writes to scratch through this mount, if it does.
    #[must_use]
    pub const fn written_to(&self) -> Option<&InsidePath> {
        if let Self::Scratch { target, .. } | Self::CopyOnWrite { target, .. } = self { Some(target) } else { None }
    }
}

impl Plan {
    /// Every outside thing the run is given.
    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        let scratch = if let Scratch::Disk(folder) = &self.scratch { Some(folder) } else { None };
        let given = self.mounts.iter().filter_map(|mount| match mount {
            Mount::Layered { source, .. }
            | Mount::CopyOnWrite { source, .. }
            | Mount::Copied { source, .. }
            | Mount::CopiedTree { source, .. }
            | Mount::Table { source, .. }
            | Mount::Shared { source, .. } => Some(source),
            Mount::System { .. }
            | Mount::Link { .. }
            | Mount::File { .. }
            | Mount::Scratch { .. }
            | Mount::Device { .. }
            | Mount::Terminals
            | Mount::Proc
            | Mount::ForRuntime(_) => None,
        });
        given.chain(scratch)
    }

    /// Whether the sandbox waits until the supervisor has put something into scratch.
    #[must_use]
    pub fn waits_for_staging(&self) -> bool {
        self.ground.runtime().is_some() || self.mounts.iter().any(|mount| matches!(mount, Mount::Copied { .. }))
    }

    /// What is executed when the walls stand: the program and its arguments, and the variables it sees.
    #[must_use]
    pub fn executed(&self) -> (Cow<'_, [String]>, Cow<'_, BTreeMap<String, String>>) {
        match self.ground.runtime() {
            None => (Cow::Borrowed(&self.argv), Cow::Borrowed(&self.vars)),
            Some(runtime) => {
                let (argv, vars) = container::command(runtime, &self.run);
                (Cow::Owned(argv), Cow::Owned(vars))
            }
        }
    }

    /// The required layers that only a look from inside a container shows.
    #[must_use]
    pub fn proven_inside(&self) -> Layers {
        self.ground.runtime().map_or(Layers::NONE, |runtime| container::proven(runtime.kind))
    }

    /// Lets the code trust these authorities (PEM) as well, where the gate looks into TLS.
    #[must_use]
    pub fn trusting(mut self, authorities: Vec<u8>) -> Self {
        let file = Mount::File { target: InsidePath::fixed(AUTHORITIES), contents: Cow::Owned(authorities) };
        let at = self.mounts.iter().rposition(|mount| matches!(mount, Mount::File { .. }));
        self.mounts.insert(at.map_or(0, |at| at + 1), file);
        self
    }

    /// The tables that are handed over: the memory, where its link is, its number inside.
    pub fn tables(&self) -> impl Iterator<Item = (&Source, &InsidePath, u32)> {
        self.mounts.iter().filter_map(|mount| {
            if let Mount::Table { source, target, number } = mount { Some((source, target, *number)) } else { None }
        })
    }

    /// A small plan for tests.
    #[cfg(test)]
    pub(crate) fn fixture() -> Self {
        tests::plan(|_| {})
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "run       {} ({}, policy {})", self.run, quoted(&self.label), self.policy)?;
        match self.ground.tier() {
            Tier::Namespaces => {}
            tier @ (Tier::Landlock | Tier::Gvisor | Tier::Oci) => {
                writeln!(out, "tier      {}, without {}", tier.name(), tier.goes_without())?
            }
        }
        write!(out, "{}", self.ground)?;
        writeln!(out, "argv      {}", self.argv.iter().map(quoted).collect::<Vec<_>>().join(" "))?;
        for (name, value) in &self.vars {
            let value = if value.is_empty() { String::new() } else { quoted(value) };
            writeln!(out, "var       {name}={value}")?;
        }
        match self.ground {
            Ground::Host { .. } if self.identity.groups == Groups::Dropped => writeln!(
                out,
                "identity  uid {} and gid {} of no one, no supplementary groups",
                self.identity.outside_uid, self.identity.outside_gid
            )?,
            Ground::Host { .. } | Ground::OwnRoot => writeln!(out, "identity  {}", self.identity)?,
            Ground::Container(_) => writeln!(out, "identity  {}; in the container it is 0", self.identity)?,
        }
        let made = match self.ground {
            Ground::OwnRoot | Ground::Container(_) => "mount    ",
            Ground::Host { .. } => "made     ",
        };
        match self.role {
            // What a run is that is nothing else.
            Role::Run => {}
            Role::Template(ids) => writeln!(out, "role      a template of engines, {ids}")?,
            Role::Engine => writeln!(out, "role      an engine, whose process a template forks")?,
        }
        for mount in &self.mounts {
            writeln!(out, "{made} {mount}")?;
        }
        for rule in &self.landlock {
            writeln!(out, "landlock  {} {}", rule.permits, quoted(rule.path.as_str()))?;
        }
        write!(out, "{}", self.network)?;
        let streams = match self.streams {
            Streams::Pipes => "pipes",
            Streams::Terminal => "a terminal of its own",
        };
        writeln!(out, "streams   {streams}")?;
        for limit in Limit::ALL {
            writeln!(out, "limit     {limit} {}", limit.show(self.limits.of(limit)))?;
        }
        let cgroup = match self.cgroup {
            CgroupMode::Auto => "if it can be had, else the watchdog, and no memory without a process",
            CgroupMode::Require => "required",
            CgroupMode::Off => "not used: the watchdog, and no memory without a process",
        };
        writeln!(out, "cgroup    {cgroup}")?;
        // In memory is what every run has that asks for nothing else.
        if let Scratch::Disk(folder) = &self.scratch {
            writeln!(out, "scratch   on disk in {}: watched, not walled", quoted(&folder.path))?;
        }
        writeln!(out, "required  {}", self.required)?;
        match &self.libraries {
            // Nothing was asked for that could need trust.
            Libraries::Unjudged | Libraries::None => {}
            Libraries::Trusted => writeln!(out, "libraries trusted, every one")?,
            Libraries::Doubted { doubts, .. } => writeln!(out, "libraries not trusted: {} of them", doubts.len())?,
        }
        // Last, for it is by far the longest and hardly ever differs.
        let whose = if self.ground.runtime().is_some() { "of the runtime and all in it: " } else { "" };
        writeln!(out, "syscalls  {whose}{}", self.syscalls.to_string().trim_end())
    }
}

/// A path or word of a plan, which others follow on its line.
fn quoted(word: impl AsRef<OsStr>) -> String {
    text::quoted(word, 400)
}

impl fmt::Display for Identity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups = match self.groups {
            Groups::Dropped => "no supplementary groups",
            Groups::Unmapped => "supplementary groups unmapped",
            Groups::Kept => {
                return write!(out, "uid {}, gid {} and groups: the caller's own", self.outside_uid, self.outside_gid);
            }
        };
        write!(
            out,
            "uid {INSIDE_ID} is {} outside, gid {INSIDE_ID} is {}, {groups}",
            self.outside_uid, self.outside_gid
        )
    }
}

impl fmt::Display for Permits {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::List => "list",
            Self::Read => "read",
            Self::Execute => "read+execute",
            Self::Write => "write",
            Self::Devices => "devices",
        })
    }
}

impl fmt::Display for Mount {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inside = |path: &InsidePath| quoted(path.as_str());
        let from_to = |source: &Source, target: &InsidePath| format!("{} at {}", quoted(&source.path), inside(target));
        match self {
            Self::System { path, .. } => write!(out, "system {} read-only", inside(path)),
            Self::Link { target, text } => write!(out, "link {} -> {}", inside(target), quoted(text)),
            Self::File { target, contents } => {
                write!(out, "file {} ({})", inside(target), text::count(contents.len(), "byte", "bytes"))
            }
            Self::Layered { source, target, .. } => write!(out, "layered {} read-only", from_to(source, target)),
            Self::CopyOnWrite { source, target, hidden } => {
                write!(out, "copy-on-write {}, else copied", from_to(source, target))?;
                let hidden = hidden.iter().map(quoted).collect::<Vec<_>>().join(" ");
                if hidden.is_empty() { Ok(()) } else { write!(out, ", without {hidden}") }
            }
            Self::CopiedTree { source, target, hidden } => {
                write!(out, "copied {}", from_to(source, target))?;
                let hidden = hidden.iter().map(quoted).collect::<Vec<_>>().join(" ");
                if hidden.is_empty() { Ok(()) } else { write!(out, ", without {hidden}") }
            }
            Self::Copied { source, target } => write!(out, "copied {}", from_to(source, target)),
            Self::Table { source, target, number } => write!(
                out,
                "table {} read-only through descriptor {number} ({})",
                from_to(source, target),
                text::bytes(source.bytes)
            ),
            Self::Shared { source, target } => write!(out, "shared {} writable", from_to(source, target)),
            Self::Scratch { target, .. } => write!(out, "scratch {}", inside(target)),
            Self::Device { target } => write!(out, "device {}", inside(target)),
            Self::Terminals => out.write_str("terminals /dev/pts"),
            Self::Proc => out.write_str("proc /proc"),
            Self::ForRuntime(ForRuntime::Root) => {
                write!(out, "for the runtime: all of this again at {}, the root of the container", container::ROOT)
            }
            Self::ForRuntime(ForRuntime::Groups) => out.write_str("for the runtime: cgroups /sys/fs/cgroup"),
            Self::ForRuntime(ForRuntime::Proc) => out.write_str("for the runtime: proc /proc"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Decision, Policy};
    use crate::request::Language;

    pub(super) fn plan(change: impl FnOnce(&mut Request)) -> Plan {
        try_plan(change).unwrap()
    }

    fn try_plan(change: impl FnOnce(&mut Request)) -> Result<Plan, Unplannable> {
        let start = Start {
            argv: vec!["/usr/bin/true".to_owned()],
            vars: BTreeMap::new(),
            trees: vec![],
            files: vec![],
            result: ResultDescriptor::None,
        };
        let mut request = Request {
            label: "true".to_owned(),
            language: Language::Program,
            start,
            inputs: vec![],
            tables: vec![],
            shares: vec![],
            libraries: Libraries::None,
            limits: vec![],
            network: Network::None,
            vars: BTreeMap::new(),
            require: Layers::NONE,
            cgroup: CgroupMode::Auto,
            scratch: Scratch::Memory,
            streams: Streams::Pipes,
            tier: Tier::Namespaces,
        };
        change(&mut request);
        match Policy::offline().decide(request) {
            Decision::Permit(grant) => build(*grant, &HostFacts::fixture(), "00c0ffee00c0ffee"),
            Decision::Forbid(reason) => panic!("{reason}"),
        }
    }

    fn source(path: &str, kind: SourceKind) -> Source {
        Source { path: path.into(), device: 1, inode: 2, uid: 1000, gid: 1000, mode: 0o755, bytes: 10, kind }
    }

    fn input(path: &str, target: &str, kind: SourceKind) -> Input {
        Input { source: source(path, kind), target: InsidePath::parse(target).unwrap(), hidden: vec![] }
    }

    #[test]
    fn fixed_paths_are_well_formed() {
        let literals = MADE.iter().map(|(path, _)| *path).chain(DEVICES).chain(DEVICE_LINKS.map(|(path, _)| path));
        for path in literals.chain(["/tmp", "/dev/shm", "/etc", "/opt", "/proc", "/dev", paths::HOME, paths::JOB]) {
            assert_eq!(InsidePath::fixed(path).as_str(), path);
        }
    }

    #[test]
    fn two_inputs_of_one_name_are_refused() {
        let file = SourceKind::File { executable: false };
        let refused = try_plan(|request| {
            request.inputs = vec![input("/a/x.csv", "/job/x.csv", file), input("/b/x.csv", "/job/x.csv", file)]
        });
        assert_eq!(refused, Err(Unplannable::Collision("/job/x.csv".to_owned())));
    }

    #[test]
    fn an_input_outside_of_the_working_folder_is_refused() {
        let refused = try_plan(|request| request.inputs = vec![input("/a", "/etc", SourceKind::Folder)]);
        assert_eq!(refused, Err(Unplannable::Reserved("/etc".to_owned())));
    }

    #[test]
    fn outer_folders_are_mounted_before_inner_ones() {
        let plan = plan(|request| {
            request.inputs =
                vec![input("/data", "/job/data", SourceKind::Folder), input("/project", "/job", SourceKind::Folder)];
        });
        let targets: Vec<&str> = plan
            .mounts
            .iter()
            .filter_map(
                |mount| if let Mount::CopyOnWrite { target, .. } = mount { Some(target.as_str()) } else { None },
            )
            .collect();
        assert_eq!(targets, ["/job", "/job/data"]);
    }

    #[test]
    fn root_gives_the_code_a_user_of_no_one() {
        let host = HostFacts { uid: 0, gid: 0, ..HostFacts::fixture() };
        let identity = identity(&host, Tier::Namespaces);
        assert_eq!((identity.outside_uid, identity.groups), (THROW_AWAY_BASE + 4242, Groups::Dropped));
    }

    #[test]
    fn a_variable_with_a_strange_name_is_refused() {
        for name in ["", "1A", "A=B", "A B", "LD\n"] {
            let refused = try_plan(|request| {
                request.vars.insert(name.to_owned(), String::new());
            });
            assert_eq!(refused, Err(Unplannable::Variable(name.to_owned())));
        }
    }
}
