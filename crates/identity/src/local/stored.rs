//! A password as it is kept: an Argon2id hash as a PHC string, whose costs are bounded before anything is hashed.

use std::fmt;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use rustix::rand::{GetRandomFlags, getrandom};
use thiserror::Error;

use super::password::Password;

/// Memory of one hash, in KiB: with the number of hashes at once it bounds the memory of all.
const MEMORY_KIB_MAX: u32 = 64 * 1024;
/// Times over it, and lanes.
const PASSES_MAX: u32 = 8;
const LANES_MAX: u32 = 8;
/// What RFC 9106 recommends for passwords.
const SALT_BYTES: usize = 16;
/// Longest PHC string.
const TEXT_BYTES_MAX: usize = 512;

/// What one hash costs: what is spent by who logs in, and by who guesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Costs {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Times over it.
    pub passes: u32,
    /// Lanes, which are one after the other here.
    pub lanes: u32,
}

impl Default for Costs {
    /// What OWASP recommends: 19 MiB, two passes.
    fn default() -> Self {
        Self { memory_kib: 19 * 1024, passes: 2, lanes: 1 }
    }
}

/// A hash that is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Stored {
    hash: PasswordHash,
    costs: Costs,
}

/// Why a text is no hash that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadHash {
    /// No PHC string.
    #[error("it is no PHC string with a salt and a hash")]
    Form,
    /// Another function.
    #[error("it is not made with Argon2id, version 19")]
    Function,
    /// It would take more memory or time than any log-in may.
    #[error("it takes more than {MEMORY_KIB_MAX} KiB, {PASSES_MAX} passes or {LANES_MAX} lanes, or too little")]
    Costs,
    /// The system has no memory or no randomness.
    #[error("a hash cannot be made now")]
    Resources,
}

impl BadHash {
    /// What to do about it.
    #[must_use]
    pub const fn next(&self) -> &'static str {
        match self {
            Self::Form | Self::Function | Self::Costs => "make one with `stockade admin hash secret`",
            Self::Resources => "try again when the machine has memory",
        }
    }
}

impl Costs {
    /// Hashes a password, which takes as long as it shall. For commands; a node uses [`super::Passwords::hash`].
    ///
    /// # Errors
    /// [`BadHash`], when these costs are out of bounds, or the machine has no memory.
    pub fn hash(self, password: &Password) -> Result<Stored, BadHash> {
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, self.params()?);
        let hash = argon.hash_password_with_salt(password.as_bytes(), &salt()?).map_err(|_| BadHash::Resources)?;
        Ok(Stored { hash, costs: self })
    }

    fn params(self) -> Result<Params, BadHash> {
        if self.memory_kib > MEMORY_KIB_MAX || self.passes > PASSES_MAX || self.lanes > LANES_MAX {
            return Err(BadHash::Costs);
        }
        Params::new(self.memory_kib, self.passes, self.lanes, Some(Params::DEFAULT_OUTPUT_LEN))
            .map_err(|_| BadHash::Costs)
    }
}

/// By the system call: a confined process that is linked statically has no other way.
fn salt() -> Result<[u8; SALT_BYTES], BadHash> {
    let mut salt = [0; SALT_BYTES];
    match getrandom(salt.as_mut_slice(), GetRandomFlags::empty()) {
        Ok(SALT_BYTES) => Ok(salt),
        Ok(_) | Err(_) => Err(BadHash::Resources),
    }
}

impl Stored {
    /// Parses a PHC string.
    ///
    /// # Errors
    /// [`BadHash`], when it is none of Argon2id, or takes more than a log-in may.
    pub fn parse(text: &str) -> Result<Self, BadHash> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(BadHash::Form);
        }
        let hash = PasswordHash::new(text).map_err(|_| BadHash::Form)?;
        if hash.salt.is_none() || hash.hash.as_ref().is_none_or(|output| output.len() < Params::DEFAULT_OUTPUT_LEN) {
            return Err(BadHash::Form);
        }
        if hash.algorithm.as_str() != Algorithm::Argon2id.as_str() || hash.version != Some(Version::V0x13.into()) {
            return Err(BadHash::Function);
        }
        let params = Params::try_from(&hash).map_err(|_| BadHash::Costs)?;
        let costs = Costs { memory_kib: params.m_cost(), passes: params.t_cost(), lanes: params.p_cost() };
        costs.params()?;
        Ok(Self { hash, costs })
    }

    /// Whether it was made with other costs than these, and should be made anew when the password is at hand.
    #[must_use]
    pub fn is_stale(&self, costs: Costs) -> bool {
        self.costs != costs
    }

    /// Compares, in time that does not depend on where they differ.
    pub(crate) fn is_of(&self, password: &Password) -> bool {
        Argon2::default().verify_password(password.as_bytes(), &self.hash).is_ok()
    }
}

impl fmt::Display for Stored {
    /// The PHC string, for whoever keeps it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.hash.fmt(out)
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Stored").field("costs", &self.costs).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHEAP: Costs = Costs { memory_kib: 64, passes: 1, lanes: 1 };

    fn password(text: &str) -> Password {
        Password::new(text.to_owned()).unwrap()
    }

    #[test]
    fn a_password_is_known_again_and_no_other_is_taken_for_it() {
        let stored = CHEAP.hash(&password("correct horse")).unwrap();
        let read = Stored::parse(&stored.to_string()).unwrap();
        assert_eq!(read, stored);
        assert!(read.is_of(&password("correct horse")));
        for wrong in ["correct hors", "correct horse ", "Correct horse", "correct horse\0", "x"] {
            assert!(!read.is_of(&password(wrong)), "{wrong:?}");
        }
        assert_ne!(CHEAP.hash(&password("correct horse")).unwrap(), stored, "a salt is used twice");
        assert!(!stored.is_stale(CHEAP) && stored.is_stale(Costs::default()));
    }

    #[test]
    fn hashes_of_others_are_known() {
        // A vector of the reference implementation (its `test.c`).
        let text = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let stored = Stored::parse(text).unwrap();
        assert!(stored.is_of(&password("password")) && !stored.is_of(&password("Password")));
        assert_eq!(stored.to_string(), text);
    }

    #[test]
    fn what_would_take_all_memory_is_refused_before_it_is_tried() {
        let salted = |start: &str| format!("{start}$c29tZXNhbHQ${}", "A".repeat(43));
        for (text, bad) in [
            (salted("$argon2id$v=19$m=4194304,t=1,p=1"), BadHash::Costs),
            (salted("$argon2id$v=19$m=65537,t=1,p=1"), BadHash::Costs),
            (salted("$argon2id$v=19$m=64,t=4294967295,p=1"), BadHash::Costs),
            (salted("$argon2id$v=19$m=65536,t=1,p=9"), BadHash::Costs),
            (salted("$argon2id$v=19$m=1,t=1,p=1"), BadHash::Costs),
            (salted("$argon2i$v=19$m=64,t=1,p=1"), BadHash::Function),
            (salted("$argon2d$v=19$m=64,t=1,p=1"), BadHash::Function),
            (salted("$argon2id$v=16$m=64,t=1,p=1"), BadHash::Function),
            (salted("$argon2id$m=64,t=1,p=1"), BadHash::Function),
            (salted("$scrypt$v=19$ln=16"), BadHash::Function),
            ("$argon2id$v=19$m=64,t=1,p=1".to_owned(), BadHash::Form),
            ("$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ".to_owned(), BadHash::Form),
            ("$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$AAAA".to_owned(), BadHash::Form),
            ("secret".to_owned(), BadHash::Form),
            (String::new(), BadHash::Form),
            ("$".repeat(10_000), BadHash::Form),
        ] {
            assert_eq!(Stored::parse(&text), Err(bad), "{text:.60}");
        }
        assert!(Stored::parse(&salted("$argon2id$v=19$m=65536,t=8,p=8")).is_ok());
        assert!(Costs { memory_kib: 1 << 30, ..CHEAP }.hash(&password("a")).is_err());
    }

    #[test]
    fn neither_shows_what_it_is() {
        assert_eq!(format!("{:?}", password("secret")), "Password(…)");
        assert!(!format!("{:?}", CHEAP.hash(&password("secret")).unwrap()).contains('$'));
    }

    proptest! {
        #[test]
        fn no_text_is_a_hash_by_accident(text in "(\\$argon2id)?(\\$v=19)?\\$m=[0-9]{1,5},t=[0-9],p=[0-9]\\$[a-zA-Z0-9+/]{0,30}(\\$[a-zA-Z0-9+/]{0,90})?|.{0,80}") {
            if let Ok(stored) = Stored::parse(&text) {
                prop_assert_eq!(stored.to_string(), text);
                prop_assert!(stored.costs.memory_kib <= MEMORY_KIB_MAX && stored.costs.passes <= PASSES_MAX);
            }
        }
    }
}
