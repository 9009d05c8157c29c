//! What is said between whoever starts runs and whoever keeps warm engines for them: small frames.
//!
//! Pure: bytes in, values out. Descriptors lie beside the frames.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// To the process that follows a waiting engine: the run that it is for. Beside it: where standard output, standard
/// error and the report go; the script, if it has one; the inputs; for a session the socket of its orders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// Who asks.
    pub principal: String,
    /// The script's name; none for a session, whose orders come later.
    pub script: Option<String>,
    /// What it is given.
    pub arguments: Vec<String>,
    /// Names of the inputs.
    pub inputs: Vec<String>,
    /// Limits by name.
    pub limits: BTreeMap<String, u64>,
    /// The folder of the outputs.
    pub out: String,
}

/// From the process that keeps engines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "notice", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Notice {
    /// An engine waits. Beside it: the process that follows it, and the socket on which that takes a claim.
    Waiting {},
    /// There will be no engines.
    NotWarm {
        /// What happened.
        what: String,
        /// Why.
        why: String,
    },
}

/// From the process that follows an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// The run is on record and begins; until then it may be started another way.
    Begun,
    /// It cannot be had from this engine, and has not begun.
    Cold,
    /// It is over, and reported: its exit status.
    Done(u8),
}

impl Said {
    /// As a frame.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 2] {
        match self {
            Self::Begun => [1, 0],
            Self::Cold => [2, 0],
            Self::Done(status) => [3, status],
        }
    }

    /// From a frame; `None` when it is none.
    #[must_use]
    pub const fn parse(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [1, 0] => Some(Self::Begun),
            [2, 0] => Some(Self::Cold),
            [3, status] => Some(Self::Done(*status)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_read_as_it_was_said_and_nothing_else_is() {
        for said in [Said::Begun, Said::Cold, Said::Done(0), Said::Done(255)] {
            assert_eq!(Said::parse(&said.to_bytes()), Some(said));
        }
        for bytes in [&[][..], &[1], &[1, 1], &[2, 7], &[0, 0], &[3, 0, 0]] {
            assert_eq!(Said::parse(bytes), None, "{bytes:?}");
        }
    }
}
