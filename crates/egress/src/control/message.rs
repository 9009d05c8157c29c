//! What is said over the control socket. Plain values; nothing here knows of sockets.

use std::fmt;

use serde::{Deserialize, Serialize};
use stockade_core::budget::Budget;
use stockade_core::name::Name;
use zeroize::Zeroizing;

use crate::event::Totals;
use crate::rules::Rules;
use crate::sockets::Sockets;
use crate::tally::RunReport;

/// Both sides must be of one version: they are one program, and a frame has no other.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Longest name of a run.
const RUN_BYTES_MAX: usize = 64;

/// A message and its number. The answer has the same number, so that one that comes too late is not taken for another.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Numbered<T> {
    pub(super) number: u64,
    pub(super) body: T,
}

/// What a supervisor asks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Ask {
    Hello { version: String },
    Open(Box<Open>),
    Serve { run: String, counts: Counts },
    Close { run: String },
    Metrics {},
}

/// What a gate answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Answer {
    Hello { version: String },
    Opened { authority_pem: Option<String> },
    Serving {},
    Closed { report: Box<RunReport> },
    Metrics { totals: Totals },
    Failed(Refused),
}

/// A run to be opened: everything that is known of it before its sandbox exists.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Open {
    /// Its name: 1 to 64 letters, digits, dots, hyphens and underscores.
    pub run: String,
    /// What it may reach.
    pub rules: Rules,
    /// How much of it.
    pub budget: Budget,
    /// What it may use without having it.
    pub secrets: Vec<SecretValue>,
    /// Authorities, as PEM, that inspected servers of this run may have their certificates from as well.
    pub extra_roots_pem: Option<String>,
}

impl Open {
    /// A run with the usual budget and without secrets.
    #[must_use]
    pub fn new(run: &str, rules: Rules) -> Self {
        let (run, budget) = (run.to_owned(), Budget::default());
        Self { run, rules, budget, secrets: Vec::new(), extra_roots_pem: None }
    }
}

/// A secret on its way to the gate, not looked at yet.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretValue {
    /// The one host that gets it.
    pub host: Name,
    /// The one header that carries it.
    pub header: String,
    /// What stands for it inside.
    pub placeholder: String,
    /// The value.
    pub value: Zeroizing<String>,
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretValue").field("host", &self.host).field("header", &self.header).finish_non_exhaustive()
    }
}

/// Why something was not done, in the gate's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// What was not done.
    pub what: String,
    /// Why not.
    pub why: String,
    /// What to do about it.
    pub next: String,
}

/// How many descriptors of each kind lie beside a frame, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Counts {
    pub(super) proxies: usize,
    pub(super) resolver: bool,
    pub(super) transparent: usize,
    pub(super) watchers: usize,
}

impl Counts {
    pub(super) fn of(sockets: &Sockets) -> Self {
        Self {
            proxies: sockets.proxies.len(),
            resolver: sockets.resolver.is_some(),
            transparent: sockets.transparent.len(),
            watchers: sockets.watchers.len(),
        }
    }

    /// Gives each descriptor its place; `None` when there are not exactly as many as were said.
    pub(super) fn sort(self, descriptors: Vec<std::os::fd::OwnedFd>) -> Option<Sockets> {
        let said = [self.proxies, usize::from(self.resolver), self.transparent, self.watchers];
        let sum = said.into_iter().try_fold(0_usize, usize::checked_add)?;
        if sum != descriptors.len() {
            return None;
        }
        let mut rest = descriptors.into_iter();
        Some(Sockets {
            proxies: rest.by_ref().take(self.proxies).collect(),
            resolver: if self.resolver { rest.next() } else { None },
            transparent: rest.by_ref().take(self.transparent).collect(),
            watchers: rest.by_ref().take(self.watchers).collect(),
        })
    }
}

/// Whether this can be a run's name.
pub(super) fn is_run(name: &str) -> bool {
    let well_formed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=RUN_BYTES_MAX).contains(&name.len()) && name.bytes().all(well_formed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_a_plain_name() {
        for name in ["r1", "7f3c-2_a.b", &"x".repeat(64)] {
            assert!(is_run(name), "{name}");
        }
        for name in ["", "a b", "a/b", "ä", "a\n", &"x".repeat(65)] {
            assert!(!is_run(name), "{name}");
        }
    }

    #[test]
    fn descriptors_are_counted() {
        let open = |count: usize| -> Vec<std::os::fd::OwnedFd> {
            (0..count).map(|_| std::fs::File::open("/dev/null").unwrap().into()).collect()
        };
        let counts = Counts { proxies: 1, resolver: true, transparent: 2, watchers: 1 };
        let sockets = counts.sort(open(5)).unwrap();
        assert_eq!(Counts::of(&sockets), counts);
        assert!(counts.sort(open(4)).is_none() && counts.sort(open(6)).is_none());
        assert!(Counts { proxies: usize::MAX, ..counts }.sort(open(3)).is_none());
    }

    #[test]
    fn a_secret_is_not_shown() {
        let value = Zeroizing::new("real-value".to_owned());
        let (header, placeholder) = ("authorization".to_owned(), "PLACEHOLDER".to_owned());
        let secret = SecretValue { host: "a.example".parse().unwrap(), header, placeholder, value };
        assert!(!format!("{secret:?}").contains("real"));
    }
}
