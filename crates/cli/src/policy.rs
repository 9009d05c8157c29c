//! Which policies have a say: the machine's, those that the caller names, else what ships.
//!
//! Policies only ever take away, so who names one more permits less. The machine's lies where root alone can put
//! it, and nothing the caller says leads elsewhere.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use stockade_core::network::Network;
use stockade_core::policy::{Explained, Policy};
use stockade_core::request::Request;
use stockade_core::text;

use crate::args::Explain;
use crate::printer;
use crate::problem::Problem;

/// The policy of the machine's administrator.
const MACHINE: &str = "/etc/stockade/policy.conf";

/// The machine's policy and those of these files; none if nobody says anything.
pub(crate) fn given(files: &[PathBuf]) -> Result<Vec<Policy>, Problem> {
    let mut policies: Vec<Policy> = of_machine()?.into_iter().collect();
    for path in files {
        let file =
            open(path).map_err(|error| Problem::path("read the policy", path, &error, "name a file you may read"))?;
        let policy = parse(path, file)?;
        let name = policy.title().name();
        if policies.iter().any(|other| other.title().name() == name) {
            return Err(Problem::new(
                format!("two policies are called `{name}`"),
                "a record of the run could mean either",
                "give each a name of its own, and each file once",
            ));
        }
        policies.push(policy);
    }
    Ok(policies)
}

/// Those that were given, else what ships: nothing of the network unless the caller names it.
pub(crate) fn or_shipped(given: Vec<Policy>, request: &Request) -> Vec<Policy> {
    match request.network {
        _ if !given.is_empty() => given,
        Network::None => vec![Policy::offline()],
        Network::Gate(_) => vec![Policy::default_of_callers()],
    }
}

/// Prints what the policies come to, and which of them says what.
pub(crate) fn explain(what: &Explain) -> Result<ExitCode, Problem> {
    let Explain::Policy { policies } = what;
    let mut policies = given(policies)?;
    if policies.is_empty() {
        policies.push(Policy::default_of_callers());
    }
    printer::page(&Explained(&policies).to_string());
    Ok(ExitCode::SUCCESS)
}

/// The policy of the machine's administrator, if there is one.
///
/// # Errors
/// When there is one that cannot be relied on: it is never passed over.
pub(crate) fn of_machine() -> Result<Option<Policy>, Problem> {
    let path = Path::new(MACHINE);
    let file = match open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreliable(path, &error.to_string())),
    };
    let places = path.ancestors().skip(1).map(|folder| (folder, std::fs::symlink_metadata(folder)));
    for (place, status) in [(path, file.metadata())].into_iter().chain(places) {
        let status = status.map_err(|error| unreliable(place, &error.to_string()))?;
        if let Some(why) = not_roots_alone(status.uid(), status.mode()) {
            return Err(unreliable(place, &why));
        }
    }
    parse(path, file).map(Some)
}

/// Why a file or folder may be another's than root's; a link is one that anybody may write to.
fn not_roots_alone(uid: u32, mode: u32) -> Option<String> {
    if uid != 0 {
        return Some(format!("it belongs to uid {uid}, not to root"));
    }
    (mode & 0o022 != 0).then(|| "others than root may write to it".to_owned())
}

fn unreliable(place: &Path, why: &str) -> Problem {
    Problem::new(
        format!("the machine's policy {MACHINE} cannot be relied on"),
        format!("{}: {}", place.display(), crate::problem::plain(why)),
        "ask the machine's administrator: it is root's, all may read it, and root alone may write to it and its folders",
    )
}

/// The machine's not through a link, and none waiting for the writer of a FIFO.
fn open(path: &Path) -> std::io::Result<File> {
    let mut flags = rustix::fs::OFlags::NONBLOCK;
    if path == Path::new(MACHINE) {
        flags |= rustix::fs::OFlags::NOFOLLOW;
    }
    std::fs::OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

fn parse(path: &Path, file: File) -> Result<Policy, Problem> {
    let shown = text::shown(&path.to_string_lossy(), 400);
    let refused = |why: &str, next: &str| Problem::new(format!("the policy `{shown}` is refused"), why, next);
    if !file.metadata().is_ok_and(|status| status.is_file()) {
        return Err(refused("it is not a regular file", "name a file"));
    }
    let mut bytes = Vec::new();
    // One more than may be, so that what is too large is seen to be.
    let most = u64::try_from(stockade_config::BYTES_MAX).map_or(u64::MAX, |most| most + 1);
    file.take(most)
        .read_to_end(&mut bytes)
        .map_err(|error| Problem::path("read the policy", path, &error, "name a file you may read"))?;
    let contents = String::from_utf8(bytes).map_err(|_| refused("it is not text in UTF-8", "save it as UTF-8"))?;
    match stockade_config::parse_policy(&contents) {
        Ok(policy) => Ok(policy.of_file(&shown)),
        Err(bad) => Err(refused(&bad.to_string(), &bad.next())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_policy_is_roots_alone() {
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
