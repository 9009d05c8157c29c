//! `env sbom` and `env audit`.

use serde_json::Value;
use stockade_testkit::{User, call};

use crate::{Place, STOCKADE, short};

/// The schema is that of the authors of CycloneDX, from their package; it is asked within walls.
#[test]
fn the_official_schema_accepts_a_bill_of_materials() {
    let place = Place::new();
    place.built("x", &["--with", "jsonschema[format-nongpl],pygments"]);
    let ran = place.ran(&["env", "sbom", "x"]).expect(0);
    place.folder.write("bom.json", &ran.stdout);
    let code = "from cyclonedx.validation.json import JsonStrictValidator
from cyclonedx.schema import SchemaVersion
print(JsonStrictValidator(SchemaVersion.V1_6).validate_str(open('bom.json').read()))";
    // With the cache that tests share: this one is no store to look into.
    let ran = call(STOCKADE, User::Caller).within(place.folder.path()).args([
        "run",
        "--quiet",
        "--with",
        "cyclonedx-python-lib[json-validation]",
        "--in",
        "bom.json",
        "-c",
        code,
    ]);
    assert_eq!(ran.run().expect(0).stdout, "None\n");

    let document: Value = serde_json::from_str(&ran_text(&place)).unwrap();
    assert_eq!((&document["bomFormat"], &document["specVersion"]), (&"CycloneDX".into(), &"1.6".into()));
    let components = document["components"].as_array().unwrap();
    assert!(components.len() > 8);
    for component in components {
        assert!(component["purl"].as_str().unwrap().starts_with("pkg:pypi/"), "{component}");
        assert!(!component["licenses"].as_array().unwrap().is_empty(), "{component}");
        let known = component["properties"][0]["value"].as_str().unwrap();
        println!("{} attestations: {known}", component["purl"]);
        assert!(known == "unknown" || known.contains("says the index"), "{component}");
        assert_eq!(component["hashes"][0]["content"].as_str().unwrap().len(), 64, "{component}");
    }
    let needs = document["dependencies"].as_array().unwrap();
    let of_jsonschema =
        needs.iter().find(|one| one["ref"].as_str().unwrap().starts_with("pkg:pypi/jsonschema@")).unwrap();
    let needed = of_jsonschema["dependsOn"].to_string();
    assert!(needed.contains("pkg:pypi/attrs@") && needed.contains("pkg:pypi/referencing@"), "{needed}");
    // Every reference leads to a component.
    for reference in needs.iter().flat_map(|one| one["dependsOn"].as_array().unwrap()) {
        assert!(components.iter().any(|component| component["bom-ref"] == *reference), "{reference}");
    }
}

fn ran_text(place: &Place) -> String {
    place.ran(&["env", "sbom", "x"]).expect(0).stdout
}

#[test]
fn an_audit_says_what_concerns_an_environment_and_what_it_could_not_understand() {
    let place = Place::new();
    let digest = place.built("x", &["--with", "six"]);
    let advisory = |id: &str, package: &str, fixed: &str| {
        format!(
            r#"{{"id":"{id}","aliases":["CVE-0000-1\u001b[31m"],"summary":"bad {id}","database_specific":{{"severity":"HIGH"}},
            "affected":[{{"package":{{"ecosystem":"PyPI","name":"{package}"}},
            "ranges":[{{"type":"ECOSYSTEM","events":[{{"introduced":"0"}},{{"fixed":"{fixed}"}}]}}]}}]}}"#
        )
    };
    let audit = ["env", "audit", "x", "--advisories", "osv"];
    let empty = place.ran(&audit).expect(125).stderr;
    assert!(empty.contains("cannot read the advisories") && empty.contains("  next: "), "{empty}");
    place.folder.write("osv/deep/OLD.json", advisory("OLD", "Six", "1.0"));
    let clean = place.ran(&audit).expect(0).stdout;
    assert_eq!(
        clean,
        format!("{}: 0 advisories concern it; 1 advisory was read, 0 of them withdrawn\n", short(&digest))
    );
    place.folder.write("osv/broken.json", "{");
    let unclear = place.ran(&audit).expect(125);
    assert!(unclear.stdout.contains("1 file was not understood"), "{}", unclear.stdout);
    assert!(unclear.stderr.contains("not understood: osv/broken.json: it is no OSV file"), "{}", unclear.stderr);
    place.folder.write("osv/NEW.json", advisory("NEW-1", "six", "9.0"));
    let found = place.ran(&audit).expect(1);
    assert!(found.stdout.contains("NEW-1 CVE-0000-1\\u{1b}[31m") && found.stdout.contains("HIGH"), "{}", found.stdout);
    assert!(!found.stdout.contains('\u{1b}'));
    let document = [&audit[..], &["--json"]].concat();
    let document: Value = serde_json::from_str(&place.ran(&document).expect(1).stdout).unwrap();
    assert_eq!((&document["found"][0]["id"], &document["found"][0]["fixed_in"]), (&"NEW-1".into(), &"9.0".into()));
    assert_eq!(document["malformed"].as_array().unwrap().len(), 1);
}
