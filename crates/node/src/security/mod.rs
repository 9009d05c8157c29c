//! Who may do what at this node: the configuration that is in force, the principals of its own realms, and the one
//! question that every path of the API asks.
//!
//! `force.rs` is what is in force, compiled; `changes.rs` how that changes, `trial.rs` for a time; `people.rs` the
//! principals of local realms, `realm.rs` all of one at once; `lockout.rs` that nobody takes his own way back; `login.rs` who asks over the network, `claim.rs` what
//! came of what he shows, `tokens.rs` his tokens, `directories.rs` realms of LDAP and OpenID, `bearer.rs` tokens of the latter and `device.rs` their log-ins, `outward.rs` what those need of
//! outside, `serving.rs` what is offered over TLS and whose certificates are believed; `rescue.rs` the way back when nobody can ask; `commands.rs` what `stockade admin` can ask for, `show.rs`,
//! `audit.rs` and `work.rs` what it is shown. The decisions are those of
//! `stockade_identity`.
//!
//! A fresh node has no configuration. The user it runs as and root are administrators then, whoever else its socket
//! lets in is an `author`. As soon as a local realm is in force, others hold the roles that it gives to the users of
//! their names, and nobody else holds any.

mod audit;
mod bearer;
mod beginnings;
mod changes;
mod claim;
mod commands;
mod device;
mod directories;
mod flood;
mod force;
mod given;
mod lockout;
mod login;
mod objects;
mod outward;
mod people;
mod realm;
pub(crate) mod rescue;
mod serving;
mod show;
mod terms;
mod tokens;
mod trail;
mod trial;
mod work;

use std::net::IpAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use stockade_identity::hosts::{Change, Hosts};
use stockade_identity::local::{Costs, Limits, Passwords, Source};
use stockade_identity::privilege::{Decision, Privilege};
use stockade_identity::token::{Kind as TokenKind, LIFETIME_MS, REFRESH_MS, Sessions};

use crate::keeper::Keeper;
use crate::listen::Principal;
use crate::refusal::{Kind, Refusal};
use crate::service::now_ms;
use crate::tls::Names;

pub(crate) use commands::{Values, change_log, run as command};
pub(crate) use device::Asked;
use flood::Flood;
use force::{Hosted, InForce};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use given::check as check_command;
pub(crate) use login::{Place, Shown};
pub(crate) use terms::{Terms, accounts, checked as checked_service, usual_name as usual_service};
pub(crate) use tokens::Tokens;
pub(crate) use trail::{FOLDER, Trail};

/// The role of those who may do everything.
const ADMINISTRATOR: &str = "administrator";
/// How long nothing is asked of name servers at the least, and at the most before it is looked whether to.
const MOMENT_MS: u64 = 500;
const REST_MS: u64 = 5_000;
/// The role of whoever the socket lets in, while nobody said otherwise: he has an account on this machine, where he can
/// have packages put together without the node.
const FRESH: &str = "author";

/// Who may do what.
#[derive(Debug)]
pub(crate) struct Security {
    keeper: Keeper,
    terms: Terms,
    trail: Trail,
    passwords: Passwords,
    /// Of callers over the network.
    sessions: Sessions<tokens::Session>,
    /// What makes their next ones, each once.
    refreshes: Sessions<tokens::Session>,
    /// Log-ins that tokens came of, counted.
    families: AtomicU64,
    /// Refused log-ins, by address.
    flood: Flood<IpAddr>,
    /// Denials, by caller.
    denials: Flood<String>,
    seen: bearer::Seen,
    devices: device::Devices,
    in_force: RwLock<Arc<InForce>>,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
    /// A configuration is on trial since now.
    trial_begins: tokio::sync::Notify,
    /// From when its own clock counts, which never goes back.
    began: Instant,
}

/// Who asks, and what it holds.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// Whose everything is that it makes.
    pub(crate) principal: Principal,
    /// Where it is: a user of this machine by the kernel's word, or an address.
    source: Source,
    /// How it was admitted, where it is not at the local socket.
    remote: Option<login::Remote>,
    /// The roles it holds.
    roles: Vec<String>,
    /// The command that it has asked for, by its own name in the trail.
    command: Option<String>,
    /// What is in force for this request, to its end.
    in_force: Arc<InForce>,
}

/// What somebody may do who is denied what a role would give him.
const ROLE_NEXT: &str = "ask whoever administers the node for a role that has it";
/// Why somebody who holds nothing is denied, and what he may ask: the kernel vouches for whoever is at the socket, so
/// none of it is told to a stranger.
const NO_ROLE: &str = "you hold no role at this node";
const NO_ROLE_NEXT: &str = "ask whoever administers the node: no realm gives you a role, or you are locked there, your \
                          password is expired, or the realm lets in nobody without one";

/// A denial, for the caller and for the record.
#[derive(Clone, Debug)]
pub(crate) struct Denied {
    principal: String,
    /// Where he is.
    source: Box<str>,
    privilege: &'static str,
    resource: String,
    rule: String,
    /// What he may do about it.
    next: &'static str,
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        let Denied { privilege, resource, rule, next, .. } = &denied;
        let on = if resource.is_empty() {
            String::new()
        } else {
            format!(" on `{}`", stockade_core::text::shown(resource, 200))
        };
        let why =
            if privilege.is_empty() { rule.clone() } else { format!("it needs the privilege {privilege}{on}; {rule}") };
        Self::new(Kind::Denied, "this is not for you", why, *next)
    }
}

impl Security {
    /// Takes up what is in force.
    pub(crate) async fn open(keeper: Keeper, trail: Trail, terms: Terms) -> Result<Self, Refusal> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let passwords = Passwords::new(Costs::default(), Limits::for_processors(processors))
            .map_err(|error| Refusal::failed("passwords cannot be checked", error))?;
        let sessions = Sessions::new(&terms.service, LIFETIME_MS);
        let refreshes = Sessions::of(TokenKind::Refresh, &terms.service, REFRESH_MS);
        keeper.with(beginnings::note_types).await?;
        trail.warn_of_loss(&keeper.with(|store| store.history(1)).await?);
        let in_force = force::of_store(&keeper, Hosted::Resume(terms.resolver()), (&terms, None)).await?;
        if let Some((realm, why)) = in_force.directories.unusable() {
            tracing::error!(realm, why, "nobody of a realm can log in");
        }
        Self::warn_of_legacy(&in_force);
        let security = Self {
            keeper,
            terms,
            trail,
            passwords,
            sessions,
            refreshes,
            families: AtomicU64::default(),
            flood: Flood::default(),
            denials: Flood::default(),
            seen: bearer::Seen::default(),
            devices: device::Devices::default(),
            in_force: RwLock::new(Arc::new(in_force)),
            changing: tokio::sync::Mutex::default(),
            trial_begins: tokio::sync::Notify::new(),
            began: Instant::now(),
        };
        // Before anybody is served by what is over.
        security.look_after_trial().await?;
        security.offer();
        Ok(security)
    }

    /// The name of the node.
    pub(crate) fn service(&self) -> &str {
        &self.terms.service
    }

    /// Refuses what is meant for another node. `X` is every node of the cluster `X`, `A.X` its node `A`.
    pub(crate) fn check_meant(&self, wanted: Option<&str>) -> Result<(), Refusal> {
        let service = self.service();
        let is_meant =
            |wanted| service == wanted || service.split_once('.').is_some_and(|(_, cluster)| cluster == wanted);
        match wanted.filter(|wanted| !is_meant(*wanted)) {
            Some(other) => Err(Refusal::new(
                Kind::Misdirected,
                format!("the node is not `{}`", stockade_core::text::shown(other, 200)),
                format!("it is `{service}`, and did nothing"),
                "name the node you mean: --socket=PATH, or --hostname=HOST",
            )),
            None => Ok(()),
        }
    }

    /// The user of this number, at the node's own socket.
    pub(crate) fn caller(&self, uid: u32, principal: Principal) -> Caller {
        let in_force = self.in_force();
        let roles = self.roles_at_socket(uid, &in_force);
        Caller { principal, source: Source::User(uid), remote: None, roles, command: None, in_force }
    }

    /// The roles of a user of this machine at the socket, by what is or would be in force.
    fn roles_at_socket(&self, uid: u32, in_force: &InForce) -> Vec<String> {
        if self.terms.owners.contains(&uid) {
            return vec![ADMINISTRATOR.to_owned()];
        }
        let user = self.terms.accounts.get(&uid).cloned().unwrap_or_else(|| format!("uid-{uid}"));
        in_force.roles_at_socket(&user, now_s()).unwrap_or_else(|| vec![FRESH.to_owned()])
    }

    /// Refuses who may not be what he was when his request began: a body takes its time, and rights go meanwhile.
    pub(crate) fn check_current(&self, caller: &Caller) -> Result<(), Refusal> {
        let session = caller.remote.as_ref().and_then(|remote| remote.session);
        let is_there = session.is_none_or(|(id, _)| self.sessions.has(&caller.principal.0, id, self.now_ms()));
        if is_there && self.is_as_before(caller, &self.in_force()) {
            return Ok(());
        }
        Err(Refusal::new(
            Kind::Conflict,
            "nothing was done",
            "what is in force has changed while you asked, or your session has ended",
            "ask again",
        ))
    }

    /// Whether what is in force now gives a caller what it gave him when his request began.
    fn is_as_before(&self, caller: &Caller, now: &Arc<InForce>) -> bool {
        let before = &caller.in_force;
        if Arc::ptr_eq(before, now) {
            return true;
        }
        // Others are looked after all the time, which is nothing to him.
        let is_he = match caller.source {
            Source::User(uid) => self.roles_at_socket(uid, now) == caller.roles,
            Source::Address(_) => {
                let name = before.name(&caller.principal.0);
                before.person(&name) == now.person(&name)
            }
        };
        is_he && before.objects == now.objects && before.administration == now.administration
    }

    fn in_force(&self) -> Arc<InForce> {
        Arc::clone(&self.in_force.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn hosts(&self) -> Arc<Hosts> {
        Arc::clone(&self.in_force().hosts)
    }

    /// Milliseconds since it began.
    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Asks again for names whose time is over, for ever: what has another address is trusted at that one, and at the
    /// old one no more.
    pub(crate) async fn follow_names(&self) {
        loop {
            let hosts = self.hosts();
            // What is put in force meanwhile is looked at a moment later.
            let due_ms = hosts.due_ms().unwrap_or(u64::MAX).saturating_sub(self.now_ms()).clamp(MOMENT_MS, REST_MS);
            tokio::time::sleep(Duration::from_millis(due_ms)).await;
            self.ask_names(&hosts, self.now_ms()).await;
        }
    }

    /// Asks for those whose time is over now. What a name has no more is not trusted from then on, what is new is when it
    /// is on record; until then it is told anew each time.
    async fn ask_names(&self, hosts: &Hosts, now_ms: u64) {
        for change in hosts.refresh(now_ms).await {
            let Change { entry, object, added, removed, failure, .. } = &change;
            tracing::warn!(entry, object, ?added, ?removed, ?failure, "a trusted name has other addresses");
            match self.record_moved(&change).await {
                Ok(()) => hosts.trust(&change),
                Err(refusal) => {
                    tracing::error!(entry, why = refusal.why, "what is new of a trusted name is not trusted")
                }
            }
        }
    }

    /// What whoever looks after the node should not overlook.
    fn warn_of_legacy(in_force: &InForce) {
        if in_force.has_legacy_host_trust() {
            tracing::warn!(
                "legacyHostTrust: who connects from a trusted host and says a user's name is that user where the realm \
                 wants no password; every program there can say any name"
            );
        }
    }

    /// What was in force before goes with the sessions that it does not hold for any more.
    fn put_in_force(&self, new: InForce) {
        let before = self.swap(new);
        let after = self.in_force();
        if !before.has_legacy_host_trust() {
            Self::warn_of_legacy(&after);
        }
        self.revoke(&before, &after);
    }

    fn swap(&self, new: InForce) -> Arc<InForce> {
        let mut in_force = self.in_force.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *in_force, Arc::new(new));
        drop(in_force);
        self.offer();
        before
    }

    /// Offers over TLS what is in force, where the node was started for a profile.
    fn offer(&self) {
        if let (Some(names), Some(profile)) = (&self.terms.names, &self.terms.profile) {
            names.offer_now(self.in_force().offer(profile));
        }
    }

    /// What the node is reached as over TLS, if it is.
    pub(crate) fn names(&self) -> Option<&Names> {
        self.terms.names.as_deref()
    }

    /// Whether a caller may run code here: each policy of the node must be granted.
    pub(crate) fn check_run(&self, caller: &Caller) -> Result<(), Denied> {
        self.terms.policies.iter().try_for_each(|policy| caller.check(Privilege::Run, Some(policy)))
    }
}

fn now_s() -> u64 {
    u64::try_from(now_ms() / 1_000).unwrap_or_default()
}

impl Caller {
    /// Where it is, as the trail has it.
    fn source(&self) -> String {
        match self.source {
            Source::User(_) => trail::LOCAL.to_owned(),
            Source::Address(address) => address.to_string(),
        }
    }

    /// Whether it may do this.
    pub(crate) fn decide(&self, privilege: Privilege, resource: Option<&str>) -> Decision {
        self.in_force.authoriser.decide(&self.principal.0, &self.roles, privilege, resource)
    }

    /// Whether it may have packages put together that it names, or its code does. What comes of that has no name.
    pub(crate) fn may_build(&self) -> bool {
        self.decide(Privilege::EnvironmentBuild, None).is_permitted()
    }

    /// What denies it something by any of the names that this has.
    pub(crate) fn forbidden<'a>(
        &self,
        privilege: Privilege,
        mut names: impl Iterator<Item = &'a str>,
    ) -> Option<Decision> {
        names.find_map(|name| {
            let decision = self.decide(privilege, Some(name));
            (!decision.is_permitted() && decision.rule().is_some()).then_some(decision)
        })
    }

    /// Refuses what it may not use by one of its names, whichever it is asked for by.
    pub(crate) fn check_names<'a>(
        &self,
        (privilege, reference): (Privilege, &str),
        names: impl Iterator<Item = &'a str>,
    ) -> Result<(), Denied> {
        match self.forbidden(privilege, names) {
            Some(decision) => Err(self.denied(privilege.name(), Some(reference), Some(decision.to_string()))),
            None => Ok(()),
        }
    }

    /// Refuses what it may not do.
    pub(crate) fn check(&self, privilege: Privilege, resource: Option<&str>) -> Result<(), Denied> {
        if privilege == Privilege::AdminRunCommand {
            self.check_realm(resource)?;
        }
        let decision = self.decide(privilege, resource);
        if decision.is_permitted() {
            return Ok(());
        }
        let rule = (!self.roles.is_empty()).then(|| decision.to_string());
        Err(self.denied(privilege.name(), resource, rule))
    }

    /// Over the network only those of the administration realm administer the node, if it has one.
    fn check_realm(&self, resource: Option<&str>) -> Result<(), Denied> {
        match &self.in_force.administration {
            Some(realm) if !self.is_of_administration(&self.in_force) => {
                let rule = format!("over the network, administrators are of the realm `{realm}`");
                Err(self.denied(Privilege::AdminRunCommand.name(), resource, Some(rule)))
            }
            _ => Ok(()),
        }
    }

    fn is_of_administration(&self, in_force: &InForce) -> bool {
        let own = self.principal.0.rsplit_once('@').map(|(_, realm)| realm);
        self.remote.is_none() || in_force.administration.as_deref().is_none_or(|realm| own == Some(realm))
    }

    /// Refuses who holds no role at all that means something here.
    pub(crate) fn check_known(&self) -> Result<(), Denied> {
        let authoriser = &self.in_force.authoriser;
        let is_known = self.roles.iter().any(|role| authoriser.rules_of(role).next().is_some());
        if is_known { Ok(()) } else { Err(self.denied("", None, None)) }
    }

    /// A denial by this rule, or for want of any role.
    fn denied(&self, privilege: &'static str, resource: Option<&str>, rule: Option<String>) -> Denied {
        let (principal, resource) = (self.principal.0.clone(), resource.unwrap_or_default().to_owned());
        let next = if rule.is_some() { ROLE_NEXT } else { NO_ROLE_NEXT };
        let rule = rule.unwrap_or_else(|| NO_ROLE.to_owned());
        tracing::warn!(principal, privilege, resource, rule, "denied");
        Denied { principal, source: self.source().into(), privilege, resource, rule, next }
    }
}
