//! Which policies have a say: the machine's, those that the caller names, else what ships.
//!
//! Policies only ever take away, so who names one more permits less. The machine's lies where root alone can put
//! it, and nothing the caller says leads elsewhere.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use stockade_core::network::Network;
use stockade_core::policy::{Explained, Policy, Rules};
use stockade_core::request::Request;
use stockade_core::text;

use crate::args::Explain;
use crate::machine::{check_roots_alone, unreliable};
use crate::printer;
use crate::problem::Problem;

/// The policy of the machine's administrator.
const MACHINE: &str = "/etc/stockade/policy.conf";
const SUBJECT: &str = "the machine's policy /etc/stockade/policy.conf";

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

/// Where these policies lie, whether or not there is one.
pub(crate) fn places(files: &[PathBuf]) -> impl Iterator<Item = &Path> {
    std::iter::once(Path::new(MACHINE)).chain(files.iter().map(PathBuf::as_path))
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
    let policies = or(given(policies)?, Policy::default_of_callers);
    printer::page(&Explained(&policies).to_string());
    Ok(ExitCode::SUCCESS)
}

/// The same for programs, for runs that reach nothing of the network.
pub(crate) fn rules(files: &[PathBuf]) -> Result<Rules, Problem> {
    Ok(Rules::of(&or(given(files)?, Policy::offline)))
}

fn or(given: Vec<Policy>, shipped: impl FnOnce() -> Policy) -> Vec<Policy> {
    if given.is_empty() { vec![shipped()] } else { given }
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
        Err(error) => return Err(unreliable(SUBJECT, path, &error.to_string())),
    };
    check_roots_alone(SUBJECT, path, file.metadata())?;
    parse(path, file).map(Some)
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
