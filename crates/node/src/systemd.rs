//! What a service manager hands over, and what it is told: a socket that is open already, and how the node is.
//!
//! Whoever starts the node is trusted. All of it is taken before there is a second thread or process.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::PathBuf;

use rustix::net::{AddressFamily, SocketType};

use crate::refusal::Refusal;
use crate::{handover, sockets};

/// What the node was handed.
#[derive(Debug)]
pub(crate) struct Given {
    /// A socket that listens, made by the service manager.
    pub(crate) listener: Option<UnixListener>,
    /// One for tables, if there is one.
    pub(crate) tables: Option<UnixListener>,
    notify: Option<UnixDatagram>,
}

impl Given {
    /// Takes the sockets out of the process's surroundings, so that nothing that is started inherits one.
    ///
    /// # Errors
    /// [`Refusal`] when something was handed over that the node cannot use: it would serve elsewhere than meant.
    pub(crate) fn take() -> Result<Self, Refusal> {
        let mut sockets = listenfd::ListenFd::from_env();
        let count = sockets.len();
        if count > 2 {
            return Err(wrong_socket(format!("there are {count}")));
        }
        let listener = if count > 0 { Some(listening(sockets.take_unix_listener(0))?) } else { None };
        let tables = match &listener {
            Some(listener) if count > 1 => {
                let kind =
                    (AddressFamily::UNIX.as_raw().into(), i32::try_from(SocketType::SEQPACKET.as_raw()).unwrap_or(0));
                Some(of_tables(listener, sockets.take_custom(1, kind.0, kind.1, "socket of ListenSequentialPacket="))?)
            }
            Some(_) | None => None,
        };
        let notify = match std::env::var_os("NOTIFY_SOCKET") {
            None => None,
            Some(name) => Some(connect(&name).map_err(|error| {
                Refusal::invalid(
                    "the service manager cannot be told how the node is",
                    format!("NOTIFY_SOCKET: {}", crate::system_text(&error)),
                    "use Type=notify of systemd, or start the node without NOTIFY_SOCKET",
                )
            })?),
        };
        Ok(Self { listener, tables, notify })
    }

    /// Where the socket lies that was handed over.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        self.listener.as_ref()?.local_addr().ok()?.as_pathname().map(ToOwned::to_owned)
    }

    /// The node answers from now on.
    pub(crate) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}\n"));
    }

    /// The node is about to end.
    pub(crate) fn stopping(&self, status: &str) {
        self.tell(&format!("STOPPING=1\nSTATUS={status}\n"));
    }

    fn tell(&self, text: &str) {
        if let Some(Err(error)) = self.notify.as_ref().map(|socket| socket.send(text.as_bytes())) {
            tracing::warn!(error = %error, "the service manager does not hear how the node is");
        }
    }
}

fn listening(taken: io::Result<Option<UnixListener>>) -> Result<UnixListener, Refusal> {
    let listener = taken.map_err(|error| wrong_socket(crate::system_text(&error)))?;
    let listener = listener.ok_or_else(|| wrong_socket("there is none".to_owned()))?;
    let failed = |error: io::Error| wrong_socket(crate::system_text(&error));
    if !rustix::net::sockopt::socket_acceptconn(&listener).map_err(|errno| failed(errno.into()))? {
        return Err(wrong_socket("it does not listen".to_owned()));
    }
    // Modes of a folder and a file say who may connect; a name without a path is everybody's.
    if listener.local_addr().map_err(failed)?.as_pathname().is_none() {
        return Err(wrong_socket("it has no path".to_owned()));
    }
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

/// The second one is for tables, and lies where they are looked for.
fn of_tables(api: &UnixListener, taken: io::Result<Option<UnixListener>>) -> Result<UnixListener, Refusal> {
    let tables = listening(taken)?;
    let path = |socket: &UnixListener| socket.local_addr().ok()?.as_pathname().map(ToOwned::to_owned);
    let wanted = path(api).map(|path| sockets::of_tables(&path));
    if path(&tables) != wanted {
        return Err(wrong_socket(format!(
            "the second one has another path than the first with `{}`",
            handover::ENDING
        )));
    }
    Ok(tables)
}

fn wrong_socket(why: String) -> Refusal {
    Refusal::invalid(
        "the socket that the service manager hands over cannot be used",
        why,
        "give the .socket unit one ListenStream= with a path, and ListenSequentialPacket= for tables if need be; `stockade node install --dry-run` shows one",
    )
}

/// By a path, or a name of the kernel's that begins with `@`. Connected now, since a confined node cannot do so later.
fn connect(name: &OsString) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes().split_first() {
        Some((b'@', rest)) => SocketAddr::from_abstract_name(rest)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
