//! What the caller gives to the code: `--in`, `--project`, `--share`, parsed and looked at.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use stockade_core::facts::{Source, SourceKind};
use stockade_core::paths::{self, InsidePath};
use stockade_core::request::{Access, Input, Share, Table};
use stockade_core::text;
use stockade_launch::facts;

use crate::problem::Problem;

/// Entries of a project that are looked at for secrets.
const PROJECT_ENTRIES_MAX: usize = 500_000;

/// The working folder, as a path.
pub(crate) fn job() -> InsidePath {
    InsidePath::fixed(paths::JOB)
}

/// A path inside the working folder.
pub(crate) fn in_job(name: &str) -> Result<InsidePath, Problem> {
    job().join(name).map_err(|bad| {
        Problem::new(
            format!("`{}` is no name for an input", text::shown(name, 200)),
            bad.to_string(),
            "give a relative name without `..`: --in PATH=NAME",
        )
    })
}

/// Looks at a file or folder that was named.
pub(crate) fn look(path: &Path) -> Result<Source, Problem> {
    facts::source(path).map_err(|errno| {
        let next = if path.is_relative() {
            "look at the spelling; relative paths start at the current folder"
        } else {
            "look at the spelling"
        };
        let why = if errno == rustix::io::Errno::INVAL {
            "it is neither a file nor a folder".to_owned()
        } else {
            stockade_launch::errno_text(errno)
        };
        Problem::new(format!("cannot take `{}`", text::shown(&path.to_string_lossy(), 400)), why, next)
    })
}

/// One `--in PATH[=NAME]`.
pub(crate) fn input(text: &str) -> Result<Input, Problem> {
    let (path, name) = split_name(text);
    let source = look(&path)?;
    let name = match name {
        Some(name) => name.to_owned(),
        None => own_name(&path, &source)?,
    };
    Ok(Input { target: in_job(name.trim_end_matches('/'))?, source, hidden: Vec::new() })
}

/// What the caller should know of an input folder: files of other owners cannot be changed inside,
/// not even in the copy-on-write layer (their owner means nothing there). Looks at the first few
/// thousand entries only, so that a large folder stays cheap to give.
pub(crate) fn files_of_others(input: &Input) -> Option<String> {
    const LOOKED_AT: usize = 2_000;
    if input.source.kind != SourceKind::Folder {
        return None;
    }
    let mut folders = vec![input.source.path.clone()];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(status) = entry.metadata() else { continue };
            if status.uid() != input.source.uid {
                return Some(format!(
                    "in `{}` lie files of another owner, such as `{}`: the code cannot change them",
                    text::shown(&input.source.path.to_string_lossy(), 200),
                    text::shown(&entry.file_name().to_string_lossy(), 60)
                ));
            }
            if status.is_dir() {
                folders.push(entry.path());
            }
            seen += 1;
            if seen == LOOKED_AT {
                return None;
            }
        }
    }
    None
}

/// The name an input has when none is given: the one it was called by, not the one a link leads to.
fn own_name(path: &Path, source: &Source) -> Result<String, Problem> {
    let name = path.file_name().or_else(|| source.path.file_name()).and_then(|name| name.to_str());
    name.map(ToOwned::to_owned).ok_or_else(|| {
        Problem::new(
            format!("`{}` has no name to be staged under", text::shown(&path.to_string_lossy(), 200)),
            "it is a root, or not UTF-8",
            "name it: --in PATH=NAME",
        )
    })
}

/// Splits at the last `=`, unless the whole text is a path that exists.
pub(crate) fn split_name(text: &str) -> (PathBuf, Option<&str>) {
    if Path::new(text).exists() {
        return (PathBuf::from(text), None);
    }
    match text.rsplit_once('=') {
        Some((path, name)) => (PathBuf::from(path), Some(name)),
        None => (PathBuf::from(text), None),
    }
}

/// `--project DIR`: the working folder itself; says what it leaves out.
pub(crate) fn project(path: &Path, all: bool) -> Result<Input, Problem> {
    let source = look(path)?;
    if source.kind != SourceKind::Folder {
        return Err(Problem::new(
            format!("`{}` is no folder", text::shown(&path.to_string_lossy(), 200)),
            "--project takes a folder of code",
            "use --in for a file",
        ));
    }
    let hidden = if all { Vec::new() } else { secrets(&source.path)? };
    Ok(Input { source, target: job(), hidden })
}

/// Paths below a project that look like secrets, outermost first.
fn secrets(project: &Path) -> Result<Vec<String>, Problem> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        // Joining nothing would end the path in a slash.
        let here = if folder.as_os_str().is_empty() { project.to_path_buf() } else { project.join(&folder) };
        let failed =
            |error: std::io::Error| Problem::path("read", &here, &error, "make it readable, or give less with --in");
        for entry in std::fs::read_dir(&here).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            seen += 1;
            if seen > PROJECT_ENTRIES_MAX {
                return Err(Problem::new(
                    "the project is too large to be looked through for secrets",
                    format!("it has more than {PROJECT_ENTRIES_MAX} files"),
                    "give less with --in, or everything with --all",
                ));
            }
            let name = entry.file_name();
            let path = folder.join(&name);
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if looks_secret(&name.to_string_lossy()) {
                match path.to_str() {
                    Some(path) => found.push(path.to_owned()),
                    None => {
                        return Err(Problem::new(
                            "the project holds a secret that cannot be left out",
                            "its path is not UTF-8",
                            "rename it, or give less with --in",
                        ));
                    }
                }
            } else if is_folder {
                folders.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Names that hold credentials, keys or history; the list errs on the side of leaving out.
fn looks_secret(name: &str) -> bool {
    const NAMES: [&str; 31] = [
        ".git",
        ".hg",
        ".svn",
        ".ssh",
        ".aws",
        ".azure",
        ".gcloud",
        ".kube",
        ".docker",
        ".gnupg",
        ".netrc",
        ".npmrc",
        ".pypirc",
        ".pgpass",
        ".htpasswd",
        ".git-credentials",
        ".terraformrc",
        ".vault-token",
        ".Renviron",
        ".boto",
        ".s3cfg",
        "id_rsa",
        "id_dsa",
        "id_ecdsa",
        "id_ed25519",
        "credentials",
        "credentials.json",
        "secrets.toml",
        "secrets.yaml",
        "secrets.yml",
        "secrets.json",
    ];
    const ENDINGS: [&str; 9] = [".pem", ".key", ".p12", ".pfx", ".jks", ".keystore", ".kdbx", ".ppk", ".tfstate"];
    let low = name.to_ascii_lowercase();
    let is_dotenv = low == ".env"
        || (low.starts_with(".env.") && !low.ends_with(".example") && !low.ends_with(".sample"))
        || low == ".envrc";
    is_dotenv
        || NAMES.iter().any(|secret| low == secret.to_ascii_lowercase())
        || ENDINGS.iter().any(|ending| low.ends_with(ending))
        || (low.starts_with("service-account") && low.ends_with(".json"))
}

/// One `--table-fd NUMBER:NAME`.
pub(crate) fn table(given: &str) -> Result<Table, Problem> {
    let unknown = || {
        let why = "a table is a descriptor's number, a colon and a name";
        Problem::new(format!("`{}` is no table", text::shown(given, 200)), why, "--table-fd NUMBER:NAME")
    };
    let (number, name) = given.split_once(':').ok_or_else(unknown)?;
    let number: u32 = number.parse().map_err(|_| unknown())?;
    let source = stockade_launch::table::look(number).map_err(|unfit| {
        Problem::new(
            format!("descriptor {number} cannot be given as a table"),
            unfit.to_string(),
            "write it into a file of memory of mode 0444, and seal that",
        )
    })?;
    Ok(Table { source, target: in_job(name)? })
}

/// One `--share PATH[:ro|:rw][=NAME]`.
pub(crate) fn share(given: &str) -> Result<Share, Problem> {
    let (path, name) = split_name(given);
    let path = path.to_string_lossy().into_owned();
    let (path, access) = match path.strip_suffix(":rw") {
        Some(path) => (path, Access::Write),
        None => (path.strip_suffix(":ro").unwrap_or(&path), Access::Read),
    };
    let path = Path::new(path);
    let source = look(path)?;
    if source.kind != SourceKind::Folder {
        return Err(Problem::new(
            format!("`{}` is no folder", text::shown(&path.to_string_lossy(), 200)),
            "--share takes a folder",
            "use --in for a file",
        ));
    }
    if access == Access::Write {
        check_writable_share(&source.path)?;
    }
    let name = match name {
        Some(name) => name.to_owned(),
        None => own_name(path, &source)?,
    };
    Ok(Share { target: in_job(&name)?, source, access })
}

/// Folders whose content others rely on are never shared writable.
fn check_writable_share(path: &Path) -> Result<(), Problem> {
    const TREES: [&str; 14] = [
        "/run",
        "/proc",
        "/sys",
        "/dev",
        "/etc",
        "/usr",
        "/bin",
        "/sbin",
        "/lib",
        "/lib64",
        "/boot",
        "/var/run",
        "/var/spool",
        "/var/lib",
    ];
    const EXACT: [&str; 7] = ["/", "/home", "/root", "/tmp", "/var", "/var/tmp", "/opt"];
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let is_home = home.as_ref().is_some_and(|home| home.starts_with(path)) || path.parent() == Some(Path::new("/home"));
    // What decides about later runs, and what was recorded of earlier ones.
    let is_ours = [crate::files::state(), crate::files::cache()]
        .iter()
        .any(|ours| ours.starts_with(path) || path.starts_with(ours));
    let is_hidden = home
        .as_ref()
        .and_then(|home| path.strip_prefix(home).ok())
        .is_some_and(|below| below.to_string_lossy().starts_with('.'));
    if is_home
        || is_ours
        || is_hidden
        || EXACT.iter().any(|exact| path == Path::new(exact))
        || TREES.iter().any(|tree| path.starts_with(tree))
    {
        return Err(Problem::new(
            format!("`{}` cannot be shared writable", text::shown(&path.to_string_lossy(), 200)),
            "programs of yours or of the machine read and run what lies there",
            "share a folder made for the purpose",
        ));
    }
    no_way_out(path)
}

/// `--scratch-dir DIR`: a folder on a disk of this machine, in which others can neither take away nor
/// put in place what is ours.
pub(crate) fn scratch(path: &Path) -> Result<Source, Problem> {
    // What is no disk of this machine: it may forget owners, follow names elsewhere, or be memory of
    // the kernel. From linux/magic.h: nfs, smb, cifs, smb2, 9p, fuse, ceph, afs, proc, sysfs, cgroup,
    // cgroup2, devpts, efivarfs, debugfs, tracefs, securityfs, bpf, configfs, mqueue, hugetlbfs.
    const NO_DISKS: [u32; 21] = [
        0x6969,
        0x517b,
        0xff53_4d42,
        0xfe53_4d42,
        0x0102_1997,
        0x6573_5546,
        0x00c3_6400,
        0x5346_414f,
        0x9fa0,
        0x6265_6572,
        0x0027_e0eb,
        0x6367_7270,
        0x1cd1,
        0xde5e_81e4,
        0x6462_6720,
        0x7472_6163,
        0x7363_6673,
        0xcafe_4a11,
        0x6265_6570,
        0x1980_0202,
        0x9584_58f6,
    ];
    let source = look(path)?;
    let refused = |why: &str| {
        Problem::new(
            format!("scratch cannot be made in `{}`", text::shown(&path.to_string_lossy(), 200)),
            why,
            "name a folder of yours on a disk of this machine",
        )
    };
    if source.kind != SourceKind::Folder {
        return Err(refused("it is no folder"));
    }
    let space = rustix::fs::statfs(&source.path).map_err(|errno| refused(&stockade_launch::errno_text(errno)))?;
    // The width and sign of the field differ between architectures; the numbers have 32 bits.
    let kind = u32::try_from(i128::from(space.f_type) & 0xffff_ffff).unwrap_or(u32::MAX);
    let is_of_the_machine =
        ["/proc", "/sys", "/dev"].iter().any(|tree| source.path.starts_with(tree)) || source.path == Path::new("/");
    if is_of_the_machine || NO_DISKS.contains(&kind) {
        return Err(refused("it is no folder on a disk: it is the machine's own, or lies on a network"));
    }
    if source.uid != 0 && source.uid != rustix::process::geteuid().as_raw() {
        return Err(refused("it belongs to another user"));
    }
    let is_own_group = source.gid == rustix::process::getegid().as_raw();
    let others = if is_own_group { 0o002 } else { 0o022 };
    if source.mode & others != 0 && source.mode & 0o1000 == 0 {
        return Err(refused("others may write to it, and rename what lies in it (it has no sticky bit)"));
    }
    Ok(source)
}

/// A socket or FIFO in a writable share would let code speak to the host.
fn no_way_out(path: &Path) -> Result<(), Problem> {
    use std::os::unix::fs::FileTypeExt;
    let mut folders = vec![path.to_path_buf()];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        let failed = |error: std::io::Error| {
            Problem::path("look through", &folder, &error, "make it readable, or share another folder")
        };
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            seen += 1;
            let kind = entry.and_then(|entry| Ok((entry.file_type()?, entry)));
            let (kind, entry) = kind.map_err(failed)?;
            if seen > PROJECT_ENTRIES_MAX {
                return Err(Problem::new(
                    "the folder is too large to be shared writable",
                    format!("it has more than {PROJECT_ENTRIES_MAX} files to look through"),
                    "share it read-only, or a smaller one",
                ));
            }
            if kind.is_socket() || kind.is_fifo() || kind.is_char_device() || kind.is_block_device() {
                return Err(Problem::new(
                    format!("`{}` cannot be shared writable", text::shown(&path.to_string_lossy(), 200)),
                    format!(
                        "it holds `{}`, a socket, FIFO or device, through which code could speak to the host",
                        text::shown(&entry.path().to_string_lossy(), 300)
                    ),
                    "remove it, or share read-only",
                ));
            }
            if kind.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_left_out_and_code_is_not() {
        for secret in [
            ".env",
            ".env.production",
            ".git",
            "id_rsa",
            "server.pem",
            "Credentials.json",
            "service-account-x.json",
            ".Renviron",
        ] {
            assert!(looks_secret(secret), "{secret}");
        }
        for code in ["main.py", ".env.example", "keyboard.py", "data.csv", ".gitignore", "environment.yml"] {
            assert!(!looks_secret(code), "{code}");
        }
    }

    #[test]
    fn folders_of_the_machine_are_never_shared_writable() {
        for path in ["/", "/home", "/home/ann", "/run/user/1000", "/tmp", "/etc/x", "/var/run/docker"] {
            assert!(check_writable_share(Path::new(path)).is_err(), "{path}");
        }
    }
}
