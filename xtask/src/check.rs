//! Everything CI runs, in the order of what fails soonest.

use crate::tools::{self, Done, has, run};

pub(crate) fn check() -> Done {
    tools::setup()?;
    run(&["cargo", "fmt", "--all", "--check"])?;
    crate::tidy::tidy()?;
    run(&["cargo", "clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"])?;
    run(&["cargo", "doc", "--workspace", "--no-deps", "--quiet"])?;
    // The product as it is shipped, then the binary that lets tests take walls away and fail calls.
    test(&["--workspace"])?;
    test(&["--package", "stockade", "--package", "stockade-launch", "--features", "dangerous-test-hooks", "--test", "removed_walls", "--test", "faults"])?;
    run(&["python3", "-m", "unittest", "discover", "--quiet", "--start-directory", "crates/engines/assets/tests"])
}

fn test(arguments: &[&str]) -> Done {
    let mut words = if has("cargo-nextest") { vec!["cargo", "nextest", "run", "--no-fail-fast"] } else { vec!["cargo", "test", "--no-fail-fast"] };
    words.extend(arguments);
    run(&words)
}
