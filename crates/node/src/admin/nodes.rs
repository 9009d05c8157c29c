//! The nodes that a command is for, and how each is asked: at its socket, where the kernel says who asks, or over TLS.

use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use super::logins::{self, NOTHING_KEPT};
use super::remote::{Address, Own, PORT, Trusted, Way, Who};
use super::words::{Given, Globals};
use super::{CREDENTIALS_BYTES_MAX, file, value};
use crate::refusal::{Kind, Refusal};
use crate::status;

/// Where a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Socket(PathBuf),
    Remote(Address),
}

/// Whom nodes over TLS are asked by.
#[derive(Debug)]
enum Credential {
    /// A user and his password, asked for once for all of them.
    Password { user: String, password: Zeroizing<String> },
    /// The certificate that is shown.
    Certificate,
    /// What `stockade login` keeps, of each node its own; where it keeps nothing, the word of this host.
    Kept,
}

/// Nodes, with all that is needed to ask them.
#[derive(Debug)]
pub(super) struct Nodes {
    pub(super) places: Vec<Place>,
    credential: Credential,
    /// The way to those over TLS, where the command line says how they are verified, or who asks.
    way: Option<Way>,
    patience: Duration,
    is_debugged: bool,
}

impl Nodes {
    /// Those that a command line names; that of the caller where it names none.
    ///
    /// # Errors
    /// [`Refusal`] for what makes no sense or cannot be read.
    pub(super) fn of(globals: &Globals) -> Result<Self, Refusal> {
        let mut places: Vec<_> = globals.sockets.iter().map(|path| Place::Socket(path.into())).collect();
        for host in &globals.hosts {
            let wrong = |why: &str| {
                let shown = stockade_core::text::shown(host, 200);
                Refusal::invalid(format!("`{shown}` is no node"), why, "write --hostname=HOST or --hostname=HOST:PORT")
            };
            places.push(Place::Remote(Address::parse(host, globals.port.unwrap_or(PORT)).map_err(wrong)?));
        }
        if places.is_empty() {
            let folder = globals.folder.as_ref().map(PathBuf::from);
            places.push(Place::Socket(status::socket(None, folder.as_ref())?));
        }
        let patience = globals.patience.unwrap_or(status::PATIENCE);
        let trusted = trusted(&globals.authorities, &globals.fingerprints)?;
        let own = Own::of(globals.own_certificate.as_deref(), globals.own_key.as_deref())?;
        let is_said = trusted.is_some() || own.is_some();
        let way = || Way::new(&trusted.unwrap_or(Trusted::System), own.as_ref(), patience);
        Ok(Self {
            places,
            way: is_said.then(way).transpose()?,
            credential: credential(globals)?,
            patience,
            is_debugged: globals.is_debugged,
        })
    }

    /// What one of them answers.
    pub(super) fn post(&self, place: &Place, path: &str, body: &str) -> Result<String, Refusal> {
        if self.is_debugged {
            super::say(&format!("debug: POST {path} at {}\n", place.shown()));
        }
        match place {
            Place::Socket(socket) => {
                let answer = status::ask_within(self.patience, socket, "POST", path, Some(body));
                let (status, text) =
                    answer.map_err(|error| Refusal { kind: Kind::Unavailable, ..status::nobody(socket, &error) })?;
                if status == 200 { Ok(text) } else { Err(status::problem_of(status, &text)) }
            }
            Place::Remote(at) => self.over_tls(at, path, body),
        }
    }

    fn over_tls(&self, at: &Address, path: &str, body: &str) -> Result<String, Refusal> {
        let way = |usual: Trusted, own: Option<Own>| {
            self.way.clone().map_or_else(|| Way::new(&usual, own.as_ref(), self.patience), Ok)
        };
        match &self.credential {
            Credential::Password { user, password } => {
                let way = way(Trusted::System, None)?;
                let session = way.log_in(at, user, password)?;
                let answer = way.post(at, path, Who::Token(&session.token), body);
                // It ends by itself, too.
                drop(way.log_out(at, &session.token));
                answer
            }
            Credential::Certificate => way(Trusted::System, None)?.post(at, path, Who::Certificate, body),
            Credential::Kept => match logins::fresh(at, self.patience)? {
                Some(kept) => way(kept.trusted, kept.own)?.post(at, path, Who::Token(&kept.token), body),
                None => {
                    let user = own_name().ok_or_else(|| logins::nothing(at, NOTHING_KEPT.to_owned()))?;
                    let answer = way(Trusted::System, None)?.post(at, path, Who::OfHost(&user), body);
                    answer.map_err(|refusal| {
                        let why = format!("{NOTHING_KEPT}; as `{user}` of this host: {}", refusal.what);
                        let is_nobody = matches!(refusal.kind, Kind::Unauthenticated | Kind::Unavailable);
                        if is_nobody { logins::nothing(at, why) } else { refusal }
                    })
                }
            },
        }
    }
}

impl Place {
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Socket(path) => stockade_core::text::shown(&path.to_string_lossy(), 200),
            Self::Remote(at) => at.to_string(),
        }
    }
}

/// How nodes are verified, where it is said.
///
/// # Errors
/// [`Refusal`] for a file that cannot be used.
pub(super) fn trusted(authorities: &[String], fingerprints: &[String]) -> Result<Option<Trusted>, Refusal> {
    if !fingerprints.is_empty() {
        return Ok(Some(Trusted::Pinned(fingerprints.to_vec())));
    }
    let mut all = String::new();
    for path in authorities {
        let pem = file(path, CREDENTIALS_BYTES_MAX)?;
        super::remote::check_pem(Path::new(path), &pem)?;
        all += &pem;
        all.push('\n');
    }
    Ok((!all.is_empty()).then_some(Trusted::Anchors(all)))
}

/// What this machine calls the user of this process.
fn own_name() -> Option<String> {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    crate::security::accounts(&users).remove(&rustix::process::geteuid().as_raw())
}

fn credential(globals: &Globals) -> Result<Credential, Refusal> {
    let Some(user) = &globals.user else {
        return Ok(if globals.own_certificate.is_some() { Credential::Certificate } else { Credential::Kept });
    };
    if globals.hosts.is_empty() {
        return Err(Refusal::invalid(
            "nobody has to be named here",
            "at a socket the kernel says who asks",
            "leave --username out, or name a node that is asked over TLS: --hostname=HOST",
        ));
    }
    Ok(Credential::Password { user: user.clone(), password: password(globals.password.clone())? })
}

/// A password: as it was given, or from whoever sits at the terminal.
///
/// # Errors
/// [`Refusal`] when it cannot be read.
pub(super) fn password(given: Option<Given>) -> Result<Zeroizing<String>, Refusal> {
    if let Some(given) = given {
        return value(given).map(Zeroizing::new);
    }
    rpassword::prompt_password("Password: ").map(Zeroizing::new).map_err(|_| {
        Refusal::invalid(
            "there is no password",
            "none is given, and there is no terminal to ask at",
            "give it with --password-stdin or --password-file=FILE",
        )
    })
}
