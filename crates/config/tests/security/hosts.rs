//! Every form of an entry of trusted hosts, and every rejection.

use proptest::prelude::*;
use stockade_config::security::hosts::{BadEntry, Wide, parse};
use stockade_config::security::{HostForm, Note, Root};

use super::{file, read, refuses};

fn form(text: &str) -> Result<HostForm, BadEntry> {
    parse(text, Wide::Refused).map(|entry| entry.form)
}

fn address(text: &str) -> HostForm {
    HostForm::Address { address: text.parse().unwrap(), zone: None }
}

fn zoned(text: &str, zone: &str) -> HostForm {
    HostForm::Address { address: text.parse().unwrap(), zone: Some(zone.to_owned()) }
}

fn block(text: &str) -> HostForm {
    HostForm::Block(text.parse().unwrap())
}

#[test]
fn every_form_is_read() {
    let name = |text: &str| HostForm::Name(text.to_owned());
    for (text, expected) in [
        ("189.4.5.6", address("189.4.5.6")),
        ("0.0.0.1", address("0.0.0.1")),
        ("::1", address("::1")),
        ("2001:DB8::A", address("2001:db8::a")),
        ("2601:646:4102:9184:d56c:b9bc:f9ed:1ee4%en1", zoned("2601:646:4102:9184:d56c:b9bc:f9ed:1ee4", "en1")),
        ("fe80::1%eth0", zoned("fe80::1", "eth0")),
        ("fe80::1%0.1_a-b", zoned("fe80::1", "0.1_a-b")),
        ("myhost", name("myhost")),
        ("MyHost.Acme.Com", name("myhost.acme.com")),
        ("myhost.acme.com.", name("myhost.acme.com")),
        ("1host", name("1host")),
        ("1.2.3.4.acme.com", name("1.2.3.4.acme.com")),
        ("bücher.example", name("xn--bcher-kva.example")),
        ("*.acme.com", HostForm::Below("acme.com".to_owned())),
        ("*.ACME", HostForm::Below("acme".to_owned())),
        ("192.168.2.0/24", block("192.168.2.0/24")),
        ("10.0.0.0/8", block("10.0.0.0/8")),
        ("189.4.5.6/32", block("189.4.5.6/32")),
        ("2001:db8::/32", block("2001:db8::/32")),
        ("::1/128", block("::1/128")),
    ] {
        assert_eq!(form(text), Ok(expected), "{text}");
        assert_eq!(parse(text, Wide::Refused).unwrap().written, text);
    }
}

#[test]
fn mapped_addresses_are_those_of_ipv4() {
    assert_eq!(form("::ffff:10.1.2.3"), Ok(address("10.1.2.3")));
    assert_eq!(form("::FFFF:a01:203"), Ok(address("10.1.2.3")));
    assert_eq!(form("::ffff:10.1.0.0/112"), Ok(block("10.1.0.0/16")));
    assert_eq!(form("::ffff:10.1.2.3%eth0"), Ok(zoned("10.1.2.3", "eth0")));
    assert_eq!(form("::ffff:0:0/96"), Err(BadEntry::Everything));
    assert_eq!(form("::ffff:16.0.0.0/100"), Err(BadEntry::TooWide(false)));
    assert_eq!(form("::ffff:010.1.2.3"), Err(BadEntry::AlmostAddress));
    refuses("TrustedHosts { hosts = [\"10.1.2.3\", \"::ffff:10.1.2.3\"] }", "`::ffff:10.1.2.3` is in the list twice");
}

#[test]
fn everything_that_has_two_meanings_is_refused() {
    for (text, expected) in [
        ("", BadEntry::Empty),
        ("189.04.5.6", BadEntry::LeadingZero),
        ("010.0.0.1", BadEntry::LeadingZero),
        ("00.0.0.1", BadEntry::LeadingZero),
        ("10.0.0.01/32", BadEntry::LeadingZero),
        ("189.4.5", BadEntry::AlmostAddress),
        ("127.1", BadEntry::AlmostAddress),
        ("2130706433", BadEntry::AlmostAddress),
        ("0x7f000001", BadEntry::AlmostAddress),
        ("0x7f.0.0.1", BadEntry::AlmostAddress),
        ("189.4.5.256", BadEntry::AlmostAddress),
        ("1.2.3.4.5", BadEntry::AlmostAddress),
        ("1.2.3.4.", BadEntry::AlmostAddress),
        ("１.2.3.4", BadEntry::AlmostAddress),
        ("[::1]", BadEntry::AlmostAddress),
        ("::1::", BadEntry::AlmostAddress),
        ("a:b", BadEntry::AlmostAddress),
        ("1.2.3.4:80", BadEntry::AlmostAddress),
        (":", BadEntry::AlmostAddress),
        ("0.0.0.0", BadEntry::Unspecified),
        ("::", BadEntry::Unspecified),
        ("::ffff:0.0.0.0", BadEntry::Unspecified),
        ("fe80::1%", BadEntry::Zone),
        ("fe80::1%a%b", BadEntry::Zone),
        ("fe80::1%longerthanfifteen", BadEntry::Zone),
        ("fe80::1%eth 0", BadEntry::Zone),
        ("1.2.3.4%eth0", BadEntry::ZoneElsewhere),
        ("host%eth0", BadEntry::ZoneElsewhere),
        ("fe80::%eth0/64", BadEntry::ZoneElsewhere),
        ("fe80::/64%eth0", BadEntry::ZoneElsewhere),
        ("10.0.0.0/33", BadEntry::Prefix),
        ("2001:db8::/129", BadEntry::Prefix),
        ("10.0.0.0/", BadEntry::Prefix),
        ("10.0.0.0/08", BadEntry::Prefix),
        ("10.0.0.0/+8", BadEntry::Prefix),
        ("10.0.0.0/8/8", BadEntry::Prefix),
        ("10.0.0.0/255.0.0.0", BadEntry::Prefix),
        ("10.0.0.0/ 8", BadEntry::Prefix),
        ("10.0.0.0/999999999999", BadEntry::Prefix),
        ("host/24", BadEntry::AlmostAddress),
        ("192.168.2.1/24", BadEntry::HostBits("192.168.2.0/24".parse().unwrap())),
        ("2001:db8::1/32", BadEntry::HostBits("2001:db8::/32".parse().unwrap())),
        ("0.0.0.0/0", BadEntry::Everything),
        ("::/0", BadEntry::Everything),
        ("1.2.3.4/0", BadEntry::Everything),
        ("*", BadEntry::Everything),
        ("10.0.0.0/7", BadEntry::TooWide(false)),
        ("2001:d00::/24", BadEntry::TooWide(true)),
        ("*acme.com", BadEntry::Star),
        ("a*.acme.com", BadEntry::Star),
        ("host.*.acme.com", BadEntry::Star),
        ("*.*.acme.com", BadEntry::Star),
        ("acme.*", BadEntry::Star),
        ("**", BadEntry::Star),
        ("*.1.2.3.4", BadEntry::Star),
        ("*.", BadEntry::EmptyLabel),
        (".", BadEntry::EmptyLabel),
        ("..", BadEntry::EmptyLabel),
        ("a..b", BadEntry::EmptyLabel),
        (".acme.com", BadEntry::EmptyLabel),
        ("*..acme.com", BadEntry::EmptyLabel),
        ("acme.com..", BadEntry::EmptyLabel),
    ] {
        let found = form(text);
        assert_eq!(found, Err(expected), "{text}");
        assert!(!found.unwrap_err().next().is_empty());
    }
    for text in ["a b", "a\tb", "a\nb", "a@b", "-a", "a-", "a_b", "a\u{0}", " a", "a\u{202e}b", &"a".repeat(64)] {
        assert!(matches!(form(text), Err(BadEntry::Name(_))), "{text:?} {:?}", form(text));
    }
    assert_eq!(form(&"a.".repeat(200)), Err(BadEntry::TooLong));
}

#[test]
fn a_wide_block_is_acknowledged_and_noted() {
    for (text, wide) in [("10.0.0.0/7", true), ("2000::/3", true), ("10.0.0.0/8", false)] {
        let entry = parse(text, Wide::Acknowledged).unwrap();
        assert_eq!(entry.is_wide(), wide, "{text}");
    }
    assert_eq!(parse("0.0.0.0/0", Wide::Acknowledged), Err(BadEntry::Everything));
    assert_eq!(parse("*", Wide::Acknowledged), Err(BadEntry::Everything));
    refuses("TrustedHosts { hosts = [\"8.0.0.0/7\"] }", "`8.0.0.0/7` is no trusted host: the block is wider than /8");
    let object = read(&file("TrustedHosts { hosts = [\"8.0.0.0/7\"], acknowledgeWide = true }"));
    assert!(matches!(object.notes.as_slice(), [noted] if matches!(&noted.note, Note::WideBlock(_))));
}

#[test]
fn a_zone_counts_on_link_local_addresses_only() {
    let object = read(&file("TrustedHosts { hosts = [\"fe80::1%eth0\", \"2001:db8::1%eth0\", \"::1%lo\"] }"));
    let [Root::TrustedHosts(hosts)] = object.roots.as_slice() else { panic!() };
    let ignored: Vec<bool> = hosts.hosts.iter().map(stockade_config::security::HostEntry::ignores_zone).collect();
    assert_eq!(ignored, [false, true, true]);
    assert_eq!(object.notes.len(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(4_000), ..ProptestConfig::default() })]

    #[test]
    fn no_entry_stops_the_parser_and_what_is_read_has_one_form(text in super::attacks::entries()) {
        for wide in [Wide::Refused, Wide::Acknowledged] {
            let Ok(entry) = parse(&text, wide) else { continue };
            prop_assert_eq!(&entry.written, &text);
            match &entry.form {
                HostForm::Address { address, .. } => {
                    prop_assert_eq!(address.to_canonical(), *address);
                    prop_assert!(!address.is_unspecified());
                }
                HostForm::Block(block) => {
                    prop_assert_eq!(block.trunc(), *block);
                    prop_assert!(block.prefix_len() > 0 && (wide == Wide::Acknowledged || !entry.is_wide()));
                }
                HostForm::Name(name) | HostForm::Below(name) => {
                    prop_assert!(!name.is_empty() && !name.ends_with('.') && !name.contains("..") && !name.contains('*'));
                    prop_assert_eq!(name.to_lowercase(), name.clone());
                    prop_assert!(name.parse::<std::net::IpAddr>().is_err());
                    prop_assert_eq!(parse(name, wide).map(|again| again.form), Ok(HostForm::Name(name.clone())));
                }
            }
        }
    }

    #[test]
    fn every_address_and_block_is_read_as_it_is_shown(bits in any::<u128>(), short in any::<u32>(), length in 1u8..=128) {
        let v6 = std::net::IpAddr::from(bits.to_be_bytes());
        let v4 = std::net::IpAddr::from(short.to_be_bytes());
        for address in [v4, v6] {
            prop_assert_eq!(form(&address.to_string()), Ok(address_of(address)));
            let longest = if address.is_ipv4() { 32 } else { 128 };
            let length = 1 + length % longest;
            let net = ipnet::IpNet::new(address, length).unwrap().trunc();
            let found = parse(&net.to_string(), Wide::Acknowledged).map(|entry| entry.form);
            if address.to_canonical() == address {
                prop_assert_eq!(found, Ok(HostForm::Block(net)));
            }
        }
    }
}

fn address_of(address: std::net::IpAddr) -> HostForm {
    HostForm::Address { address: address.to_canonical(), zone: None }
}
