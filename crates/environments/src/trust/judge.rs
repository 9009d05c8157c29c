//! Whether trust lists cover an environment, and what they leave open.

use super::library::{Library, Package};
use super::list::{Entry, Standing, TrustList};
use crate::diff::{LockedFile, LockedPackage, locked};
use crate::ecosystem::Ecosystem;
use crate::environment::Environment;
use crate::error::Error;

/// The packages of an environment that no valid entry covers, each with the reason; none if it is trusted.
///
/// # Errors
/// When its lock is damaged.
pub fn judge(lists: &[TrustList], environment: &Environment) -> Result<Vec<(String, String)>, Error> {
    let entries: Vec<&Entry> = lists.iter().flat_map(TrustList::entries).collect();
    let whole =
        |entry: &&Entry| matches!(&entry.library, Library::Environment { digest } if *digest == environment.digest);
    let own: Vec<&Entry> = entries.iter().copied().filter(whole).collect();
    if own.iter().any(|entry| entry.standing == Standing::Valid) {
        return Ok(Vec::new());
    }
    if environment.imported {
        let why = own.first().map_or_else(
            || "it came in an archive, so its lock proves nothing, and no entry names its digest".to_owned(),
            |entry| why_not(entry).to_owned(),
        );
        return Ok(vec![(format!("env:/{}", environment.digest), why)]);
    }
    Ok(doubted(&entries, locked(environment)?))
}

fn doubted(entries: &[&Entry], packages: Vec<LockedPackage>) -> Vec<(String, String)> {
    let doubt = |package: LockedPackage| {
        let why = match unprovable(&package) {
            Some(why) => why.to_owned(),
            None => package.files.iter().find_map(|file| doubt(entries, &package, file))?,
        };
        Some((format!("{} {}", package.name, package.version), why))
    };
    packages.into_iter().filter_map(doubt).collect()
}

/// Why no entry for a package can cover it.
fn unprovable(package: &LockedPackage) -> Option<&'static str> {
    if package.files.is_empty() {
        return Some("its lock names no file");
    }
    // A build of R has the packages of its own lock beside it, and no others.
    let strange_tools = package.from_source && package.ecosystem == Ecosystem::Pypi;
    strange_tools.then_some("it was built here from source, by tools that no lock names; the digest can be trusted")
}

/// What speaks against one file; nothing, if a valid entry covers it.
fn doubt(entries: &[&Entry], package: &LockedPackage, file: &LockedFile) -> Option<String> {
    let mut nearest: Option<Near> = None;
    for entry in entries {
        let Library::Package(said) = &entry.library else { continue };
        if said.ecosystem != package.ecosystem || said.name != package.name {
            continue;
        }
        let near = short_of(entry, said, package, file)?;
        nearest = nearest.max(Some(near));
    }
    Some(nearest.map_or_else(|| "no entry names it".to_owned(), Near::why))
}

/// What an entry lacks to cover a file; the later, the nearer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Near {
    Version(String),
    Index(String),
    Hash,
    NotValid(String),
}

impl Near {
    fn why(self) -> String {
        match self {
            Self::Version(library) => format!("`{library}` is trusted, not this version"),
            Self::Index(index) => format!("it is trusted from `{index}`, and came from elsewhere"),
            Self::Hash => "a file of it has another hash than what is trusted".to_owned(),
            Self::NotValid(why) => why,
        }
    }
}

/// What an entry for the package lacks to cover the file; nothing, if it covers it.
fn short_of(entry: &Entry, said: &Package, package: &LockedPackage, file: &LockedFile) -> Option<Near> {
    let is_rebuilt = said.sha256.is_empty() && said.is_local(&package.version);
    if is_rebuilt || !said.has_version(&package.version) {
        return Some(Near::Version(entry.library.to_string()));
    }
    if let Some(index) = said.index.as_ref().filter(|index| **index != file.host) {
        return Some(Near::Index(index.clone()));
    }
    if !said.sha256.is_empty() && !said.sha256.contains(&file.sha256) {
        return Some(Near::Hash);
    }
    (entry.standing != Standing::Valid).then(|| Near::NotValid(why_not(entry)))
}

/// Why an entry does not count.
fn why_not(entry: &Entry) -> String {
    match &entry.standing {
        Standing::Valid => String::new(),
        Standing::Expired => format!("the trust in it has expired (entry {})", entry.id),
        Standing::Revoked { by, reason } => format!("{by} took the trust in it back: {reason}"),
        Standing::UnknownKey => format!("entry {} is signed with no key of {}", entry.id, entry.by),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ecosystem::Ecosystem;
    use crate::trust::list::tests::{place, vouched};
    use crate::trust::{Lasting, Vouched};
    use std::time::{Duration, SystemTime};

    fn file(hash: char) -> LockedFile {
        LockedFile { name: "x.whl".into(), sha256: hash.to_string().repeat(64), host: "files.invalid".into() }
    }

    fn package(version: &str, hashes: &str) -> LockedPackage {
        let files = hashes.chars().map(file).collect();
        LockedPackage {
            ecosystem: Ecosystem::Pypi,
            name: "left-pad".into(),
            version: version.into(),
            files,
            from_source: false,
        }
    }

    fn word(text: &str, hashes: &str, index: Option<&str>) -> Vouched {
        let hashes: Vec<String> = hashes.chars().map(|hash| hash.to_string().repeat(64)).collect();
        Vouched { library: Library::parse(text, &hashes, index).unwrap(), ..vouched("x>=1") }
    }

    fn why(words: Vec<Vouched>, package: LockedPackage) -> Option<String> {
        let (_folder, place, key) = place();
        let now = SystemTime::now();
        place.vouch(words, &key, now).unwrap();
        let list = place.read(now).unwrap();
        let entries: Vec<&Entry> = list.entries().collect();
        doubted(&entries, vec![package]).pop().map(|(name, why)| {
            assert!(name.starts_with("left-pad "));
            why
        })
    }

    /// "An environment is *trusted* when every file in its lock is covered."
    #[test]
    fn every_file_must_be_covered_by_some_valid_entry() {
        for (words, package, expected) in [
            (vec![], package("1.0", "a"), Some("no entry names it")),
            (vec![word("other>=1", "", None)], package("1.0", "a"), Some("no entry names it")),
            (vec![word("left-pad>=1", "", None)], package("1.0", "ab"), None),
            (
                vec![word("left-pad>=1", "", None)],
                package("0.9", "a"),
                Some("`left-pad>=1` is trusted, not this version"),
            ),
            (vec![word("left-pad", "ab", None)], package("3", "ab"), None),
            (
                vec![word("left-pad", "a", None)],
                package("3", "ab"),
                Some("a file of it has another hash than what is trusted"),
            ),
            (vec![word("left-pad", "a", None), word("left-pad", "b", None)], package("3", "ab"), None),
            (
                vec![word("pypi:/left-pad@3", "ab", None)],
                package("3.1", "ab"),
                Some("`pypi:/left-pad@3` is trusted, not this version"),
            ),
            (vec![word("left-pad>=1", "", Some("Files.invalid"))], package("1", "a"), None),
            (
                vec![word("left-pad>=1", "", Some("elsewhere.invalid"))],
                package("1", "a"),
                Some("it is trusted from `elsewhere.invalid`, and came from elsewhere"),
            ),
            // A package of R is another one, whatever its name.
            (vec![word("cran:/left-pad@1", "a", None)], package("1", "a"), Some("no entry names it")),
        ] {
            assert_eq!(why(words.clone(), package).as_deref(), expected, "{words:?}");
        }
    }

    #[test]
    fn what_a_lock_does_not_prove_no_entry_covers() {
        let all = || vec![word("left-pad>=0", "", None), word("left-pad", "ab", None)];
        let built = LockedPackage { from_source: true, ..package("1", "a") };
        assert!(why(all(), built).unwrap().contains("built here from source"));
        assert_eq!(why(all(), package("1", "")).as_deref(), Some("its lock names no file"));
        // R compiles beside packages of its own lock only.
        let of_r = LockedPackage { from_source: true, ecosystem: Ecosystem::Cran, ..package("1", "a") };
        assert_eq!(why(vec![word("cran:/left-pad@1", "a", None)], of_r), None);
    }

    #[test]
    fn a_range_is_not_about_rebuilds_of_others() {
        let rebuilt = || package("1.0+evil", "a");
        assert!(why(vec![word("left-pad==1.0", "", None)], rebuilt()).is_some());
        assert!(why(vec![word("left-pad>=1,<2", "", None)], rebuilt()).is_some());
        assert_eq!(why(vec![word("left-pad==1.0+evil", "", None)], rebuilt()), None);
        assert_eq!(why(vec![word("left-pad", "a", None)], rebuilt()), None);
    }

    #[test]
    fn an_entry_that_has_ended_says_why_it_does_not_count() {
        let (_folder, place, key) = place();
        let now = SystemTime::now();
        let day = Vouched { lasting: Lasting::parse("1d", now).unwrap(), ..word("left-pad>=1", "", None) };
        let ids = place.vouch(vec![day], &key, now).unwrap();
        let says = |at: SystemTime| {
            let list = place.read(at).unwrap();
            let entries: Vec<&Entry> = list.entries().collect();
            doubted(&entries, vec![package("1", "a")])
        };
        assert_eq!(says(now), []);
        let later = says(now + Duration::from_secs(90_000));
        assert_eq!(later[0].1, format!("the trust in it has expired (entry {})", ids[0]));
        place.revoke(&ids[0], "a flaw", "ann@local", &key, now).unwrap();
        assert_eq!(says(now)[0].1, "ann@local took the trust in it back: a flaw");
    }
}
