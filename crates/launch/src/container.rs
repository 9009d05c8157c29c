//! Parent, outside: what can be known of a container that a runtime made inside the walls.
//!
//! Before any line of the code, a script of ours looks at the container from inside
//! (`core/src/enter.sh`) and empties a file for each layer that it found. A secret lies in them, which
//! the code never sees: so it can take none of it back, and what was not found has kept it from starting.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use stockade_core::container::{self, LOG, PROOFS, STARTED, STATE};
use stockade_core::layer::{Layer, Layers};
use stockade_core::outcome::Cause;
use stockade_core::plan::{Mount, Plan};
use stockade_core::text;

use crate::failure::Failure;
use crate::hooks;
use crate::outside::{Running, failed, scratch_part};
use crate::sys;

/// How much of what a runtime says is read.
const LOG_BYTES_MAX: usize = 64 << 10;
/// The kernel's own name, as the host's `/proc` says it: another one's differs.
const VERSION: &str = "/proc/version";

/// One file for each layer, and one for the start of the code.
#[derive(Debug)]
pub(crate) struct Proofs {
    layers: Vec<(Layer, OwnedFd)>,
    started: OwnedFd,
    contents: Vec<u8>,
}

/// What they tell when everything inside is dead.
#[derive(Debug)]
pub(crate) struct Told {
    /// The layers that were found.
    pub(crate) proven: Layers,
    /// How the run ended.
    pub(crate) cause: Cause,
    /// What the runtime said after the code had started.
    pub(crate) note: Option<String>,
}

impl Proofs {
    /// Makes the files where the container will find them, if there is to be one.
    pub(crate) fn lay_out(plan: &Plan, scratch: BorrowedFd<'_>) -> Result<Option<Self>, Failure> {
        let Some(runtime) = plan.ground.runtime() else { return Ok(None) };
        let at = || failed("lay out the proofs of", runtime.kind.name());
        hooks::fault("proofs").map_err(at())?;
        let folder = part(plan, scratch, PROOFS).map_err(at())?;
        let mut secret = [0_u8; 16];
        rustix::rand::getrandom(&mut secret, rustix::rand::GetRandomFlags::empty()).map_err(at())?;
        let version = std::fs::read_to_string(VERSION).unwrap_or_default();
        let contents = format!("{}\n{:032x}\n", version.trim_end(), u128::from_ne_bytes(secret)).into_bytes();
        let make = |name: &str| {
            sys::with_file_user(plan.identity.outside_uid, plan.identity.outside_gid, || {
                let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rustix::fs::openat(&folder, name, flags, Mode::from_raw_mode(0o600))?;
                if rustix::io::write(&file, &contents)? == contents.len() { Ok(file) } else { Err(Errno::NOSPC) }
            })
            .map_err(at())
        };
        let layers = container::proven(runtime.kind)
            .iter()
            .map(|layer| Ok((layer, make(layer.name())?)))
            .collect::<Result<_, Failure>>()?;
        let started = make(STARTED)?;
        Ok(Some(Self { layers, started, contents }))
    }

    /// What became of a run that has ended.
    ///
    /// # Errors
    /// [`Failure`] when the runtime, or a layer that it was to give, kept the code from starting.
    pub(crate) fn read(&self, running: &Running, cause: Cause) -> Result<Told, Failure> {
        let plan = &running.plan;
        let Some(runtime) = plan.ground.runtime() else { return Err(Failure::Lost) };
        let found = self.layers.iter().filter(|(_, file)| self.is_emptied(file)).map(|(layer, _)| *layer);
        let proven = found.fold(Layers::NONE, Layers::with);
        let said = running.scratch.as_ref().and_then(|scratch| said(plan, scratch.as_fd()).ok().flatten());
        if self.is_emptied(&self.started) {
            let note = said.map(|said| format!("{} said: {}", runtime.kind.name(), text::shown(&said, 600)));
            return Ok(Told { proven, cause, note });
        }
        let missing = plan.required.missing_from(running.enforced.and(proven));
        let cause = match cause {
            // Ended before the code began.
            Cause::Limit { .. } | Cause::Cancelled => cause,
            Cause::Exited { status: 127 } if missing.is_empty() => Cause::NotFound,
            Cause::Exited { status: 126 } if missing.is_empty() => Cause::NotExecutable,
            Cause::Exited { .. } | Cause::Signalled { .. } | Cause::NotFound | Cause::NotExecutable => {
                let name = runtime.kind.name();
                return Err(match (said, cause) {
                    (Some(said), _) => Failure::Runtime { runtime: name, said },
                    // How our own script ends that did not find everything.
                    (None, Cause::Exited { status: 125 }) if !missing.is_empty() => Failure::Missing { missing },
                    (None, cause) => Failure::Runtime { runtime: name, said: format!("it ended: {cause}") },
                });
            }
        };
        Ok(Told { proven, cause, note: None })
    }

    /// Whatever lies in it now, it is not what was.
    fn is_emptied(&self, file: &OwnedFd) -> bool {
        let mut found = vec![0; self.contents.len()];
        rustix::io::pread(file, &mut found, 0).is_ok_and(|length| found.get(..length) != Some(&*self.contents))
    }
}

/// The folder of scratch that lies at this path inside.
fn part(plan: &Plan, scratch: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Errno> {
    let is_it = |mount: &Mount| mount.written_to().is_some_and(|target| target.as_str() == path);
    let (number, _) = (0..).zip(&plan.mounts).find(|(_, mount)| is_it(mount)).ok_or(Errno::NOENT)?;
    scratch_part(plan, scratch, number)
}

/// The last error that the runtime wrote down.
fn said(plan: &Plan, scratch: BorrowedFd<'_>) -> Result<Option<String>, Errno> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let file = rustix::fs::openat2(part(plan, scratch, STATE)?, LOG, flags, Mode::empty(), resolve)?;
    let mut bytes = vec![0; LOG_BYTES_MAX];
    let length = rustix::io::read(&file, &mut bytes)?;
    let text = String::from_utf8_lossy(bytes.get(..length).unwrap_or_default()).into_owned();
    Ok(last_error(&text))
}

/// Of lines of JSON or of text, as `runsc` and `runc` write them, the message of the last that is an error.
fn last_error(log: &str) -> Option<String> {
    let is_error = |line: &&str| {
        !line.is_empty() && !["level=warning", "level=info", "level=debug"].iter().any(|level| line.contains(level))
    };
    let line = log.lines().map(str::trim).rfind(is_error)?;
    let message = [r#""msg":""#, r#"msg=""#].iter().find_map(|start| {
        let (_, rest) = line.split_once(start)?;
        Some(unescaped(rest))
    });
    Some(message.unwrap_or_else(|| line.to_owned()))
}

/// Up to the closing quote.
fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => out.extend(characters.next()),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_runtime_said_is_its_last_error() {
        for (log, said) in [
            ("", None),
            (r#"{"msg":"reading spec: \"x\"","level":"error","time":"t"}"#, Some(r#"reading spec: "x""#)),
            ("time=\"t\" level=warning msg=\"never mind\"\n", None),
            ("time=\"t\" level=error msg=\"runc run failed: no\"\n", Some("runc run failed: no")),
            ("something else\n", Some("something else")),
        ] {
            assert_eq!(last_error(log).as_deref(), said, "{log}");
        }
    }
}
