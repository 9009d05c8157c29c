//! A bill of materials is made of an environment as a build leaves it.

use super::*;
use crate::archive::tests::{SITE, built};
use crate::publish::tests::store;

const METADATA: &str =
    "Name: six\nVersion: 1.17.0\nLicense-Expression: MIT\nRequires-Dist: six\nRequires-Dist: absent\n";

fn document() -> Value {
    let (_root, store) = store();
    let environment = built(&store, &[(&format!("{SITE}/six-1.17.0.dist-info/METADATA"), METADATA)]);
    sbom(&store, &environment).unwrap()
}

#[test]
fn a_package_stands_in_it_with_its_purl_its_hash_and_its_licence() {
    let document = document();
    let [component] = document["components"].as_array().unwrap().as_slice() else { panic!("{document}") };
    assert_eq!(component["purl"], "pkg:pypi/six@1.17.0");
    assert_eq!(component["hashes"][0]["alg"], "SHA-256");
    assert_eq!(component["hashes"][0]["content"].as_str().unwrap().len(), 64);
    assert_eq!(component["licenses"][0]["expression"], "MIT");
    assert!(component["properties"].to_string().contains(r#""value":"unknown""#));
    // Neither itself nor what is not there.
    assert_eq!(document["dependencies"][1]["dependsOn"], json!([]));
    assert_eq!(document["dependencies"][0]["dependsOn"], json!(["pkg:pypi/six@1.17.0"]));
    let serial = document["serialNumber"].as_str().unwrap();
    assert_eq!(serial.len(), "urn:uuid:".len() + 36);
    assert_eq!(document, self::document());
}

#[test]
fn an_extra_that_another_package_asks_for_counts() {
    let described = |texts: &[&str]| texts.iter().filter_map(|text| metadata::parse(text)).collect();
    let described: BTreeMap<String, Metadata> = described(&[
        "Name: a\nRequires-Dist: b[fast]; python_version >= '3'\nRequires-Dist: w; sys_platform == 'win32'\n",
        "Name: b\nRequires-Dist: c; extra == 'fast'\nRequires-Dist: d; extra == 'slow'\n",
    ]);
    let needs = needs(&crate::interpreter::fixture::interpreter(), &described);
    assert_eq!(needs["a"], BTreeSet::from(["b".to_owned()]));
    assert_eq!(needs["b"], BTreeSet::from(["c".to_owned()]));
}
