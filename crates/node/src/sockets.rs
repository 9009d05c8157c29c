//! Where the node listens: the API's socket, and the one beside it for tables.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::handover;
use crate::refusal::Refusal;
use crate::systemd::Given;

/// Longest path of a socket, by the kernel.
const BYTES_MAX: usize = 107;
/// Connections that wait to be taken, as of the standard library.
const BACKLOG: i32 = 128;

/// The sockets of a node. Who connects before it is ready waits.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) api: UnixListener,
    /// None where no tables are taken.
    pub(crate) tables: Option<UnixListener>,
    /// Those that were made here, and go with the node.
    own: Vec<PathBuf>,
}

/// Where tables are handed over to the node whose API is asked at `socket`.
pub(crate) fn of_tables(socket: &Path) -> PathBuf {
    let mut path = socket.as_os_str().to_owned();
    path.push(handover::ENDING);
    path.into()
}

/// Holds a path against what the kernel takes, before anything is made.
pub(crate) fn check_length(socket: &Path) -> Result<(), Refusal> {
    let most = BYTES_MAX - handover::ENDING.len();
    if socket.as_os_str().len() <= most {
        return Ok(());
    }
    let why = format!("the system takes {most} bytes, and `{}` behind them", handover::ENDING);
    Err(Refusal::invalid("the path of the socket is too long", why, "name a shorter one with --socket PATH"))
}

impl Sockets {
    /// Those that were handed over, or made here.
    pub(crate) fn open(given: &mut Given, socket: &Path, mode: &str, takes_tables: bool) -> Result<Self, Refusal> {
        let beside = of_tables(socket);
        if let Some(api) = given.listener.take() {
            let tables = given.tables.take().filter(|_| takes_tables);
            if takes_tables && tables.is_none() {
                tracing::info!("tables come by stream only: the service manager hands over no socket for them");
            }
            return Ok(Self { api, tables, own: Vec::new() });
        }
        let api = bind(socket, mode, SocketType::STREAM)?;
        let tables = takes_tables.then(|| bind(&beside, mode, SocketType::SEQPACKET)).transpose()?;
        Ok(Self { api, tables, own: vec![socket.to_owned(), beside] })
    }

    /// What somebody has to remove when the node has ended.
    pub(crate) fn take_own(&mut self) -> Vec<PathBuf> {
        std::mem::take(&mut self.own)
    }
}

fn bind(socket: &Path, mode: &str, kind: SocketType) -> Result<UnixListener, Refusal> {
    let failed = |error: io::Error| {
        Refusal::invalid(
            format!("the node cannot listen at `{}`", stockade_core::text::shown(&socket.to_string_lossy(), 200)),
            crate::system_text(&error),
            "name a path that the node's user may make, with --socket PATH",
        )
    };
    // A former node's; that it is gone is known by the lock.
    if std::fs::symlink_metadata(socket).is_ok_and(|status| status.file_type().is_socket()) {
        std::fs::remove_file(socket).map_err(failed)?;
    }
    let listener = listen(socket, kind).map_err(failed)?;
    let mode = u32::from_str_radix(mode, 8).unwrap_or(0o600);
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
    Ok(listener)
}

/// What listens is not always for streams, but the runtime only looks at whether somebody has come.
fn listen(path: &Path, kind: SocketType) -> io::Result<UnixListener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}
