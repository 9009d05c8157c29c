//! The system-call profile that ships with Stockade, read from its text when Stockade is built, so
//! that no run has to.

use std::borrow::Cow;

use crate::syscalls::{Action, Architecture, Arm, Condition, Errno, Half, Profile, Rule, Test, Word};

// Two tables, `X86_64` and `AARCH64`: see build.rs.
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
}
