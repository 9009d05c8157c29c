//! The hosts that connections may come from.
//!
//! How to use it: [`Hosts::activate`] the active objects whenever one changes, which resolves their names and fails
//! when one of them cannot be resolved; put the new set in the place of the old one then, and not before. For each
//! connection [`Hosts::test`] with [`Peer::of`] the kernel's word for its other end, never with anything that the
//! client sent. [`Hosts::refresh`] when [`Hosts::due_ms`] has come, write what it returns to the log and the audit
//! trail, and [`Hosts::trust`] what is on record. Clocks are the caller's, in milliseconds, and never go back.
//!
//! Addresses, blocks and resolved names are a trie (`table.rs`); `*.acme.com` is looked up at each connection and
//! remembered for a while (`reverse.rs`). A failure is a no.

mod names;
mod peer;
mod resolve;
mod reverse;
mod table;

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use stockade_config::security::{HostForm, TrustedHosts};
use stockade_core::text;
use thiserror::Error;

pub use peer::Peer;
pub use resolve::{Answer, Family, Found, Resolve, SystemResolver, Unresolved};
pub use reverse::LookedUp;

use names::Named;
use reverse::{Reverse, is_below};
use table::{Entry, Table};

/// Every trusted host of the active objects.
#[derive(Debug)]
pub struct Hosts {
    entries: Vec<Listed>,
    resolver: Arc<dyn Resolve>,
    names: Mutex<Vec<Named>>,
    table: RwLock<Table>,
    /// What follows a star, with its entry.
    below: Vec<(String, Entry)>,
    reverse: Reverse,
}

/// An entry, where it is written, and what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listed {
    written: String,
    object: String,
    form: HostForm,
}

/// Whether an address is trusted, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it is.
    pub is_trusted: bool,
    /// By which entry, as it is written.
    pub entry: Option<String>,
    /// Of which object.
    pub object: Option<String>,
    /// What was asked of name servers for it.
    pub looked_up: Vec<LookedUp>,
}

/// A name that got other addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The entry, as it is written.
    pub entry: String,
    /// Of which object.
    pub object: String,
    /// What is trusted from [`Hosts::trust`] on.
    pub added: Vec<IpAddr>,
    /// What is not trusted any more.
    pub removed: Vec<IpAddr>,
    /// Why nothing took its place, or not all of it is known, if that is so.
    pub failure: Option<Unresolved>,
    /// The entry's number.
    number: Entry,
}

/// Objects that cannot be active.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadHosts {
    /// Names that do not resolve: each, its object, and why.
    #[error("{}", unresolved(.0))]
    Unresolved(Vec<(String, String, Unresolved)>),
    /// One wants to be the only one.
    #[error("`{}` is exclusive, and {others} more would be active", text::shown(.object, 100))]
    Exclusive {
        /// Which.
        object: String,
        /// How many others.
        others: usize,
    },
}

impl BadHosts {
    /// What to do about it.
    #[must_use]
    pub const fn next(&self) -> &'static str {
        match self {
            Self::Unresolved(_) => {
                "correct the names, or look at the machine's name servers; what was active stays (the node knows \
                 /etc/hosts and /etc/resolv.conf as they were when it started)"
            }
            Self::Exclusive { .. } => "deactivate the others first, or leave `exclusive` out",
        }
    }
}

fn unresolved(names: &[(String, String, Unresolved)]) -> String {
    let one = |(name, object, why): &(String, String, Unresolved)| {
        format!("`{}` of `{}`: {why}", text::shown(name, 100), text::shown(object, 100))
    };
    names.iter().map(one).collect::<Vec<_>>().join("; ")
}

impl Hosts {
    /// Makes one set of all active objects, each with its name, and resolves their names.
    ///
    /// # Errors
    /// [`BadHosts`], which names every name that does not resolve.
    pub async fn activate(
        objects: &[(&str, &TrustedHosts)],
        resolver: Arc<dyn Resolve>,
        now_ms: u64,
    ) -> Result<Self, BadHosts> {
        if let Some((object, _)) = objects.iter().find(|(_, hosts)| hosts.exclusive).filter(|_| objects.len() > 1) {
            return Err(BadHosts::Exclusive { object: (*object).to_owned(), others: objects.len() - 1 });
        }
        let hosts = Self::listing(objects, resolver);
        hosts.resolve_all(now_ms).await?;
        Ok(hosts)
    }

    /// Makes the set of objects that were active when the process before this one ended. Each name is resolved anew,
    /// also those that keep their addresses: nobody has kept them. One that does not resolve now is trusted nowhere until
    /// it does, and is asked for again; each is returned.
    pub async fn resume(
        objects: &[(&str, &TrustedHosts)],
        resolver: Arc<dyn Resolve>,
        now_ms: u64,
    ) -> (Self, Option<BadHosts>) {
        let hosts = Self::listing(objects, resolver);
        let failed = hosts.resolve_all(now_ms).await.err();
        (hosts, failed)
    }

    /// The entries of objects, no name of them resolved.
    fn listing(objects: &[(&str, &TrustedHosts)], resolver: Arc<dyn Resolve>) -> Self {
        let listed = objects.iter().flat_map(|(object, hosts)| {
            hosts.hosts.iter().map(|entry| {
                let (written, form) = (entry.written.clone(), entry.form.clone());
                (Listed { written, object: (*object).to_owned(), form }, hosts.resolve_once)
            })
        });
        let (mut entries, mut names, mut below) = (Vec::new(), Vec::new(), Vec::new());
        for (number, (entry, resolve_once)) in (0..).zip(listed) {
            match &entry.form {
                HostForm::Name(name) => names.push(Named::new(number, name.clone(), resolve_once)),
                HostForm::Below(parent) => below.push((parent.to_ascii_lowercase(), number)),
                HostForm::Address { .. } | HostForm::Block(_) => {}
            }
            entries.push(entry);
        }
        let reverse = Reverse::new(Arc::clone(&resolver), below.iter().map(|(parent, _)| parent.clone()).collect());
        let (names, table) = (Mutex::new(names), RwLock::default());
        Self { entries, resolver, names, table, below, reverse }
    }

    async fn resolve_all(&self, now_ms: u64) -> Result<(), BadHosts> {
        let mut failed = Vec::new();
        for (entry, answer) in names::resolve(&self.resolver, self.due(u64::MAX)).await {
            // One that may have more addresses is not the one that is meant.
            let why = match &answer {
                Ok(found) => found.lacks.map(|_| Unresolved::Half),
                Err(why) => Some(*why),
            };
            if let (Some(why), Some(listed)) = (why, self.listed(entry)) {
                failed.push((listed.written.clone(), listed.object.clone(), why));
            }
            if let Some(change) = self.take(entry, answer, now_ms) {
                self.add(&change);
            }
        }
        self.build();
        failed.sort_by(|one, other| (&one.1, &one.0).cmp(&(&other.1, &other.0)));
        if failed.is_empty() { Ok(()) } else { Err(BadHosts::Unresolved(failed)) }
    }

    /// Whether a connection from there is trusted.
    pub async fn test(&self, peer: &Peer, now_ms: u64) -> Verdict {
        let looked_up = match self.find(peer) {
            Some(entry) => return self.yes(entry, Vec::new()),
            None => self.reverse.names(peer.address(), now_ms).await,
        };
        let is_named = |parent: &str| looked_up.confirmed.iter().any(|name| is_below(name, parent));
        match self.below.iter().find(|(parent, _)| is_named(parent)) {
            Some((_, entry)) => self.yes(*entry, looked_up.looked_up.clone()),
            None => Verdict { is_trusted: false, entry: None, object: None, looked_up: looked_up.looked_up.clone() },
        }
    }

    /// Whether an address, a block or a resolved name of an entry has it: all that [`Self::test`] knows without
    /// asking anybody.
    #[must_use]
    pub fn lists(&self, peer: &Peer) -> bool {
        self.find(peer).is_some()
    }

    /// The entry of an address, a block or a resolved name; nothing is looked up.
    fn find(&self, peer: &Peer) -> Option<Entry> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).find(peer)
    }

    fn yes(&self, entry: Entry, looked_up: Vec<LookedUp>) -> Verdict {
        let listed = self.listed(entry);
        let (entry, object) = listed.map(|listed| (listed.written.clone(), listed.object.clone())).unzip();
        Verdict { is_trusted: listed.is_some(), entry, object, looked_up }
    }

    /// Asks again for names whose time is over; says which of them got other addresses. What they have no more is not
    /// trusted from then on; what is new is when it is said with [`Self::trust`], and told again until then.
    pub async fn refresh(&self, now_ms: u64) -> Vec<Change> {
        let answers = names::resolve(&self.resolver, self.due(now_ms)).await;
        let changes: Vec<Change> =
            answers.into_iter().filter_map(|(entry, answer)| self.take(entry, answer, now_ms)).collect();
        if !changes.is_empty() {
            self.build();
        }
        changes
    }

    /// Trusts what a name has got.
    pub fn trust(&self, change: &Change) {
        self.add(change);
        self.build();
    }

    fn add(&self, change: &Change) {
        if let Some(named) = self.names().iter_mut().find(|named| named.entry == change.number) {
            named.add(&change.added, change.failure);
        }
    }

    /// When the next name has to be asked for again; `None` when there is none.
    #[must_use]
    pub fn due_ms(&self) -> Option<u64> {
        self.names().iter().map(|named| named.due_ms).min().filter(|due_ms| *due_ms != u64::MAX)
    }

    /// Every entry with its object and, for names, the addresses that it stands for now; for `display security`.
    #[must_use]
    pub fn list(&self) -> Vec<(String, String, Vec<IpAddr>)> {
        let names = self.names();
        let of = |entry| names.iter().find(|named| named.entry == entry);
        let addresses = |entry| of(entry).map(|named| named.addresses.iter().copied().collect()).unwrap_or_default();
        let listed = (0..).zip(&self.entries);
        listed.map(|(number, entry)| (entry.written.clone(), entry.object.clone(), addresses(number))).collect()
    }

    fn due(&self, now_ms: u64) -> Vec<(Entry, String)> {
        let is_due = |named: &&Named| named.due_ms <= now_ms && named.due_ms != u64::MAX;
        self.names().iter().filter(is_due).map(|named| (named.entry, named.name.clone())).collect()
    }

    fn take(&self, entry: Entry, answer: Result<Found<IpAddr>, Unresolved>, now_ms: u64) -> Option<Change> {
        let moved = self.names().iter_mut().find(|named| named.entry == entry)?.take(answer, now_ms)?;
        let listed = self.listed(moved.entry)?;
        Some(Change {
            entry: listed.written.clone(),
            object: listed.object.clone(),
            added: moved.added,
            removed: moved.removed,
            failure: moved.failure,
            number: moved.entry,
        })
    }

    /// Makes the table anew.
    fn build(&self) {
        let mut table = Table::default();
        for (number, entry) in (0..).zip(&self.entries) {
            match &entry.form {
                HostForm::Address { address, zone } => table.add_address(*address, zone.as_deref(), number),
                HostForm::Block(block) => table.add_block(*block, number),
                HostForm::Name(_) | HostForm::Below(_) => {}
            }
        }
        for named in self.names().iter() {
            for address in &named.addresses {
                table.add_address(*address, None, named.entry);
            }
        }
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = table;
    }

    fn listed(&self, entry: Entry) -> Option<&Listed> {
        self.entries.get(usize::try_from(entry).ok()?)
    }

    fn names(&self) -> MutexGuard<'_, Vec<Named>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.entry, &self.object) {
            (Some(entry), Some(object)) => {
                write!(out, "trusted by `{}` of `{}`", text::shown(entry, 200), text::shown(object, 100))
            }
            _ => out.write_str("not trusted: no entry has it"),
        }
    }
}

#[cfg(test)]
mod tests;
