//! From a permitted host to a connection: resolve once, check every answer, dial what was checked.
//!
//! It must never resolve before the rules have said yes, and never again for the same connection: a name that
//! changes its address has nothing left to change.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use hickory_resolver::proto::rr::Name as DnsName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use crate::refusal::Reason;
use crate::run::Run;
use stockade_core::name::{Host, Name};

/// How long a name may take to resolve.
const RESOLVE_TIME: Duration = Duration::from_secs(10);
/// How long one address may take to answer, and all of them together.
const DIAL_TIME: Duration = Duration::from_secs(5);
const DIAL_TIME_ALL: Duration = Duration::from_secs(15);
/// More answers than this are no honest server.
const ANSWERS_MAX: usize = 64;

/// The answer of a resolver, when it comes.
pub type Answer<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;

/// From names to addresses.
pub trait Resolve: Send + Sync + fmt::Debug {
    /// Every address of `name`, in the order to try them.
    fn resolve<'a>(&'a self, name: &'a Name) -> Answer<'a>;
}

/// The resolver that this machine is set up with, its hosts file included.
pub struct SystemResolver(TokioResolver);

impl SystemResolver {
    /// Reads the system's configuration.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn new() -> io::Result<Self> {
        let mut builder = TokioResolver::builder_tokio().map_err(io::Error::other)?;
        builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        Ok(Self(builder.build().map_err(io::Error::other)?))
    }
}

impl fmt::Debug for SystemResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SystemResolver").finish_non_exhaustive()
    }
}

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a Name) -> Answer<'a> {
        Box::pin(async move {
            let mut asked = DnsName::from_ascii(name.as_str()).map_err(io::Error::other)?;
            // Exactly this name: a search list would make another one of it.
            asked.set_fqdn(true);
            let answer = self.0.lookup_ip(asked).await.map_err(io::Error::other)?;
            Ok(answer.iter().collect())
        })
    }
}

/// The addresses of `host` that may be dialled; one that may not spoils them all, since an honest name has none.
pub(crate) async fn checked(run: &Run, host: &Host, port: u16) -> Result<Vec<SocketAddr>, Reason> {
    let addresses = match host {
        Host::Address(address) => vec![*address],
        Host::Name(name) => match timeout(RESOLVE_TIME, run.shared.resolver.resolve(name)).await {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(_)) | Err(_) => return Err(Reason::Unresolved),
        },
    };
    if addresses.is_empty() || addresses.len() > ANSWERS_MAX {
        return Err(Reason::Unresolved);
    }
    // Without knowing which addresses are the machine's own, none can be told from them.
    let own = run.shared.own.now().map_err(|_| Reason::Unreachable)?;
    addresses
        .into_iter()
        .map(|address| {
            let address = address.to_canonical();
            run.rules.address(address, port, &own).map(|()| SocketAddr::new(address, port))
        })
        .collect()
}

/// Connects to the first of the checked addresses that answers.
pub(crate) async fn connect(addresses: &[SocketAddr]) -> Result<(TcpStream, SocketAddr), Reason> {
    let all = Instant::now() + DIAL_TIME_ALL;
    for address in addresses {
        let until = all.min(Instant::now() + DIAL_TIME);
        if let Ok(Ok(stream)) = timeout_at(until, TcpStream::connect(address)).await {
            // Interactive protocols wait for small packets; a refusal to set it costs time only.
            drop(stream.set_nodelay(true));
            return Ok((stream, *address));
        }
    }
    Err(Reason::Unreachable)
}

#[cfg(test)]
mod tests {
    use stockade_testkit::ports::Silent;

    use super::*;

    #[tokio::test]
    async fn the_system_knows_its_own_name_and_no_search_list_is_used() {
        let Ok(resolver) = SystemResolver::new() else {
            return println!("SKIPPED: this machine has no resolver");
        };
        let addresses = resolver.resolve(&"localhost".parse().unwrap()).await.unwrap();
        assert!(!addresses.is_empty() && addresses.iter().all(IpAddr::is_loopback), "{addresses:?}");
    }

    #[tokio::test]
    async fn the_first_address_that_answers_is_taken() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        let silent = Silent::new();
        let (_, reached) = connect(&[silent.address(), open]).await.unwrap();
        assert_eq!(reached, open);
        assert_eq!(connect(&[silent.address()]).await.unwrap_err(), Reason::Unreachable);
    }
}
