//! Who gets in: one function from facts to an answer, without effects.
//!
//! How to use it: gather [`Facts`] (every one of them, also when an early one would do, so that time tells nothing),
//! call [`decide`], audit the answer, and act on it. On [`Answer::Refuse`] tell the caller `outside` and keep
//! `why` for the log and the audit trail: a caller without a proof must not learn who exists, or is locked. It is the same for the command line and for HTTP.
//!
//! The order is that of the specification: transport, source, identity, lock and expiry, credential. The first
//! refusal ends it, and a credential that was shown and is not good is a refusal: nothing weaker is tried.

mod answer;

use stockade_config::security::Admission;

pub use answer::{Answer, How, Outside, Why};

/// How the caller is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// The local Unix socket.
    Local,
    /// TCP without encryption.
    Plain,
    /// TCP with TLS.
    Tls,
}

/// What the caller showed, and what came of it. A caller shows one thing; with several, say the one that it names
/// first in this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Credential {
    /// A password.
    Password(Proof),
    /// A bearer token of this node or of a provider. (A session token of this node was made after a whole decision;
    /// whoever changes the realm revokes them.)
    Token(Proof),
    /// A certificate of TLS.
    Certificate(Proof),
    /// The kernel's word for the process at the other end of the local socket, whose user namespace is the node's.
    Peer(Proof),
    /// Nothing.
    None,
}

impl Credential {
    const fn proof(self) -> Option<Proof> {
        match self {
            Self::Password(proof) | Self::Token(proof) | Self::Certificate(proof) | Self::Peer(proof) => Some(proof),
            Self::None => None,
        }
    }
}

/// What came of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Proof {
    /// It is the principal's.
    Right,
    /// It is not.
    Wrong,
    /// It was not looked at: too early after others, or too many at once.
    NotNow,
}

/// All that the decision depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// How the caller is connected.
    pub transport: Transport,
    /// Whether its address is of a trusted host; of no meaning on the local socket, which has none.
    pub is_source_trusted: bool,
    /// Whether the caller named a user, rather than being the operating-system user of its side. Tokens and
    /// certificates name their principal themselves; that is no naming.
    pub is_user_named: bool,
    /// Whether the realm knows the principal.
    pub is_known: bool,
    /// Whether the principal is locked.
    pub is_locked: bool,
    /// Whether its password is too old. For the change of one's own password say `false`.
    pub is_expired: bool,
    /// `legacyHostTrust` of the node.
    pub has_legacy_host_trust: bool,
    /// The realm's two switches.
    pub admission: Admission,
    /// What was shown.
    pub credential: Credential,
}

/// Decides.
#[must_use]
pub fn decide(facts: &Facts) -> Answer {
    match admitted(facts) {
        Ok(how) => Answer::Admit(how),
        Err(why) => Answer::Refuse { why, outside: outside(facts.credential, why) },
    }
}

fn admitted(facts: &Facts) -> Result<How, Why> {
    transport(facts)?;
    source(facts)?;
    principal(facts)?;
    proved(facts.credential)?;
    match facts.credential {
        Credential::Password(_) => Ok(How::Password),
        Credential::Token(_) => Ok(How::Token),
        Credential::Certificate(_) => unless_password(facts, How::Certificate),
        Credential::Peer(_) if facts.is_user_named => Err(Why::Named),
        Credential::Peer(_) => unless_password(facts, How::Peer),
        Credential::None => without(facts),
    }
}

/// A password never goes in clear; certificates are of TLS, and the kernel knows the local socket only.
const fn transport(facts: &Facts) -> Result<(), Why> {
    match (facts.credential, facts.transport) {
        (Credential::Password(_) | Credential::Token(_), Transport::Plain) => Err(Why::InClear),
        (Credential::Certificate(_), Transport::Plain | Transport::Local)
        | (Credential::Peer(_), Transport::Plain | Transport::Tls) => Err(Why::Misplaced),
        _ => Ok(()),
    }
}

/// The local socket is this machine: it has no address to be trusted or not.
const fn source(facts: &Facts) -> Result<(), Why> {
    let is_trusted = facts.is_source_trusted || matches!(facts.transport, Transport::Local);
    if facts.admission.require_trusted_host && !is_trusted { Err(Why::Untrusted) } else { Ok(()) }
}

const fn principal(facts: &Facts) -> Result<(), Why> {
    if !facts.is_known {
        Err(Why::Unknown)
    } else if facts.is_locked {
        Err(Why::Locked)
    } else if facts.is_expired {
        Err(Why::Expired)
    } else {
        Ok(())
    }
}

/// Nothing shown is nothing disproved.
const fn proved(credential: Credential) -> Result<(), Why> {
    match credential.proof() {
        None | Some(Proof::Right) => Ok(()),
        Some(Proof::Wrong) => Err(Why::Wrong),
        Some(Proof::NotNow) => Err(Why::NotNow),
    }
}

/// `requirePassword`: a password, always.
const fn unless_password(facts: &Facts, how: How) -> Result<How, Why> {
    if facts.admission.require_password { Err(Why::PasswordRequired) } else { Ok(how) }
}

/// Nothing was shown: the address alone, where the node's settings and the realm believe it. On the local socket there
/// is no address, and the kernel's word would have been shown.
const fn without(facts: &Facts) -> Result<How, Why> {
    let is_remote = matches!(facts.transport, Transport::Plain | Transport::Tls);
    let is_believed = facts.has_legacy_host_trust && facts.is_source_trusted && is_remote;
    if facts.admission.require_password {
        Err(Why::PasswordRequired)
    } else if is_believed && !facts.is_user_named {
        Ok(How::HostTrust)
    } else {
        Err(Why::Nothing)
    }
}

/// What the caller is told. As long as it has proved nothing, that does not depend on the principal.
const fn outside(credential: Credential, why: Why) -> Outside {
    match (why, credential.proof()) {
        (Why::InClear, _) => Outside::UseTls,
        (Why::Untrusted, _) | (_, Some(Proof::Wrong)) => Outside::No,
        (_, Some(Proof::NotNow)) => Outside::Wait,
        (_, None) => Outside::Show,
        (Why::Locked, Some(Proof::Right)) => Outside::Locked,
        (Why::Expired, Some(Proof::Right)) => Outside::Expired,
        (Why::Misplaced | Why::PasswordRequired | Why::Named, Some(Proof::Right)) => Outside::Show,
        (Why::Unknown | Why::Wrong | Why::NotNow | Why::Nothing, Some(Proof::Right)) => Outside::No,
    }
}

#[cfg(test)]
mod tests;
