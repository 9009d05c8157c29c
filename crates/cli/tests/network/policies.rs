//! What several policies and a caller grant together: only what each of them permits is reached.

use crate::support::{Call, Over, User, World, granted, in_a_world, text};

/// A run under policies with these lists of grants, outermost first.
fn under(world: &World, user: User, policies: &[&str], asked: &[&str], folder: &stockade_testkit::Folder) -> Call {
    let call = granted(world, user, asked).env("SSL_CERT_FILE", text(&world.authority()));
    (1..).zip(policies).fold(call, |call, (number, egress)| {
        let policy = format!(
            "name = p, version = 1, type = stockade.policy\nconfiguration.StockadePolicy {{ name = p{number}, egress = {egress} }}\n"
        );
        call.arg("--policy").arg(folder.write(&format!("{number}.conf"), policy))
    })
}

fn curl(urls: &str) -> [String; 4] {
    let each = format!(
        "for url in {urls}; do curl -sSk -o /dev/null -w '%{{http_code}} %{{http_connect}}\\n' $url; done; true"
    );
    ["--".to_owned(), "sh".to_owned(), "-c".to_owned(), each]
}

#[test]
fn only_what_every_policy_and_the_caller_permit_is_reached() {
    in_a_world(|world, user| {
        let folder = stockade_testkit::Folder::new();
        let policies =
            ["[\"*.example.com\", \"deny:evil.example.com\"]", "[api.example.com, evil.example.com, www.example.com]"];
        let call = under(world, user, &policies, &["*.example.com"], &folder);
        let urls = "https://api.example.com/ https://evil.example.com/ https://private.example.com/";
        let over = Over::of(world, call.args(curl(urls)));
        assert_eq!(over.ran.stdout, "200 200\n000 403\n000 403\n", "{}", over.ran.stderr);
        over.assert_connected("api.example.com", 443, "tls");
        over.assert_reasons(&["denied", "not-granted"]);
        let rules: Vec<_> = over.records("opened").into_iter().map(|record| record["rule"].clone()).collect();
        assert_eq!(rules, ["*.example.com and api.example.com and *.example.com"], "{rules:?}");
    });
}

/// The caller asks for a whole host, the policy permits some requests to it: the gate looks into TLS unasked.
#[test]
fn methods_and_paths_of_a_policy_hold_for_whoever_asks_for_the_host() {
    in_a_world(|world, user| {
        let folder = stockade_testkit::Folder::new();
        let policy = "[{ host = api.example.com, methods = [GET], paths = [/v1] }]";
        let call = under(world, user, &[policy], &["api.example.com"], &folder);
        let over = Over::of(world, call.args(curl("https://api.example.com/v1/a https://api.example.com/v2")));
        assert_eq!(over.ran.stdout, "200 200\n403 200\n", "{}", over.ran.stderr);
        over.assert_reasons(&["path"]);
        assert_eq!(world.requests("https"), ["GET /v1/a"]);
        world.forget();
    });
}

#[test]
fn a_private_address_needs_the_consent_of_every_policy() {
    in_a_world(|world, user| {
        let folder = stockade_testkit::Folder::new();
        let asked = ["private.example.com", "10.77.0.5"];
        let narrow = "[private.example.com, \"10.77.0.5:443\"]";
        for (wide, code) in [("[private.example.com, \"10.77.0.0/16\"]", "200 200\n"), ("named", "200 200\n")] {
            let call = under(world, user, &[wide, narrow], &asked, &folder);
            let over = Over::of(world, call.args(curl("https://private.example.com/")));
            assert_eq!(over.ran.stdout, code, "{wide}: {}", over.ran.stderr);
        }
        let call = under(world, user, &["[private.example.com]", narrow], &["private.example.com"], &folder);
        let over = Over::of(world, call.args(curl("https://private.example.com/")));
        assert_eq!(over.ran.stdout, "000 403\n", "{}", over.ran.stderr);
        over.assert_reasons(&["special-address"]);
    });
}
