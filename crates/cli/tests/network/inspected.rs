//! Grants that look into TLS: methods and paths, by an authority that only this run trusts.

use crate::support::{Over, User, World, attack, granted, in_a_world, text};

/// The machine's own trust, for the gate: it must believe the servers of the world.
fn trusting(world: &World, user: User, grants: &[&str]) -> crate::support::Call {
    granted(world, user, grants).env("SSL_CERT_FILE", text(&world.authority()))
}

#[test]
fn methods_and_paths_hold_within_tls_for_programs_as_they_are() {
    in_a_world(|world, user| {
        for unset in ["", "unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY; "] {
            world.forget();
            let code = format!(
                "{unset}for words in /v1/a '-X DELETE /v1/a' /v2 /v1/../v2 /v1/%2e%2e/v2; do curl -sS --path-as-is -o /dev/null -w '%{{http_code}}\\n' ${{words% *}} https://api.example.com${{words##* }}; done"
            )
            .replace("${words% *}", "$(case \"$words\" in *\\ *) echo \"${words% *}\";; esac)");
            let call = trusting(world, user, &["GET https://api.example.com/v1"]);
            let over = Over::of(world, call.args(["--", "sh", "-c", &code]));
            assert_eq!(over.ran.stdout, "200\n403\n403\n400\n400\n", "{}", over.ran.stderr);
            over.assert_reasons(&["method", "path", "ambiguous-path"]);
            over.assert_connected("api.example.com", 443, "tls");
            assert_eq!(world.requests("https"), ["GET /v1/a"]);
            assert!(over.records("opened").iter().all(|record| record["inspected"] == true));
        }
    });
}

#[test]
fn python_and_r_trust_the_authority_of_the_run_by_themselves() {
    in_a_world(|world, user| {
        let code = "import urllib.request\nprint(urllib.request.urlopen('https://api.example.com/numbers.csv').read())";
        let call = trusting(world, user, &["inspect://api.example.com"]);
        let over = Over::of(world, call.args(["-c", code]));
        assert_eq!(over.ran.stdout, "b'a,b\\n1,2\\n3,4\\n'\n", "{}", over.ran.stderr);
        over.assert_nothing_denied();
        let call = trusting(world, user, &["inspect://api.example.com"]);
        let folder = stockade_testkit::Folder::new();
        let script = folder.write("read.R", "print(sum(read.csv(url('https://api.example.com/numbers.csv'))))\n");
        let over = Over::of(world, call.arg(script));
        assert_eq!(over.ran.stdout, "[1] 10\n", "{}", over.ran.stderr);
        over.assert_nothing_denied();
    });
}

#[test]
fn a_server_that_nobody_vouches_for_is_not_believed() {
    in_a_world(|world, user| {
        // The gate has the machine's trust only, which does not know the authority of this world.
        let code = "say('careless', secure(socket.create_connection(('api.example.com', 443), 20), 'api.example.com'))";
        let over = attack(world, user, &["inspect://api.example.com"], code);
        assert!(!over.said()["careless"].contains("hello"), "{:?}", over.said());
        over.assert_refused(&[("api.example.com:443", "upstream-tls")]);
        assert!(world.requests("https").iter().all(|one| !one.starts_with("GET")), "{:?}", world.requests("https"));
    });
}

#[test]
fn the_authority_of_one_run_is_unknown_to_the_next() {
    in_a_world(|world, user| {
        let print = "import os\nprint(open(os.environ['SSL_CERT_FILE']).read())";
        let authorities: Vec<String> = (0..2)
            .map(|_| {
                let call = trusting(world, user, &["inspect://api.example.com"]).args(["-c", print]);
                let text = Over::of(world, call).ran.expect(0).stdout;
                text.rsplit("-----BEGIN CERTIFICATE-----").next().unwrap().to_owned()
            })
            .collect();
        assert_ne!(authorities[0], authorities[1]);
        // Its key is nowhere inside.
        let code = "import os\nfor folder, _, names in os.walk('/'):\n    if folder == '/': _[:] = set(_) - {'proc', 'usr', 'sys', 'opt'}\n    for name in names:\n        try: data = open(f'{folder}/{name}', 'rb').read(1 << 20) if os.path.isfile(f'{folder}/{name}') else b''\n        except OSError: continue\n        if b'PRIVATE KEY' in data: print(folder, name)\nprint('looked')";
        let over = Over::of(world, trusting(world, user, &["inspect://api.example.com"]).args(["-c", code]));
        assert_eq!(over.ran.stdout, "looked\n", "{}", over.ran.stderr);
    });
}
