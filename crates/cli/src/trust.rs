//! Whose word on libraries counts here, and whether it covers what a run has.
//!
//! The machine's administrator keeps a list that root alone can write. Where there is a policy of the machine, no
//! other counts; elsewhere the caller answers for himself, and his own list counts too.

use std::path::{Path, PathBuf};
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
    TrustPlace::at(&own_folder())
}

fn own_folder() -> PathBuf {
    crate::files::config().join("trust")
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

/// Files and folders that change when a list does that counts or may come to count.
pub(crate) fn stamped() -> Vec<PathBuf> {
    let of = |folder: PathBuf| {
        let place = TrustPlace::at(&folder);
        let keys = folders(&place.keys()).into_iter().take(ENTRIES_MAX);
        let keys: Vec<_> = keys.chain([place.keys(), place.list(), folder]).collect();
        keys
    };
    [of(MACHINE.into()), of(own_folder())].concat()
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
        for (number, item) in listing.enumerate() {
            if number == ENTRIES_MAX {
                return Err(unreliable(SUBJECT, folder, "it has more entries than are looked at"));
            }
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
    judged(used)
}

/// The same, whatever is asked for.
pub(crate) fn judged(used: &Used) -> Result<Libraries, Problem> {
    let Some(environment) = &used.held else {
        let doubts = used.unlocked.doubts();
        return Ok(if doubts.is_empty() { Libraries::None } else { Libraries::Doubted { environment: None, doubts } });
    };
    let mut doubts = doubts(environment)?;
    // R, and any program that is started, find these beside the environment.
    doubts.extend(of_the_machine());
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

/// Where code without an environment of the store finds libraries; looked at only when it matters.
#[derive(Debug)]
pub(crate) enum Unlocked {
    /// In the folders of the machine that every run sees.
    Machine,
    /// There, and beside an interpreter that lies in these trees.
    Beside(Vec<PathBuf>),
    /// In a virtual environment.
    Venv,
}

impl Unlocked {
    pub(crate) fn of_interpreter(interpreter: &Interpreter) -> Self {
        Self::Beside(interpreter.trees().into_iter().map(|tree| tree.source.path).collect())
    }

    /// The libraries that others than root put there; what root installed is the machine's.
    fn doubts(&self) -> Vec<Doubt> {
        match self {
            Self::Machine => of_the_machine(),
            Self::Beside(trees) => {
                let beside = trees.iter().flat_map(|tree| folders(&tree.join("lib")));
                let beside = beside.map(|library| library.join("site-packages")).flat_map(|folder| folders(&folder));
                let strange = beside.filter(|entry| !is_usual(entry)).filter_map(|entry| strange(&entry));
                strange.chain(of_the_machine()).collect()
            }
            Self::Venv => {
                let why = "a virtual environment has no lock that says what it is made of";
                vec![Doubt { library: "its packages".to_owned(), why: why.to_owned() }]
            }
        }
    }
}

/// The libraries in the machine's own folders that others than root put there: of Python and of R.
fn of_the_machine() -> Vec<Doubt> {
    let libraries = stockade_launch::witness::machine_libraries();
    libraries.flat_map(|library| folders(&library)).filter_map(|entry| strange(&entry)).collect()
}

/// What comes with every interpreter.
fn is_usual(entry: &Path) -> bool {
    const USUAL: [&str; 8] = [
        "README.txt",
        "__pycache__",
        "_distutils_hack",
        "distutils-precedence.pth",
        "pip",
        "setuptools",
        "wheel",
        "pkg_resources",
    ];
    let name = entry.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let tool = name.strip_suffix(".dist-info").and_then(|name| name.split_once('-')).map(|(name, _)| name);
    USUAL.contains(&name) || matches!(tool, Some("pip" | "setuptools" | "wheel"))
}

/// A file or folder among libraries that is not root's alone, or in whose place others can put something.
fn strange(entry: &Path) -> Option<Doubt> {
    let why = if !is_roots_alone(entry) {
        "others than root put it beside the interpreter, and no lock says what it is"
    } else if !entry.parent().is_some_and(is_roots_alone) {
        "others than root may write to the folder that it lies in, and no lock says what it is"
    } else {
        return None;
    };
    Some(Doubt { library: entry.file_name()?.to_string_lossy().into_owned(), why: why.to_owned() })
}

/// What lies in a folder, if it can be read.
fn folders(folder: &Path) -> Vec<PathBuf> {
    let listing = std::fs::read_dir(folder).into_iter().flatten();
    let mut found: Vec<_> = listing.filter_map(|item| Some(item.ok()?.path())).take(20_000).collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_than_root_put_beside_an_interpreter_is_doubted_whatever_its_form() {
        let root = tempfile::tempdir().unwrap();
        let site = root.path().join("lib/python3.12/site-packages");
        for folder in ["evil", "evil-1.0.dist-info", "old.egg", "pip", "pip-24.0.dist-info", "pip-evil"] {
            std::fs::create_dir_all(site.join(folder)).unwrap();
        }
        std::fs::write(site.join("evil.pth"), "import evil").unwrap();
        if rustix::process::geteuid().is_root() {
            for entry in folders(&site) {
                std::os::unix::fs::chown(entry, Some(61_234), None).unwrap();
            }
        }
        let names: Vec<String> =
            Unlocked::Beside(vec![root.path().to_path_buf()]).doubts().into_iter().map(|doubt| doubt.library).collect();
        for name in ["evil", "evil-1.0.dist-info", "evil.pth", "old.egg", "pip-evil"] {
            assert!(names.iter().any(|found| found == name), "{name}: {names:?}");
        }
        assert!(!names.iter().any(|found| found == "pip" || found == "pip-24.0.dist-info"), "{names:?}");
    }

    #[test]
    fn what_root_installed_is_doubted_where_others_can_put_something_in_its_place() {
        if !rustix::process::geteuid().is_root() {
            stockade_testkit::skipped("libraries of root", "only root can install some");
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let site = root.path().join("lib/python3.12/site-packages");
        std::fs::create_dir_all(site.join("good")).unwrap();
        let doubts = || {
            let doubts = Unlocked::Beside(vec![root.path().to_path_buf()]).doubts();
            doubts.into_iter().find(|doubt| doubt.library == "good")
        };
        for (mode, owner, is_good) in
            [(0o755, 0, true), (0o775, 0, false), (0o777, 0, false), (0o755, 61_234, false), (0o755, 0, true)]
        {
            std::fs::set_permissions(&site, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
            std::os::unix::fs::chown(&site, Some(owner), None).unwrap();
            assert_eq!(doubts().is_none(), is_good, "{mode:o} of {owner}: {:?}", doubts());
        }
    }

    #[test]
    fn each_file_of_a_list_is_among_what_changes_with_it() {
        let stamped = stamped();
        for path in ["/etc/stockade/trust", "/etc/stockade/trust/keys", "/etc/stockade/trust/list.jsonl"] {
            assert!(stamped.contains(&PathBuf::from(path)), "{path}: {stamped:?}");
        }
        assert!(stamped.contains(&own().list()), "{stamped:?}");
    }
}
