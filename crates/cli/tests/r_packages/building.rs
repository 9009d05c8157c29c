//! From packages to an environment, and what can be done with it.

use stockade_testkit::cran::Cran;

use crate::{Place, pure, withc};

#[test]
fn packages_are_fetched_compiled_named_and_found_by_a_script() {
    let Some(place) = Place::new() else { return };
    Cran::new(&place.world).put(&pure()).put(&withc());
    let digest = place.built("threes", "pure>=1.0");
    place.folder.write("three.R", "library(pure)\ncat(three(), dirname(find.package('pure')), '\\n')");
    let ran = place.ran(&["run", "--quiet", "--environment", "threes", "three.R"]).expect(0);
    assert_eq!(ran.stdout, "3 /opt/stockade/env/library \n");
    let shown = place.document(&["env", "show", "--json", "threes"]);
    assert_eq!((shown["digest"].as_str(), &shown["python"]), (Some(&*digest), &serde_json::Value::Null));
}
