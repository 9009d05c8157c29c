//! `stockade login` and `stockade logout`: what a node gave its caller, kept for his next commands.
//!
//! One file for each node, which nobody else may read. What is in it opens nothing but that node, and not for long.

use std::fs::{DirBuilder, File};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use stockade_core::text::{shown, span};
use zeroize::Zeroizing;

use super::nodes;
use super::remote::{Address, DeviceAsked, LoggedIn, Own, Trusted, Way};
use super::words::Given;
use crate::refusal::{Kind, Refusal};
use crate::service::now_ms;
use crate::settings::{Login, Logout};
use crate::{status, whole};

/// A token that ends so soon is made anew.
const SPARE_MS: i64 = 30_000;
/// Why nobody is logged in who never was.
pub(super) const NOTHING_KEPT: &str = "nothing is kept of it";
/// Largest file: a token, and certificates of authorities.
const BYTES_MAX: u64 = 2 << 20;

/// What is kept of a node.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    principal: String,
    pub(super) token: Zeroizing<String>,
    /// By the clock of this machine, milliseconds since 1970.
    ends_ms: i64,
    /// What makes the next token, once, and until when.
    refresh: Option<(Zeroizing<String>, i64)>,
    /// How the node was verified; it is verified in the same way again.
    pub(super) trusted: Trusted,
    /// The certificate that was shown to it; it is shown again.
    #[serde(default)]
    pub(super) own: Option<Own>,
    /// Whether it was with a browser.
    #[serde(default)]
    is_by_device: bool,
}

/// Logs in at a node, and keeps what it gives.
///
/// # Errors
/// [`Refusal`] of the node, or when it is not the one that is meant, or cannot be remembered.
pub fn login(asked: &Login) -> Result<(), Refusal> {
    let at = address(&asked.node)?;
    let given = match (asked.password_stdin, &asked.password_file) {
        (true, _) => Some(Given::Stdin),
        (false, Some(path)) => Some(Given::SecretFile(path.clone())),
        (false, None) => None,
    };
    let trusted = nodes::trusted(asked.cafile.as_slice(), asked.fingerprint.as_slice())?.unwrap_or(Trusted::System);
    let own = Own::of(asked.client_certificate.as_deref(), asked.client_key.as_deref())?;
    let way = Way::new(&trusted, own.as_ref(), status::PATIENCE)?;
    let logged_in = match &asked.username {
        Some(user) => way.log_in_for_long(&at, user, &nodes::password(given)?)?,
        None => by_device(&way, &at, asked.realm.as_deref())?,
    };
    let lasts_s = logged_in.refresh_expires_in.unwrap_or(logged_in.expires_in);
    let kept = Kept { is_by_device: asked.username.is_none(), ..Kept::of(logged_in, trusted, own) };
    write(&at, &kept)?;
    let lasts = span(lasts_s.saturating_mul(1_000));
    say(&format!("logged in at {at} as {}, for {lasts}\n", shown(&kept.principal, 200)));
    Ok(())
}

/// Has the user log in at his provider, with a browser wherever he has one.
fn by_device(way: &Way, at: &Address, realm: Option<&str>) -> Result<LoggedIn, Refusal> {
    let begun = way.begin_device(at, realm)?;
    let (address, code) = (shown(&begun.verification_uri, 500), shown(&begun.user_code, 100));
    super::say(&format!("open {address} in a browser and enter the code {code}; this waits for you\n"));
    let (end, mut interval_s) = (Instant::now() + Duration::from_secs(begun.expires_in.min(3_600)), begun.interval);
    loop {
        std::thread::sleep(Duration::from_secs(interval_s.clamp(1, 60)));
        match way.ask_device(at, &begun) {
            Ok(DeviceAsked::Done(logged_in)) => return Ok(logged_in),
            Ok(DeviceAsked::Pending { interval }) => interval_s = interval,
            // A connection that fails is no answer (RFC 8628 section 3.5).
            Err(refusal) if refusal.kind == Kind::Unavailable => interval_s = interval_s.saturating_mul(2),
            Err(refusal) => return Err(refusal),
        }
        if Instant::now() >= end {
            let next = "run it again, and answer in the browser sooner";
            return Err(Refusal::new(
                Kind::Unauthenticated,
                "you are not logged in",
                "nobody has answered in time",
                next,
            ));
        }
    }
}

/// Ends what a login gave, here and at the node.
///
/// # Errors
/// [`Refusal`] when nothing is kept. That the node cannot be told is said, and no error: it ends by itself.
pub fn logout(asked: &Logout) -> Result<(), Refusal> {
    let at = address(&asked.node)?;
    let path = path(&at)?;
    if !path.exists() {
        return Err(nothing(&at, NOTHING_KEPT.to_owned()));
    }
    let told = end(&at);
    // Whatever the node says: nothing stays here that opens it.
    std::fs::remove_file(path)
        .map_err(|error| Refusal::failed("it cannot be forgotten", crate::system_text(&error)))?;
    match told {
        Err(refusal) if refusal.kind != Kind::Unauthenticated => {
            say(&format!("forgotten here; the node could not be told: {}\n", refusal.why));
        }
        _ => say(&format!("logged out at {at}\n")),
    }
    Ok(())
}

/// Ends it at the node, which wants a token that is still good.
fn end(at: &Address) -> Result<(), Refusal> {
    let kept = fresh(at, status::PATIENCE)?.ok_or_else(|| nothing(at, NOTHING_KEPT.to_owned()))?;
    Way::new(&kept.trusted, kept.own.as_ref(), status::PATIENCE)?.log_out(at, &kept.token)
}

impl Kept {
    fn of(logged_in: LoggedIn, trusted: Trusted, own: Option<Own>) -> Self {
        let end = |seconds: u64| now_ms().saturating_add_unsigned(seconds.saturating_mul(1_000));
        let LoggedIn { principal, token, expires_in, refresh_token, refresh_expires_in } = logged_in;
        let refresh = refresh_token.map(|refresh| (refresh, end(refresh_expires_in.unwrap_or_default())));
        Self { principal, token, ends_ms: end(expires_in), refresh, trusted, own, is_by_device: false }
    }
}

/// What is kept of a node, if anything is, with a token that is still good for a while: made anew if need be, by one
/// command at a time.
///
/// # Errors
/// [`Refusal`], as below, and of the node.
pub(super) fn fresh(at: &Address, patience: Duration) -> Result<Option<Kept>, Refusal> {
    let Some(kept) = read(at)? else { return Ok(None) };
    if now_ms() < kept.ends_ms - SPARE_MS {
        return Ok(Some(kept));
    }
    let failed = |error: std::io::Error| Refusal::failed("the login cannot be made anew", crate::system_text(&error));
    let lock = File::open(path(at)?.parent().unwrap_or(Path::new("."))).map_err(failed)?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).map_err(|errno| failed(errno.into()))?;
    // Another command may have done it meanwhile.
    let Some(kept) = read(at)? else { return Ok(None) };
    let Some((refresh, _)) = kept.refresh.as_ref().filter(|_| now_ms() >= kept.ends_ms - SPARE_MS) else {
        return Ok(Some(kept));
    };
    let logged_in = Way::new(&kept.trusted, kept.own.as_ref(), patience)?.refresh(at, refresh)?;
    let kept = Kept { is_by_device: kept.is_by_device, ..Kept::of(logged_in, kept.trusted, kept.own) };
    write(at, &kept)?;
    Ok(Some(kept))
}

/// Nobody has logged in at a node, or not for as long.
pub(super) fn nothing(at: &Address, why: String) -> Refusal {
    let next = format!("run `stockade login --username=NAME {at}`, or name a user: --username=NAME");
    Refusal::new(Kind::Unauthenticated, format!("you are not logged in at {at}"), why, next)
}

/// What is kept of a node, while it is good for something; `None` where nothing is.
///
/// # Errors
/// [`Refusal`] when its time is over, or others could have read it.
fn read(at: &Address) -> Result<Option<Kept>, Refusal> {
    let nothing = |why| nothing(at, why);
    let path = path(at)?;
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(nothing(crate::system_text(&error))),
    };
    let status = file.metadata().map_err(|error| nothing(crate::system_text(&error)))?;
    if status.mode() & 0o077 != 0 || status.uid() != rustix::process::geteuid().as_raw() {
        return Err(nothing(format!("others may read {}", shown(&path.to_string_lossy(), 300))));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(BYTES_MAX).read_to_string(&mut text).map_err(|error| nothing(crate::system_text(&error)))?;
    let kept: Kept =
        serde_json::from_str(&text).map_err(|_| nothing("what is kept of it cannot be read".to_owned()))?;
    let last_ms = kept.refresh.as_ref().map_or(kept.ends_ms, |(_, ends_ms)| kept.ends_ms.max(*ends_ms));
    if now_ms() < last_ms {
        return Ok(Some(kept));
    }
    let over = nothing("its time is over".to_owned());
    let by_device = format!("run `stockade login --device {at}`");
    Err(if kept.is_by_device { Refusal { next: by_device, ..over } } else { over })
}

fn write(at: &Address, kept: &Kept) -> Result<(), Refusal> {
    let path = path(at)?;
    let failed = |error: std::io::Error| {
        Refusal::invalid(
            format!("`{}` cannot be written", shown(&path.to_string_lossy(), 300)),
            crate::system_text(&error),
            "name a folder of yours with STOCKADE_STATE_DIR",
        )
    };
    let text =
        Zeroizing::new(serde_json::to_string(kept).map_err(|error| Refusal::failed("nothing can be kept", error))?);
    let folder = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    whole::write(&path, 0o600, text.as_bytes()).map_err(failed)
}

/// The file of a node. Its name is one of the grammar of names and addresses, which have no slash.
fn path(at: &Address) -> Result<PathBuf, Refusal> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("STOCKADE_STATE_DIR")
        .or_else(|| absolute("XDG_STATE_HOME").map(|state| state.join("stockade")))
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state/stockade")));
    let state = state.ok_or_else(|| {
        Refusal::invalid(
            "nothing can be kept",
            "you have no folder: HOME is not set",
            "name one with STOCKADE_STATE_DIR",
        )
    })?;
    Ok(state.join("logins").join(format!("{at}.json")))
}

fn address(text: &str) -> Result<Address, Refusal> {
    Address::parse(text, super::remote::PORT)
        .map_err(|why| Refusal::invalid(format!("`{}` is no node", shown(text, 200)), why, "write HOST, or HOST:PORT"))
}

fn say(text: &str) {
    super::print(text);
}
