//! Programs as they are reach what is granted: with the proxy they are told of, and without one.

use stockade_testkit::world::has_ipv6;

use crate::support::{Over, World, attack, built, eventually, granted, in_a_world, text};

const API: &[&str] = &["api.example.com"];

/// With the variables that name the proxy, and after the program has lost them.
const WAYS: [(&str, &str); 2] = [("connect", ""), ("transparent", "without_proxies()\n")];

/// The same for programs that a shell starts.
const SHELL_WAYS: [(&str, &str); 2] =
    [("connect", ""), ("transparent", "unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY all_proxy; ")];

#[track_caller]
fn assert_reached(world: &World, over: &Over, way: &str, path: &str) {
    over.assert_nothing_denied().assert_connected("api.example.com", 443, "tls");
    assert_eq!(over.ways(), [way].into(), "{:#?}", over.trail);
    let heard = world.heard();
    let request = heard.iter().find(|one| one.service == "https" && one.what == format!("GET {path}"));
    let request = request.unwrap_or_else(|| panic!("{path}: {heard:#?}"));
    assert_eq!(request.line["name"], "api.example.com");
}

/// A shell command in a granted run, both ways; what it prints.
fn shell(command: &str, expected: &str) {
    in_a_world(|world, user| {
        for (way, unset) in SHELL_WAYS {
            world.forget();
            let call = granted(world, user, API).args(["--", "sh", "-c", &format!("{unset}{command}")]);
            let over = Over::of(world, call);
            assert_eq!(
                (over.ran.status, over.ran.stdout.as_str()),
                (0, expected),
                "{user:?} {way}: {}",
                over.ran.stderr
            );
            assert_reached(world, &over, way, "/numbers.csv");
        }
    });
}

#[test]
fn curl_as_it_is() {
    shell("curl -sS --cacert ca.pem https://api.example.com/numbers.csv", "a,b\n1,2\n3,4\n");
}

#[test]
fn wget_as_it_is() {
    shell("wget -q --ca-certificate=ca.pem -O - https://api.example.com/numbers.csv", "a,b\n1,2\n3,4\n");
}

#[test]
fn requests_as_it_is() {
    in_a_world(|world, user| {
        built(user, "requests");
        for (way, unset) in WAYS {
            world.forget();
            let code = format!(
                "import os\ndef without_proxies():\n    for name in [name for name in os.environ if name.lower().endswith('_proxy')]: del os.environ[name]\n{unset}import requests\nprint(requests.get('https://api.example.com/numbers.csv', verify='ca.pem', timeout=20).text)"
            );
            let over = Over::of(world, granted(world, user, API).args(["--with", "requests", "-c", &code]));
            assert_eq!(over.ran.stdout, "a,b\n1,2\n3,4\n\n", "{}", over.ran.stderr);
            assert_reached(world, &over, way, "/numbers.csv");
        }
    });
}

#[test]
fn r_as_it_is() {
    in_a_world(|world, user| {
        for (way, unset) in [
            ("connect", ""),
            ("transparent", "Sys.unsetenv(c('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY'))\n"),
        ] {
            world.forget();
            let name = format!("way-{way}.R");
            let folder = stockade_testkit::Folder::new();
            let script = folder.write(
                &name,
                format!(
                    "{unset}address <- 'https://api.example.com/numbers.csv'\nprint(readLines(url(address)))\ndownload.file(address, 'copy.csv', quiet = TRUE)\nprint(sum(read.csv('copy.csv')))\n"
                ),
            );
            let call =
                granted(world, user, API).args(["--env", "CURL_CA_BUNDLE=ca.pem", "--env", "SSL_CERT_FILE=ca.pem"]);
            let over = Over::of(world, call.arg(script));
            assert_eq!(over.ran.stdout, "[1] \"a,b\" \"1,2\" \"3,4\"\n[1] 10\n", "{}", over.ran.stderr);
            assert_reached(world, &over, way, "/numbers.csv");
        }
    });
}

#[test]
fn urllib_and_plain_sockets_as_they_are() {
    in_a_world(|world, user| {
        for (way, unset) in WAYS {
            world.forget();
            let code = format!(
                "{unset}print(urllib.request.urlopen('https://api.example.com/numbers.csv', context=trust(), timeout=20).read().decode())"
            );
            let over = attack(world, user, API, &code);
            assert_eq!(over.ran.stdout, "a,b\n1,2\n3,4\n\n");
            assert_reached(world, &over, way, "/numbers.csv");
        }
        world.forget();
        let code = "
with socket.create_connection(('api.example.com', 443), 20) as plain, trust().wrap_socket(plain, server_hostname='api.example.com') as inner:
    say('made up', inner.getpeername()[0].startswith('198.18.'))
    inner.sendall(b'GET /raw HTTP/1.1\\r\\nHost: api.example.com\\r\\nConnection: close\\r\\n\\r\\n')
    say('body', read_all(inner).decode().splitlines()[-1])";
        let over = attack(world, user, API, code);
        over.assert_said(&[("made up", "True"), ("body", "hello from api.example.com/raw")]);
        assert_reached(world, &over, "transparent", "/raw");
    });
}

#[test]
fn plain_http_where_it_is_granted() {
    in_a_world(|world, user| {
        for (way, unset) in [("http-proxy", ""), ("transparent", "without_proxies()\n")] {
            world.forget();
            let code =
                format!("{unset}say('body', urllib.request.urlopen('http://api.example.com/page', timeout=20).read())");
            let over = attack(world, user, &["http://api.example.com"], &code);
            over.assert_said(&[("body", r"b'hello from api.example.com/page\n'")]);
            over.assert_nothing_denied().assert_connected("api.example.com", 80, "http");
            assert_eq!(over.ways(), [way].into());
            assert_eq!(world.requests("http"), ["GET /page"]);
        }
    });
}

#[test]
fn unchecked_bytes_where_they_are_granted() {
    in_a_world(|world, user| {
        let code = "
with socket.create_connection(('api.example.com', 7000), 20) as stream:
    stream.sendall(b'any bytes'); say('echo', stream.recv(100))
stream, how = tunnel('api.example.com:7000')
stream.sendall(b'others'); say(how, stream.recv(100))";
        let over = attack(world, user, &["tcp://api.example.com:7000"], code);
        over.assert_said(&[("echo", "b'any bytes'"), ("200", "b'others'")]);
        over.assert_nothing_denied().assert_connected("api.example.com", 7000, "tcp");
        assert_eq!(world.requests("echo"), ["any bytes", "others"]);
        assert_eq!(over.ran.report()["network"]["bytes_up"], 15);
        assert_eq!(over.ran.report()["network"]["bytes_down"], 15);
    });
}

#[test]
fn granted_addresses_and_blocks_private_ones_too() {
    in_a_world(|world, user| {
        let code = "
def echo(address):
    with socket.create_connection((address, 7000), 20) as stream:
        stream.sendall(b'hello'); return stream.recv(10)
for address in ('203.0.113.80', '203.0.113.81', '10.77.0.5'):
    attempt(address, lambda: echo(address))
    stream, how = tunnel(f'{address}:7000')
    say('tunnel to ' + address, how)";
        let over = attack(world, user, &["tcp://203.0.113.0/24:7000", "tcp://10.77.0.5:7000"], code);
        over.assert_said(&[
            ("203.0.113.80", "done b'hello'"),
            ("203.0.113.81", "done b'hello'"),
            ("10.77.0.5", "done b'hello'"),
            ("tunnel to 203.0.113.80", "200"),
            ("tunnel to 203.0.113.81", "200"),
            ("tunnel to 10.77.0.5", "200"),
        ]);
        over.assert_nothing_denied().assert_connected("10.77.0.5", 7000, "tcp");
    });
}

#[test]
fn names_below_a_wildcard_except_what_is_denied() {
    in_a_world(|world, user| {
        let code = "
for name in ('api', 'other', 'evil', 'a.api'):
    try: say(name, secure(socket.create_connection((name + '.example.com', 443), 20), name + '.example.com'))
    except OSError as refused: say(name, type(refused).__name__)";
        let over = attack(world, user, &["*.example.com", "deny:evil.example.com"], code);
        over.assert_said(&[
            ("api", "hello from api.example.com/"),
            ("other", "hello from other.example.com/"),
            ("a.api", "hello from a.api.example.com/"),
            ("evil", "gaierror"),
        ]);
        over.assert_connected("other.example.com", 443, "tls");
        assert!(!world.heard().iter().any(|one| one.line.to_string().contains("evil")), "{:#?}", world.heard());
        let denied = over.ran.report()["denials"].to_string();
        assert!(denied.contains("evil.example.com"), "{denied}");
    });
}

#[test]
fn servers_that_have_only_ipv6() {
    if !has_ipv6() {
        crate::support::skipped("servers that have only IPv6", "the kernel has none");
        return;
    }
    in_a_world(|world, user| {
        let code = "
stream, how = tunnel('six.example.com:443')
say('proxy', secure(stream, 'six.example.com'))
say('without', secure(socket.create_connection(('six.example.com', 443), 20), 'six.example.com'))
with socket.create_connection(('2001:db8::80', 7000), 20) as stream:
    stream.sendall(b'hello'); say('address', stream.recv(10))";
        let over = attack(world, user, &["six.example.com", "tcp://[2001:db8::80]:7000"], code);
        over.assert_said(&[
            ("proxy", "hello from six.example.com/"),
            ("without", "hello from six.example.com/"),
            ("address", "b'hello'"),
        ]);
        over.assert_nothing_denied();
    });
}

#[test]
fn a_name_that_only_the_resolver_knows() {
    in_a_world(|world, user| {
        let code = "say('body', secure(socket.create_connection(('dns.example.com', 443), 20), 'dns.example.com'))";
        let over = attack(world, user, &["dns.example.com"], code);
        over.assert_said(&[("body", "hello from dns.example.com/")]);
        over.assert_nothing_denied().assert_connected("dns.example.com", 443, "tls");
        assert!(world.requests("names").contains(&"A dns.example.com".to_owned()));
    });
}

#[test]
fn many_processes_and_threads_of_one_run() {
    in_a_world(|world, user| {
        let code = "
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
def fetch(number):
    return secure(socket.create_connection(('api.example.com', 443), 20), 'api.example.com', f'/{number}')
with ThreadPoolExecutor(8) as pool: threads = list(pool.map(fetch, range(20)))
with ProcessPoolExecutor(4) as pool: processes = list(pool.map(fetch, range(20, 40)))
say('answers', len(set(threads + processes)))";
        let over = attack(world, user, API, code);
        over.assert_said(&[("answers", "40")]);
        over.assert_nothing_denied().assert_connected("api.example.com", 443, "tls");
        assert_eq!(over.records("opened").len(), 40);
        assert_eq!(world.requests("https").len(), 40);
    });
}

#[test]
fn a_large_answer_arrives_whole_both_ways() {
    in_a_world(|world, user| {
        for (_, unset) in SHELL_WAYS {
            let command = format!("{unset}curl -sS --cacert ca.pem https://api.example.com/bytes/20000000 | wc -c");
            let over = Over::of(world, granted(world, user, API).args(["--", "sh", "-c", &command]));
            assert_eq!(over.ran.stdout.trim(), "20000000", "{}", over.ran.stderr);
            assert!(over.ran.report()["network"]["bytes_down"].as_u64().unwrap() > 20_000_000);
        }
    });
}

#[test]
fn people_are_told_what_was_refused_and_what_to_do() {
    in_a_world(|world, user| {
        let authority = world.authority();
        let call = world.call(crate::support::STOCKADE, user).args(["run", "--in", text(&authority)]);
        let code =
            "curl -sS --max-time 10 http://api.example.com/; curl -sS --max-time 10 https://evil.example.com/; :";
        let ran = call.args(["--net", "api.example.com", "--", "sh", "-c", code]).run();
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        for line in [
            "  denied: network to api.example.com:80 (",
            "    next: --net http://api.example.com\n",
            "  denied: network to evil.example.com:443 (it was not granted)\n    next: --net evil.example.com\n",
        ] {
            assert!(ran.stderr.contains(line), "{line}\n{}", ran.stderr);
        }
        world.assert_unreached();
        eventually("the gate is gone", || world.strangers().is_empty());
    });
}
