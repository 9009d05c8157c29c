//! Takes away what nobody needs. What is in use stays, by construction: an environment goes only in the
//! hands of who holds it alone (`in_use.rs`), package files and notes only while no build is under way.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::diff;
use crate::digest::is_sha256;
use crate::environment::Environment;
use crate::error::{Detail, Error};
use crate::in_use::InUse;
use crate::publish::{self, without_builds};
use crate::quote::quote;
use crate::share;
use crate::store::{BUILDS, Store};
use crate::tools;
use crate::tree;

/// What is to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// What was used or made since then.
    pub since: SystemTime,
    /// Everything: only look.
    pub dry_run: bool,
}

/// What went, or would go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Collected {
    /// Digests of environments.
    pub environments: Vec<String>,
    /// Package files of the index.
    pub wheels: usize,
    /// Tools, notes about indexes, requests and builds.
    pub notes: usize,
    /// What all of it took; files that other environments share do not count.
    pub bytes: u64,
    /// Whether builds were under way, so that package files and notes were left alone.
    pub builds_under_way: bool,
}

/// Takes away environments that no name stands for and no recent run used, then what only they needed.
///
/// # Errors
/// When the store cannot be read or written.
pub fn gc(store: &Store, keep: Keep) -> Result<Collected, Error> {
    let mut collected = Collected::default();
    if !store.root().is_dir() {
        return Ok(collected);
    }
    store.prepare()?;
    for digest in store.digests() {
        if let Some(bytes) = collect(store, &digest, keep)? {
            collected.environments.push(digest);
            collected.bytes += bytes;
        }
    }
    match without_builds(store)? {
        Some(_no_builds) => collect_rest(store, keep, &mut collected)?,
        None => collected.builds_under_way = true,
    }
    Ok(collected)
}

/// Takes the environment `digest` away whatever its age, unless it has a name or is in use.
///
/// # Errors
/// When it is needed, or cannot be removed.
pub fn remove(store: &Store, digest: &str) -> Result<(), Error> {
    let needed = |why: &str, next: &str| {
        Error::Name(Detail::new(format!("the environment {} is not taken away", quote(digest)), why, next))
    };
    let Some(alone) = InUse::alone(store, digest)? else {
        return Err(needed("a run or a build uses it", "try again when it has ended"));
    };
    if let Some((name, _)) = store.names()?.into_iter().find(|(_, named)| named == digest) {
        let next = format!("take the name away: stockade env rm {name}");
        return Err(needed(&format!("the name `{name}` stands for it"), &next));
    }
    take_away(store, digest, alone).map(drop)
}

/// Takes one environment away if nobody needs it; what it took.
fn collect(store: &Store, digest: &str, keep: Keep) -> Result<Option<u64>, Error> {
    let Some(alone) = InUse::alone(store, digest)? else { return Ok(None) };
    // Names are looked at only now: who gives one holds the environment meanwhile.
    if store.names()?.iter().any(|(_, named)| named == digest) {
        return Ok(None);
    }
    let built = fs::symlink_metadata(store.environments().join(digest)).and_then(|about| about.modified());
    let marked = fs::metadata(store.environments().join(digest).join("complete")).and_then(|about| about.modified());
    let last = [alone.used().1.filter(|_| alone.used().0 > 0), built.ok(), marked.ok()].into_iter().flatten().max();
    if last.is_some_and(|last| last >= keep.since) {
        return Ok(None);
    }
    if keep.dry_run {
        return Ok(Some(bytes_of(&store.environments().join(digest))));
    }
    take_away(store, digest, alone).map(Some)
}

/// One rename makes it disappear; removing its files may then take a while, or be cut short.
fn take_away(store: &Store, digest: &str, alone: InUse) -> Result<u64, Error> {
    let place = store.environments().join(digest);
    let bytes = bytes_of(&place);
    let going = publish::Building::begin(store)?;
    if fs::symlink_metadata(&place).is_ok() {
        tree::set_mode(&place, 0o755)?;
        tree::rename(&place, &going.folder().join("gone"))?;
    }
    drop(fs::remove_file(store.imports(digest)));
    alone.remove(store, digest);
    Ok(bytes)
}

/// What removing a tree frees: files with one name only.
fn bytes_of(root: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let (mut bytes, mut folders) = (0_u64, vec![root.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for item in fs::read_dir(folder).into_iter().flatten().flatten() {
            match item.metadata() {
                Ok(about) if about.is_dir() => folders.push(item.path()),
                Ok(about) if about.nlink() == 1 => bytes = bytes.saturating_add(about.len()),
                Ok(_) | Err(_) => {}
            }
        }
    }
    bytes
}

fn collect_rest(store: &Store, keep: Keep, collected: &mut Collected) -> Result<(), Error> {
    publish::sweep(&store.building());
    let gone: BTreeSet<&str> = collected.environments.iter().map(String::as_str).collect();
    let (mut kept, mut needed) = (BTreeSet::new(), BTreeSet::new());
    for digest in store.digests().into_iter().filter(|digest| !gone.contains(digest.as_str())) {
        // One whose lock cannot be read needs nobody's package files.
        if let Some(environment) = Environment::load(store, &digest)? {
            let packages = diff::locked(&environment).unwrap_or_default();
            needed.extend(packages.into_iter().flat_map(|package| package.files).map(|file| file.sha256));
        }
        kept.insert(digest);
    }
    let mut take = Take { keep, bytes: 0 };
    collected.wheels = entries(&store.root().join("wheels"))
        .into_iter()
        .filter(|path| !name_of(path).is_some_and(|sha256| needed.contains(sha256)) && take.old(path))
        .count();
    let is_answered = |path: &PathBuf| fs::read_to_string(path).is_ok_and(|digest| kept.contains(&digest));
    let mut notes: Vec<PathBuf> = entries(&store.root().join("requests"));
    notes.retain(|path| !is_answered(path));
    notes.extend(entries(&store.root().join("built")));
    notes.extend(entries(&store.root().join("index")));
    notes.extend(entries(&store.root().join("tools")).into_iter().filter(|path| !tools::is_current(path)));
    collected.notes = notes.iter().filter(|path| take.old(path)).count();
    // Nobody waits for these, since nobody builds; and what stood for nothing is no loss.
    for path in entries(&store.locks()).iter().filter(|path| name_of(path) != Some(BUILDS)) {
        take.now(path);
    }
    for folder in ["uses", "imports"] {
        let strays = entries(&store.root().join(folder));
        for path in strays.iter().filter(|path| !name_of(path).is_some_and(|digest| kept.contains(digest))) {
            take_stray(store, path, &mut take)?;
        }
    }
    for (path, bytes) in share::unused(store) {
        take.bytes = take.bytes.saturating_add(bytes);
        take.now(&path);
    }
    store.sweep_names(keep.since);
    collected.bytes = collected.bytes.saturating_add(take.bytes);
    Ok(())
}

/// A lock of an environment that is not there; held alone, for it may be about to appear.
fn take_stray(store: &Store, path: &Path, take: &mut Take) -> Result<(), Error> {
    let Some(digest) = name_of(path).filter(|name| is_sha256(name)) else { return Ok(()) };
    if take.keep.dry_run || store.environments().join(digest).exists() {
        return Ok(());
    }
    if let Some(alone) = InUse::alone(store, digest)? {
        drop(fs::remove_file(store.imports(digest)));
        alone.remove(store, digest);
    }
    Ok(())
}

/// Takes files away, unless it is only to look.
struct Take {
    keep: Keep,
    bytes: u64,
}

impl Take {
    /// Takes a file or folder that was made before what is kept; says whether it went, or would.
    fn old(&mut self, path: &Path) -> bool {
        let modified = fs::symlink_metadata(path).and_then(|about| about.modified());
        if !modified.is_ok_and(|at| at < self.keep.since) {
            return false;
        }
        let own = fs::symlink_metadata(path).ok().filter(|about| about.is_file()).map_or(0, |about| about.len());
        self.bytes = self.bytes.saturating_add(own).saturating_add(bytes_of(path));
        self.now(path);
        true
    }

    fn now(&self, path: &Path) {
        if !self.keep.dry_run {
            drop(tree::remove(path));
        }
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|item| item.path()).collect();
    paths.sort();
    paths
}

fn name_of(path: &Path) -> Option<&str> {
    path.file_name().and_then(|name| name.to_str())
}

/// The moment so many days ago.
#[must_use]
pub fn days_ago(days: u32, now: SystemTime) -> SystemTime {
    now.checked_sub(Duration::from_secs(u64::from(days) * 86_400)).unwrap_or(SystemTime::UNIX_EPOCH)
}
