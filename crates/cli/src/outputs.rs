//! Outputs after the run: collected, listed, shown as a diff, applied.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

use serde::Serialize;
use stockade_core::text;
use stockade_launch::Finished;
use stockade_launch::collect::{self, Caches, Collected, Destination, Existing, Leavings, Project, Stamp, State};

use crate::args::Run;
use crate::problem::Problem;

/// Largest file whose changes are shown line by line.
const DIFF_BYTES_MAX: u64 = 1 << 20;

/// What became of the outputs, for the report.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Outputs {
    /// Where they are, when they were collected.
    pub(crate) folder: Option<String>,
    /// Each file: path below the working folder, bytes, and whether it is new.
    pub(crate) files: Vec<OutputFile>,
    /// What the code removed.
    pub(crate) removed: Vec<String>,
    /// What was found and not taken, and why.
    pub(crate) left_out: Vec<LeftOut>,
    /// How much more was left out than is listed.
    pub(crate) left_out_more: u64,
    /// Files written back onto the project.
    pub(crate) applied: Vec<String>,
    /// Bytes of all files.
    pub(crate) bytes: u64,
}

/// One output.
#[derive(Debug, Serialize)]
pub(crate) struct OutputFile {
    pub(crate) path: String,
    pub(crate) bytes: u64,
    pub(crate) state: &'static str,
}

/// One thing that was not taken.
#[derive(Debug, Serialize)]
pub(crate) struct LeftOut {
    pub(crate) name: String,
    pub(crate) why: String,
}

/// Collects, shows and applies, as the command line asks.
pub(crate) fn take(run: &Run, folder: Option<&OwnedFd>, finished: &Finished) -> Result<Outputs, Problem> {
    finished.leavings(Caches::Skip, |leavings| take_from(run, folder, finished, leavings))?
}

fn take_from(
    run: &Run,
    folder: Option<&OwnedFd>,
    finished: &Finished,
    leavings: &Leavings<'_>,
) -> Result<Outputs, Problem> {
    let existing = if run.overwrite { Existing::Overwrite } else { Existing::Keep };
    let destination = match folder {
        Some(folder) => Destination::Folder { folder: folder.as_fd(), existing, allow: &[] },
        None => Destination::List,
    };
    let collected = collect::collect(leavings, &destination).map_err(|stopped| {
        let kept = stopped.done.files.len();
        Problem::new(
            stopped.failure.to_string(),
            format!("{kept} outputs were collected before it"),
            stopped.failure.next(),
        )
    })?;
    if run.diff || run.apply {
        crate::printer::page(&diff(leavings, &collected));
    }
    let mut outputs = summary(&collected);
    outputs.folder = run.out.as_ref().filter(|_| folder.is_some()).map(|out| out.to_string_lossy().into_owned());
    if run.apply && !run.dry_run {
        apply(run, finished, leavings, &collected, &mut outputs)?;
    }
    Ok(outputs)
}

/// Makes and opens the folder for outputs, before the code runs: its work is not to be lost, and a
/// link that it plants in a shared folder meanwhile leads nowhere.
pub(crate) fn open_destination(run: &Run) -> Result<Option<OwnedFd>, Problem> {
    let Some(out) = run.out.as_ref().filter(|_| !run.dry_run) else { return Ok(None) };
    let failed =
        |error: &std::io::Error| Problem::path("write outputs to", out, error, "name a folder you may write to");
    if out.exists() && !out.is_dir() {
        return Err(failed(&rustix::io::Errno::NOTDIR.into()));
    }
    std::fs::create_dir_all(out).map_err(|error| failed(&error))?;
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    rustix::fs::accessat(rustix::fs::CWD, out, access, rustix::fs::AtFlags::EACCESS)
        .map_err(|errno| failed(&errno.into()))?;
    let folder = std::fs::File::open(out).map_err(|error| failed(&error))?;
    Ok(Some(folder.into()))
}

fn summary(collected: &Collected) -> Outputs {
    let state = |state: State| match state {
        State::Created => "created",
        State::Changed => "changed",
    };
    Outputs {
        folder: None,
        files: collected
            .files
            .iter()
            .map(|file| OutputFile { path: file.path.clone(), bytes: file.bytes, state: state(file.state) })
            .collect(),
        removed: collected.removed.iter().map(|removed| removed.path.clone()).collect(),
        left_out: collected
            .left_out
            .iter()
            .map(|left| LeftOut { name: left.name_shown.clone(), why: left.why.to_string() })
            .collect(),
        left_out_more: collected.left_out_more,
        applied: Vec::new(),
        bytes: collected.bytes,
    }
}

/// A unified diff of every changed text file; control characters are neutralised.
fn diff(leavings: &Leavings<'_>, collected: &Collected) -> String {
    let mut page = String::new();
    for file in &collected.files {
        let after = text_of(collect::open_output(leavings.areas, &file.path).ok());
        let before = match file.state {
            State::Created => Some(String::new()),
            State::Changed => text_of(collect::open_original(leavings.areas, &file.path).ok()),
        };
        match (before, after) {
            (Some(before), Some(after)) => {
                let name = text::shown(&file.path, 400);
                let patch = similar::TextDiff::from_lines(&before, &after)
                    .unified_diff()
                    .header(&format!("a/{name}"), &format!("b/{name}"))
                    .to_string();
                page.extend(patch.split('\n').map(|line| text::shown(&line.replace('\t', "    "), 2000) + "\n"));
            }
            _ => page.push_str(&format!(
                "{}: {} (not shown: binary or large)\n",
                text::shown(&file.path, 400),
                text::bytes(file.bytes)
            )),
        }
    }
    for removed in &collected.removed {
        page.push_str(&format!("removed: {}\n", text::shown(&removed.path, 400)));
    }
    page
}

fn text_of(file: Option<OwnedFd>) -> Option<String> {
    let mut bytes = Vec::new();
    std::fs::File::from(file?).take(DIFF_BYTES_MAX + 1).read_to_end(&mut bytes).ok()?;
    if u64::try_from(bytes.len()).ok()? > DIFF_BYTES_MAX {
        return None;
    }
    String::from_utf8(bytes).ok()
}

fn apply(
    run: &Run,
    finished: &Finished,
    leavings: &Leavings<'_>,
    collected: &Collected,
    outputs: &mut Outputs,
) -> Result<(), Problem> {
    let Some(area) = leavings.areas.iter().find(|area| area.prefix.is_empty()) else { return Ok(()) };
    let Some(folder) = area.original else {
        return Err(Problem::new(
            "the changes cannot be applied",
            "the project was copied, since the kernel refused an overlay",
            "collect them with --out DIR",
        ));
    };
    let began = Stamp { seconds: finished.began.0, nanoseconds: finished.began.1 };
    let project = Project { prefix: "", folder, run_began: began };
    let applied = collect::apply(collected, leavings.areas, &project, &run.apply_also).map_err(|stopped| {
        Problem::new(
            stopped.failure.to_string(),
            format!("{} files were written before it", stopped.done.files.len()),
            stopped.failure.next(),
        )
    })?;
    outputs.applied.extend(
        applied
            .files
            .into_iter()
            .map(|file| if file.newly_executable { format!("{} (now executable)", file.path) } else { file.path }),
    );
    outputs.applied.extend(applied.removed.into_iter().map(|path| format!("{path} (removed)")));
    outputs
        .left_out
        .extend(applied.left_out.into_iter().map(|left| LeftOut { name: left.name_shown, why: left.why.to_string() }));
    Ok(())
}
