//! Everything CI runs, in the order of what fails soonest.

use crate::tools::{self, Done, has, run};

/// Lints that hold for the product and not for its tests.
const TESTS_MAY: [&str; 14] = [
    "clippy::unwrap_used",
    "clippy::expect_used",
    "clippy::panic",
    "clippy::indexing_slicing",
    "clippy::string_slice",
    "clippy::print_stderr",
    "clippy::print_stdout",
    "clippy::cast_possible_truncation",
    "clippy::cast_possible_wrap",
    "clippy::cast_sign_loss",
    "clippy::wildcard_enum_match_arm",
    "clippy::let_underscore_must_use",
    "unfulfilled_lint_expectations",
    "missing_docs",
];

pub(crate) fn check() -> Done {
    tools::setup()?;
    run(&["cargo", "fmt", "--all", "--check"])?;
    crate::tidy::tidy()?;
    run(&["cargo", "clippy", "--workspace", "--quiet", "--", "--deny", "warnings"])?;
    // Helpers of tests may stop at the first surprise, as the tests themselves.
    let mut tests = vec!["cargo", "clippy", "--workspace", "--tests", "--quiet", "--", "--deny", "warnings"];
    tests.extend(TESTS_MAY.iter().flat_map(|lint| ["--allow", lint]));
    run(&tests)?;
    // Apart from the workspace, so that nothing else says that they compile.
    run(&["cargo", "check", "--quiet", "--manifest-path", "fuzz/Cargo.toml"])?;
    run(&["cargo", "doc", "--workspace", "--no-deps", "--quiet"])?;
    crate::warm::library()?;
    // The product as it is shipped, then the binary that lets tests take walls away and fail calls.
    test(&["--workspace"])?;
    test(&[
        "--package",
        "stockade",
        "--features",
        "dangerous-test-hooks",
        "--test",
        "removed_walls",
        "--test",
        "faults",
    ])?;
    run(&["python3", "-m", "unittest", "discover", "--verbose", "--start-directory", "crates/engines/assets/tests"])?;
    // The tests before have built the node it speaks to.
    let program = format!("STOCKADE_NODE_PROGRAM={}", tools::built("debug/stockade-node").display());
    let python = tools::python_of_client()?;
    run(&[
        "env",
        &program,
        &python,
        "-m",
        "unittest",
        "discover",
        "--verbose",
        "--start-directory",
        "clients/python/tests",
    ])?;
    crate::openapi::openapi()
}

/// Kills parts of nodes at random moments, many more times than the tests do by themselves.
pub(crate) fn kills(rounds: &str) -> Done {
    run(&["cargo", "build", "--package", "stockade", "--bins"])?;
    let rounds = format!("STOCKADE_TEST_KILLS={rounds}");
    run(&[
        "env",
        &rounds,
        "cargo",
        "test",
        "--package",
        "stockade-node",
        "--test",
        "node",
        "crash::",
        "--",
        "--nocapture",
    ])
}

fn test(arguments: &[&str]) -> Done {
    let mut words = if has("cargo-nextest") {
        vec!["cargo", "nextest", "run", "--no-fail-fast"]
    } else {
        vec!["cargo", "test", "--no-fail-fast"]
    };
    words.extend(arguments);
    run(&words)
}
