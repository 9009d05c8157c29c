//! Asks R, in a jail that reaches the repository only, which packages are needed. The index is text of
//! strangers: R's own tools read it, bounded, and what they found is checked here.

use std::collections::BTreeSet;

use super::names::{is_r_name, is_r_version};
use super::repository::Repository;
use super::request::RRequest;
use super::step;
use crate::error::{Detail, Error};
use crate::inside;
use crate::lock::PACKAGES_MAX;
use crate::progress::counted;
use crate::quote::quote;
use crate::step::{Bench, Step};
use crate::tree;

const SCRIPT: (&str, &str) = ("r_resolve.R", inside::R_RESOLVE_SCRIPT);
const TEXT_BYTES_MAX: u64 = 4 << 20;
const PATH_PARTS_MAX: usize = 4;

/// A package that is needed, as the index has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Needed {
    pub(super) name: String,
    pub(super) version: String,
    /// The folder below that of the source packages; mostly empty.
    pub(super) folder: String,
    /// What the index says of its file, if it does.
    pub(super) md5: Option<String>,
    /// What of the others it needs.
    pub(super) needs: Vec<String>,
}

/// What is asked for and all it needs, in the order of names.
pub(super) fn resolve(
    bench: &mut Bench<'_>,
    request: &RRequest,
    repository: &Repository,
) -> Result<Vec<Needed>, Error> {
    let count = request.wanted().count();
    bench.progress.step(&format!("resolving {}", counted(count, "R package")));
    let sources = repository.sources();
    let outputs = bench.run(Step {
        inputs: vec![(SCRIPT.0, SCRIPT.1.to_owned()), ("wanted", request.text())],
        hosts: repository.hosts(),
        time_ms_max: 5 * 60_000,
        scratch_bytes_max: 512 << 20,
        failed: (
            Error::Resolve,
            "the R packages that are asked for cannot be resolved",
            "change what is asked for, or the repository: set STOCKADE_R_REPOSITORY to one that has it and can be reached",
        ),
        ..step::of_script("r-resolve", SCRIPT, &[&sources, &inside::input("wanted")], bench.interpreter)
    })?;
    let needed = parse(&tree::read_bounded(&outputs.join("needed"), TEXT_BYTES_MAX)?)?;
    match request.wanted().find(|wanted| !needed.iter().any(|one| one.name == wanted.name)) {
        Some(missing) => Err(refused(&missing.name, "it was asked for and is not in the answer")),
        None => Ok(needed),
    }
}

/// The lines that the jail wrote: name, version, folder, MD5 sum, needs, with tabs between them.
fn parse(text: &str) -> Result<Vec<Needed>, Error> {
    let mut needed = Vec::new();
    for line in text.lines() {
        needed
            .push(parse_line(line).ok_or_else(|| refused(line, "it is no package, version and file of a repository"))?);
    }
    needed.sort_by(|one, other| one.name.cmp(&other.name));
    let names: BTreeSet<&str> = needed.iter().map(|one| one.name.as_str()).collect();
    if names.len() < needed.len() || needed.len() > PACKAGES_MAX {
        return Err(refused("the index", "it names a package twice, or more than 2,000"));
    }
    let lost = needed.iter().flat_map(|one| &one.needs).find(|name| !names.contains(name.as_str()));
    match lost {
        Some(lost) => Err(refused(lost, "it is needed and is not in the answer")),
        None => Ok(needed),
    }
}

fn parse_line(line: &str) -> Option<Needed> {
    let cells: Vec<&str> = line.split('\t').collect();
    let [name, version, folder, md5, needs] = *cells.as_slice() else { return None };
    let is_md5 = |text: &str| text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let needs: Vec<String> = needs.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let plain = is_r_name(name)
        && is_r_version(version)
        && is_folder(folder)
        && (md5.is_empty() || is_md5(md5))
        && needs.iter().all(|name| is_r_name(name));
    plain.then(|| Needed {
        name: name.to_owned(),
        version: version.to_owned(),
        folder: folder.to_owned(),
        md5: Some(md5.to_ascii_lowercase()).filter(|md5| !md5.is_empty()),
        needs,
    })
}

/// Nothing, or plain names with slashes between them.
fn is_folder(text: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.len() <= 100
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    text.is_empty() || (text.split('/').all(plain) && text.split('/').count() <= PATH_PARTS_MAX)
}

fn refused(subject: &str, why: &str) -> Error {
    Error::Resolve(Detail::new(
        format!("the R repository's index is refused at {}", quote(subject)),
        why,
        "tell the administrator of the repository, or set STOCKADE_R_REPOSITORY to another one",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_jail_says_is_names_versions_and_plain_folders() {
        let md5 = "A".repeat(32);
        let found = parse("b\t1\t\t\t\n").unwrap_err();
        assert!(found.why().contains("no package"), "one letter and one number");
        let found = parse(&format!("bb\t1.0\t\t{md5}\taa\naa\t0.5-1\t4.2/Recommended\t\t\n")).unwrap();
        assert_eq!((found[0].name.as_str(), found[0].folder.as_str()), ("aa", "4.2/Recommended"));
        assert_eq!(
            (found[1].md5.as_deref(), found[1].needs.as_slice()),
            (Some(&*"a".repeat(32)), &["aa".to_owned()][..])
        );
        for bad in [
            "aa\t1.0\t..\t\t",
            "aa\t1.0\t/etc\t\t",
            "aa\t1.0\ta//b\t\t",
            "aa\t1.0\t\tshort\t",
            "aa\t1.0\t\t\t../x",
            "aa\t1.0\t\t\tbb",
            "aa\t1.0\t\t\t\naa\t1.1\t\t\t",
            "../aa\t1.0\t\t\t",
            "aa\t1.0/..\t\t\t",
            "stats\t1.0\t\t\t",
            "aa\t1.0",
            "\u{1b}[31m",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
