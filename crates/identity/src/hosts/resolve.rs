//! From names to addresses and back: a door, and the resolver of the machine behind it.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::config::{LookupIpStrategy, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Hosts, MAX_TTL, ResolverBuilder, TokioResolver};
use thiserror::Error;

/// How long one server may take for one question, and how often it is asked.
const TIME_EACH: Duration = Duration::from_secs(1);
const ATTEMPTS: usize = 2;

/// What a resolver found, and for how long it is true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<T> {
    /// Each answer.
    pub answers: Vec<T>,
    /// Milliseconds.
    pub ttl_ms: u64,
    /// The one family that nobody answered for: a name may have more addresses than these.
    pub lacks: Option<Family>,
}

impl<T> Found<T> {
    /// All that there is.
    #[must_use]
    pub const fn whole(answers: Vec<T>, ttl_ms: u64) -> Self {
        Self { answers, ttl_ms, lacks: None }
    }
}

/// Addresses that are asked for by one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// By an `A`.
    V4,
    /// By an `AAAA`.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// That of an address.
    #[must_use]
    pub const fn of(address: &IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unresolved {
    /// Whoever knows says that there is none.
    #[error("there is no such name")]
    NoSuchName,
    /// Nobody answered in time, or what came is no answer.
    #[error("no name server answered")]
    Unanswered,
    /// That, for one of the two families of addresses.
    #[error("a name server answered for its addresses of IPv4 or of IPv6 only")]
    Half,
}

/// An answer, when it comes.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<Found<T>, Unresolved>> + Send + 'a>>;

/// From names to addresses and back.
pub trait Resolve: Send + Sync + fmt::Debug {
    /// Every address of a name.
    fn addresses<'a>(&'a self, name: &'a str) -> Answer<'a, IpAddr>;
    /// Every name of an address: a claim of whoever has the address.
    fn names(&self, address: IpAddr) -> Answer<'_, String>;
}

/// The resolver that this machine is set up with. What its hosts file has is as that says, and no name server is asked
/// for it. It remembers nothing: what is asked again is asked because its time is over.
///
/// One for each family: of a question for both, it would be told as a yes that one of them was answered.
pub struct SystemResolver {
    v4: TokioResolver,
    v6: TokioResolver,
    hosts: Arc<Hosts>,
}

impl SystemResolver {
    /// Reads the system's configuration.
    ///
    /// # Errors
    /// What the system has instead of a configuration.
    pub fn new() -> Result<Self, String> {
        let builder = || TokioResolver::builder_tokio().map_err(|error| error.to_string());
        Self::built([builder()?, builder()?])
    }

    /// Asks these servers.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn with(config: ResolverConfig) -> Result<Self, String> {
        let builder = |config| TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        Self::built([builder(config.clone()), builder(config)])
    }

    fn built([v4, v6]: [ResolverBuilder<TokioRuntimeProvider>; 2]) -> Result<Self, String> {
        let hosts = Arc::new(Hosts::from_system().unwrap_or_default());
        let build = |mut builder: ResolverBuilder<TokioRuntimeProvider>, strategy| {
            let options = builder.options_mut();
            options.ip_strategy = strategy;
            options.timeout = TIME_EACH;
            options.attempts = ATTEMPTS;
            options.cache_size = 0;
            let mut resolver = builder.build().map_err(|error| error.to_string())?;
            resolver.set_hosts(Arc::clone(&hosts));
            Ok::<_, String>(resolver)
        };
        let (v4, v6) = (build(v4, LookupIpStrategy::Ipv4Only)?, build(v6, LookupIpStrategy::Ipv6Only)?);
        Ok(Self { v4, v6, hosts })
    }

    /// What the hosts file has.
    fn listed(&self, name: &Name) -> Vec<IpAddr> {
        let of_kind = |kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind));
        let found = [RecordType::A, RecordType::AAAA].into_iter().filter_map(of_kind);
        found
            .flat_map(|found| found.answers().iter().filter_map(|one| one.data.ip_addr()).collect::<Vec<_>>())
            .collect()
    }
}

impl fmt::Debug for SystemResolver {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SystemResolver").finish_non_exhaustive()
    }
}

impl Resolve for SystemResolver {
    fn addresses<'a>(&'a self, name: &'a str) -> Answer<'a, IpAddr> {
        Box::pin(async move {
            let mut asked = Name::from_ascii(name).map_err(|_| Unresolved::NoSuchName)?;
            // Exactly this name, unless it is one label, which the search list of the machine completes.
            asked.set_fqdn(name.contains('.'));
            let listed = self.listed(&asked);
            if !listed.is_empty() {
                return Ok(Found::whole(listed, u64::from(MAX_TTL) * 1_000));
            }
            let of = async |resolver: &TokioResolver, asked| {
                let found = resolver.lookup_ip(asked).await.map_err(|error| unresolved(&error))?;
                Ok(Found::whole(found.iter().collect(), until(found.valid_until())))
            };
            let (v4, v6) = tokio::join!(of(&self.v4, asked.clone()), of(&self.v6, asked));
            both(v4, v6)
        })
    }

    fn names(&self, address: IpAddr) -> Answer<'_, String> {
        Box::pin(async move {
            let found = self.v4.reverse_lookup(address).await.map_err(|error| unresolved(&error))?;
            let names = found.answers().iter().filter_map(|record| {
                let RData::PTR(name) = &record.data else { return None };
                Some(name.0.to_ascii())
            });
            Ok(Found::whole(names.collect(), until(found.valid_until())))
        })
    }
}

/// The addresses of both families. Where one was not answered for, that there are none of the other is no word about
/// the name.
fn both(
    v4: Result<Found<IpAddr>, Unresolved>,
    v6: Result<Found<IpAddr>, Unresolved>,
) -> Result<Found<IpAddr>, Unresolved> {
    let lacking = |failure, family| (failure != Unresolved::NoSuchName).then_some(family);
    match (v4, v6) {
        (Ok(v4), Ok(v6)) => Ok(Found::whole([v4.answers, v6.answers].concat(), v4.ttl_ms.min(v6.ttl_ms))),
        (Ok(found), Err(failure)) => Ok(Found { lacks: lacking(failure, Family::V6), ..found }),
        (Err(failure), Ok(found)) => Ok(Found { lacks: lacking(failure, Family::V4), ..found }),
        (Err(Unresolved::NoSuchName), Err(Unresolved::NoSuchName)) => Err(Unresolved::NoSuchName),
        (Err(_), Err(_)) => Err(Unresolved::Unanswered),
    }
}

/// In whole seconds, as records have it.
fn until(end: Instant) -> u64 {
    let rest = end.saturating_duration_since(Instant::now()).as_millis().div_ceil(1_000) * 1_000;
    u64::try_from(rest).unwrap_or(u64::MAX)
}

/// A refusal of a server and a broken answer are no word about the name.
fn unresolved(error: &NetError) -> Unresolved {
    if let NetError::Dns(DnsError::NoRecordsFound(none)) = error
        && matches!(none.response_code, ResponseCode::NXDomain | ResponseCode::NoError)
    {
        return Unresolved::NoSuchName;
    }
    Unresolved::Unanswered
}
