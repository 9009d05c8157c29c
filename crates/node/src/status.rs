//! `stockade node status`: asks a node whether it can run anything, and how much it does.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixStream;

use crate::question::{Question, within};
use crate::refusal::{Kind, Refusal};
use crate::settings::{self, Status};

pub(crate) const PATIENCE: Duration = Duration::from_secs(70);

/// Prints how a node is.
///
/// # Errors
/// [`Refusal`] when there is none, or it is not ready.
pub fn status(asked: &Status) -> Result<(), Refusal> {
    let socket = socket(asked.socket.as_ref(), asked.folder.as_ref())?;
    let (status, body) = ask(&socket, "GET", "/readyz", None).map_err(|error| nobody(&socket, &error))?;
    if status != 200 {
        return Err(problem(&body));
    }
    let figures =
        ask(&socket, "GET", "/metrics", None).map_err(|error| Refusal::failed("the node does not answer", error))?;
    let own = me(&socket).map_or_else(String::new, |own| own + "\n");
    let load = match figures {
        (200, figures) => load(&figures),
        (_, refused) => format!("ready; {}\n", problem(&refused).why),
    };
    // A reader that went away is no error.
    drop(std::io::stdout().write_all(format!("{load}{own}").as_bytes()));
    Ok(())
}

/// How much a node does, by its metrics.
fn load(figures: &str) -> String {
    let figure =
        |name: &str| figures.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok()).unwrap_or(0);
    let (running, waiting) = (figure("stockade_runs_running "), figure("stockade_runs_waiting "));
    let accepted = figure("stockade_runs_accepted_total ");
    let users = match figure("stockade_engine_users ") {
        0 => "all runs have the node's own user on the host (--shared-user)".to_owned(),
        ids => format!("each run has a user of its own on the host, out of {ids} ids"),
    };
    format!("ready: {running} running, {waiting} waiting, {accepted} accepted since it started\n{users}\n")
}

/// What who asks may have, in a line; none of a node that does not tell.
fn me(socket: &Path) -> Option<String> {
    let (200, body) = ask(socket, "GET", "/v1/me", None).ok()? else { return None };
    let me: serde_json::Value = serde_json::from_str(&body).ok()?;
    let text = |key: &str| Some(stockade_core::text::shown(me.get(key)?.as_str()?, 100));
    let number = |pointer: &str| me.pointer(pointer)?.as_u64();
    let used = stockade_core::text::span(number("/cpu/used_ms")?);
    let most =
        number("/cpu/most_ms").map_or_else(String::new, |most| format!(" of {}", stockade_core::text::span(most)));
    Some(format!(
        "you are {} of the class {}: {} running, {} waiting, {used}{most} of CPU time used today (UTC)",
        text("principal")?,
        text("class")?,
        number("/runs/running")?,
        number("/runs/waiting")?,
    ))
}

/// The socket of a node that is named, or lies in its folder; that of the machine's node for who names none and never
/// had one of his own.
pub(crate) fn socket(named: Option<&PathBuf>, folder: Option<&PathBuf>) -> Result<PathBuf, Refusal> {
    let own = settings::folder(folder);
    let installed = Path::new(settings::INSTALLED);
    let has_own = folder.is_some() || own.as_ref().is_some_and(|own| own.exists());
    named
        .cloned()
        .or_else(|| (!has_own && installed.exists()).then(|| installed.to_owned()))
        .or_else(|| own.map(|folder| folder.join("node.sock")))
        .ok_or_else(|| Refusal::invalid("no node is named", "there is no folder to look in", "name one: --socket PATH"))
}

/// No node answers there.
pub(crate) fn nobody(socket: &Path, error: &std::io::Error) -> Refusal {
    Refusal::new(
        Kind::Missing,
        format!("no node answers at `{}`", stockade_core::text::shown(&socket.to_string_lossy(), 200)),
        crate::system_text(error),
        "start one with `stockade node start`, or name its socket with --socket PATH",
    )
}

/// What a node says that refuses, by the status of its answer.
pub(crate) fn problem_of(status: u16, body: &str) -> Refusal {
    let kind = match status {
        401 => Kind::Unauthenticated,
        403 => Kind::Denied,
        404 => Kind::Missing,
        409 => Kind::Conflict,
        421 => Kind::Misdirected,
        502..=504 => Kind::Unavailable,
        _ => Kind::Failed,
    };
    Refusal { kind, ..problem(body) }
}

/// What a node says that refuses.
pub(crate) fn problem(body: &str) -> Refusal {
    let problem: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let text = |key: &str, other: &str| {
        let said = problem.get(key).and_then(serde_json::Value::as_str).unwrap_or(other);
        stockade_core::text::shown(said, 600)
    };
    Refusal::new(
        Kind::Unavailable,
        text("title", "the node is not ready"),
        text("detail", "it does not say why"),
        text("next", "look at its log"),
    )
}

/// One question over a connection of its own.
pub(crate) fn ask(socket: &Path, method: &str, path: &str, body: Option<&str>) -> std::io::Result<(u16, String)> {
    ask_within(PATIENCE, socket, method, path, body)
}

/// The same of who waits only so long.
pub(crate) fn ask_within(
    patience: Duration,
    socket: &Path,
    method: &str,
    path: &str,
    body: Option<&str>,
) -> std::io::Result<(u16, String)> {
    within(patience, async {
        let stream = UnixStream::connect(socket).await?;
        Question { method, path, host: "node", shown: None, body }.ask(stream).await
    })
}
