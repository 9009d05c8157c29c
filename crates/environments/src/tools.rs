//! Finds uv: the machine's own if it is new enough, else the pinned one, fetched once from the
//! package index and checked twice, as a wheel and as a program. uv runs only in jails.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use pep508_rs::pep440_rs::Version;

use crate::digest;
use crate::error::{self, Detail, Error};
use crate::index;
use crate::inside;
use crate::lock::Wheel;
use crate::machine::Machine;
use crate::step::{self, Bench, Step};
use crate::store::Store;
use crate::tree;
use crate::url::HttpsUrl;
use crate::wheels;

/// The uv this crate was tested with.
const VERSION: &str = "0.13.9";

/// The files of that uv for one kind of machine; both are linked statically.
struct Pinned {
    /// How the platform tag of the interpreter ends.
    machine: &'static str,
    file: &'static str,
    size: u64,
    wheel_sha256: &'static str,
    program_sha256: &'static str,
}

const PINNED: [Pinned; 2] = [
    Pinned {
        machine: "x86_64",
        file: "uv-0.13.9-py3-none-musllinux_1_1_x86_64.whl",
        size: 19_295_638,
        wheel_sha256: "2c45530751517d6c3bbc69a19473f6effe47cce047bede01ffd8af7ea7b36b25",
        program_sha256: "edbfb9a3d00dc84148e6691cd8740781fdc32db6505d7ef88ba6c3e569d5bec9",
    },
    Pinned {
        machine: "aarch64",
        file: "uv-0.13.9-py3-none-manylinux_2_17_aarch64.manylinux2014_aarch64.musllinux_1_1_aarch64.whl",
        size: 18_026_789,
        wheel_sha256: "5435c5ce14a56431208ca0996416d310f1598e8c2c8ba707688985a16bb82dbe",
        program_sha256: "bbecb5ac518030bb5e84f1999c577228460192832ac24a92bd772735682979f4",
    },
];

/// A uv that is on the machine already: on `PATH` and new enough, or in the store.
pub(crate) fn present(bench: &mut Bench<'_>, store: &Store, machine: &Machine) -> Option<PathBuf> {
    let stored = store.tool(VERSION);
    let is_pinned = |path: &Path| {
        let sha256 = digest::of_file(path).map(|(sha256, _)| sha256);
        PINNED.iter().any(|pinned| sha256.as_ref().is_ok_and(|found| found == pinned.program_sha256))
    };
    let on_path = on_path(machine).filter(|path| is_new_enough(bench, path));
    on_path.or_else(|| is_pinned(&stored).then_some(stored))
}

/// Whether a folder of tools is that of the uv in use.
pub(crate) fn is_current(folder: &Path) -> bool {
    folder.ends_with(format!("uv-{VERSION}"))
}

/// Fetches the pinned uv into the store.
pub(crate) fn fetch(bench: &mut Bench<'_>, store: &Store, url: &HttpsUrl) -> Result<PathBuf, Error> {
    let pinned = PINNED
        .iter()
        .find(|pinned| bench.interpreter.platform.ends_with(pinned.machine))
        .ok_or_else(|| missing("no uv is pinned for this kind of machine"))?;
    bench.progress.step(&format!("fetching uv {VERSION}"));
    let (files, hosts) = index::files_of(bench, url, "uv")?;
    let file = files
        .iter()
        .map(|file| &file.url)
        .find(|url| url.file_name().as_deref() == Some(pinned.file) && hosts.contains(url.host()))
        .ok_or_else(|| missing(&format!("the package index does not have {}", pinned.file)))?;
    let wheel = Wheel {
        url: file.as_str().to_owned(),
        file: pinned.file.to_owned(),
        sha256: pinned.wheel_sha256.to_owned(),
        size: Some(pinned.size),
    };
    wheels::fetch(bench, store, &[&wheel], &hosts)?;
    extract(bench, store, pinned)
}

/// Takes the program out of its wheel in a jail, and checks what comes out.
fn extract(bench: &mut Bench<'_>, store: &Store, pinned: &Pinned) -> Result<PathBuf, Error> {
    let script = ("extract_uv.py", inside::EXTRACT_UV_SCRIPT);
    let wheel = format!("{}/{}", inside::WHEELS, pinned.file);
    let output = format!("{}/uv", inside::JOB);
    let outputs = bench.run(Step {
        shown: vec![step::shown(&store.wheel(pinned.wheel_sha256, pinned.file), wheel.as_str())],
        failed: (Error::Tool, "uv could not be unpacked", INSTALL_UV),
        ..Step::of_script("extract-uv", script, &[&wheel, &output], bench.interpreter)
    })?;
    let program = outputs.join("uv");
    let (sha256, _) = digest::of_file(&program).map_err(|e| error::store("read", &program, &e))?;
    if sha256 != pinned.program_sha256 {
        return Err(missing("the program that was unpacked is not the pinned one"));
    }
    let place = store.tool(VERSION);
    tree::make_folder(place.parent().unwrap_or(store.root()))?;
    tree::set_mode(&program, 0o555)?;
    tree::rename(&program, &place)?;
    Ok(place)
}

/// The first `uv` of `PATH` that is a program; wrappers of version managers are passed over.
fn on_path(machine: &Machine) -> Option<PathBuf> {
    let is_program = |path: &PathBuf| {
        let mut magic = [0_u8; 4];
        File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && &magic == b"\x7fELF"
    };
    std::env::split_paths(machine.var("PATH")?)
        .filter(|folder| folder.is_absolute())
        .filter_map(|folder| folder.join("uv").canonicalize().ok())
        .find(is_program)
}

/// Asked in a jail, where it has to run later: one that needs libraries the jail lacks is no use.
fn is_new_enough(bench: &mut Bench<'_>, uv: &Path) -> bool {
    let script = ("uv_version.py", inside::UV_VERSION_SCRIPT);
    let output = format!("{}/version", inside::JOB);
    let step = Step {
        shown: vec![step::shown(uv, inside::UV)],
        ..Step::of_script("uv-version", script, &[inside::UV, &output], bench.interpreter)
    };
    let said = bench.run(step).and_then(|outputs| tree::read_bounded(&outputs.join("version"), 1000));
    let Ok(said) = said else { return false };
    let found = said.split_whitespace().nth(1).and_then(|text| Version::from_str(text).ok());
    found >= Version::from_str(VERSION).ok()
}

const INSTALL_UV: &str = "install uv 0.13.9 or newer on this machine, then run again";

fn missing(why: &str) -> Error {
    Error::Tool(Detail::new("uv is not on this machine and could not be fetched", why, INSTALL_UV))
}
