//! Secrets that code uses without having them.

use crate::support::{Call, Over, User, World, attack, granted, in_a_world, text};

const REAL: &str = "a-real-token-0123456789";

/// A run that may use the token towards `api.example.com`; the gate trusts the servers of the world.
fn with_token(world: &World, user: User, grants: &[&str], secret: &str) -> Call {
    let call = granted(world, user, grants).env("SSL_CERT_FILE", text(&world.authority())).env("TOKEN", REAL);
    call.args(["--secret", secret])
}

fn headers_seen(world: &World) -> String {
    format!("{:?}", world.heard())
}

#[test]
fn the_host_gets_the_value_and_the_code_never_sees_it() {
    in_a_world(|world, user| {
        for unset in ["", "unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY; "] {
            world.forget();
            let code = format!(
                "{unset}echo $TOKEN; curl -sS -H \"Authorization: Bearer $TOKEN\" https://api.example.com/headers"
            );
            let call = with_token(world, user, &["api.example.com"], "TOKEN=api.example.com");
            let over = Over::of(world, call.args(["--", "sh", "-c", &code]));
            let (placeholder, echoed) = over.ran.stdout.split_once('\n').unwrap();
            assert!(placeholder.starts_with("stockade-secret-"), "{:?}", over.ran);
            // The server had the value, and its echo of it did not come back.
            assert!(headers_seen(world).contains(&format!("Bearer {REAL}")), "{}", headers_seen(world));
            assert!(echoed.to_lowercase().contains("authorization") && !echoed.contains(REAL), "{echoed}");
            let trail = format!("{:?}", over.trail);
            for text in [&over.ran.stdout, &over.ran.stderr, &trail] {
                assert!(!text.contains(REAL), "{text}");
            }
        }
    });
}

#[test]
fn nobody_else_gets_it_and_no_other_header_carries_it() {
    in_a_world(|world, user| {
        let code = "for how in '-H Authorization:$TOKEN https://other.example.com/headers' '-H X-Token:$TOKEN https://api.example.com/headers' '-d $TOKEN https://api.example.com/headers' 'https://api.example.com/headers?$TOKEN'; do eval curl -sS -o /dev/null $how; done";
        let call =
            with_token(world, user, &["api.example.com", "inspect://other.example.com"], "TOKEN=api.example.com");
        let over = Over::of(world, call.args(["--", "sh", "-c", code]));
        over.assert_nothing_denied();
        assert_eq!(world.requests("https").len(), 4, "{:?}", world.requests("https"));
        assert!(!headers_seen(world).contains(REAL), "{}", headers_seen(world));
    });
}

#[test]
fn another_header_may_be_named() {
    in_a_world(|world, user| {
        let code = "curl -sS -o /dev/null -H \"X-Api-Key: $TOKEN\" https://api.example.com/headers";
        let call = with_token(world, user, &["api.example.com"], "TOKEN=api.example.com:x-api-key");
        Over::of(world, call.args(["--", "sh", "-c", code])).assert_nothing_denied();
        assert!(headers_seen(world).contains(REAL), "{}", headers_seen(world));
    });
}

#[test]
fn a_placeholder_of_one_run_is_worth_nothing_to_the_next() {
    in_a_world(|world, user| {
        let call = with_token(world, user, &["api.example.com"], "TOKEN=api.example.com");
        let placeholder = Over::of(world, call.args(["--", "sh", "-c", "echo $TOKEN"])).ran.stdout;
        world.forget();
        let code = format!(
            "import urllib.request\nask = urllib.request.Request('https://api.example.com/headers', headers={{'Authorization': '{}'}})\nprint('asked:', urllib.request.urlopen(ask, context=ssl.create_default_context(cafile='ca.pem')).status)",
            placeholder.trim()
        );
        attack(world, user, &["api.example.com"], &code).assert_said(&[("asked", "200")]);
        assert!(!headers_seen(world).contains(REAL), "{}", headers_seen(world));
    });
}
