//! From a command line to a node that serves: every step refuses rather than going on with less.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Resource;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::classes::Classes;
use crate::keeper::Keeper;
use crate::launcher;
use crate::link::Link;
use crate::listen::{self, Listening};
use crate::lock::Lock;
use crate::log::Log;
use crate::order::Bounds;
use crate::peers::Peers;
use crate::pressure::Pressure;
use crate::queue::Caps;
use crate::refusal::Refusal;
use crate::room::Room;
use crate::secrets::Secrets;
use crate::security::{self, Security};
use crate::service::{Node, Terms};
use crate::sessions;
use crate::settings::{self, Launcher, Start};
use crate::sockets::{self, Sockets};
use crate::systemd::Given;
use crate::tls::{self, Tls};
use crate::users::{self, Engines};
use crate::{bringup, confine, handover, ready, user, whole};

/// One more than is told to the queue: for the job that shows whether anything can run.
const READINESS: usize = 1;
/// Where the node's own state lies, apart from what runs have.
pub(crate) const STORE: &str = "store";

/// Serves until it is told to end.
///
/// # Errors
/// The [`Refusal`] that says why it cannot serve, or no longer.
pub fn start(asked: &Start, log: Log) -> Result<(), Refusal> {
    // Before anything is started that could inherit it.
    let mut given = Given::take()?;
    let service = user::find(asked.run_as.as_deref())?;
    bringup::check_command()?;
    let caps = caps(asked);
    let runs = caps.running + READINESS;
    // A session has users of its own, too.
    let at_once = runs + usize::from(asked.sessions);
    let wanted = users::Asked { range: asked.uid_range, shared: asked.shared_user, runs: at_once };
    let (engines, held) = users::choose(&service, wanted)?;
    tell(engines);
    // The launcher before everything else: while its users can be had, and from a process that has one thread and
    // opened nothing.
    let levels = log.levels();
    let most = bringup::Most { runs, sessions: asked.sessions.into(), pools: asked.warm.into(), levels: &levels };
    let launcher = bringup::start(&service, engines, most)?;
    user::settle(&service)?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let folder = make_folder(asked)?;
    let handed = given.path();
    let socket = handed.clone().or_else(|| asked.socket.clone()).unwrap_or_else(|| folder.join("node.sock"));
    sockets::check_length(&socket)?;
    if handed.is_none() && asked.socket.is_none() && asked.socket_mode != "600" {
        return Err(Refusal::invalid(
            "others cannot reach the node",
            "its socket would lie in its own folder, which nobody else may enter",
            "name another place, with --socket PATH",
        ));
    }
    let classes = classes(asked, caps)?;
    let policies = asked.policies.iter().map(|path| absolute(path)).collect::<Result<Vec<_>, _>>()?;
    let security = security::Terms::of(asked, &policies)?;
    let lock = Lock::take(&folder)?;
    if let Some(logs) = &asked.log_dir {
        log.to_files(logs, u64::from(asked.log_mib) << 20)?;
    }
    note(asked, &folder, &socket)?;
    let tls = tls::open(asked, &folder)?;
    let security = security.reached_as(tls.as_ref().map(|tls| Arc::clone(&tls.names)));
    let secrets = Secrets::take(security.service(), &folder, asked.secrets.as_deref())?;
    let of_secrets = secrets.folder().map(Path::to_owned);
    let security = security.knowing(secrets);
    let held: Vec<&std::fs::File> = held.iter().chain([lock.file()]).collect();
    let (launcher, control) = launcher.begin(&folder, &policies, &held)?;
    let mut listening = Sockets::open(&mut given, &socket, &asked.socket_mode, asked.table_mib > 0)?;
    // Those that were handed over stay when the node goes.
    let own_sockets = listening.take_own();
    give_up_privileges()?;
    allow_descriptors()?;
    let store = folder.join(STORE);
    let own_socket = handed.is_none().then_some(socket.as_path());
    let of_socket = own_socket.map_or(store.as_path(), |socket| {
        socket.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
    });
    let pressure = Pressure::new(u64::from(asked.reserve_memory_mib) << 20)?;
    // Also what is read of the machine for it: files that it cannot open any more then.
    let ports = security.outward.ports.clone();
    let terms = (terms(asked, (caps, classes), engines, log), security);
    confine::confine(&store, of_socket, of_secrets.as_deref(), ports)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Refusal::failed("the node cannot be started", error))?;
    let socket = Socket { path: &socket, listening, given, tls };
    let served = runtime.block_on(serve(asked, &folder, socket, terms, pressure, control, launcher));
    runtime.shutdown_timeout(Duration::from_secs(1));
    // Nobody has to tidy up after it.
    for own in own_sockets {
        drop(std::fs::remove_file(own));
    }
    served
}

/// The launcher's whole life; its control socket is standard input.
///
/// # Errors
/// The [`Refusal`] that says why it cannot serve.
pub fn launcher(asked: &Launcher) -> Result<(), Refusal> {
    let failed = |error: std::io::Error| Refusal::failed("the launcher cannot serve", crate::system_text(&error));
    let control = std::io::stdin().as_fd().try_clone_to_owned().map_err(failed)?;
    match launcher::become_launcher(&control, asked)? {
        Some(settings) => launcher::serve(control, settings).map_err(failed),
        None => Ok(()),
    }
}

fn make_folder(asked: &Start) -> Result<PathBuf, Refusal> {
    let next = "name one that the node's user may write, with --folder DIR";
    let folder = settings::folder(asked.folder.as_ref().filter(|_| true)).filter(|_| {
        // The home of whoever started it is not the home of whom it became.
        asked.run_as.is_none() || asked.folder.is_some()
    });
    let folder = folder.ok_or_else(|| Refusal::invalid("the node has no folder", "none is named", next))?;
    let failed =
        |error: &std::io::Error| Refusal::invalid("the node's folder cannot be used", crate::system_text(error), next);
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    for part in ["", "home", "state", "cache", STORE, &format!("{STORE}/{}", security::FOLDER)] {
        builder.create(folder.join(part)).map_err(|error| failed(&error))?;
    }
    let status = std::fs::metadata(&folder).map_err(|error| failed(&error))?;
    use std::os::unix::fs::MetadataExt;
    if status.uid() != rustix::process::geteuid().as_raw() || status.mode() & 0o022 != 0 {
        return Err(Refusal::invalid("the node's folder is not its own", "others own it, or may write to it", next));
    }
    folder.canonicalize().map_err(|error| failed(&error))
}

/// For whoever is asked for help: how the node was started last.
fn note(asked: &Start, folder: &Path, socket: &Path) -> Result<(), Refusal> {
    let failed =
        |error: std::io::Error| Refusal::failed("the node's settings cannot be kept", crate::system_text(&error));
    let noted = Start { folder: Some(folder.to_owned()), socket: Some(socket.to_owned()), ..asked.clone() };
    let text = serde_json::to_string_pretty(&noted).map_err(|error| failed(error.into()))?;
    whole::write(&folder.join(settings::NOTE), 0o600, (text + "\n").as_bytes()).map_err(failed)
}

fn absolute(path: &Path) -> Result<PathBuf, Refusal> {
    path.canonicalize().map_err(|error| {
        let shown = stockade_core::text::shown(&path.to_string_lossy(), 300);
        Refusal::invalid(
            format!("the policy `{shown}` cannot be read"),
            crate::system_text(&error),
            "name a file that the node's user may read",
        )
    })
}

fn caps(asked: &Start) -> Caps {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let running = asked.runs.map_or(cpus, usize::from);
    Caps {
        running,
        running_each: asked.runs_each.map_or_else(|| (running - 1).max(1), usize::from),
        waiting: asked.queue.into(),
        waiting_each: asked.queue_each.into(),
    }
}

/// What the process that speaks with strangers never needs again.
fn give_up_privileges() -> Result<(), Refusal> {
    let failed = |errno: rustix::io::Errno| Refusal::failed("privileges cannot be given up", errno);
    rustix::thread::set_no_new_privs(true).map_err(failed)?;
    // Others of its user may not read its memory, and it leaves no image of it.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable).map_err(failed)
}

/// As many descriptors as the system lets it have: connections, pipes and files of runs.
pub(crate) fn allow_descriptors() -> Result<(), Refusal> {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    rustix::process::setrlimit(Resource::Nofile, limit)
        .map_err(|errno| Refusal::failed("the node cannot have more descriptors", errno))
}

/// What each principal may have, by the flags and the file that they name.
fn classes(asked: &Start, caps: Caps) -> Result<Classes, Refusal> {
    let cpu_day_ms = asked.cpu_each.map(|seconds| i64::from(seconds) * 1_000);
    let classes = Classes::new(caps, asked.sessions_each.into(), cpu_day_ms);
    asked.classes.as_ref().map_or_else(|| Ok(classes.clone()), |file| classes.clone().with_file(file))
}

fn terms(asked: &Start, (caps, classes): (Caps, Classes), engines: Engines, log: Log) -> Terms {
    Terms {
        caps,
        classes,
        keep: Duration::from_secs(u64::from(asked.keep_hours) * 3_600),
        keep_each: asked.keep_each.into(),
        keep_bytes: i64::from(asked.keep_mib) << 20,
        engines,
        boot: boot(),
        sessions: sessions::Terms {
            all: asked.sessions.into(),
            idle: Duration::from_secs(asked.session_idle.into()),
            life: Duration::from_secs(asked.session_maxtime.into()),
        },
        bounds: Bounds::with(
            asked.run_time.map(|seconds| u64::from(seconds) * 1_000),
            asked.run_memory_mib.map(|mib| u64::from(mib) << 20),
        ),
        log,
        form_bytes: usize::from(asked.form_mib) << 20,
        table_bytes: u64::from(asked.table_mib) << 20,
    }
}

/// What the machine calls itself since it was started; where it does not say, it was started anew.
pub(crate) fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map_or_else(
        |_| crate::wire::RunId::random().map_or_else(|_| String::new(), |id| id.as_str().to_owned()),
        |text| text.trim().to_owned(),
    )
}

/// Says in the log whom engines will be.
fn tell(engines: Engines) {
    match engines {
        Engines::Own(range) => {
            tracing::info!(first = range.first(), last = range.last(), "runs have users of their own")
        }
        Engines::Shared => tracing::warn!("all runs have the node's own user on the host: --shared-user says so"),
    }
}

async fn serve(
    asked: &Start,
    folder: &Path,
    socket: Socket<'_>,
    (terms, security): (Terms, security::Terms),
    pressure: Pressure,
    control: OwnedFd,
    mut launcher: Child,
) -> Result<(), Refusal> {
    let failed = |error: std::io::Error| Refusal::failed("the node cannot be started", crate::system_text(&error));
    let (link, launcher_gone) = Link::open(control).map_err(failed)?;
    let mut launcher_gone = tokio::spawn(launcher_gone);
    let keeper = Keeper::open(folder.join(STORE).join("node.sqlite"))?;
    let running = terms.caps.running;
    let room = Room::new(folder.to_owned(), u64::from(asked.reserve_mib) << 20);
    let trail = security::Trail::in_folder(folder.join(STORE));
    let security = Security::open(keeper.clone(), trail, security).await?;
    let node = Node::new((keeper, security), link, room, pressure, terms);
    ready::check(&node)
        .await
        .map_err(|refusal| Refusal { next: "run `stockade doctor` as the node's user".to_owned(), ..refusal })?;
    node.recover().await?;
    tokio::spawn(Arc::clone(&node).dispatch());
    tokio::spawn(Arc::clone(&node).tidy());
    let following = Arc::clone(&node);
    tokio::spawn(async move { following.security.follow_names().await });
    let trying = Arc::clone(&node);
    tokio::spawn(async move { trying.security.follow_trial().await });
    let Socket { path: socket, listening: sockets, given, tls } = socket;
    let listener = UnixListener::from_std(sockets.api).map_err(failed)?;
    let tables = sockets.tables.map(UnixListener::from_std).transpose().map_err(failed)?;
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate()).map_err(failed)?, signal(SignalKind::interrupt()).map_err(failed)?);
    let peers = Peers::of(&node, &launcher).await;
    let listening = Listening::new(listener, asked.connections.into(), peers);
    let serving = tokio::spawn(listen::serve(listening, Arc::clone(&node)));
    if let Some(tables) = tables {
        let listening = Listening::new(tables, handover::CONNECTIONS, peers);
        tokio::spawn(handover::serve(listening, Arc::clone(&node)));
        tokio::spawn(handover::outdate(Arc::clone(&node)));
    }
    if let Some(tls) = tls {
        tls::serve(tls, asked.connections.into(), &node)?;
    }
    tracing::info!(socket = %socket.display(), runs = running, "serving");
    given.ready("serving");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        gone = &mut launcher_gone => return Err(without_launcher(&node, gone.ok(), &mut launcher).await),
    }
    tracing::info!("draining: no new runs");
    given.stopping("finishing runs that are under way");
    let drained = tokio::time::timeout(Duration::from_secs(asked.drain.into()), node.drain());
    tokio::select! {
        drained = drained => if drained.is_err() {
            tracing::warn!("some runs did not end in time: lost");
        },
        gone = &mut launcher_gone => return Err(without_launcher(&node, gone.ok(), &mut launcher).await),
    }
    // Answers that are on their way still get there.
    tokio::time::sleep(Duration::from_millis(200)).await;
    serving.abort();
    launcher_gone.abort();
    drop(launcher_gone.await);
    drop(tokio::task::spawn_blocking(move || launcher.wait()).await);
    node.lose().await?;
    tracing::info!("ended");
    Ok(())
}

/// Nothing can be run any more, and nothing that ran still does.
async fn without_launcher(node: &Node, error: Option<std::io::Error>, launcher: &mut Child) -> Refusal {
    // It may only have closed its end.
    drop(launcher.kill());
    drop(launcher.wait());
    if let Err(refusal) = node.lose().await {
        tracing::error!(what = %refusal.what, "runs that are lost are marked so when the node starts again");
    }
    let why = error.map_or_else(|| "it ended".to_owned(), |error| crate::system_text(&error));
    Refusal::failed("the launcher is gone", why)
}

/// Where the node listens. Who connects before it is ready waits.
struct Socket<'a> {
    path: &'a Path,
    listening: Sockets,
    given: Given,
    tls: Option<Tls>,
}
