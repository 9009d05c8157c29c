//! The log: lines of JSON on standard error or in two files that take turns, secrets taken out, with a level by target
//! that can be changed while the node runs.

mod files;

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use crate::redact::Redactor;
use crate::refusal::Refusal;
use files::Files;
pub(crate) use files::NAMES;

/// The variable that says how much of what is logged, where no flag does.
pub const VARIABLE: &str = "STOCKADE_LOG";
const USUAL: &str = "info";
/// Longest list of levels.
const LEVELS_BYTES_MAX: usize = 1_000;

/// How much of what is logged, to be looked at and changed.
#[derive(Clone, Debug)]
pub struct Log {
    filter: reload::Handle<Targets, Registry>,
    levels: Arc<Mutex<String>>,
    sink: Sink,
}

impl Log {
    /// Begins to log, on standard error.
    ///
    /// # Errors
    /// [`Refusal`] when the levels make no sense, or something logs already.
    pub fn begin(levels: Option<&str>) -> Result<Self, Refusal> {
        let variable = std::env::var(VARIABLE).ok().filter(|levels| !levels.is_empty());
        let levels = levels.map(ToOwned::to_owned).or(variable).unwrap_or_else(|| USUAL.to_owned());
        let (filter, handle) = reload::Layer::new(parse(&levels)?);
        let sink = Sink { redactor: Redactor::new()?, files: Arc::default() };
        let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(sink.clone());
        tracing_subscriber::registry()
            .with(lines.with_filter(filter))
            .try_init()
            .map_err(|error| Refusal::failed("the log cannot be begun", error))?;
        Ok(Self { filter: handle, levels: Arc::new(Mutex::new(levels)), sink })
    }

    /// From now on in two files of this folder, of at most so many bytes each.
    ///
    /// # Errors
    /// [`Refusal`] when they cannot be had.
    pub(crate) fn to_files(&self, folder: &Path, bytes_max: u64) -> Result<(), Refusal> {
        let files = Files::open(folder, bytes_max)?;
        *self.sink.files.lock().unwrap_or_else(PoisonError::into_inner) = Some(files);
        Ok(())
    }

    /// What is logged now.
    pub(crate) fn levels(&self) -> String {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Logs so much of what from now on.
    ///
    /// # Errors
    /// [`Refusal`] when the levels make no sense; nothing changes then.
    pub(crate) fn change(&self, levels: &str) -> Result<(), Refusal> {
        let targets = parse(levels)?;
        let mut current = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        self.filter.reload(targets).map_err(|error| Refusal::failed("the levels cannot be changed", error))?;
        levels.clone_into(&mut current);
        Ok(())
    }
}

/// A level, or levels by target. Stricter than the library, which takes any unknown word for a target.
fn parse(levels: &str) -> Result<Targets, Refusal> {
    let refused = |why: String| {
        Refusal::invalid(
            format!("`{}` are no levels of a log", stockade_core::text::shown(levels, 200)),
            why,
            "write a level (off, error, warn, info, debug, trace), and `target=level` after it, as `info,stockade_node::queue=debug`",
        )
    };
    if levels.len() > LEVELS_BYTES_MAX {
        return Err(refused(format!("they have more than {LEVELS_BYTES_MAX} bytes")));
    }
    for part in levels.split(',') {
        let (target, level) = part.split_once('=').unwrap_or(("all", part));
        let plain = |one: char| one.is_ascii_alphanumeric() || "_:".contains(one);
        if target.is_empty() || !target.chars().all(plain) {
            return Err(refused(format!("`{}` is no target", stockade_core::text::shown(target, 60))));
        }
        if !["off", "error", "warn", "info", "debug", "trace"].contains(&level) {
            return Err(refused(format!("`{}` is no level", stockade_core::text::shown(level, 60))));
        }
    }
    levels.parse().map_err(|error| refused(format!("{error}")))
}

/// Where lines go.
#[derive(Clone, Debug)]
struct Sink {
    redactor: Redactor,
    files: Arc<Mutex<Option<Files>>>,
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

/// One line, which is written in one call.
struct Line<'a>(&'a Sink);

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let redacted = self.0.redactor.redact(&text);
        let mut files = self.0.files.lock().unwrap_or_else(PoisonError::into_inner);
        let written = files.as_mut().map(|files| files.write(redacted.as_bytes()));
        // A disk that is full does not make the node silent.
        if !matches!(written, Some(Ok(()))) {
            io::stderr().write_all(redacted.as_bytes())?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_strictly() {
        for good in ["info", "off", "info,stockade_node::queue=debug", "warn,hyper=off"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        let long = format!("info,{}=info", "a".repeat(LEVELS_BYTES_MAX));
        for bad in ["", "loud", "info,", "a=b", "=info", "info,a=loud", "a b=info", "info,a=", long.as_str()] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
