//! `*.acme.com`: does the client's address have a name below it, and is that name's address the client's?
//!
//! Whoever has an address says what its name is, so the name found is a claim until it resolves back to the address.
//! Names that no entry asks for are not looked up. It is bounded: in time, in how many look-ups are under way, in
//! what is remembered. Whatever fails is a no.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;

use super::resolve::{Family, Resolve, Unresolved};

/// How long a connection waits for all of it.
const TIME: Duration = Duration::from_secs(3);
/// Look-ups at once; others wait, within their time.
const AT_ONCE: usize = 64;
/// Names of one address that are looked at, and addresses of one name: no honest one has more.
const NAMES_MAX: usize = 8;
const ANSWERS_MAX: usize = 64;
/// Addresses that are remembered.
const REMEMBERED_MAX: u64 = 4_096;
/// For how long a yes, a no and a failure are remembered at least and at most, in milliseconds.
const YES_MS: (u64, u64) = (5_000, 300_000);
const NO_MS: u64 = 30_000;
const FAILED_MS: u64 = 5_000;

/// One thing that was looked up, for `test trusted`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookedUp {
    /// What was asked.
    pub asked: String,
    /// What was answered; names only when they are plain.
    pub answer: String,
}

/// The names of an address that were confirmed, and how.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    pub(crate) confirmed: Vec<String>,
    pub(crate) looked_up: Vec<LookedUp>,
}

pub(crate) struct Reverse {
    resolver: Arc<dyn Resolve>,
    /// What follows the stars.
    below: Vec<String>,
    turns: Semaphore,
    remembered: Cache<IpAddr, (u64, Arc<Names>)>,
    /// Of a host with many connections one is looked up, and the others take what it finds.
    asking: Cache<IpAddr, Arc<Mutex<()>>>,
}

impl Reverse {
    pub(crate) fn new(resolver: Arc<dyn Resolve>, below: Vec<String>) -> Self {
        let (turns, remembered) = (Semaphore::new(AT_ONCE), Cache::new(REMEMBERED_MAX));
        let asking = Cache::builder().max_capacity(REMEMBERED_MAX).time_to_idle(TIME * 4).build();
        Self { resolver, below, turns, remembered, asking }
    }

    /// The names of `address` that are below one of ours and resolve back to it.
    pub(crate) async fn names(&self, address: IpAddr, now_ms: u64) -> Arc<Names> {
        if self.below.is_empty() {
            return Arc::default();
        }
        if let Some(names) = self.known(address, now_ms) {
            return names;
        }
        let mut names = Names::default();
        let mut found = None;
        let one = self.asking.get_with(network(address), Arc::default);
        let done = timeout(TIME, async {
            let _one = one.lock().await;
            found = self.known(address, now_ms);
            if found.is_some() {
                return Ok(0);
            }
            let _turn = self.turns.acquire().await.map_err(|_| Unresolved::Unanswered)?;
            self.ask(address, &mut names).await
        });
        let done = done.await;
        if let Some(found) = found {
            return found;
        }
        let kept_ms = match done {
            Ok(Ok(ttl_ms)) if !names.confirmed.is_empty() => ttl_ms.clamp(YES_MS.0, YES_MS.1),
            Ok(Ok(_) | Err(Unresolved::NoSuchName)) => NO_MS,
            Ok(Err(Unresolved::Unanswered | Unresolved::Half)) => FAILED_MS,
            Err(_) => {
                let answer = format!("not in {} s, which is a no", TIME.as_secs());
                names.looked_up.push(LookedUp { asked: "all of it".to_owned(), answer });
                FAILED_MS
            }
        };
        let names = Arc::new(names);
        self.remembered.insert(address, (now_ms.saturating_add(kept_ms), Arc::clone(&names)));
        names
    }

    fn known(&self, address: IpAddr, now_ms: u64) -> Option<Arc<Names>> {
        self.remembered.get(&address).filter(|(until_ms, _)| now_ms < *until_ms).map(|(_, names)| names)
    }

    #[cfg(test)]
    pub(crate) fn remembered(&self) -> u64 {
        self.remembered.run_pending_tasks();
        self.remembered.entry_count()
    }

    /// Fills `names`; for how long they hold.
    async fn ask(&self, address: IpAddr, names: &mut Names) -> Result<u64, Unresolved> {
        let asked = format!("names of {address}");
        let claimed = match self.resolver.names(address).await {
            Ok(claimed) => claimed,
            Err(error) => {
                names.looked_up.push(LookedUp { asked, answer: error.to_string() });
                return Err(error);
            }
        };
        let plain: Vec<String> = claimed.answers.iter().take(NAMES_MAX).filter_map(|name| plain(name)).collect();
        names.looked_up.push(LookedUp { asked, answer: list(&plain, "no plain name") });
        let mut ttl_ms = claimed.ttl_ms;
        let mut failed = None;
        for name in plain.into_iter().filter(|name| self.below.iter().any(|parent| is_below(name, parent))) {
            let answer = self.resolver.addresses(&name).await;
            let asked = format!("addresses of {name}");
            match answer {
                Ok(found) => {
                    let answers: Vec<IpAddr> =
                        found.answers.iter().take(ANSWERS_MAX).map(IpAddr::to_canonical).collect();
                    names.looked_up.push(LookedUp { asked, answer: list(&answers, "none") });
                    if answers.contains(&address) {
                        ttl_ms = ttl_ms.min(found.ttl_ms);
                        names.confirmed.push(name);
                    } else if found.lacks == Some(Family::of(&address)) {
                        failed = Some(Unresolved::Unanswered);
                    }
                }
                Err(error) => {
                    names.looked_up.push(LookedUp { asked, answer: error.to_string() });
                    failed = Some(error);
                }
            }
        }
        // A name that was not answered for is asked again soon, unless another one was confirmed.
        if names.confirmed.is_empty() { failed.map_or(Ok(ttl_ms), Err) } else { Ok(ttl_ms) }
    }
}

/// All that a host has: of IPv6 its /64, whose names are whoever's it is to say, as slowly as he likes.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl fmt::Debug for Reverse {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Reverse").field("below", &self.below).finish_non_exhaustive()
    }
}

/// A name in lower case without its final dot, if it is one of letters, digits, hyphens and underscores. Labels may
/// hold any byte, a dot too, and terminals and logs show it.
fn plain(name: &str) -> Option<String> {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    (name.len() <= 253 && name.split('.').all(is_label)).then_some(name)
}

/// Whether `name` has a whole label or more in front of `parent`.
pub(crate) fn is_below(name: &str, parent: &str) -> bool {
    name.strip_suffix(parent).is_some_and(|front| front.len() > 1 && front.ends_with('.'))
}

fn list(answers: &[impl ToString], none: &str) -> String {
    if answers.is_empty() {
        return none.to_owned();
    }
    answers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_labels_are_below_a_name() {
        for (name, expected) in [
            ("a.acme.com", true),
            ("a.b.acme.com", true),
            ("acme.com", false),
            (".acme.com", false),
            ("evilacme.com", false),
            ("a.acme.com.evil.example", false),
        ] {
            assert_eq!(is_below(name, "acme.com"), expected, "{name}");
        }
    }

    #[test]
    fn only_plain_names_are_names() {
        assert_eq!(plain("Host-1.ACME.com.").as_deref(), Some("host-1.acme.com"));
        for name in ["", ".", "a..b", "a\\.acme.com", "a b.acme.com", "\u{1b}[2J.acme.com", "ä.acme.com", "*.acme.com"]
        {
            assert_eq!(plain(name), None, "{name:?}");
        }
        assert_eq!(plain(&"a.".repeat(200)), None);
    }
}
