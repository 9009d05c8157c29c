//! The decision, held against a table.

use super::*;

/// The whole decision as a table, written from the specification and not from the code. The first line that fits
/// holds; `-` fits everything, and a line ends in what comes out.
///
/// Columns: transport, trusted source, user named, known, locked, expired, legacyHostTrust, requirePassword,
/// requireTrustedHostMembership, what was shown, what came of it.
const TABLE: &str = "
    # Transport: a password or token never in clear, right or wrong; the rest where it belongs.
    plain -   -   -   -   -   -   -   -   password    -     InClear
    plain -   -   -   -   -   -   -   -   token       -     InClear
    plain -   -   -   -   -   -   -   -   certificate -     Misplaced
    local -   -   -   -   -   -   -   -   certificate -     Misplaced
    plain -   -   -   -   -   -   -   -   peer        -     Misplaced
    tls   -   -   -   -   -   -   -   -   peer        -     Misplaced

    # Source admission: rows three and four of the four, untrusted hosts denied. The local socket is no host.
    plain no  -   -   -   -   -   -   yes -           -     Untrusted
    tls   no  -   -   -   -   -   -   yes -           -     Untrusted

    # Identity, then lock and expiry, whatever is shown.
    -     -   -   no  -   -   -   -   -   -           -     Unknown
    -     -   -   -   yes -   -   -   -   -           -     Locked
    -     -   -   -   -   yes -   -   -   -           -     Expired

    # What is shown and is not good ends it; a trusted host does not make up for it.
    -     -   -   -   -   -   -   -   -   -           wrong Wrong
    -     -   -   -   -   -   -   -   -   -           later NotNow

    # A right password gets in through every row that is left; a token of one too.
    -     -   -   -   -   -   -   -   -   password    right +Password
    -     -   -   -   -   -   -   -   -   token       right +Token

    # The kernel's word is for who names nobody.
    local -   yes -   -   -   -   -   -   peer        right Named

    # Rows two and four: a password, always.
    -     -   -   -   -   -   -   yes -   -           -     PasswordRequired

    # Rows one and three, other credentials than a password.
    tls   -   -   -   -   -   -   no  -   certificate right +Certificate
    local -   no  -   -   -   -   no  -   peer        right +Peer

    # Rows one and three, nothing shown: from a trusted host, no user named, and only where it is turned on.
    plain yes no  -   -   -   yes no  -   none        -     +HostTrust
    tls   yes no  -   -   -   yes no  -   none        -     +HostTrust
    -     -   -   -   -   -   -   -   -   none        -     Nothing
";

/// What the facts are called in the table.
fn words(facts: &Facts) -> [&'static str; 11] {
    let word = |is| if is { "yes" } else { "no" };
    let transport = match facts.transport {
        Transport::Local => "local",
        Transport::Plain => "plain",
        Transport::Tls => "tls",
    };
    let (shown, proof) = match facts.credential {
        Credential::Password(proof) => ("password", Some(proof)),
        Credential::Token(proof) => ("token", Some(proof)),
        Credential::Certificate(proof) => ("certificate", Some(proof)),
        Credential::Peer(proof) => ("peer", Some(proof)),
        Credential::None => ("none", None),
    };
    let came = proof.map_or("nothing", |proof| match proof {
        Proof::Right => "right",
        Proof::Wrong => "wrong",
        Proof::NotNow => "later",
    });
    [
        transport,
        word(facts.is_source_trusted),
        word(facts.is_user_named),
        word(facts.is_known),
        word(facts.is_locked),
        word(facts.is_expired),
        word(facts.has_legacy_host_trust),
        word(facts.admission.require_password),
        word(facts.admission.require_trusted_host),
        shown,
        came,
    ]
}

/// Every combination of all facts.
fn all() -> Vec<Facts> {
    let proofs = [Proof::Right, Proof::Wrong, Proof::NotNow];
    let kinds = [Credential::Password, Credential::Token, Credential::Certificate, Credential::Peer];
    let shown = kinds.into_iter().flat_map(|kind| proofs.map(kind)).chain([Credential::None]);
    let mut all = Vec::new();
    for credential in shown {
        for transport in [Transport::Local, Transport::Plain, Transport::Tls] {
            for bits in 0..256_u32 {
                let bit = |place: u32| bits >> place & 1 == 1;
                all.push(Facts {
                    transport,
                    is_source_trusted: bit(0),
                    is_user_named: bit(1),
                    is_known: bit(2),
                    is_locked: bit(3),
                    is_expired: bit(4),
                    has_legacy_host_trust: bit(5),
                    admission: Admission { require_password: bit(6), require_trusted_host: bit(7) },
                    credential,
                });
            }
        }
    }
    all
}

#[test]
fn every_combination_of_facts_is_answered_as_the_table_says() {
    let lines: Vec<Vec<&str>> = TABLE
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert!(lines.iter().all(|line| line.len() == 12));
    let (mut used, all) = (vec![0; lines.len()], all());
    for facts in &all {
        let words = words(facts);
        let fits = |line: &&Vec<&str>| line.iter().zip(words).all(|(cell, word)| *cell == "-" || *cell == word);
        let place = lines.iter().position(|line| fits(&line)).unwrap_or_else(|| panic!("no line for {facts:?}"));
        used[place] += 1;
        let said = match decide(facts) {
            Answer::Admit(how) => format!("+{how:?}"),
            Answer::Refuse { why, .. } => format!("{why:?}"),
        };
        assert_eq!(said, lines[place][11], "{facts:?}");
    }
    assert!(used.iter().all(|count| *count > 0), "a line is never used: {used:?}");
    assert_eq!(all.len(), 13 * 3 * 256);
}

/// The four rows as the specification has them, for who comes over TLS from a host that is, or is not, trusted.
#[test]
fn the_four_rows_are_those_of_the_specification() {
    // requireTrustedHostMembership, requirePassword, trusted: with nothing, naming a user, with a password.
    for (require_trusted_host, require_password, trusted, nothing, named, password) in [
        (false, false, false, false, false, true),
        (false, false, true, true, false, true),
        (false, true, false, false, false, true),
        (false, true, true, false, false, true),
        (true, false, false, false, false, false),
        (true, false, true, true, false, true),
        (true, true, false, false, false, false),
        (true, true, true, false, false, true),
    ] {
        let facts = |named, credential| Facts {
            transport: Transport::Tls,
            is_source_trusted: trusted,
            is_user_named: named,
            is_known: true,
            is_locked: false,
            is_expired: false,
            has_legacy_host_trust: true,
            admission: Admission { require_password, require_trusted_host },
            credential,
        };
        let admits = |facts: Facts| matches!(decide(&facts), Answer::Admit(_));
        let row = (require_trusted_host, require_password, trusted);
        assert_eq!(admits(facts(false, Credential::None)), nothing, "{row:?}");
        assert_eq!(admits(facts(true, Credential::None)), named, "{row:?}");
        for is_named in [false, true] {
            assert_eq!(admits(facts(is_named, Credential::Password(Proof::Right))), password, "{row:?}");
            assert!(!admits(facts(is_named, Credential::Password(Proof::Wrong))), "{row:?}");
        }
        // Without the node's word for it, an address is nobody's credential.
        let strict = Facts { has_legacy_host_trust: false, ..facts(false, Credential::None) };
        assert!(!admits(strict), "{row:?}");
    }
}

#[test]
fn what_a_caller_is_told_who_proved_nothing_does_not_depend_on_the_principal() {
    let mut compared = 0;
    for facts in all() {
        let good = Facts { is_known: true, is_locked: false, is_expired: false, ..facts };
        let is_proved = facts.credential.proof() == Some(Proof::Right);
        // Who is let in by its address alone sees that it is let in.
        let (Answer::Refuse { outside: here, .. }, Answer::Refuse { outside: elsewhere, .. }) =
            (decide(&facts), decide(&good))
        else {
            continue;
        };
        if !is_proved {
            assert_eq!(here, elsewhere, "{facts:?}");
            compared += 1;
        }
        assert!(is_proved || !matches!(here, Outside::Locked | Outside::Expired), "{facts:?}");
    }
    assert!(compared > 5_000, "{compared}");
}
