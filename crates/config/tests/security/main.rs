//! Files of the security type: what they say, what is refused, and what cannot be done with them.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests may stop at the first surprise")]
#![expect(clippy::disallowed_methods, reason = "a test may look at the clock")]

mod attacks;
mod differences;
mod files;
mod hosts;
mod lightbend;
mod substitutions;
mod whole;

use stockade_config::Refused;
use stockade_config::security::{Object, Substitutions, parse};

/// A file around what stands in its configuration, which begins in line 5.
fn file(inner: &str) -> String {
    named("n", "1.0", inner)
}

fn named(name: &str, version: &str, inner: &str) -> String {
    format!(
        "name = \"{name}\"\nversion = \"{version}\"\ntype = \"stockade.security\"\nconfiguration = {{\n{inner}\n}}\n"
    )
}

#[track_caller]
fn read(text: &str) -> Object {
    parse(text, &Substitutions::none()).unwrap_or_else(|refused| panic!("{refused}\n{text}"))
}

#[track_caller]
fn refused(text: &str) -> Refused {
    match parse(text, &Substitutions::none()) {
        Ok(object) => panic!("{text}\n{object:?}"),
        Err(refused) => refused,
    }
}

#[track_caller]
fn refuses(inner: &str, why: &str) {
    let found = refused(&file(inner));
    assert!(found.to_string().contains(why), "{inner}\n{found}");
    assert!(found.place().is_some() && !found.next().is_empty(), "{inner}");
}
