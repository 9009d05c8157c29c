//! Against a name server on loopback that says what each test has it say.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::proto::op::{Header, HeaderCounts, Metadata, ResponseCode};
use hickory_server::proto::rr::rdata::{A, AAAA, PTR};
use hickory_server::proto::rr::{Name, RData, Record, RecordType};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use stockade_config::security::HostEntry;
use tokio::net::UdpSocket;

use super::*;

/// What the server says to a question; what is not in it does not exist.
#[derive(Clone, Debug)]
enum Says {
    Records(Vec<RData>, u32),
    Code(ResponseCode),
    Nothing,
}

#[derive(Clone, Debug, Default)]
struct Zone {
    says: Arc<Mutex<HashMap<(String, RecordType), Says>>>,
    asked: Arc<AtomicUsize>,
}

impl Zone {
    fn set(&self, name: &str, kind: RecordType, says: Says) {
        self.says.lock().unwrap().insert((name.to_owned(), kind), says);
    }

    /// `name` has these addresses, for a while.
    fn name(&self, name: &str, addresses: &[&str], ttl_s: u32) {
        let mut v4 = Vec::new();
        let mut v6 = Vec::new();
        for address in addresses {
            match address.parse().unwrap() {
                IpAddr::V4(address) => v4.push(RData::A(A(address))),
                IpAddr::V6(address) => v6.push(RData::AAAA(AAAA(address))),
            }
        }
        for (kind, records) in [(RecordType::A, v4), (RecordType::AAAA, v6)] {
            let none = Says::Code(ResponseCode::NXDomain);
            self.set(name, kind, if records.is_empty() { none } else { Says::Records(records, ttl_s) });
        }
    }

    /// Whoever has `address` says that these are its names.
    fn claim(&self, address: &str, names: &[&str], ttl_s: u32) {
        let names = names.iter().map(|name| RData::PTR(PTR(Name::from_ascii(name).unwrap()))).collect();
        self.set(&arpa(address), RecordType::PTR, Says::Records(names, ttl_s));
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

fn arpa(address: &str) -> String {
    let name = Name::from(address.parse::<IpAddr>().unwrap());
    name.to_ascii().trim_end_matches('.').to_owned()
}

#[async_trait::async_trait]
impl RequestHandler for Zone {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut handle: R) -> ResponseInfo {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let question = request.request_info().unwrap().query.clone();
        let name = question.name().to_string().trim_end_matches('.').to_ascii_lowercase();
        let says = self.says.lock().unwrap().get(&(name, question.query_type())).cloned();
        let (records, code) = match says.unwrap_or(Says::Code(ResponseCode::NXDomain)) {
            Says::Records(records, ttl_s) => {
                let name: Name = question.name().into();
                let records = records.into_iter().map(|data| Record::from_rdata(name.clone(), ttl_s, data));
                (records.collect(), ResponseCode::NoError)
            }
            Says::Code(code) => (Vec::new(), code),
            Says::Nothing => {
                let metadata = Metadata::response_from_request(&request.metadata);
                return Header { metadata, counts: HeaderCounts::default() }.into();
            }
        };
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = code;
        let builder = MessageResponseBuilder::from_message_request(request);
        handle.send_response(builder.build(metadata, &records, [], [], [])).await.unwrap()
    }
}

/// A server, and a resolver that asks it.
struct World {
    zone: Zone,
    resolver: Arc<dyn Resolve>,
    _server: Server<Zone>,
}

async fn world() -> World {
    let zone = Zone::default();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let mut server = Server::new(zone.clone());
    server.register_socket(socket);
    World { zone, resolver: asks(address), _server: server }
}

fn asks(server: SocketAddr) -> Arc<dyn Resolve> {
    let mut connection = ConnectionConfig::udp();
    connection.port = server.port();
    let server = NameServerConfig::new(server.ip(), true, vec![connection]);
    Arc::new(SystemResolver::with(ResolverConfig::from_parts(None, Vec::new(), vec![server])).unwrap())
}

fn entry(written: &str) -> HostEntry {
    let form = if let Some(parent) = written.strip_prefix("*.") {
        HostForm::Below(parent.to_owned())
    } else if let Ok(block) = written.parse() {
        HostForm::Block(block)
    } else if let Ok(address) = written.parse() {
        HostForm::Address { address, zone: None }
    } else {
        HostForm::Name(written.to_owned())
    };
    HostEntry { written: written.to_owned(), form }
}

fn object(entries: &[&str]) -> TrustedHosts {
    TrustedHosts { hosts: entries.iter().map(|written| entry(written)).collect(), ..TrustedHosts::default() }
}

async fn hosts(world: &World, entries: &[&str]) -> Hosts {
    Hosts::activate(&[("hosts", &object(entries))], Arc::clone(&world.resolver), 0).await.unwrap()
}

fn peer(address: &str) -> Peer {
    Peer::at(address.parse().unwrap(), None)
}

async fn trusts(hosts: &Hosts, address: &str, now_ms: u64) -> bool {
    hosts.test(&peer(address), now_ms).await.is_trusted
}

#[tokio::test]
async fn every_form_of_the_specification_is_matched_and_the_entry_is_named() {
    let world = world().await;
    world.zone.name("host1.acme.com", &["192.0.2.10", "2001:db8::10"], 300);
    world.zone.name("in.some.domain.org", &["192.0.2.20"], 300);
    world.zone.claim("192.0.2.20", &["in.some.domain.org."], 300);
    let entries = ["host1.acme.com", "*.some.domain.org", "189.4.5.6", "192.168.2.0/24", "2001:db8:1::1"];
    let hosts = hosts(&world, &entries).await;
    for (address, entry) in [
        ("192.0.2.10", Some("host1.acme.com")),
        ("2001:db8::10", Some("host1.acme.com")),
        ("192.0.2.20", Some("*.some.domain.org")),
        ("189.4.5.6", Some("189.4.5.6")),
        ("::ffff:189.4.5.6", Some("189.4.5.6")),
        ("192.168.2.0", Some("192.168.2.0/24")),
        ("192.168.2.255", Some("192.168.2.0/24")),
        ("192.168.3.0", None),
        ("2001:db8:1::1", Some("2001:db8:1::1")),
        ("2001:db8:1::2", None),
        ("127.0.0.1", None),
        ("::1", None),
    ] {
        let verdict = hosts.test(&peer(address), 0).await;
        assert_eq!((verdict.is_trusted, verdict.entry.as_deref()), (entry.is_some(), entry), "{address}");
        assert_eq!(verdict.object.is_some(), entry.is_some());
    }
    let verdict = hosts.test(&peer("192.0.2.20"), 0).await;
    assert_eq!(verdict.to_string(), "trusted by `*.some.domain.org` of `hosts`");
    assert_eq!(
        verdict.looked_up.iter().map(|step| format!("{}: {}", step.asked, step.answer)).collect::<Vec<_>>(),
        ["names of 192.0.2.20: in.some.domain.org", "addresses of in.some.domain.org: 192.0.2.20"]
    );
}

#[tokio::test]
async fn a_set_is_the_union_of_its_objects_and_an_exclusive_one_is_alone() {
    let world = world().await;
    let (one, two) = (object(&["192.0.2.1", "192.0.2.2"]), object(&["192.0.2.2"]));
    let activate =
        async |objects: &[(&str, &TrustedHosts)]| Hosts::activate(objects, Arc::clone(&world.resolver), 0).await;
    let both = activate(&[("one", &one), ("two", &two)]).await.unwrap();
    assert!(trusts(&both, "192.0.2.1", 0).await && trusts(&both, "192.0.2.2", 0).await);
    let less = activate(&[("two", &two)]).await.unwrap();
    assert!(!trusts(&less, "192.0.2.1", 0).await && trusts(&less, "192.0.2.2", 0).await);
    let exclusive = TrustedHosts { exclusive: true, ..one };
    assert!(activate(&[("one", &exclusive)]).await.is_ok());
    let bad = activate(&[("two", &two), ("one", &exclusive)]).await.unwrap_err();
    assert_eq!(bad.to_string(), "`one` is exclusive, and 1 more would be active");
}

#[tokio::test]
async fn names_that_do_not_resolve_fail_the_activation_each_by_name() {
    let world = world().await;
    world.zone.name("good.example", &["192.0.2.1"], 300);
    world.zone.set("broken.example", RecordType::A, Says::Code(ResponseCode::ServFail));
    world.zone.set("broken.example", RecordType::AAAA, Says::Code(ResponseCode::ServFail));
    let hosts = object(&["good.example", "missing.example", "broken.example"]);
    let bad = Hosts::activate(&[("hosts", &hosts)], Arc::clone(&world.resolver), 0).await.unwrap_err();
    assert_eq!(
        bad.to_string(),
        "`broken.example` of `hosts`: no name server answered; `missing.example` of `hosts`: there is no such name"
    );
}

#[tokio::test]
async fn a_name_that_moves_is_trusted_at_its_new_address_only_and_that_is_told() {
    let world = world().await;
    world.zone.name("host.example", &["192.0.2.1", "192.0.2.9"], 60);
    let hosts = hosts(&world, &["host.example"]).await;
    let due_ms = hosts.due_ms().unwrap();
    assert!((55_000..=60_000).contains(&due_ms), "{due_ms}");
    world.zone.name("host.example", &["192.0.2.2", "192.0.2.9"], 60);
    assert!(hosts.refresh(due_ms - 1).await.is_empty());
    assert!(trusts(&hosts, "192.0.2.1", due_ms - 1).await);
    let changes = hosts.refresh(due_ms).await;
    let [change] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!((change.entry.as_str(), change.object.as_str()), ("host.example", "hosts"));
    assert_eq!(change.added, ["192.0.2.2".parse::<IpAddr>().unwrap()]);
    assert_eq!(change.removed, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
    // What it has no more is gone at once, what is new is not there before it is said.
    for (is_trusted, addresses) in [(false, [false, false, true]), (true, [false, true, true])] {
        if is_trusted {
            hosts.trust(change);
        }
        for (address, expected) in ["192.0.2.1", "192.0.2.2", "192.0.2.9"].into_iter().zip(addresses) {
            assert_eq!(trusts(&hosts, address, 60_000).await, expected, "{address}");
        }
    }
    assert!(hosts.due_ms().unwrap() > due_ms + 50_000);
}

#[tokio::test]
async fn a_name_that_is_resolved_once_stays_where_it_was() {
    let world = world().await;
    world.zone.name("host.example", &["192.0.2.1"], 60);
    let once = TrustedHosts { resolve_once: true, ..object(&["host.example"]) };
    let hosts = Hosts::activate(&[("hosts", &once)], Arc::clone(&world.resolver), 0).await.unwrap();
    world.zone.name("host.example", &["192.0.2.2"], 60);
    assert_eq!(hosts.due_ms(), None);
    assert!(hosts.refresh(u64::MAX - 1).await.is_empty());
    assert!(trusts(&hosts, "192.0.2.1", 0).await && !trusts(&hosts, "192.0.2.2", 0).await);
}

#[tokio::test]
async fn a_name_that_is_no_more_is_gone_at_once_and_one_that_nobody_answers_for_after_a_while() {
    let world = world().await;
    world.zone.name("gone.example", &["192.0.2.1"], 60);
    world.zone.name("mute.example", &["192.0.2.2"], 60);
    let hosts = hosts(&world, &["gone.example", "mute.example"]).await;
    world.zone.name("gone.example", &[], 60);
    for kind in [RecordType::A, RecordType::AAAA] {
        world.zone.set("mute.example", kind, Says::Code(ResponseCode::ServFail));
    }
    let changes = hosts.refresh(60_000).await;
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert_eq!((changes[0].entry.as_str(), changes[0].failure), ("gone.example", Some(Unresolved::NoSuchName)));
    assert!(!trusts(&hosts, "192.0.2.1", 60_000).await);
    assert!(trusts(&hosts, "192.0.2.2", 60_000).await);
    assert_eq!(hosts.due_ms(), Some(90_000));
    assert!(hosts.refresh(900_000).await.is_empty());
    let changes = hosts.refresh(960_000).await;
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert_eq!(changes[0].failure, Some(Unresolved::Unanswered));
    assert!(!trusts(&hosts, "192.0.2.2", 960_000).await);
    // It is still asked for, and comes back.
    world.zone.name("mute.example", &["192.0.2.2"], 60);
    let changes = hosts.refresh(1_000_000).await;
    assert_eq!(changes.len(), 1, "{changes:?}");
    hosts.trust(&changes[0]);
    assert!(trusts(&hosts, "192.0.2.2", 1_000_000).await);
}

#[tokio::test]
async fn of_two_families_the_one_that_nobody_answers_for_stays_as_it_was_for_a_while() {
    let world = world().await;
    world.zone.name("host.example", &["192.0.2.1", "2001:db8::1"], 60);
    let hosts = hosts(&world, &["host.example"]).await;
    world.zone.set("host.example", RecordType::A, Says::Code(ResponseCode::ServFail));
    assert!(hosts.refresh(60_000).await.is_empty());
    assert!(trusts(&hosts, "192.0.2.1", 60_000).await && trusts(&hosts, "2001:db8::1", 60_000).await);
    assert_eq!(hosts.due_ms(), Some(90_000));
    // The other one goes on by itself.
    let moved = RData::AAAA(AAAA("2001:db8::2".parse().unwrap()));
    world.zone.set("host.example", RecordType::AAAA, Says::Records(vec![moved], 60));
    let changes = hosts.refresh(90_000).await;
    let [change] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!((&change.added[..], &change.removed[..]), (&[ip("2001:db8::2")][..], &[ip("2001:db8::1")][..]));
    assert_eq!(change.failure, Some(Unresolved::Half));
    hosts.trust(change);
    assert!(trusts(&hosts, "192.0.2.1", 90_000).await && trusts(&hosts, "2001:db8::2", 90_000).await);
    // Half of a name is not what an activation is about, and that there is none of the other half is no word about it.
    let activate = async || {
        let objects = object(&["host.example"]);
        Hosts::activate(&[("hosts", &objects)], Arc::clone(&world.resolver), 0).await.map(drop)
    };
    let bad = activate().await.unwrap_err().to_string();
    assert_eq!(bad, "`host.example` of `hosts`: a name server answered for its addresses of IPv4 or of IPv6 only");
    let changes = hosts.refresh(960_000).await;
    let [change] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!((&change.added[..], &change.removed[..]), (&[][..], &[ip("192.0.2.1")][..]));
    assert!(!trusts(&hosts, "192.0.2.1", 960_000).await && trusts(&hosts, "2001:db8::2", 960_000).await);
    world.zone.set("host.example", RecordType::AAAA, Says::Code(ResponseCode::NXDomain));
    let bad = activate().await.unwrap_err().to_string();
    assert_eq!(bad, "`host.example` of `hosts`: no name server answered");
}

#[tokio::test]
async fn what_did_not_resolve_at_the_start_is_asked_for_until_it_does() {
    for resolve_once in [false, true] {
        let world = world().await;
        world.zone.name("good.example", &["192.0.2.1"], 60);
        world.zone.set("late.example", RecordType::A, Says::Code(ResponseCode::ServFail));
        world.zone.set("late.example", RecordType::AAAA, Says::Code(ResponseCode::ServFail));
        let objects = TrustedHosts { resolve_once, ..object(&["good.example", "late.example"]) };
        let (hosts, failed) = Hosts::resume(&[("hosts", &objects)], Arc::clone(&world.resolver), 0).await;
        assert_eq!(failed.unwrap().to_string(), "`late.example` of `hosts`: no name server answered");
        assert!(trusts(&hosts, "192.0.2.1", 0).await && !trusts(&hosts, "192.0.2.2", 0).await);
        world.zone.name("late.example", &["192.0.2.2"], 60);
        assert_eq!(hosts.due_ms(), Some(30_000));
        // Told until it is trusted.
        for now_ms in [30_000, 59_000 + 60_000] {
            let changes = hosts.refresh(now_ms).await;
            assert_eq!(changes.len(), 1, "{changes:?}");
            assert!(!trusts(&hosts, "192.0.2.2", now_ms).await);
            if now_ms > 30_000 {
                hosts.trust(&changes[0]);
                assert!(trusts(&hosts, "192.0.2.2", now_ms).await);
            }
        }
        assert_eq!(hosts.due_ms().is_none(), resolve_once);
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_name_that_an_address_gives_itself_is_believed_only_when_it_leads_back() {
    let world = world().await;
    let hosts = hosts(&world, &["*.acme.com"]).await;
    let zone = &world.zone;
    zone.name("host.acme.com", &["192.0.2.1"], 300);
    zone.claim("192.0.2.1", &["host.acme.com."], 300);
    // Spoofed: the name is somebody else's.
    zone.claim("198.51.100.1", &["host.acme.com."], 300);
    // Not below it, by a label that only ends like it, a dot within a label, or the name itself.
    zone.name("evilacme.com", &["198.51.100.2"], 300);
    zone.claim("198.51.100.2", &["evilacme.com."], 300);
    zone.claim("198.51.100.3", &["host\\.acme.com."], 300);
    zone.name("acme.com", &["198.51.100.4"], 300);
    zone.claim("198.51.100.4", &["acme.com."], 300);
    zone.name("host.acme.com.evil.example", &["198.51.100.5"], 300);
    zone.claim("198.51.100.5", &["host.acme.com.evil.example."], 300);
    // A name that is not there, and one that is broken.
    zone.claim("198.51.100.6", &["missing.acme.com."], 300);
    zone.claim("198.51.100.7", &["broken.acme.com."], 300);
    zone.set("broken.acme.com", RecordType::A, Says::Code(ResponseCode::Refused));
    zone.set("broken.acme.com", RecordType::AAAA, Says::Code(ResponseCode::Refused));
    // The good one after others.
    zone.claim("192.0.2.8", &["other.example.", "host.acme.com.", "b.A.acme.com."], 300);
    zone.name("b.a.acme.com", &["192.0.2.8"], 300);
    for (address, expected) in [
        ("192.0.2.1", true),
        ("::ffff:192.0.2.1", true),
        ("192.0.2.8", true),
        ("192.0.2.99", false),
        ("198.51.100.1", false),
        ("198.51.100.2", false),
        ("198.51.100.3", false),
        ("198.51.100.4", false),
        ("198.51.100.5", false),
        ("198.51.100.6", false),
        ("198.51.100.7", false),
    ] {
        let verdict = hosts.test(&peer(address), 0).await;
        assert_eq!(verdict.is_trusted, expected, "{address}: {verdict:?}");
    }
    // Names that no entry is about were not asked for.
    let verdict = hosts.test(&peer("192.0.2.8"), 0).await;
    assert!(!verdict.looked_up.iter().any(|step| step.asked.contains("other.example")), "{verdict:?}");
}

#[tokio::test]
async fn what_was_looked_up_is_remembered_for_its_time_and_no_longer() {
    let world = world().await;
    let hosts = hosts(&world, &["*.acme.com"]).await;
    world.zone.name("host.acme.com", &["192.0.2.1"], 60);
    world.zone.claim("192.0.2.1", &["host.acme.com."], 600);
    assert!(trusts(&hosts, "192.0.2.1", 0).await);
    let asked = world.zone.asked();
    world.zone.name("host.acme.com", &["192.0.2.7"], 60);
    assert!(trusts(&hosts, "192.0.2.1", 50_000).await);
    assert_eq!(world.zone.asked(), asked);
    assert!(!trusts(&hosts, "192.0.2.1", 60_000).await);
    // A no is remembered too.
    let asked = world.zone.asked();
    assert!(!trusts(&hosts, "192.0.2.1", 80_000).await);
    assert_eq!(world.zone.asked(), asked);
}

#[tokio::test]
async fn a_no_for_want_of_an_answer_is_asked_again_soon() {
    let world = world().await;
    let hosts = hosts(&world, &["*.acme.com"]).await;
    world.zone.claim("192.0.2.1", &["host.acme.com."], 600);
    world.zone.name("host.acme.com", &["192.0.2.1", "2001:db8::1"], 600);
    world.zone.set("host.acme.com", RecordType::A, Says::Code(ResponseCode::ServFail));
    assert!(!trusts(&hosts, "192.0.2.1", 0).await);
    world.zone.name("host.acme.com", &["192.0.2.1"], 600);
    assert!(!trusts(&hosts, "192.0.2.1", 4_999).await && trusts(&hosts, "192.0.2.1", 5_000).await);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_a_no_in_time() {
    let world = world().await;
    let hosts = hosts(&world, &["*.acme.com"]).await;
    world.zone.set(&arpa("192.0.2.1"), RecordType::PTR, Says::Nothing);
    let begun = Instant::now();
    let verdict = hosts.test(&peer("192.0.2.1"), 0).await;
    assert!(!verdict.is_trusted, "{verdict:?}");
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert!(!verdict.looked_up.is_empty());
    // Asked again at once it does not take that time again.
    let begun = Instant::now();
    assert!(!trusts(&hosts, "192.0.2.1", 1).await);
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    // Nor does anybody wait who is in the table.
    let mute = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let entries = object(&["192.0.2.5", "*.acme.com"]);
    let hosts = Hosts::activate(&[("hosts", &entries)], asks(mute.local_addr().unwrap()), 0).await.unwrap();
    let begun = Instant::now();
    assert!(trusts(&hosts, "192.0.2.5", 0).await);
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_resolver_that_never_comes_back_is_a_no_in_time_too() {
    #[derive(Debug)]
    struct Never;
    impl Resolve for Never {
        fn addresses<'a>(&'a self, _: &'a str) -> Answer<'a, IpAddr> {
            Box::pin(std::future::pending())
        }
        fn names(&self, _: IpAddr) -> Answer<'_, String> {
            Box::pin(std::future::pending())
        }
    }
    let below = object(&["*.acme.com"]);
    let hosts = Hosts::activate(&[("hosts", &below)], Arc::new(Never), 0).await.unwrap();
    let limit = Duration::from_secs(10);
    let verdict = tokio::time::timeout(limit, hosts.test(&peer("192.0.2.1"), 0)).await.expect("it takes too long");
    assert!(!verdict.is_trusted && !verdict.looked_up.is_empty(), "{verdict:?}");
    let named = object(&["host.example"]);
    let activated = tokio::time::timeout(limit, Hosts::activate(&[("hosts", &named)], Arc::new(Never), 0)).await;
    assert!(matches!(activated, Ok(Err(BadHosts::Unresolved(_)))));
}

#[tokio::test]
async fn a_flood_of_addresses_is_not_remembered_without_bound() {
    #[derive(Debug)]
    struct No;
    impl Resolve for No {
        fn addresses<'a>(&'a self, _: &'a str) -> Answer<'a, IpAddr> {
            Box::pin(async { Err(Unresolved::NoSuchName) })
        }
        fn names(&self, _: IpAddr) -> Answer<'_, String> {
            Box::pin(async { Err(Unresolved::NoSuchName) })
        }
    }
    let hosts = Hosts::activate(&[("hosts", &object(&["*.acme.com"]))], Arc::new(No), 0).await.unwrap();
    for number in 0..20_000_u32 {
        let verdict = hosts.test(&Peer::at(IpAddr::V4(number.into()), None), 0).await;
        assert!(!verdict.is_trusted);
    }
    assert!(hosts.reverse.remembered() <= 5_000, "{}", hosts.reverse.remembered());
}

#[tokio::test]
async fn the_resolver_of_this_machine_can_be_had() {
    match SystemResolver::new() {
        Ok(resolver) => assert!(resolver.addresses("localhost").await.is_ok()),
        Err(why) => println!("SKIPPED: the resolver of the machine: {why}"),
    }
}

#[tokio::test]
async fn of_many_connections_of_one_host_one_is_looked_up() {
    let world = world().await;
    let hosts = Arc::new(hosts(&world, &["*.acme.com"]).await);
    world.zone.claim("192.0.2.1", &["a.acme.com."], 60);
    world.zone.name("a.acme.com", &["192.0.2.1"], 60);
    let peer = Peer::at("192.0.2.1".parse().unwrap(), None);
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (hosts, peer) = (Arc::clone(&hosts), peer.clone());
        all.spawn(async move { hosts.test(&peer, 0).await.is_trusted });
    }
    assert!(all.join_all().await.into_iter().all(|is_trusted| is_trusted));
    assert!(world.zone.asked() <= 4, "{}", world.zone.asked());
}
