//! What is installed in the machine's own R libraries, taken as it is: copied in a jail without network,
//! with all it needs. The hash that the lock has of such a package is that of all its files.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::names::{is_r_name, is_r_version};
use super::request::RRequest;
use super::{LIBRARY, step};
use crate::digest;
use crate::error::{self, Detail, Error};
use crate::inside;
use crate::lock::{Lock, Locked, PACKAGES_MAX, Wheel};
use crate::progress::counted;
use crate::quote::quote;
use crate::step::{Bench, Step};
use crate::tree::{self, Kind};

const SCRIPT: (&str, &str) = ("r_library.R", inside::R_LIBRARY_SCRIPT);
/// Where distributions and administrators install packages; the first that has one is taken.
const LIBRARIES: [&str; 5] = [
    "/usr/local/lib/R/site-library",
    "/usr/lib/R/site-library",
    "/usr/lib/R/library",
    "/usr/share/R/library",
    "/usr/lib64/R/library",
];
/// What stands for a package that is no file of a repository.
pub(super) const END: &str = ".installed";
const TEXT_BYTES_MAX: u64 = 4 << 20;

/// Changes when a package of the machine is installed, removed or replaced.
pub(super) fn fingerprint(root: &Path) -> String {
    let mut text = String::new();
    for library in LIBRARIES {
        let folder = root.join(library.trim_start_matches('/'));
        let items = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut lines: Vec<String> = items
            .filter_map(|item| {
                let about = fs::metadata(item.path().join("DESCRIPTION")).ok()?;
                let name = item.file_name().to_string_lossy().into_owned();
                let stamp = (about.ino(), about.len(), about.mtime(), about.mtime_nsec(), about.ctime());
                Some(format!("{name} {stamp:?}\n"))
            })
            .collect();
        lines.sort();
        text.push_str(&format!("{library}\n{}", lines.concat()));
    }
    digest::of_text(&text)
}

/// Copies what is asked for below `prefix`; the lock of it.
pub(super) fn take(bench: &mut Bench<'_>, request: &RRequest, prefix: &Path) -> Result<Lock, Error> {
    let count = request.wanted().count();
    bench.progress.step(&format!("taking {} from the library of this machine", counted(count, "R package")));
    let wanted = inside::input("wanted");
    let arguments: Vec<&str> = [wanted.as_str()].into_iter().chain(LIBRARIES).collect();
    let outputs = bench.run(Step {
        inputs: vec![(SCRIPT.0, SCRIPT.1.to_owned()), ("wanted", request.text())],
        time_ms_max: bench.limits.time_ms_max,
        scratch_bytes_max: bench.limits.scratch_bytes_max,
        failed: (
            Error::Resolve,
            "the R packages cannot be taken from this machine",
            "install them on it (Debian: r-cran-NAME), or leave out --r-from-machine to compile them from a repository",
        ),
        ..step::of_script("r-library", SCRIPT, &arguments, bench.interpreter)
    })?;
    let text = tree::read_bounded(&outputs.join("taken"), TEXT_BYTES_MAX)?;
    tree::make_folder(prefix)?;
    tree::rename(&outputs.join(LIBRARY), &prefix.join(LIBRARY))?;
    let mut hashes = hashes(&prefix.join(LIBRARY))?;
    let mut packages = Vec::new();
    for line in text.lines() {
        let package = parse_line(line, &mut hashes);
        packages.push(package.ok_or_else(|| refused(line))?);
    }
    let missing = request.wanted().find(|wanted| !packages.iter().any(|package| package.name == wanted.name));
    if let Some(name) = missing.map(|wanted| &wanted.name).or(hashes.keys().next()) {
        return Err(refused(name));
    }
    if packages.len() > PACKAGES_MAX {
        return Err(refused("more than 2,000 packages"));
    }
    Ok(Lock::of_r(packages))
}

/// Name, version and needs, with tabs between them, of a package that is there.
fn parse_line(line: &str, hashes: &mut BTreeMap<String, String>) -> Option<Locked> {
    let cells: Vec<&str> = line.split('\t').collect();
    let [name, version, needs] = *cells.as_slice() else { return None };
    let needs: Vec<String> = needs.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if !is_r_name(name) || !is_r_version(version) || !needs.iter().all(|name| is_r_name(name)) {
        return None;
    }
    let sha256 = hashes.remove(name)?;
    let installed = Wheel { url: String::new(), file: format!("{name}_{version}{END}"), sha256, size: None };
    Some(Locked { name: name.to_owned(), version: version.to_owned(), wheels: vec![installed], source: None, needs })
}

/// The hash of each folder of the library: of a line for each of its files, in the order of paths.
fn hashes(library: &Path) -> Result<BTreeMap<String, String>, Error> {
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    for entry in tree::walk(library)?.iter().filter(|entry| entry.kind != Kind::Folder) {
        let path = library.join(&entry.path);
        let (sha256, _) = digest::of_file(&path).map_err(|e| error::store("read", &path, &e))?;
        let (name, below) = entry.path.split_once('/').unwrap_or((&entry.path, ""));
        let mode = if entry.kind == Kind::Executable { "x" } else { "-" };
        texts.entry(name.to_owned()).or_default().push_str(&format!("{mode} {sha256} {below}\n"));
    }
    Ok(texts.into_iter().map(|(name, text)| (name, digest::of_text(&text))).collect())
}

fn refused(subject: &str) -> Error {
    Error::Resolve(Detail::new(
        "the R packages cannot be taken from this machine",
        format!("the build step left {}, which is not what was asked for", quote(subject)),
        "run again; if it stays, run `stockade doctor`",
    ))
}
