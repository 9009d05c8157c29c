//! Reads `profiles/seccomp.txt` with the parser of this crate and writes it as tables of Rust, so
//! that a mistake in the text fails the build and no run pays for reading it.

#![expect(clippy::disallowed_methods, reason = "a build script reads and writes; the crate does not")]
#![expect(unreachable_pub, reason = "the parser's module is public in the crate")]

use std::fmt::Write as _;
use std::path::Path;

#[path = "src/syscalls/mod.rs"]
#[expect(dead_code, reason = "only the parser is used here")]
mod syscalls;

use syscalls::{Architecture, Half, Profile, Rule, Test};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=../../profiles");
    println!("cargo::rerun-if-changed=src/syscalls/mod.rs");
    println!("cargo::rerun-if-changed=src/syscalls");
    let mut text = String::new();
    for (file, prefix) in [
        ("seccomp", ""),
        ("seccomp-landlock", "LANDLOCK_"),
        ("seccomp-landlock-same-user", "SAME_USER_"),
        ("seccomp-runtime", "RUNTIME_"),
        ("seccomp-template", "TEMPLATE_"),
    ] {
        let source = std::fs::read_to_string(format!("../../profiles/{file}.txt"))?;
        for (name, architecture) in [("X86_64", Architecture::X86_64), ("AARCH64", Architecture::Aarch64)] {
            let profile = Profile::parse(&source, architecture)?;
            writeln!(text, "static {prefix}{name}: &[Rule] = &[")?;
            for rule in profile.rules() {
                write_rule(&mut text, rule)?;
            }
            writeln!(text, "];")?;
        }
    }
    let folder = std::env::var("OUT_DIR")?;
    std::fs::write(Path::new(&folder).join("profile.rs"), text)?;
    Ok(())
}

/// The derived Debug of actions and conditions is how Rust writes them.
fn write_rule(text: &mut String, rule: &Rule) -> std::fmt::Result {
    write!(
        text,
        "Rule {{ number: {}, name: {:?}, otherwise: {}, arms: Cow::Borrowed(&[",
        rule.number,
        rule.name,
        action(rule.otherwise)
    )?;
    for arm in rule.arms.iter() {
        write!(text, "Arm {{ action: {}, tests: Cow::Borrowed(&[", action(arm.action))?;
        for test in arm.tests.iter() {
            write_test(text, test)?;
        }
        write!(text, "]) }}, ")?;
    }
    writeln!(text, "]) }},")
}

fn write_test(text: &mut String, test: &Test) -> std::fmt::Result {
    let half = match test.word.half() {
        Half::Low => "Low",
        Half::High => "High",
    };
    write!(
        text,
        "Test {{ word: Word::new({}, Half::{half}), condition: Condition::{:?} }}, ",
        test.word.argument(),
        test.condition
    )
}

fn action(action: syscalls::Action) -> String {
    match action {
        syscalls::Action::Errno(errno) => format!("Action::Errno(Errno::{errno:?})"),
        syscalls::Action::Allow | syscalls::Action::Tell | syscalls::Action::Kill => format!("Action::{action:?}"),
    }
}
