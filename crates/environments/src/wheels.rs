//! Brings the files of a lock into the store: fetched in a jail, their hashes checked here.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::attestations;
use crate::digest;
use crate::error::{self, Detail, Error};
use crate::inside;
use crate::lock::Wheel;
use crate::progress::counted;
use crate::quote::quote;
use crate::room::{self, Load};
use crate::step::{Bench, Step};
use crate::store::Store;
use crate::tree;
use crate::url::HttpsUrl;

/// What all files of a piece whose sizes the lock does not say may take together.
const UNSTATED_BYTES: u64 = 4 << 30;

/// Fetches what the store does not have, from `hosts` only; afterwards it has every file. An index is asked
/// whether it has attestations of them.
pub(crate) fn fetch(
    bench: &mut Bench<'_>,
    store: &Store,
    wheels: &[&Wheel],
    hosts: &BTreeSet<String>,
    index: Option<&HttpsUrl>,
) -> Result<(), Error> {
    let missing = wheels.iter().copied().filter(|wheel| !is_stored(store, wheel));
    let loads = missing.map(|wheel| {
        let name = format!("the package file {}", quote(&wheel.file));
        Load { item: wheel, name, bytes: wheel.size.unwrap_or(0) }
    });
    for (bytes, piece) in bench.room.pieces(loads)? {
        fetch_piece(bench, store, &piece, (hosts, index), bytes)?;
    }
    Ok(())
}

fn fetch_piece(
    bench: &mut Bench<'_>,
    store: &Store,
    piece: &[&Wheel],
    (hosts, index): (&BTreeSet<String>, Option<&HttpsUrl>),
    bytes: u64,
) -> Result<(), Error> {
    let known: u64 = piece.iter().filter_map(|wheel| wheel.size).sum();
    let size = if known > 0 { format!(", {}", room::shown(known)) } else { String::new() };
    bench.progress.step(&format!("fetching {}{size}", counted(piece.len(), "package file")));
    let script = ("fetch.py", inside::FETCH_SCRIPT);
    let list = inside::input("wheels.json");
    let mut arguments = vec![list.as_str(), inside::PROXY, inside::CERTIFICATES];
    arguments.extend(index.map(HttpsUrl::as_str));
    let unstated = if piece.iter().any(|wheel| wheel.size.is_none()) { UNSTATED_BYTES } else { 0 };
    let (outputs, failed) = bench.attempt(Step {
        inputs: vec![("fetch.py", script.1.to_owned()), ("wheels.json", listed(piece))],
        hosts: hosts.clone(),
        time_ms_max: bench.limits.time_ms_max,
        scratch_bytes_max: bytes.saturating_add(unstated),
        failed: (
            Error::Wheel,
            "a package file could not be fetched",
            "check that the package index can be reached, then run again: what arrived is kept; to wait longer, set \
             UV_HTTP_TIMEOUT to seconds",
        ),
        ..Step::of_script("fetch", script, &arguments, bench.interpreter)
    })?;
    // All that arrived whole is kept, before the first bad one ends the build.
    let taken: Vec<_> = piece.iter().map(|wheel| take(store, wheel, &outputs)).collect();
    failed.map_or(Ok(()), Err)?;
    attestations::note(store, piece, &outputs);
    taken.into_iter().collect()
}

/// A folder `name` of this build that holds these files, and nothing else, by hard link.
pub(crate) fn gather(bench: &Bench<'_>, store: &Store, name: &str, wheels: &[&Wheel]) -> Result<PathBuf, Error> {
    let folder = bench.folder.join(name);
    tree::make_folder(&folder)?;
    for wheel in wheels {
        let (from, to) = (store.wheel(&wheel.sha256, &wheel.file), folder.join(&wheel.file));
        fs::hard_link(&from, &to).map_err(|e| error::store("link", &from, &e))?;
    }
    Ok(folder)
}

/// Whether the store has the file, with its hash checked again: a disk forgets.
pub(crate) fn is_stored(store: &Store, wheel: &Wheel) -> bool {
    let path = store.wheel(&wheel.sha256, &wheel.file);
    match digest::of_file(&path) {
        Ok((sha256, _)) if sha256 == wheel.sha256 => true,
        Ok(_) => {
            drop(tree::remove(&path));
            false
        }
        Err(_) => false,
    }
}

fn listed(wheels: &[&Wheel]) -> String {
    let list = wheels.iter().map(|wheel| {
        serde_json::json!({
            "url": wheel.url, "sha256": wheel.sha256, "name": wheel.file, "size": wheel.size,
        })
    });
    serde_json::Value::Array(list.collect()).to_string()
}

/// Moves one fetched file into the store, if it is the one that was locked.
fn take(store: &Store, wheel: &Wheel, outputs: &Path) -> Result<(), Error> {
    let folder = outputs.join("wheels").join(&wheel.sha256);
    keep(store, wheel, &folder.join(&wheel.file))
}

/// Moves a file into the store, if its hash is the one expected.
pub(crate) fn keep(store: &Store, wheel: &Wheel, path: &Path) -> Result<(), Error> {
    if !fs::symlink_metadata(path).is_ok_and(|about| about.is_file()) {
        return Err(not_the_one(wheel, "the build step did not hand it over"));
    }
    let (sha256, _) = digest::of_file(path).map_err(|e| error::store("read", path, &e))?;
    if sha256 != wheel.sha256 {
        return Err(not_the_one(wheel, &format!("the lock says sha256 {}, the file has {sha256}", wheel.sha256)));
    }
    let place = store.wheel(&wheel.sha256, &wheel.file);
    tree::make_folder(place.parent().unwrap_or(store.root()))?;
    tree::set_mode(path, 0o444)?;
    tree::rename(path, &place)
}

fn not_the_one(wheel: &Wheel, why: &str) -> Error {
    Error::Wheel(Detail::new(
        format!("the package file {} is not the one that was locked", quote(&wheel.file)),
        why,
        "run again; if it stays, the package index or a network in between changes files: tell its administrator",
    ))
}
