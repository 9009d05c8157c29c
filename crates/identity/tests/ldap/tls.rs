//! Encryption, and who is at the other end.

use stockade_identity::ldap::BadTls;
use stockade_testkit::slapd::Setup;

use super::fake::{self, message, result};
use super::*;

const ADA: &str = "ada";

fn ada() -> String {
    person("uid=ada", ADA, "")
}

fn start_tls(port: u16) -> LdapServer {
    LdapServer { start_tls: true, ..ldaps(port) }
}

async fn log_in(directory: &Directory) -> Result<String, LdapRefusal> {
    directory.log_in(ADA, password("of ada")).await.map(|found| found.user)
}

#[tokio::test]
async fn ldaps_and_start_tls_and_plaintext_where_it_is_allowed() {
    let Some(slapd) = Slapd::with(&ada()) else { return };
    for server in [ldaps(slapd.tls_port()), start_tls(slapd.plain_port()), plaintext(slapd.plain_port())] {
        assert_eq!(log_in(&directory(&slapd, vec![server])).await.unwrap(), ADA);
    }
}

#[tokio::test]
async fn without_allow_plaintext_nothing_is_said_in_clear() {
    let Some(slapd) = Slapd::with(&ada()) else { return };
    assert!(matches!(
        trouble(log_in(&directory(&slapd, vec![ldaps(slapd.plain_port())])).await),
        Trouble::Tls(_) | Trouble::Slow(_)
    ));
    // Whoever listens hears the beginning of TLS, and no name.
    let (port, heard) = fake::answering(|id, asked| message(id, &result(asked + 1, 0)));
    let soon = LdapServer { connect_timeout_ms: 500, ..ldaps(port) };
    assert!(matches!(trouble(log_in(&directory(&slapd, vec![soon])).await), Trouble::Tls(_) | Trouble::Slow(_)));
    let said = heard.try_iter().collect::<Vec<_>>().concat();
    assert_eq!(said.first(), Some(&0x16));
    assert!(!said.windows(6).any(|part| part == b"system"));
}

#[tokio::test]
async fn start_tls_that_is_refused_or_mixed_with_clear_text_ends_it() {
    let Some(slapd) = Slapd::with(&ada()) else { return };
    for (answer, is_refused) in [
        ((|id, _| message(id, &result(0x78, 2))) as fn(u8, u8) -> Vec<u8>, true),
        // A yes, and behind it what is to be taken for the first answer inside of TLS.
        (|id, _| [message(id, &result(0x78, 0)), message(id, &result(0x61, 0))].concat(), false),
        (|id, _| message(id, &result(0x61, 0)), false),
    ] {
        let (port, heard) = fake::answering(answer);
        let soon = LdapServer { connect_timeout_ms: 500, ..start_tls(port) };
        let said = trouble(log_in(&directory(&slapd, vec![soon])).await);
        assert_eq!(said == Trouble::NoStartTls(2), is_refused, "{said:?}");
        assert!(matches!(said, Trouble::NoStartTls(_) | Trouble::Tls(_) | Trouble::Nonsense(_)), "{said:?}");
        let said = heard.try_iter().collect::<Vec<_>>().concat();
        assert!(!said.windows(6).any(|part| part == b"system"));
    }
}

#[tokio::test]
async fn another_authority_and_another_name_are_no_answer() {
    let (Some(ours), Some(theirs)) = (Slapd::with(&ada()), Slapd::with(&ada())) else { return };
    let elsewhere = Setup { entries: &ada(), name: "elsewhere.example.com", asks_for_certificate: false };
    let Some(elsewhere) = Slapd::new(elsewhere) else { return };
    let authorities = [ours.authority(), elsewhere.authority()].concat();
    for server in [
        ldaps(theirs.tls_port()),
        start_tls(theirs.plain_port()),
        ldaps(elsewhere.tls_port()),
        start_tls(elsewhere.plain_port()),
        // No name of it, although it is there.
        LdapServer { host: "127.0.0.2".to_owned(), ..ldaps(ours.tls_port()) },
    ] {
        let alone = believing(&authorities, None, vec![server.clone()], limits());
        let said = trouble(log_in(&alone).await);
        assert!(matches!(said, Trouble::Tls(_) | Trouble::Unreachable(_)), "{said:?}");
        let both = believing(&authorities, None, vec![server, ldaps(ours.tls_port())], limits());
        assert_eq!(log_in(&both).await.unwrap(), ADA);
    }
}

#[tokio::test]
async fn a_directory_that_wants_a_certificate_gets_that_of_the_profile() {
    let setup = Setup { entries: &ada(), name: "localhost", asks_for_certificate: true };
    let Some(slapd) = Slapd::new(setup) else { return };
    let servers = || vec![ldaps(slapd.tls_port())];
    assert!(log_in(&directory(&slapd, servers())).await.is_err());
    let (chain, key) = slapd.certificate();
    let shown = Some(Shown::new(&chain, &key).unwrap());
    assert_eq!(log_in(&believing(&slapd.authority(), shown, servers(), limits())).await.unwrap(), ADA);
}

#[test]
fn a_log_in_may_move_between_threads() {
    fn moves<T: Send>(_: &T) {}
    let server = plaintext(fake::nobody());
    let realm = LdapRealm { name: "acme".to_owned(), admission: Admission::default(), servers: vec![server] };
    let resolver: Arc<dyn Resolve> = Arc::new(Here);
    let given = Given { tls: &|_| None, secret: &|_| None, resolver: &resolver };
    let directory = Directory::new(&realm, given, limits()).unwrap();
    moves(&directory.log_in(ADA, password("of ada")));
    moves(&directory);
}

#[test]
fn tls_without_anybody_who_vouches_is_none() {
    assert_eq!(Tls::new(&[], None, true).unwrap_err(), BadTls::NoAnchor);
    assert!(certificates(b"").is_err());
    assert!(Shown::new(b"", b"").is_err());
}

#[test]
fn a_server_without_what_it_names_is_refused_when_it_is_activated() {
    let resolver: Arc<dyn Resolve> = Arc::new(Here);
    let hash = Secret::Hash("$argon2id$…".to_owned());
    let file = Secret::File("/nowhere".to_owned());
    for server in [
        ldaps(636),
        LdapServer { system_password: Some(hash), ..plaintext(389) },
        LdapServer { system_password: Some(file), ..plaintext(389) },
        LdapServer { system_password: None, ..plaintext(389) },
        LdapServer { user_attribute: "uid=*)(x".to_owned(), ..plaintext(389) },
    ] {
        let realm = LdapRealm { name: "acme".to_owned(), admission: Admission::default(), servers: vec![server] };
        let given = Given { tls: &|_| None, secret: &|_| None, resolver: &resolver };
        let refused = Directory::new(&realm, given, limits()).unwrap_err();
        assert!(!refused.next().is_empty(), "{refused}");
    }
}
