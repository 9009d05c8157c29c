//! Runs one step of a build in the caller's jail: writes its inputs, passes its progress on,
//! and turns an unhappy end into a message.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use crate::build::Limits;
use crate::denied::{self, Denied};
use crate::error::{Detail, Error};
use crate::inside;
use crate::interpreter::Interpreter;
use crate::jail::{Ended, Jail, JailOutcome, JailStep, Shown};
use crate::progress::{Progress, counted};
use crate::room::Room;
use crate::tree;

const LINES_KEPT: usize = 12;
const LINE_CHARS_MAX: usize = 400;

/// What every step of one build shares.
pub(crate) struct Bench<'a> {
    pub(crate) interpreter: &'a Interpreter,
    pub(crate) folder: PathBuf,
    pub(crate) steps_run: u32,
    /// What steps asked for and did not get.
    pub(crate) denied: Vec<Denied>,
    pub(crate) certificates: PathBuf,
    pub(crate) limits: Limits,
    /// How many seconds an index may stay silent in the middle of an answer.
    pub(crate) patience_s: u64,
    pub(crate) room: Room,
    /// The address of the index, once it is known: no message shows it, for it may hold a password.
    pub(crate) hidden: Option<String>,
    pub(crate) jail: &'a mut dyn Jail,
    pub(crate) progress: &'a mut dyn Progress,
}

/// One step, before it is run.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    /// Whose code it runs, for what it is denied.
    pub(crate) by: String,
    pub(crate) argv: Vec<String>,
    /// Small texts the step reads: file name and content.
    pub(crate) inputs: Vec<(&'static str, String)>,
    pub(crate) shown: Vec<Shown>,
    /// The hosts it may reach; empty for no network.
    pub(crate) hosts: BTreeSet<String>,
    pub(crate) time_ms_max: u64,
    pub(crate) scratch_bytes_max: u64,
    /// How its failure is told.
    pub(crate) failed: Told,
    /// How one is told that has this exit status, where that says more.
    pub(crate) failed_with: Option<(i32, Told)>,
}

/// The kind of a failure, what failed, and what to do next.
pub(crate) type Told = (fn(Detail) -> Error, &'static str, &'static str);

impl Step {
    /// A step that runs one of our scripts with the interpreter, isolated from its own packages: they may
    /// bring code that every start would run.
    pub(crate) fn of_script(
        name: &'static str,
        script: (&'static str, &'static str),
        arguments: &[&str],
        interpreter: &Interpreter,
    ) -> Self {
        let (file, text) = script;
        let head = [interpreter.inside_executable.as_str(), "-I", "-S", "-B"].map(str::to_owned);
        let argv = head.into_iter().chain([inside::input(file)]).chain(arguments.iter().map(|&a| a.to_owned()));
        Self {
            name,
            by: format!("the step `{name}`"),
            argv: argv.collect(),
            inputs: vec![(file, text.to_owned())],
            shown: Vec::new(),
            hosts: BTreeSet::new(),
            time_ms_max: 60_000,
            scratch_bytes_max: 256 << 20,
            failed: (Error::Install, "a build step failed", "run again; if it stays, run `stockade doctor`"),
            failed_with: None,
        }
    }
}

impl Bench<'_> {
    /// Runs a step; the folder of its outputs.
    pub(crate) fn run(&mut self, step: Step) -> Result<PathBuf, Error> {
        let (outputs, failed) = self.attempt(step)?;
        failed.map_or(Ok(outputs), Err)
    }

    /// Runs a step that may leave something of use when it fails: its outputs, and its failure.
    pub(crate) fn attempt(&mut self, step: Step) -> Result<(PathBuf, Option<Error>), Error> {
        self.steps_run += 1;
        let folder = self.folder.join(format!("{}-{}", self.steps_run, step.name));
        let (inputs, outputs) = (folder.join("in"), folder.join("out"));
        tree::make_folder(&inputs)?;
        tree::make_folder(&outputs)?;
        let mut shown = step.shown;
        for (name, text) in &step.inputs {
            tree::write(&inputs.join(name), text)?;
            shown.push(Shown { outside: inputs.join(name), inside: inside::input(name) });
        }
        let mut vars = variables();
        if !step.hosts.is_empty() {
            network_variables(&mut vars, self.patience_s);
            shown.push(Shown { outside: self.certificates.clone(), inside: inside::CERTIFICATES.to_owned() });
        }
        let mut tail = VecDeque::new();
        let progress = &mut *self.progress;
        let mut on_line = |line: &str| hear(line, &mut tail, progress);
        let outcome = self.jail.run(JailStep {
            name: step.name,
            argv: step.argv,
            vars,
            shown,
            outputs: outputs.clone(),
            hosts: step.hosts.clone(),
            time_ms_max: step.time_ms_max,
            scratch_bytes_max: self.room.at_most(step.scratch_bytes_max),
            on_line: &mut on_line,
        });
        let outcome = outcome.map_err(Error::Jail)?;
        self.note_denied(denied::of(&step.by, &outcome.denied));
        let special = step.failed_with.filter(|(status, _)| outcome.ended == Ended::Exited(*status));
        let (kind, what, next) = special.map_or(step.failed, |(_, told)| told);
        let failed = outcome.ended != Ended::Exited(0);
        Ok((outputs, failed.then(|| kind(Detail::new(what, self.without_index(reason(&outcome, &tail)), next)))))
    }

    fn without_index(&self, text: String) -> String {
        match &self.hidden {
            Some(url) => text.replace(url, "(index)"),
            None => text,
        }
    }

    /// Tells what was denied, and keeps it for the environment that is built.
    pub(crate) fn note_denied(&mut self, denied: Vec<Denied>) {
        for one in denied {
            self.progress.denied(&one);
            self.denied.push(one);
        }
    }
}

/// A file shown to a step.
pub(crate) fn shown(outside: &Path, inside: impl Into<String>) -> Shown {
    Shown { outside: outside.to_path_buf(), inside: inside.into() }
}

/// The whole environment of a step: nothing of the caller's.
fn variables() -> BTreeMap<String, String> {
    [
        // Build tools of an environment are found by name; the folder is empty in other steps.
        ("PATH", "/opt/stockade/env/bin:/usr/bin:/bin"),
        // Times in built wheels come from here, so that building again gives the same bytes.
        ("SOURCE_DATE_EPOCH", "315532800"),
        ("HOME", "/tmp"),
        ("LANG", "C.UTF-8"),
        ("NO_COLOR", "1"),
        ("UV_NO_PROGRESS", "1"),
        ("UV_NO_CONFIG", "1"),
        ("UV_PYTHON_DOWNLOADS", "never"),
        ("PYTHONDONTWRITEBYTECODE", "1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

fn network_variables(vars: &mut BTreeMap<String, String>, patience_s: u64) {
    for name in ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy", "all_proxy"] {
        vars.insert(name.to_owned(), inside::PROXY.to_owned());
    }
    // Read by uv, and by our scripts.
    vars.insert("UV_HTTP_TIMEOUT".to_owned(), patience_s.to_string());
    vars.insert("UV_HTTP_RETRIES".to_owned(), "2".to_owned());
    // What R downloads with looks for the second.
    for name in ["SSL_CERT_FILE", "CURL_CA_BUNDLE"] {
        vars.insert(name.to_owned(), inside::CERTIFICATES.to_owned());
    }
}

/// A line is a count of bytes, a new stage, or one that may explain a failure.
fn hear(line: &str, tail: &mut VecDeque<String>, progress: &mut dyn Progress) {
    let mut words = line.split(' ');
    let word = words.next();
    let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
    match (word, number(), number()) {
        (Some("bytes"), Some(done), Some(total)) => return progress.bytes(done, total),
        (Some("compiling"), Some(count), None) => {
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            return progress.step(&format!("compiling {}", counted(count, "module")));
        }
        (_, _, _) => {}
    }
    if tail.len() == LINES_KEPT {
        tail.pop_front();
    }
    let line: String = line.chars().take(LINE_CHARS_MAX).collect();
    tail.push_back(crate::quote::neutral(&line));
}

/// Why a step failed, in one text: how it ended, what it said last, what it was denied.
fn reason(outcome: &JailOutcome, tail: &VecDeque<String>) -> String {
    let ended = match outcome.ended {
        Ended::Exited(_) if tail.iter().any(|line| !line.trim().is_empty()) => None,
        Ended::Exited(code) => Some(format!("it ended with code {code}")),
        Ended::Signalled(signal) => Some(format!("signal {signal} ended it")),
        Ended::TimedOut => Some("it took too long and was stopped".to_owned()),
        Ended::LimitReached => Some("it reached a limit of the build jail".to_owned()),
    };
    let denied = outcome.denied.iter().take(3).map(|what| format!("denied: {}", crate::quote::neutral(what)));
    let said = tail.iter().map(|line| line.trim_end()).filter(|line| !line.is_empty());
    let said = said.enumerate().map(|(at, line)| {
        // The first one stands in a message that says so already.
        if at == 0 { line.strip_prefix("error: ").unwrap_or(line).to_owned() } else { line.to_owned() }
    });
    ended.into_iter().chain(said).chain(denied).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;

    #[test]
    fn a_failure_says_what_the_step_said_and_nothing_acts_on_the_terminal() {
        let mut tail = VecDeque::new();
        for n in 0..40 {
            hear(&format!("line {n} \x1b[31m"), &mut tail, &mut Silent);
        }
        hear("bytes 1 2", &mut tail, &mut Silent);
        let denied = vec!["network to evil.invalid:443 (no)".into()];
        let why = reason(&JailOutcome { ended: Ended::TimedOut, denied }, &tail);
        assert!(why.starts_with("it took too long"), "{why}");
        assert!(why.contains("line 39 \\u{1b}[31m") && !why.contains("line 20"));
        assert!(why.ends_with("denied: network to evil.invalid:443 (no)"));
        assert!(!why.contains('\x1b'));
    }
}
