//! The end of the story: nobody can administer the node any more, and somebody has changed its trail.

use serde_json::{Value, json};

use super::displays::rows_of_both;
use super::{LOCK_OUT, NOT_IN, Story, TRAIL, text};
use crate::networks::WIRES;

impl Story {
    pub(super) fn is_locked_out_and_comes_back(&mut self) {
        self.machine.writes("lock-out.conf", LOCK_OUT);
        drop(self.admin("load configuration --source=lock-out.conf"));
        let activate = "activate configuration --type=security --name=lock-out";
        assert!(self.refused(1, activate).contains("you could not administer the node any more"));
        drop(self.admin(&format!("{activate} --force --confirm-within=1h")));
        drop(self.refused(4, "display node"));
        drop(self.refused(4, "confirm configuration"));
        drop(self.known.log_in("ann@acme", "ann.secret").expect(0));
        drop(self.known.admin("display node").expect(4));
        let offline = "stockade admin --folder=/var/lib/stockade";
        let reset = format!("{offline} reset authentication");
        assert!(self.machine.types(&reset).expect(1).stderr.contains("stop the node first"));
        self.machine.stops();
        drop(self.machine.types_as("ann", &reset).expect(4));
        let display =
            |format: &str| self.machine.types(&format!("{offline} {format} display authentication")).expect(0).stdout;
        assert_eq!(rows_of_both(&display(""), &display("--format=json")), 4, "two users, two realms");
        let said = self.machine.types(&reset).expect(0);
        assert!(said.stderr.contains("nothing is in force any more"), "{said:?}");
        self.machine.starts();
        // As on the first day, and nobody comes in from elsewhere.
        let objects = self.rows("display configuration");
        assert!(objects.iter().all(|row| row["State"] == "Inactive"), "{objects:?}");
        drop(self.known.log_in("ann@acme", "ann.secret").expect(NOT_IN));
        for name in ["trusted-hosts", "people --version=10"] {
            drop(self.admin(&format!("activate configuration --type=security --name={name}")));
        }
        drop(self.known.log_in("ann@acme", "ann.secret").expect(0));
        drop(self.other.log_in("bob@acme", "bob.secret").expect(0));
        let records = self.rows("display audit --most=10000");
        let bob = format!("uid-{}@local", self.machine.types("id -u bob").expect(0).stdout.trim());
        for (record, who, from, what) in [
            ("authentication", "ann@acme", WIRES[0].1, "password refused the principal is locked"),
            ("authentication", "bob@acme", WIRES[1].1, "password refused the password is expired"),
            ("authentication", "ada@corp", WIRES[0].1, "directory password permitted"),
            ("authorisation", bob.as_str(), "local", "Run offline refused you hold no role at this node"),
            ("transition", "uid-0@local", "", "stockade.security lock-out 1.0 active"),
            ("command", "uid-0@local", "offline", "authentication reset done"),
        ] {
            let told = json!([record, who, from, what]);
            let is_there = |row: &Value| told == json!([row["Record"], row["Principal"], row["Source"], row["What"]]);
            assert!(records.iter().any(is_there), "{told}");
        }
    }

    pub(super) fn finds_a_changed_trail(&mut self) {
        let last = self.rows("verify audit").swap_remove(0);
        let key = last["Key"].clone();
        self.admin(&format!(
            "verify audit --key={} --expect={}:{}",
            text(&key),
            text(&last["Last"]),
            text(&last["Hash"])
        ));
        self.machine.stops();
        drop(self.machine.types(&format!("cp -a {TRAIL} whole")).expect(0));
        let changed = self.machine.types("grep -n nobody@acme whole | head -n 1 | cut -d : -f 1").expect(0).stdout;
        let end = self.machine.types("wc -l < whole").expect(0).stdout;
        let cut = end.trim().parse::<usize>().unwrap() - 3;
        for (harm, line, what) in [
            ("sed -i s/nobody@acme/someone@acme/", changed.trim(), "it was changed: its hash is not that of its bytes"),
            ("sed -i '$d;2d'", "2", "the records 2 to 2 before it are missing"),
            ("truncate --size=-10", end.trim(), "it is only part of a record"),
            ("sh -c 'head -n -3 /srv/whole > $0'", &cut.to_string(), "missing"),
        ] {
            drop(self.machine.types(&format!("cat whole > {TRAIL} && {harm} {TRAIL}")).expect(0));
            let folder = TRAIL.strip_suffix("/audit.jsonl").unwrap();
            let verify = format!("stockade audit verify --trail {folder} --key {}", text(&key));
            let found = self.machine.types(&verify).expect(1).stdout;
            let first = found.lines().next().unwrap().replace(", record", ": record");
            assert!(first.starts_with(&format!("wrong: audit.jsonl, line {line}: ")), "{harm}: {found}");
            assert!(first.contains(what), "{harm}: {found}");
        }
        // The node says it too, goes on, and what is gone stays found.
        self.machine.starts();
        for _ in 0..2 {
            let found = self.refused(1, "verify audit");
            assert!(
                found.contains(&format!("audit.jsonl, line {}: ", cut + 1)) && found.contains("missing"),
                "{found}"
            );
        }
        drop(self.admin("display node"));
        // Whoever has looked into it keeps the old one, and begins a new one.
        self.machine.stops();
        drop(self.machine.types("mv /var/lib/stockade/store/audit /srv/audit-that-was-changed").expect(0));
        self.machine.starts();
        assert_ne!(self.rows("verify audit")[0]["Key"], key, "by another key");
        // Whoever kept something of the old one finds that, too.
        for kept in
            [format!("--key={}", text(&key)), format!("--expect={}:{}", text(&last["Last"]), text(&last["Hash"]))]
        {
            assert!(self.refused(1, &format!("verify audit {kept}")).contains("not as it was written"), "{kept}");
        }
        self.machine.stops();
    }
}
