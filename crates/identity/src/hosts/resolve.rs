//! From names to addresses and back: a door, and the resolver of the machine behind it.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData};
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

/// The resolver that this machine is set up with, its hosts file included. It remembers nothing: what is asked again
/// is asked because its time is over.
pub struct SystemResolver(TokioResolver);

impl SystemResolver {
    /// Reads the system's configuration.
    ///
    /// # Errors
    /// What the system has instead of a configuration.
    pub fn new() -> Result<Self, String> {
        let builder = TokioResolver::builder_tokio().map_err(|error| error.to_string())?;
        Self::built(builder)
    }

    /// Asks these servers.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn with(config: ResolverConfig) -> Result<Self, String> {
        Self::built(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()))
    }

    fn built(mut builder: hickory_resolver::ResolverBuilder<TokioRuntimeProvider>) -> Result<Self, String> {
        let options = builder.options_mut();
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.timeout = TIME_EACH;
        options.attempts = ATTEMPTS;
        options.cache_size = 0;
        builder.build().map(Self).map_err(|error| error.to_string())
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
            let found = self.0.lookup_ip(asked).await.map_err(|error| unresolved(&error))?;
            Ok(Found { answers: found.iter().collect(), ttl_ms: until(found.valid_until()) })
        })
    }

    fn names(&self, address: IpAddr) -> Answer<'_, String> {
        Box::pin(async move {
            let found = self.0.reverse_lookup(address).await.map_err(|error| unresolved(&error))?;
            let names = found.answers().iter().filter_map(|record| {
                let RData::PTR(name) = &record.data else { return None };
                Some(name.0.to_ascii())
            });
            Ok(Found { answers: names.collect(), ttl_ms: until(found.valid_until()) })
        })
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
