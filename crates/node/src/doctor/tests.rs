//! Each check on a folder that looks like a machine: it is good, then one thing is changed.

use std::os::unix::fs::PermissionsExt;

use super::*;

struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        let uid = rustix::process::geteuid().as_raw();
        // Not root, even where the tests are run by root.
        let service = if uid == 0 { 990 } else { uid };
        machine
            .put("etc/passwd", &format!("root:x:0:0::/root:/bin/sh\nstockade:x:{service}:990::/home/s:/bin/false\n"));
        machine.put("etc/group", "root:x:0:\ndocker:x:998:\nstockade:x:990:\n");
        machine.put("run/chrony/chronyd.pid", "1");
        machine.put("sys/devices/system/cpu/vulnerabilities/meltdown", "Not affected\n");
        machine.put("proc/sys/kernel/core_pattern", "core\n");
        machine.put("proc/sys/fs/suid_dumpable", "0\n");
        machine.put("proc/sys/kernel/yama/ptrace_scope", "1\n");
        machine.put("proc/net/route", "Iface\tDestination\n");
        let folder = machine.0.path().join("var/lib/stockade");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
        if uid == 0 {
            let user = rustix::process::Uid::from_raw(990);
            rustix::fs::chown(&folder, Some(user), None).unwrap();
        }
        machine
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn asked(&self) -> Doctor {
        Doctor {
            user: "stockade".to_owned(),
            folder: "/var/lib/stockade".into(),
            json: false,
            root: self.0.path().to_owned(),
        }
    }

    fn bad(&self) -> Vec<&'static str> {
        let findings = examine(&self.asked());
        for finding in &findings {
            assert_eq!(finding.next.is_none(), finding.state == State::Good, "{finding:?}");
        }
        findings.iter().filter(|finding| finding.state == State::Bad).map(|finding| finding.check).collect()
    }
}

#[test]
fn a_machine_in_order_has_a_hundred_points() {
    let machine = Machine::new();
    assert_eq!((machine.bad(), score(&examine(&machine.asked()))), (Vec::new(), 100));
}

#[test]
fn what_a_node_listens_at_is_told() {
    let machine = Machine::new();
    let tls = || examine(&machine.asked()).into_iter().find(|finding| finding.check == "tls").unwrap().detail;
    assert!(tls().contains("nothing to encrypt"), "{}", tls());
    machine.put("var/lib/stockade/settings.json", r#"{ "listen": ["192.0.2.1:8443"] }"#);
    assert!(tls().contains("192.0.2.1:8443"), "{}", tls());
}

#[test]
fn whatever_is_wrong_is_found_and_nothing_else() {
    let open =
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU=\n-----END OPENSSH PRIVATE KEY-----\n";
    let cases = [
        ("account", "etc/group", "docker:x:998:stockade\n"),
        ("account", "etc/group", "disk:x:990:\n"),
        ("account", "etc/passwd", "stockade:x:0:0::/home/s:/bin/sh\n"),
        ("ssh-keys", "home/s/.ssh/id_ed25519", open),
        ("ssh-keys", "root/.ssh/key", "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n"),
        (
            "ssh-keys",
            "home/s/.ssh/broken",
            "-----BEGIN OPENSSH PRIVATE KEY-----\n???\n-----END OPENSSH PRIVATE KEY-----\n",
        ),
        ("files", "var/lib/stockade/tls/key.pem", "of others"),
        ("files", "var/lib/stockade/secret.key", "of others"),
        ("rhosts", "home/s/.rhosts", "+ +\n"),
        ("rhosts", "etc/hosts.equiv", "other\n"),
        ("egress", "proc/net/route", "Iface\tDestination\neth0\t00000000\t0\n"),
        ("mitigations", "sys/devices/system/cpu/vulnerabilities/spectre_v2", "Vulnerable, IBPB: disabled\n"),
        ("core-dumps", "proc/sys/kernel/core_pattern", "|/usr/lib/handler %p\n"),
        ("core-dumps", "proc/sys/fs/suid_dumpable", "1\n"),
        ("ptrace", "proc/sys/kernel/yama/ptrace_scope", "0\n"),
    ];
    for (check, path, text) in cases {
        let machine = Machine::new();
        machine.put(path, text);
        assert!(machine.bad().contains(&check), "{path}");
        assert!(score(&examine(&machine.asked())) < 100, "{path}");
    }
    let machine = Machine::new();
    std::fs::remove_file(machine.0.path().join("run/chrony/chronyd.pid")).unwrap();
    assert_eq!(machine.bad(), ["clock"]);
}

#[test]
fn keys_with_a_passphrase_and_other_files_are_no_finding() {
    let machine = Machine::new();
    let locked = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHI=\n-----END OPENSSH PRIVATE KEY-----\n";
    machine.put("home/s/.ssh/id", locked);
    machine.put(
        "home/s/.ssh/pem",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAA\n-----END RSA PRIVATE KEY-----\n",
    );
    machine.put("home/s/.ssh/known_hosts", "host ssh-ed25519 AAAA\n");
    assert_eq!(machine.bad(), Vec::<&str>::new());
}

#[test]
fn a_folder_that_others_may_enter_and_configuration_that_others_may_write_are_found() {
    let machine = Machine::new();
    let folder = machine.0.path().join("var/lib/stockade");
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(machine.bad(), ["files"]);
    let machine = Machine::new();
    machine.put("etc/stockade/policy.conf", "");
    let policy = machine.0.path().join("etc/stockade/policy.conf");
    std::fs::set_permissions(policy, std::fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(machine.bad(), ["files"]);
}

#[test]
fn a_unit_that_reaches_nothing_is_good_whatever_the_routes() {
    let machine = Machine::new();
    machine.put("proc/net/route", "Iface\tDestination\neth0\t00000000\t0\n");
    machine.put("etc/systemd/system/stockade-node.service.d/net.conf", "[Service]\nIPAddressDeny=any\n");
    assert!(!machine.bad().contains(&"egress"));
}
