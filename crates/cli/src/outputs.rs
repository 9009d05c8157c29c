//! Outputs after the run: collected, listed, shown as a diff, applied.

use std::borrow::Cow;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

use serde::{Deserialize, Serialize};
use stockade_core::text;
use stockade_launch::Finished;
use stockade_launch::collect::{self, Caches, Collected, Destination, Existing, Leavings, Project, Stamp, State};

use crate::args::Run;
use crate::problem::Problem;

/// Largest file whose changes are shown line by line.
const DIFF_BYTES_MAX: u64 = 1 << 20;

/// What became of the outputs, for the report.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outputs {
    /// Where they are, when they were collected.
    pub(crate) folder: Option<String>,
    /// The same in words, whatever became of them.
    #[serde(skip)]
    pub(crate) place: String,
    /// Each file: path below the working folder, bytes, and whether it is new.
    pub(crate) files: Vec<OutputFile>,
    /// What the code removed.
    pub(crate) removed: Vec<String>,
    /// How much more was removed than is listed.
    pub(crate) removed_more: u64,
    /// What was found and not taken, and why.
    pub(crate) left_out: Vec<LeftOut>,
    /// How much more was left out than is listed.
    pub(crate) left_out_more: u64,
    /// Caches of tools, which are never taken; a folder counts once.
    pub(crate) caches: u64,
    /// What was written back onto the project.
    pub(crate) applied: Vec<Applied>,
    /// Bytes of all files.
    pub(crate) bytes: u64,
}

/// One output.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct OutputFile {
    pub(crate) path: String,
    pub(crate) bytes: u64,
    /// `created` or `changed`.
    pub(crate) state: Cow<'static, str>,
}

/// One change of the project.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Applied {
    pub(crate) path: String,
    /// `created`, `changed` or `removed`.
    pub(crate) state: Cow<'static, str>,
    /// It can be executed and could not before.
    pub(crate) newly_executable: bool,
}

/// One thing that was not taken.
#[derive(Debug, Serialize, Deserialize)]
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
    let collected = collect_into(run, folder, leavings)?;
    if run.diff || run.apply {
        crate::printer::page(&diff(leavings, &collected));
    }
    let mut outputs = summary(&collected);
    outputs.folder = run.out.as_ref().filter(|_| folder.is_some()).map(|out| out.to_string_lossy().into_owned());
    if run.apply && !run.dry_run {
        apply(run, finished, leavings, &collected, &mut outputs)?;
    }
    outputs.place = place(run, &outputs);
    Ok(outputs)
}

/// Finds what was left, and copies it into the folder if there is one.
pub(crate) fn collect_into(run: &Run, folder: Option<&OwnedFd>, leavings: &Leavings<'_>) -> Result<Collected, Problem> {
    let existing = if run.overwrite { Existing::Overwrite } else { Existing::Keep };
    let destination = match folder {
        Some(folder) => Destination::Folder { folder: folder.as_fd(), existing, allow: &[] },
        None => Destination::List,
    };
    collect::collect(leavings, &destination).map_err(|stopped| {
        let done = text::count(stopped.done.files.len(), "output", "outputs");
        Problem::midway(&stopped.failure, &format!("{done} collected before it"))
    })
}

/// Outputs of a run elsewhere, of which these were brought into the folder of the outputs.
pub(crate) fn brought(run: &Run, mut outputs: Outputs, brought: Collected) -> Outputs {
    let is_here = |file: &OutputFile| brought.files.iter().any(|here| here.path == file.path);
    outputs.files.retain(is_here);
    outputs.bytes = brought.bytes;
    outputs.left_out.extend(left_out(&brought.left_out));
    outputs.left_out_more += brought.left_out_more;
    outputs.folder = run.out.as_ref().map(|out| out.to_string_lossy().into_owned());
    outputs.place = place(run, &outputs);
    outputs
}

/// Where the files went, in words.
fn place(run: &Run, outputs: &Outputs) -> String {
    let applied = || outputs.applied.iter().filter(|applied| applied.state != REMOVED).count();
    match &outputs.folder {
        _ if run.dry_run => "not written (--dry-run)".to_owned(),
        Some(folder) => format!("in {}", text::quoted(folder, 200)),
        None if run.apply => format!("{} applied to the project", applied()),
        None => "not kept (--out DIR keeps them)".to_owned(),
    }
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

/// The state of what was removed.
pub(crate) const REMOVED: &str = "removed";

const fn state(state: State) -> Cow<'static, str> {
    match state {
        State::Created => Cow::Borrowed("created"),
        State::Changed => Cow::Borrowed("changed"),
    }
}

fn summary(collected: &Collected) -> Outputs {
    Outputs {
        files: collected
            .files
            .iter()
            .map(|file| OutputFile { path: file.path.clone(), bytes: file.bytes, state: state(file.state) })
            .collect(),
        removed: collected.removed.iter().map(|removed| removed.path.clone()).collect(),
        removed_more: collected.removed_more,
        left_out: left_out(&collected.left_out),
        left_out_more: collected.left_out_more,
        caches: collected.caches,
        bytes: collected.bytes,
        ..Outputs::default()
    }
}

fn left_out(all: &[collect::LeftOut]) -> Vec<LeftOut> {
    all.iter().map(|left| LeftOut { name: left.name_shown.clone(), why: left.why.to_string() }).collect()
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
        let name = text::shown(&file.path, 400);
        match (before, after) {
            (Some(before), Some(after)) if before != after => {
                let patch = similar::TextDiff::from_lines(&before, &after)
                    .unified_diff()
                    .header(&format!("a/{name}"), &format!("b/{name}"))
                    .to_string();
                let lines = patch.split_terminator('\n').map(|line| line.replace('\t', "    "));
                page.extend(lines.map(|line| text::shown(&line, 2000) + "\n"));
            }
            (Some(_), Some(_)) => page.push_str(&format!("{name}: an empty file\n")),
            _ => page.push_str(&format!("{name}: {} (not shown: binary or large)\n", text::bytes(file.bytes))),
        }
    }
    for removed in &collected.removed {
        page.push_str(&format!("removed: {}\n", text::shown(&removed.path, 400)));
    }
    page
}

/// The content of a file that is text: not too large, UTF-8, and without the bytes that only binary files have.
fn text_of(file: Option<OwnedFd>) -> Option<String> {
    let mut bytes = Vec::new();
    std::fs::File::from(file?).take(DIFF_BYTES_MAX + 1).read_to_end(&mut bytes).ok()?;
    let is_text = u64::try_from(bytes.len()).ok()? <= DIFF_BYTES_MAX && !bytes.contains(&0);
    String::from_utf8(bytes).ok().filter(|_| is_text)
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
        let done = text::count(stopped.done.files.len(), "file", "files");
        Problem::midway(&stopped.failure, &format!("{done} written before it"))
    })?;
    let files = applied.files.into_iter().map(|file| Applied {
        path: file.path,
        state: state(file.state),
        newly_executable: file.newly_executable,
    });
    let removed =
        applied.removed.into_iter().map(|path| Applied { path, state: REMOVED.into(), newly_executable: false });
    outputs.applied.extend(files.chain(removed));
    outputs.left_out.extend(left_out(&applied.left_out));
    Ok(())
}
