//! Parent, outside: gathers the facts of the host that plans are made from. Reads, never changes.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::io::Errno;
use stockade_core::facts::{HostFacts, Runtime, RuntimeKind, Source, SourceKind, SystemEntry, SystemKind};
use stockade_core::plan::throw_away_id;
use stockade_core::request::Tier;

/// Folders below `/` that programs of the machine are made of, and the processors: lscpu, joblib and
/// torch count cores there and warn when they cannot.
const SYSTEM: [&str; 8] = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32", "/libx32", "/sys/devices/system/cpu"];
/// What programs need of `/etc`, each for whom:
/// certificates (TLS), fonts (figures), the loader's cache, alternatives (BLAS, java), R's site files,
/// java's, the time zone, MIME types, the system's name (R), services and protocols (getservbyname).
const ETC: [&str; 15] = [
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/fonts",
    "/etc/java-17-openjdk",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/os-release",
    "/etc/pki",
    "/etc/protocols",
    "/etc/R",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/timezone",
];

/// Gathers the facts, once at start.
#[must_use]
pub fn gather(tier: Tier) -> HostFacts {
    let is_landlock = tier == Tier::Landlock;
    let own = rustix::process::getpid().as_raw_nonzero().get().unsigned_abs();
    HostFacts {
        temporary: if is_landlock { temporary() } else { String::new() },
        maps_every_id: is_landlock && maps_every_id(),
        runtime: runtime(tier),
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        throw_away: throw_away_id(own),
        system: SYSTEM.into_iter().filter_map(entry).collect(),
        etc: ETC.into_iter().filter_map(entry).collect(),
    }
}

/// The container runtime of a tier: the first in the caller's `PATH`.
fn runtime(tier: Tier) -> Option<Runtime> {
    let kinds: &[RuntimeKind] = match tier {
        Tier::Namespaces | Tier::Landlock => &[],
        Tier::Gvisor => &[RuntimeKind::Runsc],
        Tier::Oci => &[RuntimeKind::Runc, RuntimeKind::Crun],
    };
    let path = std::env::var_os("PATH")?;
    kinds.iter().find_map(|kind| {
        std::env::split_paths(&path).find_map(|folder| {
            let program = folder.join(kind.name()).canonicalize().ok()?;
            rustix::fs::access(&program, rustix::fs::Access::EXEC_OK).ok()?;
            Some(Runtime { kind: *kind, program: program.is_file().then(|| program.to_str())??.to_owned() })
        })
    })
}

/// The caller's folder for temporary files. Not `XDG_RUNTIME_DIR`: it is small, and the caller's session
/// needs room in it.
fn temporary() -> String {
    let named = std::env::var_os("TMPDIR").filter(|path| !path.is_empty());
    let path = named.map_or_else(|| Path::new("/tmp").to_path_buf(), Into::into);
    path.canonicalize().unwrap_or(path).to_string_lossy().into_owned()
}

/// Whether any user id may be taken: in the first user namespace, and where all are mapped.
fn maps_every_id() -> bool {
    let text = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    text.split_ascii_whitespace().nth(2).and_then(|count| count.parse().ok()) == Some(u32::MAX)
}

fn entry(path: &str) -> Option<SystemEntry> {
    let status = std::fs::symlink_metadata(path).ok()?;
    let kind = if status.is_symlink() {
        SystemKind::Link(std::fs::read_link(path).ok()?.to_str()?.to_owned())
    } else if status.is_dir() {
        SystemKind::Folder
    } else if status.is_file() {
        SystemKind::File
    } else {
        return None;
    };
    Some(SystemEntry { path: path.to_owned(), kind })
}

/// Looks at a file or folder of the caller that is to be given to a run.
///
/// # Errors
/// The system's answer; `EINVAL` when it is neither a file nor a folder (a socket, a device).
pub fn source(path: &Path) -> Result<Source, Errno> {
    let errno = |error: &std::io::Error| Errno::from_io_error(error).unwrap_or(Errno::INVAL);
    let path = path.canonicalize().map_err(|error| errno(&error))?;
    let status = std::fs::symlink_metadata(&path).map_err(|error| errno(&error))?;
    let kind = if status.is_dir() {
        SourceKind::Folder
    } else if status.is_file() {
        SourceKind::File { executable: status.mode() & 0o100 != 0 }
    } else {
        return Err(Errno::INVAL);
    };
    Ok(Source {
        path,
        device: status.dev(),
        inode: status.ino(),
        uid: status.uid(),
        gid: status.gid(),
        mode: status.mode() & 0o7777,
        bytes: status.len(),
        kind,
    })
}

/// The Landlock ABI of this kernel, 0 when it has none.
#[must_use]
pub fn landlock_abi() -> u32 {
    crate::sys::landlock_abi()
}
