//! Running other programs, and installing what the tests need.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a task came to: an error is a sentence.
pub(crate) type Done = Result<(), String>;

/// Prints one line.
pub(crate) fn say(line: &str) {
    // A reader that went away ends nothing.
    drop(writeln!(std::io::stdout(), "{line}"));
}

/// The top of the checkout.
pub(crate) fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

/// Where cargo builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| top().join("target"), PathBuf::from)
}

/// A file that cargo built for this machine: `.cargo/config.toml` names the target, so cargo does in its paths.
pub(crate) fn built(path: &str) -> PathBuf {
    target().join(format!("{}-unknown-linux-gnu", std::env::consts::ARCH)).join(path)
}

/// Runs a program in the checkout and shows what it prints.
pub(crate) fn run(words: &[&str]) -> Done {
    say(&format!("$ {}", words.join(" ")));
    let (program, arguments) = words.split_first().ok_or("nothing to run")?;
    let status = Command::new(program)
        .args(arguments)
        .current_dir(top())
        .status()
        .map_err(|error| format!("cannot run {program}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{}` failed: {status}", words.join(" "))) }
}

/// A Python for the client, which reads and writes tables.
pub(crate) fn python_of_client() -> Result<String, String> {
    let venv = ["python3", "-m", "venv", "--clear"];
    environment("client-environment", &venv, &["pyarrow", "pandas"]).map(|python| python.display().to_string())
}

/// The Python of a virtual environment below the target folder, with these packages, made once.
pub(crate) fn environment(name: &str, venv: &[&str], packages: &[&str]) -> Result<PathBuf, String> {
    let environment = target().join(name);
    let python = environment.join("bin/python");
    if !environment.join("done").exists() {
        let shown = environment.display().to_string();
        run(&[venv, &[&shown]].concat())?;
        let program = python.display().to_string();
        run(&[&[program.as_str(), "-m", "pip", "install", "--quiet"], packages].concat())?;
        std::fs::write(environment.join("done"), "").map_err(|error| error.to_string())?;
    }
    Ok(python)
}

/// Whether a program is there.
pub(crate) fn has(program: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| folder.join(program).is_file())
}

/// Debian packages the tests use, and the program that shows each is there.
const PACKAGES: [(&str, &str); 17] = [
    ("Rscript", "r-base-core"),
    ("gcc", "gcc"),
    // With these two, R compiles packages that have C code.
    ("make", "make"),
    ("python3", "python3"),
    ("bwrap", "bubblewrap"),
    ("unshare", "util-linux"),
    // Networks of a test's own, and what speaks in them.
    ("ip", "iproute2"),
    ("openssl", "openssl"),
    ("curl", "curl"),
    // Ids of the host for an ordinary user's node.
    ("newuidmap", "uidmap"),
    ("wget", "wget"),
    // The program without its service.
    ("tinyproxy", "tinyproxy-bin"),
    // Container runtimes of the outer tiers.
    ("runsc", "runsc"),
    ("runc", "runc"),
    ("crun", "crun"),
    // What the OpenID provider of tests runs on, and what installs it.
    ("node", "nodejs"),
    ("npm", "npm"),
];

/// A package of R that comes with the machine, for environments that take such; it has no program.
const OF_R: (&str, &str) = ("/usr/lib/R/site-library/magrittr", "r-cran-magrittr");

/// Debian keeps the programs of this server out of `PATH`.
const POSTGRES: &str = "postgresql";
const POSTGRES_VERSIONS: &str = "/usr/lib/postgresql";

/// Debian keeps this server out of the `PATH` of ordinary users, too.
const DIRECTORY: (&str, &str) = ("/usr/sbin/slapd", "slapd");

/// Its package makes a directory and starts it, unless it was told before that it shall not.
const DIRECTORY_SETTINGS: &str = "slapd slapd/no_configuration boolean true";

/// Its package makes a database and starts it, unless this file is there already and says no.
const POSTGRES_SETTINGS: &str = "/etc/postgresql-common/createcluster.conf";

/// Installs what the tests need, as far as it is missing.
pub(crate) fn setup() -> Done {
    let mut missing: Vec<&str> =
        PACKAGES.iter().filter(|(program, _)| !has(program)).map(|(_, package)| *package).collect();
    // Environments of the ordinary test user are made with the system's interpreter.
    if !Path::new("/usr/bin/python3").exists() {
        missing.push("python3");
    }
    if !Path::new("/usr/lib/python3/dist-packages/pip").exists() && !Path::new("/usr/share/python-wheels").exists() {
        missing.push("python3-venv");
    }
    if !Path::new(OF_R.0).exists() {
        missing.push(OF_R.1);
    }
    if !has("initdb") && !has_postgres_apart() {
        missing.push(POSTGRES);
    }
    if !Path::new(DIRECTORY.0).exists() {
        missing.push(DIRECTORY.1);
    }
    if missing.is_empty() {
        return Ok(());
    }
    if !is_root() || !has("apt-get") {
        return Err(format!("the tests need {}; install them, then run this again", missing.join(", ")));
    }
    run(&["apt-get", "update", "-q"])?;
    if missing.contains(&POSTGRES) {
        make_no_database()?;
    }
    if missing.contains(&DIRECTORY.1) {
        run(&["sh", "-c", &format!("echo '{DIRECTORY_SETTINGS}' | debconf-set-selections")])?;
    }
    // Nothing is asked, and settings that are there stay.
    let mut words = vec!["env", "DEBIAN_FRONTEND=noninteractive", "UCF_FORCE_CONFFOLD=1"];
    words.extend(["apt-get", "install", "-y", "-q", "--no-install-recommends"]);
    words.extend(missing);
    run(&words)
}

/// Whether a version of PostgreSQL's server is where Debian puts it.
fn has_postgres_apart() -> bool {
    let mut versions = std::fs::read_dir(POSTGRES_VERSIONS).into_iter().flatten().flatten();
    versions.any(|version| version.path().join("bin/initdb").is_file())
}

/// The tests make databases of their own; none is to be left running by the package.
fn make_no_database() -> Done {
    let settings = Path::new(POSTGRES_SETTINGS);
    if settings.exists() {
        return Ok(());
    }
    settings
        .parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| std::fs::write(settings, "create_main_cluster = false\n"))
        .map_err(|error| format!("cannot write {POSTGRES_SETTINGS}: {error}"))
}

pub(crate) fn is_root() -> bool {
    Command::new("id").arg("-u").stderr(Stdio::null()).output().is_ok_and(|output| output.stdout.starts_with(b"0\n"))
}
