//! Progress of a build: a bar on a terminal, a line for each stage elsewhere, or JSON events.

use std::io::IsTerminal;

use serde::Serialize;
use stockade_core::text;
use stockade_environments::{Denied, Progress};

use crate::printer;

/// Progress for people.
#[derive(Debug)]
pub(crate) struct Shown {
    bar: Option<indicatif::ProgressBar>,
    quiet: bool,
}

impl Shown {
    pub(crate) fn new(quiet: bool) -> Self {
        // No ticking thread: a process with two threads makes no sandbox.
        let bar = (!quiet && std::io::stderr().is_terminal()).then(indicatif::ProgressBar::no_length);
        Self { bar, quiet }
    }

    fn style(&self, template: &str) {
        if let (Some(bar), Ok(style)) = (&self.bar, indicatif::ProgressStyle::with_template(template)) {
            bar.set_style(style);
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Progress for Shown {
    fn step(&mut self, what: &str) {
        let what = text::shown(what, 200);
        self.style("{spinner} {msg}");
        match &self.bar {
            Some(bar) => {
                bar.set_position(0);
                bar.set_message(what);
            }
            None if !self.quiet => printer::remark(&format!("stockade: {what}")),
            None => {}
        }
    }

    fn bytes(&mut self, done: u64, total: u64) {
        self.style("{spinner} {msg} {wide_bar} {bytes}/{total_bytes}");
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
        }
    }

    // Whatever is quiet, this is not: it says more about a package than its name does.
    fn denied(&mut self, denied: &Denied) {
        let line = format!("stockade: denied to {}", shown(denied));
        match &self.bar {
            Some(bar) => bar.suspend(|| printer::remark(&line)),
            None => printer::remark(&line),
        }
    }
}

/// Who was denied what, in one line.
pub(crate) fn shown(denied: &Denied) -> String {
    format!("{}: {}", text::shown(&denied.by, 200), text::shown(&denied.what, 400))
}

/// Progress for programs: one JSON object a line, on standard error.
#[derive(Debug)]
pub(crate) struct Events;

/// One event.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
enum Event<'a> {
    /// A stage begins.
    Step { what: &'a str },
    /// So much of the packages has arrived.
    Bytes { done: u64, total: u64 },
    /// A step asked for something and did not get it.
    Denied { by: &'a str, what: &'a str },
}

impl Progress for Events {
    fn step(&mut self, what: &str) {
        printer::remark(&printer::document(&Event::Step { what: &text::shown(what, 200) }));
    }

    fn bytes(&mut self, done: u64, total: u64) {
        printer::remark(&printer::document(&Event::Bytes { done, total }));
    }

    fn denied(&mut self, denied: &Denied) {
        let (by, what) = (text::shown(&denied.by, 200), text::shown(&denied.what, 400));
        printer::remark(&printer::document(&Event::Denied { by: &by, what: &what }));
    }
}
