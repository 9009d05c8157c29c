//! Compiles source packages, each in a jail of its own without network: it sees its source, what it needs
//! of the others, R and the machine's compilers. What comes out is one folder, of plain files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{LIBRARY, step};
use crate::error::{Detail, Error};
use crate::inside;
use crate::lock::{Lock, Locked, Wheel};
use crate::quote::quote;
use crate::step::{Bench, Step, shown};
use crate::store::Store;
use crate::tree;

const SCRIPT: (&str, &str) = ("r_install.R", inside::R_INSTALL_SCRIPT);
const NEXT: &str = "leave the package out, or install what it says is missing; builds have no network, and the compilers of this \
     machine (Debian: r-base-dev)";

/// Installs every package of the lock below `prefix`, those first that others need.
pub(super) fn install(bench: &mut Bench<'_>, store: &Store, lock: &Lock, prefix: &Path) -> Result<(), Error> {
    let library = prefix.join(LIBRARY);
    tree::make_folder(&library)?;
    let order = in_order(lock)?;
    let count = order.len();
    for (number, package) in order.into_iter().enumerate() {
        let Some(source) = &package.source else { continue };
        bench.progress.step(&format!("compiling {} {} ({} of {count})", package.name, package.version, number + 1));
        install_one(bench, store, (package, source), prefix)?;
    }
    Ok(())
}

fn install_one(
    bench: &mut Bench<'_>,
    store: &Store,
    (package, source): (&Locked, &Wheel),
    prefix: &Path,
) -> Result<(), Error> {
    let input = inside::input(&source.file);
    let outputs = bench.run(Step {
        shown: vec![
            shown(&store.wheel(&source.sha256, &source.file), input.clone()),
            shown(prefix, inside::ENVIRONMENT),
        ],
        by: format!("the build of {} {}", package.name, package.version),
        time_ms_max: bench.limits.time_ms_max,
        scratch_bytes_max: bench.limits.scratch_bytes_max,
        failed: (Error::Install, "an R package could not be compiled", NEXT),
        ..step::of_script("r-install", SCRIPT, &[&package.name, &input, inside::ENVIRONMENT], bench.interpreter)
    });
    let outputs = outputs.map_err(|error| naming(error, package))?;
    let made = outputs.join(LIBRARY);
    let others = tree::walk(&made)?.into_iter().find(|entry| entry.path.split('/').next() != Some(&package.name));
    if let Some(other) = others {
        return Err(left(package, &format!("its build left {}, which is of something else", quote(&other.path))));
    }
    let from = made.join(&package.name);
    if !from.join("DESCRIPTION").is_file() {
        return Err(left(package, "its build left nothing that `library()` would find"));
    }
    tree::rename(&from, &prefix.join(LIBRARY).join(&package.name))
}

/// Which of the packages it was.
fn naming(error: Error, package: &Locked) -> Error {
    let Error::Install(detail) = error else { return error };
    let what = format!("the R package {} {} could not be compiled", quote(&package.name), package.version);
    Error::Install(detail.of(what))
}

/// The packages of a lock, each after those that it needs.
fn in_order(lock: &Lock) -> Result<Vec<&Locked>, Error> {
    let mut waiting: BTreeMap<&str, &Locked> = lock.locked().map(|package| (package.name.as_str(), package)).collect();
    let mut done: BTreeSet<&str> = BTreeSet::new();
    let mut order = Vec::new();
    while !waiting.is_empty() {
        let ready = |package: &&Locked| package.needs.iter().all(|name| done.contains(name.as_str()));
        let Some(next) = waiting.values().copied().find(ready) else {
            let names: Vec<String> = waiting.keys().take(5).map(|name| quote(name)).collect();
            return Err(Error::Lock(Detail::new(
                format!("the R packages {} cannot be installed one after the other", names.join(", ")),
                "they need each other, or something that is not there",
                "leave them out, or tell the administrator of the R repository",
            )));
        };
        waiting.remove(next.name.as_str());
        done.insert(&next.name);
        order.push(next);
    }
    Ok(order)
}

fn left(package: &Locked, why: &str) -> Error {
    Error::Install(Detail::new(format!("the R package {} was not installed", quote(&package.name)), why, NEXT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(packages: &[(&str, &[&str])]) -> Lock {
        let package = |(name, needs): &(&str, &[&str])| Locked {
            name: (*name).to_owned(),
            version: "1.0".to_owned(),
            wheels: Vec::new(),
            source: None,
            needs: needs.iter().map(|name| (*name).to_owned()).collect(),
        };
        Lock::of_r(packages.iter().map(package).collect())
    }

    #[test]
    fn what_is_needed_comes_first_and_a_circle_is_refused() {
        let good = lock(&[("aa", &["cc", "bb"]), ("bb", &["cc"]), ("cc", &[]), ("dd", &[])]);
        let names: Vec<&str> = in_order(&good).unwrap().into_iter().map(|package| package.name.as_str()).collect();
        assert_eq!(names, ["cc", "bb", "aa", "dd"]);
        for bad in [lock(&[("aa", &["bb"]), ("bb", &["aa"])]), lock(&[("aa", &["zz"])]), lock(&[("aa", &["aa"])])] {
            assert!(in_order(&bad).unwrap_err().why().contains("need each other"));
        }
    }
}
