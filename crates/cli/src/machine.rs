//! What the machine's administrator keeps in `/etc/stockade`: relied on only where root alone can have put it.
//!
//! A supervisor of a node that is root of a user namespace only does not see whose a file is; what counts there is what
//! the launcher saw before it was in one.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;

use stockade_launch::witness::Witness;

use crate::problem::Problem;

/// What the launcher saw, where there is one that had to look before; said once, before anything is looked at.
static WITNESS: OnceLock<Witness> = OnceLock::new();

/// Believes a launcher, which saw what this process cannot see.
pub(crate) fn believe(witness: Witness) {
    // Said once; what is said first stays.
    drop(WITNESS.set(witness));
}

/// Whether root alone may write to this path and to every folder above it; `path` itself is looked at through `status`.
///
/// # Errors
/// Naming what is another's.
pub(crate) fn check_roots_alone(subject: &str, path: &Path, status: std::io::Result<Metadata>) -> Result<(), Problem> {
    let folders = path.ancestors().skip(1).map(|folder| (folder, std::fs::symlink_metadata(folder)));
    for (place, status) in [(path, status)].into_iter().chain(folders) {
        let status = status.map_err(|error| unreliable(subject, place, &error.to_string()))?;
        if let Some(why) = why_not_roots(&status) {
            return Err(unreliable(subject, place, &why));
        }
    }
    Ok(())
}

/// Whether root alone may write to this file or folder.
pub(crate) fn is_roots_alone(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|status| why_not_roots(&status).is_none())
}

fn why_not_roots(status: &Metadata) -> Option<String> {
    match WITNESS.get() {
        None => not_roots_alone(status.uid(), status.mode()),
        Some(witness) if witness.saw(status) => None,
        Some(_) => Some(
            "it was not root's alone when the node was started, or was changed or put there since (then start it anew)"
                .into(),
        ),
    }
}

/// Why a file or folder may be another's than root's; a link is one that anybody may write to.
fn not_roots_alone(uid: u32, mode: u32) -> Option<String> {
    if uid != 0 {
        return Some(format!("it belongs to uid {uid}, not to root"));
    }
    (mode & 0o022 != 0).then(|| "others than root may write to it".to_owned())
}

/// Something of the machine's that may be somebody else's.
pub(crate) fn unreliable(subject: &str, place: &Path, why: &str) -> Problem {
    Problem::new(
        format!("{subject} cannot be relied on"),
        format!("{}: {}", place.display(), crate::problem::plain(why)),
        "ask the machine's administrator: it is root's, all may read it, and root alone may write to it and its folders",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_machines_is_roots_alone() {
        for (uid, mode, may) in [
            (0, 0o100_644, true),
            (0, 0o040_755, true),
            (0, 0o100_600, true),
            (1000, 0o100_644, false),
            (65_534, 0o100_444, false),
            (0, 0o100_664, false),
            (0, 0o100_646, false),
            (0, 0o041_777, false),
            (0, 0o120_777, false),
        ] {
            assert_eq!(not_roots_alone(uid, mode).is_none(), may, "{uid} {mode:o}");
        }
    }
}
