//! Asks uv, in a jail that reaches the index only, which packages meet the request.

use std::path::Path;

use crate::age::Moment;
use crate::error::Error;
use crate::index::Index;
use crate::inside;
use crate::lock::{Built, LOCK_BYTES_MAX, Lock};
use crate::progress::counted;
use crate::request::Request;
use crate::step::{self, Bench, Step};
use crate::tree;

/// The lock that uv found, checked.
pub(crate) fn resolve(
    bench: &mut Bench<'_>,
    request: &Request,
    index: &Index,
    uv: &Path,
    built: (&[Built], &Path),
) -> Result<Lock, Error> {
    bench.progress.step(&format!("resolving {}", counted(request.len(), "requirement")));
    let outputs = bench.run(Step {
        name: "resolve",
        by: "resolving".to_owned(),
        argv: command(&bench.interpreter.inside_executable, index.url.as_str(), request.newest()),
        inputs: vec![("requirements.in", request.text())],
        shown: vec![step::shown(uv, inside::UV), step::shown(built.1, inside::BUILT)],
        hosts: index.hosts.clone(),
        time_ms_max: bench.limits.time_ms_max,
        scratch_bytes_max: 2 << 30,
        failed: (
            Error::Resolve,
            "no set of packages meets the requirements",
            match request.newest() {
                None => "change the requirements as uv says; a package without wheels needs `--allow-build NAME`",
                Some(_) => {
                    "change the requirements as uv says, or give a shorter `--min-age`, which leaves out younger \
                     releases and, where the index tells no times, all; a package without wheels needs \
                     `--allow-build NAME`"
                }
            },
        ),
        // uv ends with 1 when nothing fits, and with 2 when it could not find out.
        failed_with: Some((
            2,
            (
                Error::Index,
                "the package index could not be asked what the packages need",
                "check that this machine reaches its package index, then run again; to wait longer, set UV_HTTP_TIMEOUT \
                 to seconds",
            ),
        )),
    })?;
    let text = tree::read_bounded(&outputs.join("pylock.toml"), LOCK_BYTES_MAX)?;
    let lock = Lock::parse(&text, &index.hosts, built.0)?;
    lock.check_hashes(request)?;
    Ok(lock)
}

fn command(executable: &str, index: &str, newest: Option<&Moment>) -> Vec<String> {
    let output = format!("{}/pylock.toml", inside::JOB);
    let mut command = [
        inside::UV,
        "pip",
        "compile",
        &inside::input("requirements.in"),
        "--output-file",
        &output,
        "--format",
        "pylock.toml",
        "--default-index",
        index,
        "--find-links",
        inside::BUILT,
        "--python",
        executable,
        // Nothing is built and no configuration is read, during resolution too.
        "--only-binary",
        ":all:",
        "--no-config",
        "--no-sources",
        "--no-python-downloads",
        "--no-header",
        "--no-annotate",
        "--quiet",
        "--cache-dir",
        inside::UV_CACHE,
    ]
    .map(str::to_owned)
    .to_vec();
    command.extend(newest.into_iter().flat_map(|moment| ["--exclude-newer".to_owned(), moment.as_str().to_owned()]));
    command
}
