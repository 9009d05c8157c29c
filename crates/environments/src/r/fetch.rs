//! Brings source packages into the store: fetched in a jail that reaches their repository only; their
//! hashes taken, compared and their archives looked at here, before the store has them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use md5::{Digest, Md5};

use super::repository::{self, Repository};
use super::resolve::Needed;
use super::{step, tarball};
use crate::digest::{self, hex};
use crate::error::{self, Detail, Error};
use crate::inside;
use crate::lock::{Lock, Locked, Wheel};
use crate::machine::Machine;
use crate::progress::counted;
use crate::quote::quote;
use crate::room;
use crate::step::{Bench, Step};
use crate::store::Store;
use crate::url::HttpsUrl;
use crate::wheels;

const SCRIPT: (&str, &str) = ("r_fetch.R", inside::R_FETCH_SCRIPT);
/// All files of a build together.
const ALL_BYTES_MAX: u64 = 2 << 30;

/// A file to be fetched.
struct Wanted<'a> {
    name: &'a str,
    file: String,
    url: String,
    md5: Option<&'a str>,
    sha256: Option<&'a str>,
}

/// The packages with their files, which the store then has.
pub(super) fn fetch(
    bench: &mut Bench<'_>,
    store: &Store,
    repository: &Repository,
    needed: Vec<Needed>,
) -> Result<Vec<Locked>, Error> {
    let wanted = needed.iter().map(|package| {
        let file = format!("{}_{}.tar.gz", package.name, package.version);
        let folder = if package.folder.is_empty() { String::new() } else { format!("{}/", package.folder) };
        let url = format!("{}/{folder}{file}", repository.sources());
        Wanted { name: &package.name, file, url, md5: package.md5.as_deref(), sha256: None }
    });
    let files = fetch_all(bench, store, wanted.collect(), repository.hosts())?;
    let locked = needed.iter().zip(files).map(|(package, file)| Locked {
        name: package.name.clone(),
        version: package.version.clone(),
        wheels: Vec::new(),
        source: Some(file),
        needs: package.needs.clone(),
    });
    Ok(locked.collect())
}

/// A lock comes from a stranger, and a request tells its host something: only the repository of this machine is asked.
fn check_hosts(hosts: &BTreeSet<String>, machine: &Machine) -> Result<(), Error> {
    if hosts.is_empty() {
        return Ok(());
    }
    let own = repository::choose(machine)?.hosts();
    match hosts.iter().find(|host| !own.contains(*host)) {
        None => Ok(()),
        Some(host) => Err(Error::Lock(Detail::new(
            format!("the lock is refused at the host {}", quote(host)),
            "it is not that of the repository of this machine",
            "name the packages with --r, or have the administrator set that repository",
        ))),
    }
}

/// The packages of a lock; what the store has already is not fetched again.
pub(super) fn of_lock(
    bench: &mut Bench<'_>,
    store: &Store,
    lock: &Lock,
    machine: &Machine,
) -> Result<Vec<Locked>, Error> {
    let sources = lock.locked().filter_map(|package| Some((package, package.source.as_ref()?)));
    let missing: Vec<_> = sources.filter(|(_, source)| !wheels::is_stored(store, source)).collect();
    let host = |source: &Wheel| HttpsUrl::parse(&source.url).map(|url| url.host().to_owned());
    let hosts: BTreeSet<String> = missing.iter().filter_map(|(_, source)| host(source).ok()).collect();
    check_hosts(&hosts, machine)?;
    let wanted = missing.iter().map(|(package, source)| Wanted {
        name: &package.name,
        file: source.file.clone(),
        url: source.url.clone(),
        md5: None,
        sha256: Some(&source.sha256),
    });
    let wanted: Vec<Wanted<'_>> = wanted.collect();
    if !wanted.is_empty() {
        fetch_all(bench, store, wanted, hosts)?;
    }
    Ok(lock.locked().cloned().collect())
}

fn fetch_all(
    bench: &mut Bench<'_>,
    store: &Store,
    wanted: Vec<Wanted<'_>>,
    hosts: BTreeSet<String>,
) -> Result<Vec<Wheel>, Error> {
    bench.progress.step(&format!("fetching {}", counted(wanted.len(), "source package")));
    let list: String = wanted.iter().map(|one| format!("{}\t{}\t{}\n", one.name, one.file, one.url)).collect();
    let outputs = bench.run(Step {
        inputs: vec![(SCRIPT.0, SCRIPT.1.to_owned()), ("files", list)],
        hosts,
        time_ms_max: bench.limits.time_ms_max,
        scratch_bytes_max: ALL_BYTES_MAX,
        failed: (
            Error::Wheel,
            "a source package of R could not be fetched",
            "check that the R repository can be reached and has it, then run again",
        ),
        ..step::of_script("r-fetch", SCRIPT, &[&inside::input("files")], bench.interpreter)
    })?;
    wanted.iter().map(|one| take(bench, store, one, &outputs.join("files"))).collect()
}

/// Takes one file into the store, when it is what it should be.
fn take(bench: &Bench<'_>, store: &Store, wanted: &Wanted<'_>, folder: &Path) -> Result<Wheel, Error> {
    let path = folder.join(&wanted.file);
    if !fs::symlink_metadata(&path).is_ok_and(|about| about.is_file()) {
        return Err(refused(wanted, "the build step did not hand it over"));
    }
    let (sha256, size) = digest::of_file(&path).map_err(|e| error::store("read", &path, &e))?;
    if let Some(expected) = wanted.sha256.filter(|expected| **expected != sha256) {
        return Err(refused(wanted, &format!("the lock says sha256 {expected}, the file has {sha256}")));
    }
    if let Some(expected) = wanted.md5 {
        let found = md5_of(&path).map_err(|e| error::store("read", &path, &e))?;
        if found != expected {
            let why = format!("the index of the repository says MD5 {expected}, the file has {found}");
            return Err(refused(wanted, &why));
        }
    }
    let file = File::open(&path).map_err(|e| error::store("read", &path, &e))?;
    let unpacked =
        tarball::check(file, wanted.name, bench.limits.scratch_bytes_max).map_err(|why| refused(wanted, &why))?;
    if unpacked > bench.room.at_most(bench.limits.scratch_bytes_max) {
        return Err(refused(wanted, &format!("unpacked it takes {}", room::shown(unpacked))));
    }
    let wheel = Wheel { url: wanted.url.clone(), file: wanted.file.clone(), sha256, size: Some(size) };
    if !wheels::is_stored(store, &wheel) {
        wheels::keep(store, &wheel, &path)?;
    }
    Ok(wheel)
}

/// Tells damage, and files of another day, from the one that is listed; whether it is the one somebody
/// trusts is a question for the sha256 in the lock.
fn md5_of(path: &Path) -> std::io::Result<String> {
    let (mut file, mut hash, mut piece) = (File::open(path)?, Md5::new(), vec![0_u8; 256 << 10]);
    loop {
        let count = file.read(&mut piece)?;
        if count == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(piece.get(..count).unwrap_or_default());
    }
}

fn refused(wanted: &Wanted<'_>, why: &str) -> Error {
    Error::Wheel(Detail::new(
        format!("the source package {} is refused", quote(&wanted.file)),
        why,
        "run again; if it stays, tell the administrator of the R repository, or leave the package out",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::fixture::machine;

    #[test]
    fn a_lock_makes_nobody_ask_another_host() {
        let (_root, machine) = machine(&[], &[("STOCKADE_R_REPOSITORY", "https://cran.invalid/")]);
        let hosts = |host: &str| BTreeSet::from([host.to_owned()]);
        assert!(check_hosts(&hosts("cran.invalid"), &machine).is_ok());
        let error = check_hosts(&hosts("spy.invalid"), &machine).unwrap_err();
        assert!(error.to_string().contains("spy.invalid"), "{error}");
    }
}
