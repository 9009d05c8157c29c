//! Bytes of anybody for what parses them, led by the code that they reach (libFuzzer): see `fuzz/`.
//!
//! cargo-fuzz does the same for those who have a nightly compiler. What it needs one for is AddressSanitizer, and there
//! is no unsafe code in what is tried; counters of coverage are made by the stable one too.

use std::path::{Path, PathBuf};

use crate::tools::{Done, run, say, target, top};

/// What a build counts: edges reached, and operands compared.
const COUNTERS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";
/// How long each target is tried, where nobody says how long.
const SECONDS: &str = "60";

/// Tries one target, or each, for so many seconds; what it learned is kept for the next time.
pub(crate) fn fuzz(only: Option<&str>, seconds: Option<&str>) -> Done {
    let seconds = seconds.unwrap_or(SECONDS);
    if !seconds.parse::<u32>().is_ok_and(|seconds| seconds > 0) {
        return Err(format!("`{seconds}` is no number of seconds"));
    }
    let known = targets()?;
    if let Some(unknown) = only.filter(|only| !known.iter().any(|known| known == only)) {
        return Err(format!("there is no target `{unknown}`; there are {}", known.join(", ")));
    }
    let built = target().join("fuzz");
    let (flags, folder) = (format!("RUSTFLAGS={COUNTERS}"), format!("CARGO_TARGET_DIR={}", built.display()));
    let build = ["build", "--release", "--quiet", "--features", "run", "--manifest-path", "fuzz/Cargo.toml"];
    run(&[&["env", &flags, &folder, "cargo"], build.as_slice()].concat())?;
    let programs = built.join(format!("{}-unknown-linux-gnu/release", std::env::consts::ARCH));
    for name in known.iter().filter(|known| only.is_none_or(|only| only == *known)) {
        one(name, &programs.join(name), &built, seconds)?;
    }
    Ok(())
}

fn one(name: &str, program: &Path, built: &Path, seconds: &str) -> Done {
    let learned = built.join("learned").join(name);
    std::fs::create_dir_all(&learned).map_err(|error| error.to_string())?;
    let (learned, seeds) = (learned.display().to_string(), top().join("fuzz/seeds").join(name).display().to_string());
    let found = format!("-artifact_prefix={}/found-{name}-", built.display());
    let most = format!("-max_total_time={seconds}");
    let bounds = ["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1", "-verbosity=0"];
    let words =
        [&[program.to_str().unwrap_or_default(), &most, &found], bounds.as_slice(), &[&learned, &seeds]].concat();
    run(&words).map_err(|why| format!("{why}; what it found is {}/found-{name}-*", built.display()))?;
    say(&format!("{name}: nothing found in {seconds} s"));
    Ok(())
}

/// The names of the targets, in order.
fn targets() -> Result<Vec<String>, String> {
    let folder = top().join("fuzz/targets");
    let entries = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let stem = |path: PathBuf| path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned);
    let mut names: Vec<String> = entries.flatten().filter_map(|entry| stem(entry.path())).collect();
    names.sort();
    Ok(names)
}
