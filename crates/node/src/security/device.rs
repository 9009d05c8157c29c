//! Log-ins of a command line whose user has a browser elsewhere (RFC 8628): begun here, asked about, and ended with a
//! token of this node.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use stockade_identity::entry::{Credential, Outside};
use stockade_identity::hosts::Peer;
use stockade_identity::oidc::{DeviceLogIn, OidcRefusal, Polled, Providers};

use super::bearer::identified;
use super::claim::{Claim, Way};
use super::directories::{Authority, Realm};
use super::force::Name;
use super::login::{Now, Place, refused};
use super::{Caller, Security};
use crate::refusal::{Kind, Refusal};
use crate::tls::counted;

const METHOD: &str = "device log-in";
/// Log-ins under way, and of one address: each is a question to a provider every few seconds at most. One that its
/// provider does not begin counts for a while all the same, so that nobody has it asked without end.
const UNDER_WAY_MAX: usize = 256;
const UNDER_WAY_EACH: usize = 8;
const UNBEGUN_MS: u64 = 30_000;
/// One that nobody asked about for so many of its intervals makes room where there is none.
const QUIET_INTERVALS: u64 = 3;

/// Log-ins under way, by a name that only who began one knows.
#[derive(Debug, Default)]
pub(super) struct Devices(Mutex<HashMap<String, UnderWay>>);

#[derive(Debug)]
struct UnderWay {
    from: IpAddr,
    realm: Arc<Realm>,
    name: String,
    end_ms: u64,
    /// When it makes room for another one, if nobody has asked about it.
    quiet_ms: u64,
    /// None before it is begun, and while it is asked about.
    log_in: Option<DeviceLogIn>,
}

/// What the user is to be shown.
pub(crate) struct Begun {
    pub(crate) id: String,
    pub(crate) user_code: String,
    pub(crate) address: String,
    pub(crate) whole_address: Option<String>,
    pub(crate) interval_s: u64,
    pub(crate) expires_s: u64,
}

/// What came of asking.
pub(crate) enum Asked {
    /// Nothing yet; ask again after so many seconds.
    Pending(u64),
    /// He is admitted.
    Admitted(Box<Caller>),
}

impl Devices {
    /// A place for one that is not begun yet.
    fn reserve(&self, one: UnderWay, now_ms: u64) -> Result<String, Refusal> {
        let mut bytes = [0_u8; 16];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| Refusal::failed("no log-in can be begun", errno))?;
        let id = format!("{:032x}", u128::from_ne_bytes(bytes));
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, one| now_ms < one.end_ms);
        if is_full(&all, one.from) {
            all.retain(|_, one| now_ms < one.quiet_ms);
        }
        if is_full(&all, one.from) {
            let next = "finish those that were begun, or wait until their time is over";
            return Err(Refusal::new(Kind::TooMany, "no log-in can be begun", "too many are under way", next));
        }
        all.insert(id.clone(), one);
        Ok(id)
    }

    /// Takes one out to ask about it: of who began it, from where he is, and nobody else's meanwhile.
    fn take(&self, id: &str, from: IpAddr) -> Option<(DeviceLogIn, Arc<Realm>, String)> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let one = all.get_mut(id).filter(|one| counted(one.from) == counted(from))?;
        let log_in = one.log_in.take()?;
        one.quiet_ms = one.end_ms;
        Some((log_in, Arc::clone(&one.realm), one.name.clone()))
    }

    fn put(&self, id: &str, log_in: DeviceLogIn, now_ms: u64) {
        if let Some(one) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(id) {
            one.end_ms = log_in.end_ms();
            one.is_heard_of(now_ms, log_in.interval_ms());
            one.log_in = Some(log_in);
        }
    }

    fn end(&self, id: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

impl UnderWay {
    /// Somebody has asked about it now.
    const fn is_heard_of(&mut self, now_ms: u64, interval_ms: u64) {
        self.quiet_ms = now_ms.saturating_add(interval_ms.saturating_mul(QUIET_INTERVALS));
    }
}

/// Whether there is no place for one more from this address.
fn is_full(all: &HashMap<String, UnderWay>, from: IpAddr) -> bool {
    let each = all.values().filter(|known| counted(known.from) == counted(from)).count();
    all.len() >= UNDER_WAY_MAX || each >= UNDER_WAY_EACH
}

impl Security {
    /// Begins a log-in at the provider of a realm; the only one, where none is named.
    ///
    /// # Errors
    /// [`Refusal`] when there is no such realm, its provider does not answer, or too many are under way.
    pub(crate) async fn begin_device(&self, peer: &Peer, realm: Option<&str>, now: Now) -> Result<Begun, Refusal> {
        let now_ms = wall(now);
        let in_force = self.in_force();
        let mut realms =
            in_force.directories.of_providers().filter(|(name, _)| realm.is_none_or(|realm| realm == *name));
        let (Some((name, realm)), None) = (realms.next(), realms.next()) else {
            let next = "name a realm of OpenID providers that is in force: --realm=NAME";
            return Err(Refusal::new(
                Kind::Missing,
                "no log-in can be begun",
                "the node has no such realm, or several",
                next,
            ));
        };
        let (from, end_ms) = (peer.address(), now_ms.saturating_add(UNBEGUN_MS));
        let one =
            UnderWay { from, realm: Arc::clone(realm), name: name.to_owned(), end_ms, quiet_ms: end_ms, log_in: None };
        let id = self.devices.reserve(one, now_ms)?;
        let log_in = providers(realm)?.begin_device(None, now_ms).await.map_err(|refusal| not_begun(name, &refusal))?;
        let begun = Begun {
            id,
            user_code: log_in.user_code().to_owned(),
            address: log_in.verification_uri().to_owned(),
            whole_address: log_in.verification_uri_complete().map(str::to_owned),
            interval_s: log_in.next_ms().saturating_sub(now_ms).div_ceil(1_000).max(1),
            expires_s: log_in.end_ms().saturating_sub(now_ms) / 1_000,
        };
        self.devices.put(&begun.id, log_in, now_ms);
        Ok(begun)
    }

    /// Asks whether the user has said yes, and admits him then.
    ///
    /// # Errors
    /// [`Refusal`] when there is no such log-in, the user or the provider says no, or he is not admitted.
    pub(crate) async fn ask_device(&self, peer: &Peer, id: &str, now: Now) -> Result<Asked, Refusal> {
        let now_ms = wall(now);
        let unknown = || refused(Outside::No, 0);
        let (mut log_in, realm, name) = self.devices.take(id, peer.address()).ok_or_else(unknown)?;
        let polled = match providers(&realm) {
            Ok(providers) => providers.poll_device(&mut log_in, now_ms).await,
            Err(_) => Err(OidcRefusal::NotBegun),
        };
        match polled {
            Ok(Polled::Pending { next_ms, .. }) => {
                self.devices.put(id, log_in, now_ms);
                Ok(Asked::Pending(next_ms.saturating_sub(now_ms).div_ceil(1_000).max(1)))
            }
            Ok(Polled::Done(found)) => {
                self.devices.end(id);
                let claim = Claim { may_log_in: true, ..identified(&name, &realm, found, METHOD) };
                self.admitted(peer, claim, now).await.map(|caller| Asked::Admitted(Box::new(caller)))
            }
            Err(refusal) => {
                self.devices.end(id);
                let who = Name { realm: name, user: String::new() };
                let claim =
                    Claim { detail: refusal.to_string(), ..Claim::of(who, Credential::Token(refusal.proof()), METHOD) };
                self.admitted(peer, claim, now).await.map(|caller| Asked::Admitted(Box::new(caller)))
            }
        }
    }

    async fn admitted(&self, peer: &Peer, claim: Claim, now: Now) -> Result<Caller, Refusal> {
        let before = self.in_force();
        let is_trusted = before.trusts(peer, now.ms).await;
        let way = Way { from: peer.address(), place: Place::LogIn, is_trusted, now };
        self.admit(peer, claim, way, &before).await
    }
}

fn wall(now: Now) -> u64 {
    u64::try_from(now.wall_ms).unwrap_or_default()
}

fn providers(realm: &Realm) -> Result<&Providers, Refusal> {
    match realm.authority() {
        Ok(Authority::Providers(providers)) => Ok(providers),
        Ok(Authority::Directory(_)) | Err(_) => {
            let next = "ask whoever administers the node";
            Err(Refusal::new(Kind::Unavailable, "no log-in can be begun", "the realm cannot ask its provider", next))
        }
    }
}

fn not_begun(realm: &str, refusal: &OidcRefusal) -> Refusal {
    tracing::warn!(realm, why = %refusal, next = refusal.next(), "a device log-in was not begun");
    let next = "try again in a moment, or ask whoever administers the node";
    Refusal::new(Kind::Unavailable, "no log-in can be begun", "the realm's provider does not answer to that", next)
}

#[cfg(test)]
mod tests {
    use stockade_config::security::{Substitutions, parse};

    use super::*;
    use crate::security::directories::Directories;
    use crate::security::terms::Terms;

    const SSO: &str = r#"name = sso, version = "1", type = stockade.security
        configuration { OIDCAuthenticationRealm { name = sso, identityProviders = [ {
            documentDiscoveryUrl = "https://idp.test/.well-known/openid-configuration", clientId = node,
            identityAttributeName = preferred_username, secureCommunicationProfileName = provider } ] } }"#;

    #[test]
    fn log_ins_that_nobody_asks_about_make_room_and_the_others_do_not() {
        let object = parse(SSO, &Substitutions::none()).unwrap();
        let directories = Directories::of(&[object], &Terms::of_test(), None);
        let realm = directories.get("sso").unwrap();
        let devices = Devices::default();
        let reserve = |host: u16, now_ms| {
            let from = IpAddr::V4(u32::from(host).into());
            let (realm, name) = (Arc::clone(realm), "sso".to_owned());
            let one = UnderWay { from, realm, name, end_ms: 600_000, quiet_ms: 600_000, log_in: None };
            devices.reserve(one, now_ms)
        };
        let hear = |id: &str, now_ms| devices.0.lock().unwrap().get_mut(id).unwrap().is_heard_of(now_ms, 5_000);
        let is_there = |id: &str| devices.0.lock().unwrap().contains_key(id);
        let all: Vec<String> = (0..256).map(|number| reserve(number / 8, 0).unwrap()).collect();
        all.iter().for_each(|id| hear(id, 0));
        hear(&all[0], 10_000);
        assert_eq!(reserve(99, 14_999).unwrap_err().kind, Kind::TooMany);
        let new = reserve(99, 15_000).unwrap();
        assert!(is_there(&all[0]) && is_there(&new) && !is_there(&all[1]));
        // Where there is room, nobody has to make some.
        let of_one: Vec<String> = (0..7).map(|_| reserve(99, 15_000).unwrap()).collect();
        hear(&of_one[0], 15_000);
        reserve(98, 60_000).unwrap();
        assert!(is_there(&of_one[0]));
        reserve(99, 60_000).unwrap();
        assert!(!is_there(&of_one[0]) && is_there(&of_one[1]));
    }
}
