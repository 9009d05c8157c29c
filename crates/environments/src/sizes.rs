//! What wheels take once they are installed, by their own account, read in a jail. A wheel that says
//! less than is true meets the bound on the step that installs it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::error::{Detail, Error};
use crate::inside;
use crate::quote::{neutral, quote};
use crate::step::{self, Bench, Step};
use crate::tree;

const FAILED: (fn(Detail) -> Error, &str, &str) = (
    Error::Wheel,
    "the sizes of the package files cannot be read",
    "leave out the package that is named, or choose another version",
);

/// What the step says: untrusted.
#[derive(Deserialize)]
struct Said {
    sizes: BTreeMap<String, u64>,
    strange: BTreeMap<String, String>,
}

/// The bytes each wheel of a folder takes, by its file name.
pub(crate) fn of(bench: &mut Bench<'_>, wheels: &Path) -> Result<BTreeMap<String, u64>, Error> {
    let script = ("sizes.py", inside::SIZES_SCRIPT);
    let output = format!("{}/sizes", inside::JOB);
    let outputs = bench.run(Step {
        shown: vec![step::shown(wheels, inside::WHEELS)],
        failed: FAILED,
        ..Step::of_script("sizes", script, &[inside::WHEELS, &output], bench.interpreter)
    })?;
    let text = tree::read_bounded(&outputs.join("sizes"), 4 << 20)?;
    let said: Said = serde_json::from_str(&text).map_err(|_| {
        let (kind, what, next) = FAILED;
        kind(Detail::new(what, "what the build step says of them is no list of sizes", next))
    })?;
    match said.strange.into_iter().next() {
        None => Ok(said.sizes),
        Some((file, why)) => Err(Error::Wheel(Detail::new(
            format!("the package file {} is refused", quote(&file)),
            neutral(&why),
            "leave out the package, or choose another version; no honest tool makes such a file",
        ))),
    }
}
