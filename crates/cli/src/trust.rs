//! Whose word on libraries counts here, and whether it covers what a run has.
//!
//! The machine's administrator keeps a list that root alone can write. Where there is a policy of the machine, no
//! other counts; elsewhere the caller answers for himself, and his own list counts too.

use std::path::Path;
use std::time::SystemTime;

use stockade_core::request::Request;
use stockade_core::trust::{Doubt, Libraries, Sensitive};
use stockade_engines::Interpreter;
use stockade_environments::{Environment, TrustList, TrustPlace, judge};

use crate::ask::Used;
use crate::environment::short;
use crate::machine::{check_roots_alone, is_roots_alone, unreliable};
use crate::policy;
use crate::problem::Problem;

/// Where the machine's list lies.
const MACHINE: &str = "/etc/stockade/trust";
/// Entries of the machine's folders that are looked at.
const ENTRIES_MAX: usize = 1_000;

/// The caller's own place.
pub(crate) fn own() -> TrustPlace {
    TrustPlace::at(&crate::files::config().join("trust"))
}

/// The machine's place.
pub(crate) fn of_machine() -> TrustPlace {
    TrustPlace::at(Path::new(MACHINE))
}

/// The places whose lists count.
///
/// # Errors
/// When the machine's cannot be relied on: it is never passed over.
pub(crate) fn places() -> Result<Vec<TrustPlace>, Problem> {
    let mut places = Vec::new();
    if check_machine()? {
        places.push(of_machine());
    }
    if policy::of_machine()?.is_none() {
        places.push(own());
    }
    Ok(places)
}

/// The lists that count.
pub(crate) fn lists(now: SystemTime) -> Result<Vec<TrustList>, Problem> {
    places()?.iter().map(|place| Ok(place.read(now)?)).collect()
}

/// Whether there is a list of the machine's; all of it must be root's alone.
fn check_machine() -> Result<bool, Problem> {
    const SUBJECT: &str = "the machine's trust list /etc/stockade/trust";
    let (place, folder) = (of_machine(), Path::new(MACHINE));
    match std::fs::symlink_metadata(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        status => check_roots_alone(SUBJECT, folder, status)?,
    }
    for folder in [folder, &place.keys()] {
        let listing = match std::fs::read_dir(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            listing => listing.map_err(|error| unreliable(SUBJECT, folder, &error.to_string()))?,
        };
        for item in listing.take(ENTRIES_MAX) {
            let path = item.map_err(|error| unreliable(SUBJECT, folder, &error.to_string()))?.path();
            check_roots_alone(SUBJECT, &path, std::fs::symlink_metadata(&path))?;
        }
    }
    Ok(true)
}

/// The libraries of a run, judged if anything is asked for that a policy could keep for trusted ones.
pub(crate) fn libraries(request: &Request, used: &Used) -> Result<Libraries, Problem> {
    if !Sensitive::ALL.iter().any(|sensitive| sensitive.is_asked(request)) {
        return Ok(Libraries::Unjudged);
    }
    let Some(environment) = &used.held else {
        return Ok(match used.unlocked.as_slice() {
            [] => Libraries::None,
            doubts => Libraries::Doubted { environment: None, doubts: doubts.to_vec() },
        });
    };
    let doubts = doubts(environment)?;
    if doubts.is_empty() {
        return Ok(Libraries::Trusted);
    }
    Ok(Libraries::Doubted { environment: Some(short(&environment.digest).to_owned()), doubts })
}

/// The libraries of an environment that no list covers.
pub(crate) fn doubts(environment: &Environment) -> Result<Vec<Doubt>, Problem> {
    let found = judge(&lists(SystemTime::now())?, environment)?;
    Ok(found.into_iter().map(|(library, why)| Doubt { library, why }).collect())
}

/// What a virtual environment brings: no lock says what it is made of.
pub(crate) fn of_venv() -> Vec<Doubt> {
    let why = "a virtual environment has no lock that says what it is made of";
    vec![Doubt { library: "its packages".to_owned(), why: why.to_owned() }]
}

/// The packages that lie beside an interpreter, where others than root can have put them; what root installed is the
/// machine's.
pub(crate) fn of_interpreter(interpreter: &Interpreter) -> Vec<Doubt> {
    let trees = interpreter.trees();
    let libraries = trees.iter().flat_map(|tree| folders(&tree.source.path.join("lib")));
    let strange = libraries.map(|library| library.join("site-packages")).filter(|folder| !is_roots_alone(folder));
    let names = strange.flat_map(|folder| folders(&folder)).filter_map(|package| distribution(&package));
    let why = "it lies beside the interpreter, and no lock says what it is";
    names.map(|library| Doubt { library, why: why.to_owned() }).collect()
}

/// The name and version of an installed package, unless it comes with every interpreter.
fn distribution(folder: &Path) -> Option<String> {
    const USUAL: [&str; 3] = ["pip", "setuptools", "wheel"];
    let name = folder.file_name()?.to_str()?;
    let name = name.strip_suffix(".dist-info").or_else(|| name.strip_suffix(".egg-info"))?;
    let (name, version) = name.split_once('-').unwrap_or((name, ""));
    (!USUAL.contains(&name)).then(|| format!("{name} {version}").trim().to_owned())
}

/// What lies in a folder, if it can be read.
fn folders(folder: &Path) -> Vec<std::path::PathBuf> {
    let listing = std::fs::read_dir(folder).into_iter().flatten();
    let mut found: Vec<_> = listing.filter_map(|item| Some(item.ok()?.path())).take(20_000).collect();
    found.sort();
    found
}
