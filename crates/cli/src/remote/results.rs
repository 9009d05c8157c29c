//! The end of a run elsewhere: its outputs are brought here, and its report is shown as one of ours.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use serde::Deserialize;
use stockade_core::outcome::Outcome;
use stockade_core::request::Tier;
use stockade_launch::Neutraliser;
use stockade_launch::collect::{Area, Bounds, Caches, Collected, Leavings};

use super::http::{Node, segment};
use super::nonsense;
use crate::args::Run;
use crate::outputs::{self, Outputs};
use crate::printer;
use crate::problem::Problem;
use crate::report::{Begun, Report};

/// A report as a node sends it.
#[derive(Debug, Deserialize)]
pub(super) struct Remote {
    run: String,
    tier: Tier,
    begun: Begun,
    host_user: u32,
    #[serde(flatten)]
    outcome: Outcome,
    environment: String,
    remarks: Vec<String>,
    outputs: Outputs,
    hints: Vec<String>,
}

/// Brings the outputs, and shows the report.
pub(super) fn conclude(
    run: &Run,
    node: &Node,
    id: &str,
    mut remote: Remote,
    destination: Option<&OwnedFd>,
    output_cut: bool,
) -> Result<(), Problem> {
    if output_cut {
        remote.outcome.notes.push("the node could not keep all that the code wrote".to_owned());
    }
    if let Some(folder) = destination {
        let brought = bring(run, node, id, &remote.outputs, folder)?;
        remote.outputs = outputs::brought(run, remote.outputs, brought);
    } else {
        remote.outputs.place = "kept by the node for a while (--out DIR fetches them)".to_owned();
    }
    let outcome = &remote.outcome;
    let report = Report {
        run: &remote.run,
        tier: remote.tier,
        begun: remote.begun,
        host_user: remote.host_user,
        outcome,
        environment: &remote.environment,
        remarks: &remote.remarks,
        outputs: &remote.outputs,
        hints: &remote.hints,
    };
    if run.json {
        printer::remark(&printer::document(&report));
    } else if !(run.quiet && report.went_well()) {
        printer::remark(&harmless(&report.lines(printer::columns(std::io::stderr()))));
    }
    Ok(())
}

/// Texts of a node, as of any stranger: without what a terminal would obey.
fn harmless(text: &str) -> String {
    String::from_utf8_lossy(&Neutraliser::default().pass(text.as_bytes())).into_owned()
}

/// Fetches the outputs into a folder of ours, then takes them from there as from the scratch of a run.
fn bring(run: &Run, node: &Node, id: &str, outputs: &Outputs, folder: &OwnedFd) -> Result<Collected, Problem> {
    let failed = |error: std::io::Error| {
        Problem::new("the outputs cannot be fetched", crate::problem::plain(&error.to_string()), "free some space")
    };
    let fetched = tempfile::Builder::new().prefix("stockade-").tempdir().map_err(failed)?;
    let root: OwnedFd = std::fs::File::open(fetched.path()).map_err(failed)?.into();
    for file in &outputs.files {
        let answer = node.get(&format!("/v1/runs/{id}/outputs/{}", segment(&file.path)))?;
        let mut to = make(&root, &file.path).map_err(failed)?;
        let length = std::io::copy(&mut answer.into_body().into_reader(), &mut to).map_err(failed)?;
        if length != file.bytes {
            return Err(nonsense(format!("an output has {length} bytes instead of {}", file.bytes)));
        }
    }
    let areas = [Area { prefix: String::new(), changed: root.as_fd(), original: None }];
    let bounds = Bounds {
        bytes_max: u64::MAX,
        files_max: u64::MAX,
        file_bytes_max: u64::MAX,
        depth_max: Bounds::DEPTH_MAX,
        caches: Caches::Skip,
        ..Bounds::default()
    };
    outputs::collect_into(run, Some(folder), &Leavings { areas: &areas, staged: &[], folders_given: &[], bounds })
}

/// A new file below a folder, whatever path a node names: nothing leads out of the folder (openat2(2)).
fn make(root: &OwnedFd, path: &str) -> std::io::Result<std::fs::File> {
    let below = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
    let mut folder = root.try_clone()?;
    for part in parents.split('/').filter(|part| !part.is_empty()) {
        match rustix::fs::mkdirat(&folder, part, Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        folder = rustix::fs::openat2(&folder, part, flags, Mode::empty(), below)?;
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    Ok(rustix::fs::openat2(&folder, name, flags, Mode::from_raw_mode(0o644), below)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_reports_is_nothing_that_a_terminal_obeys() {
        let said = "  hint: \u{1b}]52;c;cm0gLXJm\u{7}--with x\u{1b}[2J\n    next: ü\u{9b}5n";
        let shown = harmless(said);
        assert!(shown.starts_with("  hint: --with x") && shown.contains("\n    next: ü"), "{shown:?}");
        assert!(!shown.contains(['\u{1b}', '\u{7}', '\u{9b}']), "{shown:?}");
    }

    #[test]
    fn no_path_of_a_node_leads_out_of_the_folder() {
        let outer = tempfile::tempdir().unwrap();
        std::fs::create_dir(outer.path().join("inner")).unwrap();
        std::os::unix::fs::symlink("..", outer.path().join("inner/up")).unwrap();
        let root: OwnedFd = std::fs::File::open(outer.path().join("inner")).unwrap().into();
        for path in ["../x", "a/../../x", "up/x", "/tmp/stockade-x", "..", "a/.."] {
            let made = make(&root, path);
            assert!(made.is_err() || path.starts_with('/'), "{path}");
        }
        assert_eq!(std::fs::read_dir(outer.path()).unwrap().count(), 1);
        make(&root, "a/b/c.txt").unwrap();
        assert!(outer.path().join("inner/a/b/c.txt").is_file());
    }
}
