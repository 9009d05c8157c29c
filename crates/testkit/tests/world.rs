//! The world of the network tests is what it says: its names lead to its servers, to nothing else, and
//! nothing of it stays.

use stockade_testkit::world::{DATABASE, World, has_ipv6};
use stockade_testkit::{User, processes_with, users};

#[test]
fn names_lead_to_servers_that_are_trusted_and_write_down_what_they_hear() {
    let Some(world) = World::new() else { return };
    for user in users() {
        world.forget();
        let authority = world.authority();
        let curl = |words: &[&str]| {
            let call = world.call("curl", user).args(["-sS", "--noproxy", "*", "--max-time", "10", "--cacert"]);
            call.arg(&authority).args(words).run()
        };
        for name in ["api", "db", "other", "evil", "private", "metadata", "run7", "dns", "loop", "own"] {
            let ran = curl(&[&format!("https://{name}.example.com/{name}")]).expect(0);
            assert_eq!(ran.stdout, format!("hello from {name}.example.com/{name}\n"));
        }
        assert_eq!(curl(&["http://api.example.com/"]).expect(0).stdout, "hello from api.example.com/\n");
        if has_ipv6() {
            assert_eq!(curl(&["https://six.example.com/"]).status, 0);
        }
        // Nobody vouches for it, and there is nothing outside.
        assert_eq!(curl(&["https://198.51.100.1/"]).status, 60);
        assert_ne!(curl(&["--connect-timeout", "1", "http://192.0.2.1/"]).status, 0);
        assert_eq!(curl(&["https://unknown.example.com/"]).status, 6);
        let heard = world.heard();
        assert!(heard.iter().any(|one| one.service == "https" && one.what == "GET /loop"), "{heard:#?}");
        assert!(heard.iter().any(|one| one.service == "names" && one.what == "A unknown.example.com"), "{heard:#?}");
        assert!(heard.iter().any(|one| one.service == "tls" && one.what == "name private.example.com"));
        assert!(heard.iter().any(|one| one.service == "https" && one.at == "169.254.169.254"));
    }
}

#[test]
fn answers_change_as_an_attacker_lets_them() {
    let Some(world) = World::new() else { return };
    let code = "import socket\nfor name in ('turning', 'turning', 'mixed', 'alias'): print(sorted({one[4][0] for one in socket.getaddrinfo(name + '.example.com', 1, socket.AF_INET)}))";
    let ran = world.call("python3", User::Caller).args(["-c", code]).run().expect(0);
    assert_eq!(ran.stdout, "['203.0.113.80']\n['127.0.0.1']\n['10.77.0.5', '203.0.113.80']\n['10.77.0.5']\n");
}

#[test]
fn bytes_datagrams_and_pings_are_heard() {
    let Some(world) = World::new() else { return };
    let code = "
import socket, struct
with socket.create_connection(('api.example.com', 7000), 5) as one:
    one.sendall(b'over a stream'); print(one.recv(100))
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.sendto(b'over none', ('api.example.com', 7001)); one.settimeout(5); print(one.recv(100))
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as one:
    one.sendto(struct.pack('!BBHHH', 8, 0, 0xf7fd, 1, 1), ('203.0.113.80', 0)); one.settimeout(5); print(one.recv(100)[20])";
    let ran = world.call("python3", User::Caller).args(["-c", code]).run().expect(0);
    assert_eq!(ran.stdout, "b'over a stream'\nb'over none'\n0\n");
    assert_eq!(world.requests("echo"), ["over a stream"]);
    assert_eq!(world.requests("datagrams"), ["over none"]);
    assert_eq!(world.requests("ping"), ["echo request"]);
}

#[test]
fn the_database_is_a_real_one_that_wants_tls() {
    let Some(world) = World::with_database() else { return };
    let (user, password, base) = DATABASE;
    let psql = |mode: &str| {
        let place = format!("host=db.example.com user={user} dbname={base} sslmode={mode}");
        world.call("psql", User::Caller).env("PGPASSWORD", password).args([&place, "-Atc", "select 6 * 7"]).run()
    };
    assert_eq!(psql("require").expect(0).stdout, "42\n");
    assert_ne!(psql("disable").status, 0);
    assert!(world.requests("postgres").contains(&"authorized".to_owned()));
}

#[test]
fn the_command_is_who_and_where_it_is_without_a_world() {
    let Some(world) = World::new() else { return };
    let folder = stockade_testkit::Folder::new();
    let script = "id -u; pwd; cat /etc/resolv.conf; ls /sys/fs/cgroup; readlink /proc/self/ns/pid; cat /proc/self/cgroup; ls /proc/self/fd";
    for user in users() {
        let inside = world.call("sh", user).within(folder.path()).args(["-c", script]).run().expect(0);
        let outside = stockade_testkit::call("sh", user).within(folder.path()).args(["-c", script]).run().expect(0);
        let without = |text: &str| {
            text.lines()
                .filter(|line| !line.contains("nameserver") && !line.contains("options"))
                .map(ToOwned::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(without(&inside.stdout), without(&outside.stdout));
        assert!(inside.stdout.contains("nameserver 203.0.113.80\n"), "{}", inside.stdout);
    }
    let (mut child, _state) = world.call("sleep", User::Ordinary).arg("1000").start();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while world.strangers().get(&child.id()).is_none_or(|line| line != "sleep 1000 ") {
        assert!(std::time::Instant::now() < until, "{:?}", world.strangers());
    }
    child.kill().unwrap();
    child.wait().unwrap();
    world.assert_no_strangers();
}

#[test]
fn nothing_of_a_world_stays() {
    let Some(world) = World::with_database() else { return };
    let folder = world.authority().parent().unwrap().to_string_lossy().into_owned();
    // A program that nobody waits for, and that has the network of the world.
    let (mut left, _state) = world.call("curl", User::Caller).args(["-s", "http://api.example.com/slow"]).start();
    assert!(!processes_with(&folder).is_empty());
    drop(world);
    assert_eq!(processes_with(&folder), Vec::<u32>::new());
    assert!(!std::path::Path::new(&folder).exists());
    left.kill().unwrap();
    left.wait().unwrap();
}

#[test]
fn a_trusted_world_needs_no_word_about_its_authority() {
    let Some(world) = World::trusted() else { return };
    let code =
        "import ssl, urllib.request\nprint(urllib.request.urlopen('https://api.example.com/', timeout=10).read())";
    for user in users() {
        let curl =
            world.call("curl", user).args(["-sS", "--max-time", "10", "https://api.example.com/"]).run().expect(0);
        assert_eq!(curl.stdout, "hello from api.example.com/\n");
        let python = world.call("/usr/bin/python3", user).env("SSL_CERT_FILE", "").args(["-c", code]).run().expect(0);
        assert_eq!(python.stdout, "b'hello from api.example.com/\\n'\n");
    }
}
