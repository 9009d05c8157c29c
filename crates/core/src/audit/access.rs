//! What is on record of who may do what: attempts to log in, decisions, commands, configuration.
//!
//! Whatever others have said is shown harmless and cut. There is no field for a credential, and a parameter that is
//! secret is a value of its own, which has none.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Serialize, Serializer};

use crate::text;

/// Longest text of others, in characters.
const SAID_CHARS_MAX: usize = 256;

/// Somebody has said who he is.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Authentication<'a> {
    /// Milliseconds since 1970, UTC.
    pub time_ms: u64,
    /// `name@realm` as it was claimed; it is somebody's only if the decision says so.
    #[serde(serialize_with = "said")]
    pub principal: &'a str,
    /// The realm that was asked.
    #[serde(serialize_with = "said")]
    pub realm: &'a str,
    /// From where: an address, or `local`.
    #[serde(serialize_with = "said")]
    pub source: &'a str,
    /// How: `password`, `certificate`, `token`, `peer`, `host`.
    pub method: &'a str,
    /// Whether he is.
    pub decision: Decision,
    /// The rule, or why not; for this record, which the caller does not see.
    #[serde(serialize_with = "said")]
    pub reason: &'a str,
}

/// Somebody has asked for something that takes a privilege.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Authorisation<'a> {
    /// Milliseconds since 1970, UTC.
    pub time_ms: u64,
    /// `name@realm`, verified.
    pub principal: &'a str,
    /// From where: an address, or `local`.
    pub source: &'a str,
    /// Which.
    pub privilege: &'a str,
    /// On what; empty for everything of its kind.
    #[serde(serialize_with = "said")]
    pub resource: &'a str,
    /// Whether he may.
    pub decision: Decision,
    /// What decided it.
    #[serde(serialize_with = "said")]
    pub rule: &'a str,
}

/// A command of administration: on record before it is carried out, and after.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Command<'a> {
    /// Milliseconds since 1970, UTC.
    pub time_ms: u64,
    /// Its own name, the same in both records.
    pub id: &'a str,
    /// `name@realm`, verified.
    pub principal: &'a str,
    /// From where.
    #[serde(serialize_with = "said")]
    pub source: &'a str,
    /// On what: `node`, `user`, `configuration`, …
    #[serde(serialize_with = "said")]
    pub target: &'a str,
    /// What: `stop`, `add`, `activate`, …
    #[serde(serialize_with = "said")]
    pub command: &'a str,
    /// How far it is.
    pub phase: Phase,
    /// Why it was denied or has failed.
    #[serde(skip_serializing_if = "str::is_empty", serialize_with = "said")]
    pub reason: &'a str,
    /// Its parameters, by the names that the command knows.
    pub parameters: &'a BTreeMap<&'a str, Parameter<'a>>,
    /// How many others were given. What they are called is anything, of any length.
    #[serde(skip_serializing_if = "is_none")]
    pub unknown_parameters: usize,
}

/// Configuration goes from one state to another.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Transition<'a> {
    /// Milliseconds since 1970, UTC.
    pub time_ms: u64,
    /// `name@realm`, verified.
    pub principal: &'a str,
    /// The command that does it.
    pub command: &'a str,
    /// Its type, as `stockade.security`.
    #[serde(rename = "type", serialize_with = "said")]
    pub kind: &'a str,
    /// Its name.
    #[serde(serialize_with = "said")]
    pub name: &'a str,
    /// Its version.
    #[serde(serialize_with = "said")]
    pub version: &'a str,
    /// The state it was in: `none`, `inactive`, `active`.
    pub from: &'static str,
    /// The state it is in then.
    pub to: &'static str,
    /// SHA-256 of what it says.
    pub digest: &'a str,
}

/// A name of a trusted host has other addresses than before: on record before they are trusted.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct TrustedName<'a> {
    /// Milliseconds since 1970, UTC.
    pub time_ms: u64,
    /// The entry, as it is written.
    #[serde(serialize_with = "said")]
    pub entry: &'a str,
    /// The object that has it.
    #[serde(serialize_with = "said")]
    pub object: &'a str,
    /// What is trusted from now on.
    pub added: &'a [IpAddr],
    /// What is not trusted any more.
    pub removed: &'a [IpAddr],
    /// What name servers did not answer, if that is why.
    #[serde(skip_serializing_if = "str::is_empty", serialize_with = "said")]
    pub failure: &'a str,
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// Yes.
    Permitted,
    /// No.
    Refused,
}

/// How far a command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// It is about to be carried out.
    Intent,
    /// It may not be.
    Denied,
    /// It was.
    Done,
    /// It has come to nothing.
    Failed,
}

/// A parameter of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter<'a> {
    /// As it was given.
    Given(&'a str),
    /// Given, and not to be known.
    Secret,
}

impl Serialize for Parameter<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Given(value) => said(value, serializer),
            Self::Secret => serializer.serialize_str("(secret)"),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as it is asked for")]
const fn is_none(count: &usize) -> bool {
    *count == 0
}

/// What somebody has said, harmless and cut.
fn said<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text::shown(text, SAID_CHARS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Record;

    fn json(record: &Record<'_>) -> String {
        serde_json::to_string(record).unwrap()
    }

    #[test]
    fn records_say_which_they_are_first() {
        let (time_ms, principal, decision) = (5, "ann@local", Decision::Refused);
        let login = Authentication {
            time_ms,
            principal,
            realm: "local",
            source: "192.0.2.7",
            method: "password",
            decision,
            reason: "locked",
        };
        assert_eq!(
            json(&Record::Authentication(login)),
            r#"{"record":"authentication","time_ms":5,"principal":"ann@local","realm":"local","source":"192.0.2.7","method":"password","decision":"refused","reason":"locked"}"#
        );
        let asked = Authorisation {
            time_ms,
            principal,
            source: "local",
            privilege: "Run",
            resource: "default",
            decision: Decision::Permitted,
            rule: "role user",
        };
        assert_eq!(
            json(&Record::Authorisation(asked)),
            r#"{"record":"authorisation","time_ms":5,"principal":"ann@local","source":"local","privilege":"Run","resource":"default","decision":"permitted","rule":"role user"}"#
        );
        let change = Transition {
            time_ms,
            principal,
            command: "c1",
            kind: "stockade.security",
            name: "x",
            version: "1",
            from: "inactive",
            to: "active",
            digest: "ab",
        };
        assert_eq!(
            json(&Record::Transition(change)),
            r#"{"record":"transition","time_ms":5,"principal":"ann@local","command":"c1","type":"stockade.security","name":"x","version":"1","from":"inactive","to":"active","digest":"ab"}"#
        );
        let (added, removed) = ([[192, 0, 2, 2].into()], [[192, 0, 2, 1].into()]);
        let moved =
            TrustedName { time_ms, entry: "a.acme.com", object: "x", added: &added, removed: &removed, failure: "" };
        assert_eq!(
            json(&Record::TrustedName(moved)),
            r#"{"record":"trusted-name","time_ms":5,"entry":"a.acme.com","object":"x","added":["192.0.2.2"],"removed":["192.0.2.1"]}"#
        );
    }

    #[test]
    fn what_others_said_is_harmless_and_short_and_no_secret_is_there() {
        let hostile = format!("\u{1b}[2J\n{}", "x".repeat(100_000));
        let parameters = BTreeMap::from([("password", Parameter::Secret), ("username", Parameter::Given(&hostile))]);
        let command = Command {
            time_ms: 5,
            id: "c1",
            principal: "ann@local",
            source: &hostile,
            target: "user",
            command: "add",
            phase: Phase::Intent,
            reason: "",
            parameters: &parameters,
            unknown_parameters: 0,
        };
        let text = json(&Record::Command(command));
        assert!(text.len() < 1200 && text.contains(r#""password":"(secret)""#) && !text.contains('\n'), "{text}");
        assert!(text.contains(r"\\u{1b}[2J\\n") && !text.contains("reason"), "{text}");
        assert!(!text.contains("unknown_parameters"), "{text}");
        let text = json(&Record::Command(Command { unknown_parameters: 3, ..command }));
        assert!(text.ends_with(r#","unknown_parameters":3}"#), "{text}");
    }
}
