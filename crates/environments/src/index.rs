//! Finds, at run time, the package index and the hosts that serve its files; no name of any index
//! is written in this crate. Both are asked for in a jail and remembered for a day.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::digest;
use crate::error::{Detail, Error};
use crate::index_config::Choice;
use crate::inside;
use crate::step::{self, Bench, Step};
use crate::store::Store;
use crate::tree;
use crate::url::{HttpsUrl, is_host};

const REMEMBERED_SECONDS: u64 = 24 * 60 * 60;
const HOSTS_MAX: usize = 64;
/// Where distributions keep the pip that their Python was packaged with.
const HOST_WHEELS: &str = "/usr/share/python-wheels";

/// The index and every host a build may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) url: HttpsUrl,
    pub(crate) hosts: BTreeSet<String>,
}

/// What was learned, and when.
#[derive(Serialize, Deserialize)]
struct Remembered {
    values: Vec<String>,
    at_seconds: u64,
}

/// The configured index, or the one built into the machine's tools.
pub(crate) fn url(bench: &mut Bench<'_>, store: &Store, choice: &Choice, uv: Option<&Path>) -> Result<HttpsUrl, Error> {
    if let Choice::Named(url) = choice {
        return Ok(url.clone());
    }
    let path = store.index(&digest::of_text(&format!("default of {}", bench.interpreter.inside_executable)));
    if let Some(url) = recall(&path).and_then(|values| HttpsUrl::parse(values.first()?).ok()) {
        return Ok(url);
    }
    let text = ask_default(bench, uv)?;
    let url = HttpsUrl::parse(text.trim()).map_err(|why| unusable("the default package index", why))?;
    remember(bench, store, &path, vec![url.as_str().to_owned()])?;
    Ok(url)
}

/// The hosts that serve the files of the index, learned from the first of `names` it has.
pub(crate) fn hosts(bench: &mut Bench<'_>, store: &Store, url: HttpsUrl, names: &[&str]) -> Result<Index, Error> {
    let path = store.index(&digest::of_text(url.as_str()));
    if let Some(values) = recall(&path) {
        return Ok(Index { hosts: values.into_iter().collect(), url });
    }
    let outputs = list(bench, &url, names)?;
    let hosts = read_hosts(&outputs, &url)?;
    remember(bench, store, &path, hosts.iter().cloned().collect())?;
    Ok(Index { url, hosts })
}

/// One file that the index lists for a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) url: HttpsUrl,
    pub(crate) sha256: Option<String>,
    pub(crate) size: Option<u64>,
    pub(crate) requires_python: Option<String>,
    pub(crate) yanked: bool,
    /// When it was uploaded, if the index says so.
    pub(crate) uploaded: Option<String>,
}

/// A listed file as the jail wrote it: untrusted bytes.
#[derive(Deserialize)]
struct WireListed {
    url: String,
    sha256: Option<String>,
    size: Option<u64>,
    requires_python: Option<String>,
    yanked: bool,
    uploaded: Option<String>,
}

/// All files of one package, and the hosts they are at.
pub(crate) fn files_of(
    bench: &mut Bench<'_>,
    url: &HttpsUrl,
    name: &str,
) -> Result<(Vec<Listed>, BTreeSet<String>), Error> {
    let outputs = list(bench, url, &[name])?;
    let text = tree::read_bounded(&outputs.join("hosts.json"), 64 << 20)?;
    let listed: Vec<WireListed> =
        serde_json::from_str(&text).map_err(|_| unusable("the package index", "its list of files cannot be read"))?;
    let accept = |file: WireListed| {
        Some(Listed {
            url: HttpsUrl::parse(&file.url).ok()?,
            sha256: file.sha256.filter(|sha256| digest::is_sha256(sha256)),
            size: file.size,
            requires_python: file.requires_python,
            yanked: file.yanked,
            uploaded: file.uploaded,
        })
    };
    Ok((listed.into_iter().filter_map(accept).collect(), read_hosts(&outputs, url)?))
}

/// Runs the step that reads listings of the index; the folder with its answers.
fn list(bench: &mut Bench<'_>, url: &HttpsUrl, names: &[&str]) -> Result<PathBuf, Error> {
    bench.progress.step("asking the package index where its files are");
    let script = ("file_hosts.py", inside::FILE_HOSTS_SCRIPT);
    let output = format!("{}/hosts", inside::JOB);
    let fixed = [output.as_str(), url.as_str(), inside::PROXY, inside::CERTIFICATES];
    let arguments: Vec<&str> = fixed.into_iter().chain(names.iter().take(8).copied()).collect();
    bench.run(Step {
        hosts: BTreeSet::from([url.host().to_owned()]),
        time_ms_max: 60_000 + 2_000 * bench.patience_s,
        failed: (
            Error::Index,
            "the package index could not be asked",
            "check the names of the packages, and that this machine reaches its package index; to wait longer, set \
             UV_HTTP_TIMEOUT to seconds",
        ),
        failed_with: Some((
            3,
            (Error::Resolve, "the package index does not have what is asked for", "check the names of the packages"),
        )),
        ..Step::of_script("index", script, &arguments, bench.interpreter)
    })
}

fn read_hosts(outputs: &Path, url: &HttpsUrl) -> Result<BTreeSet<String>, Error> {
    let text = tree::read_bounded(&outputs.join("hosts"), 1 << 20)?;
    let mut hosts: BTreeSet<String> = text.lines().map(str::to_ascii_lowercase).collect();
    if hosts.len() > HOSTS_MAX || !hosts.iter().all(|host| is_host(host)) {
        return Err(unusable("the package index", "the hosts of its files are too many or not plain names"));
    }
    hosts.insert(url.host().to_owned());
    Ok(hosts)
}

/// Asks pip, or uv, of this machine, in a jail without network.
fn ask_default(bench: &mut Bench<'_>, uv: Option<&Path>) -> Result<String, Error> {
    bench.progress.step("finding the package index of this machine");
    let script = ("default_index.py", inside::DEFAULT_INDEX_SCRIPT);
    let output = format!("{}/index", inside::JOB);
    let host_wheels = Path::new(HOST_WHEELS);
    let mut shown = Vec::new();
    if host_wheels.is_dir() {
        shown.push(step::shown(host_wheels, inside::HOST_WHEELS));
    }
    shown.extend(uv.map(|uv| step::shown(uv, inside::UV)));
    let outputs = bench.run(Step {
        shown,
        failed: (
            Error::Index,
            "no package index is known",
            "set UV_DEFAULT_INDEX to the URL of a package index, or install pip",
        ),
        ..Step::of_script("default-index", script, &[&output, inside::HOST_WHEELS, inside::UV], bench.interpreter)
    })?;
    tree::read_bounded(&outputs.join("index"), 4 << 10)
}

fn recall(path: &Path) -> Option<Vec<String>> {
    let known: Remembered = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    let age = now_seconds().checked_sub(known.at_seconds)?;
    (age < REMEMBERED_SECONDS).then_some(known.values)
}

fn remember(bench: &Bench<'_>, store: &Store, path: &Path, values: Vec<String>) -> Result<(), Error> {
    let known = Remembered { values, at_seconds: now_seconds() };
    let text = serde_json::to_string(&known).unwrap_or_default();
    store.write_whole(&bench.folder, path, &text)
}

fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn unusable(what: &str, why: &str) -> Error {
    Error::Index(Detail::new(
        format!("{what} cannot be used"),
        why,
        "set UV_DEFAULT_INDEX to the `https://` URL of a package index",
    ))
}
