//! What a session is asked for from outside: small frames between whoever opened it and its supervisor.
//!
//! Pure: bytes in, values out. Both ends hold what they are sent against this; descriptors lie beside the frames.

use serde::{Deserialize, Serialize};

/// Longest name of a file.
pub const NAME_BYTES_MAX: usize = 200;
/// The most bytes of a file that is fetched from a living session.
pub const GET_BYTES_MAX: u64 = 100 << 20;
/// Kind, seven zeros, the act's name, its time.
const HEAD: usize = 24;
const ANSWER: usize = 16;

/// What a session is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Something to be done, one at a time.
    Act {
        /// Its name, which the answer has too.
        act: u64,
        /// What.
        what: Act,
    },
    /// Interrupts an act, if it is under way.
    Interrupt {
        /// Which.
        act: u64,
    },
    /// Ends the session.
    Close,
}

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Act {
    /// Executes code. Beside it: where output, error and the report go; the code.
    Execute {
        /// How long it may take.
        time_ms: u64,
    },
    /// Writes a file of the working folder. Beside it: where the report goes; the content.
    Put {
        /// Its name.
        name: String,
    },
    /// Makes a table a file of the working folder: a link to a descriptor. Beside it: where the report goes; its
    /// sealed memory.
    Table {
        /// Its name.
        name: String,
    },
    /// Reads one. Beside it: where the report goes; where the content goes.
    Get {
        /// Its name.
        name: String,
    },
}

impl Act {
    /// How many descriptors lie beside it.
    #[must_use]
    pub const fn descriptors(&self) -> usize {
        match self {
            Self::Execute { .. } => 4,
            Self::Put { .. } | Self::Table { .. } | Self::Get { .. } => 2,
        }
    }
}

impl Order {
    /// As a frame.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let (kind, act, time, name) = match self {
            Self::Act { act, what: Act::Execute { time_ms } } => (1, *act, *time_ms, ""),
            Self::Act { act, what: Act::Put { name } } => (2, *act, 0, name.as_str()),
            Self::Act { act, what: Act::Get { name } } => (3, *act, 0, name.as_str()),
            Self::Act { act, what: Act::Table { name } } => (6, *act, 0, name.as_str()),
            Self::Interrupt { act } => (4, *act, 0, ""),
            Self::Close => (5, 0, 0, ""),
        };
        let mut bytes = vec![kind, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend(act.to_le_bytes());
        bytes.extend(time.to_le_bytes());
        bytes.extend(name.as_bytes());
        bytes
    }

    /// From a frame; `None` when it is none.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (head, name) = bytes.split_at_checked(HEAD)?;
        let (kind, act, time_ms) = (*head.first()?, word(head, 8)?, word(head, 16)?);
        let name = std::str::from_utf8(name).ok()?;
        let order = match kind {
            1 => Self::Act { act, what: Act::Execute { time_ms } },
            2 if is_file_name(name) => Self::Act { act, what: Act::Put { name: name.to_owned() } },
            3 if is_file_name(name) => Self::Act { act, what: Act::Get { name: name.to_owned() } },
            4 => Self::Interrupt { act },
            5 => Self::Close,
            6 if is_file_name(name) => Self::Act { act, what: Act::Table { name: name.to_owned() } },
            _ => return None,
        };
        // One frame for one order: what says more than it means is none.
        (order.to_bytes() == bytes).then_some(order)
    }
}

/// That an act is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Which.
    pub act: u64,
    /// Its exit status; of files 0, or an errno.
    pub status: u8,
}

impl Answer {
    /// As a frame.
    #[must_use]
    pub fn to_bytes(self) -> [u8; ANSWER] {
        let [a, b, c, d, e, f, g, h] = self.act.to_le_bytes();
        [2, 0, 0, 0, self.status, 0, 0, 0, a, b, c, d, e, f, g, h]
    }

    /// From a frame; `None` when it is none.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let answer = Self { act: word(bytes, 8)?, status: *bytes.get(4)? };
        (answer.to_bytes() == bytes).then_some(answer)
    }
}

/// The plain name of a file of the working folder: nothing that leads elsewhere or hides.
#[must_use]
pub fn is_file_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !name.starts_with(['.', '-'])
        && !name.contains(['/', '=', '\\'])
        && !name.chars().any(|character| character.is_control() || crate::text::is_harmful(character))
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at.checked_add(8)?)?.try_into().ok().map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn orders() -> impl Strategy<Value = Order> {
        let name = "[a-z0-9_][a-zA-Z0-9._ -]{0,60}";
        prop_oneof![
            (any::<u64>(), any::<u64>()).prop_map(|(act, time_ms)| Order::Act { act, what: Act::Execute { time_ms } }),
            (any::<u64>(), name).prop_map(|(act, name)| Order::Act { act, what: Act::Put { name } }),
            (any::<u64>(), name).prop_map(|(act, name)| Order::Act { act, what: Act::Get { name } }),
            (any::<u64>(), name).prop_map(|(act, name)| Order::Act { act, what: Act::Table { name } }),
            any::<u64>().prop_map(|act| Order::Interrupt { act }),
            Just(Order::Close),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(order in orders()) {
            prop_assert_eq!(Order::parse(&order.to_bytes()), Some(order));
        }

        #[test]
        fn any_bytes_are_one_order_written_so_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Some(order) = Order::parse(&bytes) {
                prop_assert_eq!(order.to_bytes(), bytes.clone());
            }
            if let Some(answer) = Answer::parse(&bytes) {
                prop_assert_eq!(answer.to_bytes().to_vec(), bytes);
            }
        }

        #[test]
        fn a_damaged_order_is_refused_or_means_what_it_says(order in orders(), at in any::<prop::sample::Index>(), with in any::<u8>()) {
            let mut bytes = order.to_bytes();
            let length = bytes.len();
            bytes[at.index(length)] = with;
            if let Some(order) = Order::parse(&bytes) {
                prop_assert_eq!(order.to_bytes(), bytes);
            }
        }

        #[test]
        fn answers_are_read_as_they_are_written(act in any::<u64>(), status in any::<u8>()) {
            let answer = Answer { act, status };
            prop_assert_eq!(Answer::parse(&answer.to_bytes()), Some(answer));
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_no_names() {
        for name in ["", ".", "..", ".x", "a/b", "/etc/passwd", "-x", "a=b", "a\nb", "a\0", "a\\b", "a\u{202e}b"] {
            assert!(!is_file_name(name), "{name:?}");
            assert_eq!(Order::parse(&Order::Act { act: 1, what: Act::Get { name: name.to_owned() } }.to_bytes()), None);
        }
        assert!(!is_file_name(&"x".repeat(NAME_BYTES_MAX + 1)));
        assert!(is_file_name("Übersicht 2026.csv"));
    }
}
