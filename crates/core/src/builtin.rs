//! The system-call profile that ships with Stockade, read from its text when Stockade is built, so
//! that no run has to.

use std::borrow::Cow;

use crate::syscalls::{Action, Architecture, Arm, Condition, Errno, Half, Profile, Rule, Test, Word};

// Tables for each architecture, of the profile and of what changes in it: see build.rs.
include!(concat!(env!("OUT_DIR"), "/profile.rs"));

impl Profile {
    /// The profile that ships with Stockade.
    #[must_use]
    pub const fn builtin(architecture: Architecture) -> Self {
        let rules = match architecture {
            Architecture::X86_64 => X86_64,
            Architecture::Aarch64 => AARCH64,
        };
        Self::of_static(architecture, rules)
    }

    /// The same for a run without namespaces: what they kept apart is refused by the call.
    #[must_use]
    pub fn without_namespaces(self) -> Self {
        let changes = match self.architecture() {
            Architecture::X86_64 => LANDLOCK_X86_64,
            Architecture::Aarch64 => LANDLOCK_AARCH64,
        };
        self.with(changes)
    }

    /// The same for a container runtime, which makes namespaces and mounts before there is any code.
    #[must_use]
    pub fn of_runtime(self) -> Self {
        let changes = match self.architecture() {
            Architecture::X86_64 => RUNTIME_X86_64,
            Architecture::Aarch64 => RUNTIME_AARCH64,
        };
        self.with(changes)
    }

    /// The same for a template of warm engines, whose children enter walls that stand already.
    #[must_use]
    pub fn of_template(self) -> Self {
        let changes = match self.architecture() {
            Architecture::X86_64 => TEMPLATE_X86_64,
            Architecture::Aarch64 => TEMPLATE_AARCH64,
        };
        self.with(changes)
    }

    /// The same for code with the caller's own user id, whose files are its own to the kernel.
    #[must_use]
    pub fn same_user(self) -> Self {
        let changes = match self.architecture() {
            Architecture::X86_64 => SAME_USER_X86_64,
            Architecture::Aarch64 => SAME_USER_AARCH64,
        };
        self.with(changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_say_what_the_text_says() {
        for architecture in [Architecture::X86_64, Architecture::Aarch64] {
            assert_eq!(
                Profile::parse(include_str!("../../../profiles/seccomp.txt"), architecture),
                Ok(Profile::builtin(architecture))
            );
        }
    }

    #[test]
    fn without_namespaces_no_call_is_permitted_that_was_not() {
        for architecture in [Architecture::X86_64, Architecture::Aarch64] {
            let full = Profile::builtin(architecture);
            let bare = full.clone().without_namespaces().same_user();
            assert_eq!(full.rules().len(), bare.rules().len());
            for (before, after) in full.rules().iter().zip(bare.rules()) {
                assert_eq!(before.name, after.name);
                // What no longer is decided as before, is refused unless a test of an argument permits it.
                assert!(before == after || after.otherwise != Action::Allow || before.otherwise == Action::Allow);
            }
        }
    }

    #[test]
    fn without_namespaces_the_only_sockets_are_pairs_that_cannot_be_connected() {
        let bare = Profile::builtin(Architecture::X86_64).without_namespaces();
        let decide = |name: &str, arguments: [u64; 6]| {
            let rule = bare.rules().iter().find(|rule| rule.name == name).unwrap();
            bare.decide(rule.number, &arguments)
        };
        for family in 0..50 {
            for kind in 0..11 {
                assert_ne!(decide("socket", [family, kind, 0, 0, 0, 0]), Action::Allow);
                let is_pair = family == 1 && matches!(kind, 1 | 5);
                assert_eq!(
                    decide("socketpair", [family, kind, 0, 0, 0, 0]) == Action::Allow,
                    is_pair,
                    "{family} {kind}"
                );
            }
        }
        assert_eq!(decide("socket", [2, 1, 0, 0, 0, 0]), Action::Tell);
        assert_eq!(decide("socketpair", [1, 0x8_0801, 0, 0, 0, 0]), Action::Allow);
        for name in ["connect", "bind", "listen", "accept", "accept4"] {
            assert_eq!(decide(name, [3, 0, 0, 0, 0, 0]), Action::Errno(Errno::Eperm));
        }
    }
}
