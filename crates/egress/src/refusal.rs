//! Why something was refused, in one enum: a code for machines, a sentence for people, and what to do next.
//!
//! Texts from inside are neutralised and cut here, before they reach a report, a record or an answer.

use std::net::IpAddr;

use stockade_core::text;
use thiserror::Error;

use crate::address::Kind;
use crate::budget::Excess;
use crate::flow::Way;
use stockade_core::grant::Protocol;
use stockade_core::name::BadHost;

/// How much of a text from inside a record keeps.
const ASKED_CHARS_MAX: usize = 300;

/// One reason.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Reason {
    /// No grant is about this host.
    #[error("it was not granted")]
    NotGranted,
    /// The host is granted, this port is not.
    #[error("it was granted on other ports only")]
    Port,
    /// A denial is about it.
    #[error("it is denied by `{rule}`")]
    Denied {
        /// The denial.
        rule: String,
    },
    /// Granted for another protocol.
    #[error("it was granted for {granted} only")]
    Protocol {
        /// What was granted.
        granted: String,
    },
    /// Bytes that cannot be searched, of a host that a secret is for.
    #[error("the run has a secret for this host, so only HTTP passes, which can be searched for it")]
    Secret,
    /// The host is granted, this method is not.
    #[error("the method was not granted")]
    Method,
    /// The host is granted, this path is not.
    #[error("the path was not granted")]
    Path,
    /// The path could be read in two ways, and paths decide here.
    #[error("the path can be read in two ways")]
    AmbiguousPath,
    /// The host or port is not well formed.
    #[error("{0}")]
    BadHost(#[from] BadHost),
    /// The request is not well formed, or not one that the gate serves.
    #[error("{0}")]
    BadRequest(&'static str),
    /// `Host` says something else than the target.
    #[error("the Host header names another host than the request")]
    HostHeader,
    /// Another protocol was asked for in the middle of HTTP.
    #[error("a change of protocol was asked for")]
    Upgrade,
    /// The name resolves to, or the address is, one that needs a grant of its own.
    #[error("{address} is {kind}")]
    Special {
        /// The address.
        address: IpAddr,
        /// What it is.
        kind: Kind,
    },
    /// No address for the name.
    #[error("its name does not resolve")]
    Unresolved,
    /// An address that stands for names inside, but for none of this run.
    #[error("the address stands for no name that the run has looked up")]
    NoName,
    /// More names than a run has addresses for.
    #[error("the run has looked up too many names")]
    Names,
    /// A datagram.
    #[error("only TCP passes the gate")]
    NotTcp,
    /// Nobody answers at the addresses.
    #[error("it cannot be reached")]
    Unreachable,
    /// Not TLS where TLS was granted.
    #[error("the connection does not begin with TLS")]
    NotTls,
    /// TLS without a server name.
    #[error("the TLS greeting names no server")]
    NoServerName,
    /// TLS to another name than the granted one.
    #[error("the TLS greeting names another server, `{said}`")]
    ServerName {
        /// The name in the greeting, neutralised.
        said: String,
    },
    /// Encrypted ClientHello: the name that counts is hidden.
    #[error("the TLS greeting hides the server's name (encrypted client hello)")]
    HiddenServerName,
    /// The greeting cannot be parsed.
    #[error("the TLS greeting is not well formed")]
    BadHello,
    /// A PostgreSQL client that wants no TLS.
    #[error("the PostgreSQL client does not ask for TLS first")]
    PostgresPlain,
    /// A PostgreSQL server without TLS.
    #[error("the PostgreSQL server offers no TLS")]
    PostgresServerPlain,
    /// The server's certificate does not hold, or its TLS fails.
    #[error("the server's TLS cannot be trusted")]
    UpstreamTls,
    /// The server broke off, or answered something else than HTTP.
    #[error("the server's answer is not well formed")]
    UpstreamAnswer,
    /// The answer is compressed although plain was asked for, so secrets in it cannot be found.
    #[error("the answer is encoded, so it cannot be searched for secrets")]
    Encoded,
    /// The client took too long.
    #[error("the client took too long")]
    Slow,
    /// A budget is used up.
    #[error("{0}")]
    Budget(#[from] Excess),
    /// The record could not be written; without a record, no connection.
    #[error("the connection cannot be recorded")]
    NotRecorded,
}

impl Reason {
    /// A short fixed name for records and counters.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotGranted => "not-granted",
            Self::Port => "port",
            Self::Denied { .. } => "denied",
            Self::Protocol { .. } => "protocol",
            Self::Secret => "secret",
            Self::Method => "method",
            Self::Path => "path",
            Self::AmbiguousPath => "ambiguous-path",
            Self::BadHost(_) => "bad-host",
            Self::BadRequest(_) => "bad-request",
            Self::HostHeader => "host-header",
            Self::Upgrade => "upgrade",
            Self::Special { .. } => "special-address",
            Self::Unresolved => "unresolved",
            Self::NoName => "no-name",
            Self::Names => "names",
            Self::NotTcp => "not-tcp",
            Self::Unreachable => "unreachable",
            Self::NotTls => "not-tls",
            Self::NoServerName => "no-server-name",
            Self::ServerName { .. } => "server-name",
            Self::HiddenServerName => "hidden-server-name",
            Self::BadHello => "bad-hello",
            Self::PostgresPlain => "postgres-plain",
            Self::PostgresServerPlain => "postgres-server-plain",
            Self::UpstreamTls => "upstream-tls",
            Self::UpstreamAnswer => "upstream-answer",
            Self::Encoded => "encoded",
            Self::Slow => "slow",
            Self::Budget(_) => "budget",
            Self::NotRecorded => "not-recorded",
        }
    }

    pub(crate) const fn fault(&self) -> Fault {
        match self {
            Self::BadHost(_) | Self::BadRequest(_) | Self::HostHeader | Self::Upgrade | Self::AmbiguousPath => {
                Fault::Request
            }
            Self::Unresolved
            | Self::Unreachable
            | Self::UpstreamTls
            | Self::UpstreamAnswer
            | Self::Encoded
            | Self::PostgresServerPlain => Fault::Server,
            Self::NotRecorded => Fault::Gate,
            Self::NotGranted
            | Self::Port
            | Self::Denied { .. }
            | Self::Protocol { .. }
            | Self::Secret
            | Self::Method
            | Self::Path
            | Self::Special { .. }
            | Self::NotTls
            | Self::NoServerName
            | Self::ServerName { .. }
            | Self::HiddenServerName
            | Self::BadHello
            | Self::PostgresPlain
            | Self::NoName
            | Self::Names
            | Self::NotTcp
            | Self::Slow
            | Self::Budget(_) => Fault::Rules,
        }
    }

    /// What to do about it; `asked` is `HOST:PORT` as it was understood, with `http://` in front if that was spoken.
    fn next(&self, asked: &str) -> String {
        let bare = asked.trim_start_matches("http://");
        match self {
            Self::Protocol { .. } if asked != bare => format!("grant plain HTTP: --net {}", shortest(asked)),
            Self::NotGranted | Self::Port => format!("--net {}", shortest(asked)),
            Self::Special { address, kind } => special_next(*address, *kind, asked),
            Self::Denied { rule } => format!("remove `{rule}` from the policy, or do without"),
            Self::Protocol { .. } | Self::NotTls | Self::NoServerName => {
                format!("speak what was granted, or grant unchecked bytes: --net tcp://{bare}")
            }
            Self::Secret => "speak HTTP or HTTPS, or leave the `--secret` of this host away".to_owned(),
            Self::Method | Self::Path => {
                "grant the method and path too, as in --net 'GET https://HOST/PATH'".to_owned()
            }
            Self::AmbiguousPath => "write the path plainly, without `..`, `//`, `;` and needless escapes".to_owned(),
            Self::BadHost(BadHost::TrailingDot) => "write the name without its final dot".to_owned(),
            Self::BadHost(_) => "write a plain name such as api.example.com".to_owned(),
            Self::PostgresPlain => "connect with sslmode=require".to_owned(),
            Self::PostgresServerPlain => format!("switch TLS on at the server, or --net tcp://{bare}"),
            Self::Budget(excess) => format!("raise `{}`, or do with less", excess.key()),
            Self::Unresolved | Self::Unreachable => "look whether the server is there, from outside".to_owned(),
            Self::BadRequest(_) | Self::HostHeader | Self::Upgrade | Self::ServerName { .. } => NO_FLAG.to_owned(),
            Self::HiddenServerName | Self::BadHello | Self::NotTcp => NO_FLAG.to_owned(),
            Self::NoName => "look the name up in the same run first".to_owned(),
            Self::Names => "look up fewer names, or use the proxy".to_owned(),
            Self::UpstreamTls | Self::UpstreamAnswer | Self::Encoded => "ask whoever runs the server".to_owned(),
            Self::Slow => "send the request at once".to_owned(),
            Self::NotRecorded => "look at the disk that holds the records".to_owned(),
        }
    }
}

/// Who can do something about a refusal; each protocol has its own word for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The request is malformed.
    Request,
    /// The rules or budgets say no.
    Rules,
    /// The server is not there, or not as it should be.
    Server,
    /// The gate cannot do its work.
    Gate,
}

const NO_FLAG: &str = "no flag permits it: the code must do without";

fn special_next(address: IpAddr, kind: Kind, asked: &str) -> String {
    let port = asked.rsplit_once(':').map_or("", |(_, port)| port);
    match kind {
        Kind::Unspecified | Kind::Multicast | Kind::Broadcast | Kind::Embedding => NO_FLAG.to_owned(),
        Kind::Own
        | Kind::Loopback
        | Kind::Metadata
        | Kind::Private
        | Kind::LinkLocal
        | Kind::Shared
        | Kind::Reserved => {
            let host = stockade_core::name::Host::from(address);
            format!("if it is meant, grant the address too: --net {}", shortest(&format!("{host}:{port}")))
        }
    }
}

/// The grant that would permit `asked`, in its shortest form.
fn shortest(asked: &str) -> String {
    asked.parse::<stockade_core::grant::Grant>().map_or_else(|_| asked.to_owned(), |grant| grant.to_string())
}

/// Something that was asked for and not given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// How it was asked for.
    pub way: Way,
    /// What was asked for: `HOST:PORT` when it was understood, else the neutralised text.
    pub asked: String,
    /// Why not.
    pub reason: Reason,
}

impl Refusal {
    pub(crate) fn new(way: Way, asked: &str, reason: impl Into<Reason>) -> Self {
        Self { way, asked: shown(asked), reason: reason.into() }
    }

    /// What to do about it.
    #[must_use]
    pub fn next(&self) -> String {
        match self.way {
            Way::HttpProxy => self.reason.next(&format!("http://{}", self.asked)),
            Way::Connect | Way::Socks | Way::Transparent | Way::Resolver | Way::Unknown => {
                self.reason.next(&self.asked)
            }
        }
    }
}

/// Makes a text from inside harmless and short.
pub(crate) fn shown(text: &str) -> String {
    text::shown(text, ASKED_CHARS_MAX)
}

/// The protocols of a grant in words: `tls or http`.
pub(crate) fn either(protocols: impl Iterator<Item = Protocol>) -> String {
    protocols.map(|protocol| protocol.to_string()).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_step_can_be_copied() {
        let next = |way, asked: &str, reason: Reason| Refusal::new(way, asked, reason).next();
        assert_eq!(next(Way::Connect, "api.example.com:443", Reason::NotGranted), "--net api.example.com");
        assert_eq!(next(Way::Socks, "api.example.com:8443", Reason::Port), "--net api.example.com:8443");
        assert_eq!(next(Way::HttpProxy, "api.example.com:8080", Reason::Port), "--net http://api.example.com:8080");
        let tls_only = Reason::Protocol { granted: "tls".to_owned() };
        assert_eq!(next(Way::HttpProxy, "a.example:81", tls_only), "grant plain HTTP: --net http://a.example:81");
        let private = Reason::Special { address: "10.0.0.5".parse().unwrap(), kind: Kind::Private };
        assert!(private.next("db.internal:5432").ends_with("--net postgres://10.0.0.5"));
        let unspecified = Reason::Special { address: "0.0.0.0".parse().unwrap(), kind: Kind::Unspecified };
        assert_eq!(unspecified.next("a.example:443"), NO_FLAG);
    }

    #[test]
    fn what_was_asked_is_harmless_to_show() {
        let refusal = Refusal::new(Way::Socks, "a\u{1b}[2Jb\n", BadHost::Character);
        assert_eq!(refusal.asked, "a\\u{1b}[2Jb\\n");
        assert!(Refusal::new(Way::Socks, &"x".repeat(9999), Reason::NotGranted).asked.len() < 310);
    }
}
