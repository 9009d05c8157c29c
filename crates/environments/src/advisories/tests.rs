//! Folders of advisories, good and bad; and ranges against an oracle.

use std::fs;

use proptest::prelude::*;

use super::osv::Event;
use super::*;

fn packages(list: &[(&str, &str)]) -> Vec<Package> {
    list.iter().map(|&(name, version)| Package { name: name.into(), version: version.into() }).collect()
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn advisory(id: &str, package: &str, rest: &str) -> String {
    format!(
        r#"{{"id":"{id}","summary":"about {id}","affected":[{{"package":{{"ecosystem":"PyPI","name":"{package}"}},{rest}}}]}}"#
    )
}

const UNTIL_TWO: &str = r#""ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"2.0"}]}]"#;

fn ids(audit: &Audit) -> Vec<&str> {
    audit.found.iter().map(|finding| finding.id.as_str()).collect()
}

#[test]
fn what_concerns_a_version_is_found_by_name_and_range_and_list() {
    let root = folder(&[
        ("a.json", &advisory("A", "Zope.Interface", UNTIL_TWO)),
        ("deep/er/b.json", &advisory("B", "zope-interface", r#""versions":["1.5","1.7"]"#)),
        ("deep/c.json", &advisory("C", "zope-interface", r#""versions":["1.6"]"#)),
        ("d.json", &advisory("D", "other", UNTIL_TWO)),
        (
            "e.json",
            r#"{"id":"E","affected":[{"package":{"ecosystem":"npm","name":"zope-interface"},"versions":["1.5"]}]}"#,
        ),
        (
            "f.json",
            &advisory("F", "zope-interface", UNTIL_TWO)
                .replace(r#""summary""#, r#""withdrawn":"2024-01-01T00:00:00Z","summary""#),
        ),
        ("g.json", &advisory("G", "zope-interface", r#""ranges":[{"type":"GIT","events":[{"introduced":"0"}]}]"#)),
        ("readme.txt", "no advisory"),
    ]);
    let audit = against(Ecosystem::Pypi, &packages(&[("zope-interface", "1.5+local.1")]), root.path()).unwrap();
    assert_eq!(ids(&audit), ["A", "B"]);
    assert_eq!((audit.advisories, audit.withdrawn, audit.malformed.len()), (6, 1, 0));
    assert_eq!((audit.found[0].fixed_in.as_str(), audit.found[1].fixed_in.as_str()), ("2.0", ""));
    let fixed = against(Ecosystem::Pypi, &packages(&[("zope-interface", "2.0")]), root.path()).unwrap();
    assert_eq!(fixed.found, []);
}

#[test]
fn a_version_of_r_is_compared_as_r_does() {
    let of_cran = |id: &str, rest: &str| advisory(id, "data.table", rest).replace("PyPI", "CRAN");
    let root = folder(&[
        (
            "a.json",
            &of_cran("A", r#""ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"1.2-10"}]}]"#),
        ),
        ("b.json", &of_cran("B", r#""versions":["1.2-9"]"#)),
        ("c.json", &of_cran("C", r#""ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"1.2.1"}]}]"#)),
        ("d.json", &advisory("D", "data.table", UNTIL_TWO)),
        ("e.json", &of_cran("E", UNTIL_TWO).replace("data.table", "Data.table")),
    ]);
    let found = |version: &str| against(Ecosystem::Cran, &packages(&[("data.table", version)]), root.path()).unwrap();
    assert_eq!(ids(&found("1.2-9")), ["A", "B", "C"]);
    assert_eq!(ids(&found("1.2-10")), ["C"]);
    assert_eq!(ids(&found("1.2")), ["A"]);
    let none = against(Ecosystem::Cran, &[], folder(&[("d.json", &advisory("D", "six", UNTIL_TWO))]).path());
    assert!(none.unwrap_err().to_string().contains("about R packages"));
}

#[test]
fn severity_and_summary_are_bounded_and_harmless() {
    let hostile = advisory("A\\u001b[31m", "six", UNTIL_TWO).replace(
        r#""affected""#,
        &format!(r#""details":"x","severity":[{{"type":"CVSS_V3","score":"CVSS:3.1/AV:N"}}],"aliases":["CVE-1\u202e"],"database_specific":{{"severity":"{}"}},"affected""#, "H".repeat(500)),
    );
    let root = folder(&[("a.json", &hostile.replace("about A", &format!("a\\nb{}", "x".repeat(1000))))]);
    let audit = against(Ecosystem::Pypi, &packages(&[("six", "1")]), root.path()).unwrap();
    let finding = &audit.found[0];
    assert_eq!(finding.id, "A\\u{1b}[31m");
    assert_eq!(finding.aliases, ["CVE-1\\u{202e}"]);
    assert_eq!((finding.severity.chars().count(), finding.summary.chars().count()), (121, 301));
    assert!(finding.summary.starts_with("a bx"));
}

#[test]
fn a_file_that_cannot_be_understood_is_named() {
    let root = folder(&[
        ("good.json", &advisory("A", "six", UNTIL_TWO)),
        ("empty.json", ""),
        ("list.json", "[]"),
        ("half.json", r#"{"id":"X","affected":["#),
        ("type.json", r#"{"id":1}"#),
        ("deep.json", &"[".repeat(100_000)),
        ("name.json", &advisory("X", "../six", UNTIL_TWO)),
        ("version.json", &advisory("X", "six", r#""ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"one"}]}]"#)),
        ("start.json", &advisory("X", "six", r#""ranges":[{"type":"ECOSYSTEM","events":[{"fixed":"1"}]}]"#)),
        ("none.json", &advisory("X", "six", r#""ranges":[{"type":"ECOSYSTEM","events":[{}]}]"#)),
        // Of a package that is not there: it concerns nobody.
        ("other.json", &advisory("X", "other", r#""ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"one"}]}]"#)),
    ]);
    fs::write(root.path().join("bytes.json"), [0xff, 0xfe]).unwrap();
    fs::File::create(root.path().join("large.json")).unwrap().set_len(1 << 40).unwrap();
    std::os::unix::fs::symlink("good.json", root.path().join("link.json")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(root.path().join("fifo.json")).status().unwrap().success());
    let audit = against(Ecosystem::Pypi, &packages(&[("six", "1")]), root.path()).unwrap();
    let mut names: Vec<&str> = audit.malformed.iter().filter_map(|one| one.file.rsplit('/').next()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "bytes.json",
            "deep.json",
            "empty.json",
            "fifo.json",
            "half.json",
            "large.json",
            "link.json",
            "list.json",
            "name.json",
            "none.json",
            "start.json",
            "type.json",
            "version.json"
        ]
    );
    assert_eq!(ids(&audit), ["A"]);
}

#[test]
fn a_folder_without_advisories_is_no_clean_bill() {
    for root in [folder(&[]), folder(&[("a.txt", "x")]), folder(&[("a.json", r#"{"id":"E"}"#)])] {
        assert!(
            against(Ecosystem::Pypi, &packages(&[("six", "1")]), root.path())
                .unwrap_err()
                .to_string()
                .contains("no advisory")
        );
    }
    assert!(against(Ecosystem::Pypi, &[], Path::new("/nonexistent")).is_err());
    let deep = folder(&[(&format!("{}a.json", "d/".repeat(20)), "{}")]);
    assert!(against(Ecosystem::Pypi, &[], deep.path()).unwrap_err().why().contains("16"));
}

/// Versions in the order of PEP 440.
const LADDER: [&str; 12] =
    ["0.9", "1.0.dev1", "1.0a1", "1.0rc1", "1.0", "1.0.post1", "1.1", "1.10", "2.0", "10.0", "1!0.1", "1!1.0"];

fn event(kind: &str, at: usize) -> Event {
    serde_json::from_value(serde_json::json!({ kind: LADDER[at] })).unwrap()
}

/// Slow and obvious: every version of the ladder is painted, from where something is introduced to the
/// nearest event that ends it.
fn painted(events: &[(u8, usize)]) -> [bool; 12] {
    let mut affected = [false; 12];
    for (_, start) in events.iter().filter(|(kind, _)| *kind == 0) {
        for (step, place) in affected.iter_mut().enumerate().skip(*start) {
            let fixed = events.iter().any(|&(kind, at)| kind == 1 && at > *start && at <= step);
            let over = events.iter().any(|&(kind, at)| kind == 2 && at >= *start && at < step);
            *place |= !fixed && !over;
        }
    }
    affected
}

proptest! {
    #[test]
    fn ranges_hold_what_an_oracle_paints(events in proptest::collection::vec((0_u8..3, 0_usize..12), 1..8)) {
        let wire: Vec<Event> =
            events.iter().map(|&(kind, at)| event(["introduced", "fixed", "last_affected"][usize::from(kind)], at)).collect();
        let expected = painted(&events);
        match range::parse(&wire) {
            Ok(range) => for (step, text) in LADDER.iter().enumerate() {
                let version = Version::from_str(text).unwrap();
                prop_assert_eq!(range.holds(&version), expected[step], "{} {:?}", text, events);
                if let Some(fixed) = range.fixed_after(&version) {
                    prop_assert!(fixed > &version && !events.iter().all(|&(kind, _)| kind != 1));
                }
            },
            Err(_) => prop_assert!(events.iter().all(|&(kind, _)| kind != 0)),
        }
    }
}

#[test]
fn from_nothing_and_limits() {
    let events: Vec<Event> =
        serde_json::from_str(r#"[{"introduced":"0"},{"fixed":"1.0"},{"introduced":"1.1"},{"limit":"2.0"}]"#).unwrap();
    let range = range::parse(&events).unwrap();
    let holds = |text: &str| range.holds(&Version::from_str(text).unwrap());
    assert_eq!(["0.0.dev0", "1.0rc1", "1.0", "1.1", "1.10", "2.0"].map(holds), [true, true, false, true, true, false]);
}
