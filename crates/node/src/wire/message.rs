//! What the two processes say to each other.

use std::fmt;

use serde::{Deserialize, Serialize};

use stockade_core::session::Act;

use crate::look::Look;
use crate::opening::Opening;
use crate::order::Order;
use crate::refusal::Refusal;

/// The name of a run: sixteen hexadecimal digits, so that it can be the name of a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

impl RunId {
    /// One that nobody can guess.
    ///
    /// # Errors
    /// When the kernel has no random numbers.
    pub fn random() -> std::io::Result<Self> {
        let mut bytes = [0_u8; 8];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        Ok(Self(format!("{:016x}", u64::from_ne_bytes(bytes))))
    }

    /// One that was written down.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        fits.then(|| Self(text.to_owned()))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As the number that it is.
    #[must_use]
    pub fn number(&self) -> u64 {
        // INVARIANT: sixteen hexadecimal digits, by `parse` and `random`.
        u64::from_str_radix(&self.0, 16).unwrap_or(0)
    }
}

impl TryFrom<String> for RunId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("a run is named by sixteen hexadecimal digits")
    }
}

impl From<RunId> for String {
    fn from(run: RunId) -> Self {
        run.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What the node asks of the launcher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ask {
    /// Lets the launcher begin. Beside it: locks that it holds, with everything it starts.
    Begin {
        /// The node's folder.
        folder: String,
        /// Policies that every run is held against.
        policies: Vec<String>,
    },
    /// Starts a run. Beside it: where standard output, standard error and the report go; the script; the inputs.
    Start {
        /// Its name.
        run: RunId,
        /// Who asks.
        principal: String,
        /// What is to be run.
        order: Order,
    },
    /// Looks at something, and runs nothing. Beside it: where the answer goes; the script and the inputs of a run.
    Look {
        /// Its name, of which no run is.
        run: RunId,
        /// Who asks.
        principal: String,
        /// At what.
        what: Look,
    },
    /// Opens a session. Beside it: where what it says outside of its acts and its report go; the inputs.
    OpenSession {
        /// Its name.
        run: RunId,
        /// Who asks.
        principal: String,
        /// What it is to be.
        opening: Opening,
    },
    /// Has something done in a session, one thing at a time. Beside it: what [`Act`] says.
    Act {
        /// Which session.
        session: RunId,
        /// The act's name.
        act: RunId,
        /// What.
        what: Act,
    },
    /// Interrupts an act, if it is under way.
    Interrupt {
        /// Of which session.
        session: RunId,
        /// Which.
        act: RunId,
    },
    /// Ends a session; its outputs are collected.
    CloseSession {
        /// Which.
        session: RunId,
    },
    /// Ends a run.
    Cancel {
        /// Which.
        run: RunId,
    },
    /// Opens an output of a run that has ended.
    Open {
        /// The number of the answer.
        number: u64,
        /// Of which run.
        run: RunId,
        /// Its path below the folder of outputs.
        path: String,
    },
    /// Says whether a process, which lies beside it, is in the user namespace of the launcher.
    Beside {
        /// The number of the answer.
        number: u64,
    },
    /// Removes all files of a run that has ended.
    Forget {
        /// The number of the answer.
        number: u64,
        /// Which.
        run: RunId,
    },
}

/// What the launcher says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Answer {
    /// It is in a user namespace of its own, whose maps are to be written.
    Apart {},
    /// It serves.
    Ready {},
    /// A run did not start, or an act.
    Refused {
        /// Which.
        run: RunId,
        /// Why.
        refusal: Refusal,
    },
    /// A run has ended, with everything it started; or an act, and then its session goes on.
    Ended {
        /// Which.
        run: RunId,
        /// The exit status of its supervisor; 128+n when a signal ended it.
        status: i32,
        /// Whether its supervisor was killed, so that its report cannot be relied on.
        killed: bool,
    },
    /// The output lies beside it.
    Opened {
        /// The number of the question.
        number: u64,
        /// Its bytes.
        bytes: u64,
    },
    /// It is done.
    Done {
        /// The number of the question.
        number: u64,
    },
    /// It cannot be done.
    Failed {
        /// The number of the question.
        number: u64,
        /// Why.
        refusal: Refusal,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::opening::tests::opening;
    use crate::order::tests::order;
    use crate::wire::{FRAME_BYTES_MAX, encode, parse};

    fn start() -> Ask {
        let run = RunId::parse("0123456789abcdef").unwrap();
        Ask::Start { run, principal: "uid-1000@local".to_owned(), order: order() }
    }

    fn id() -> RunId {
        RunId::parse("0123456789abcdef").unwrap()
    }

    /// One of each message about sessions, and of looks.
    fn of_sessions(number: usize, text: String, time_ms: u64) -> Ask {
        let (session, act) = (id(), id());
        let what = match number % 10 {
            6 => return Ask::Look { run: id(), principal: text, what: Look::Policies {} },
            7 => return Ask::Look { run: id(), principal: text, what: Look::Environments {} },
            8 => {
                return Ask::Look {
                    run: id(),
                    principal: "a@b".to_owned(),
                    what: Look::Environment { reference: text },
                };
            }
            9 => return Ask::Look { run: id(), principal: text, what: Look::Run { order: order() } },
            0 => return Ask::OpenSession { run: id(), principal: text, opening: opening() },
            1 => return Ask::Interrupt { session, act },
            2 => return Ask::CloseSession { session },
            3 => Act::Execute { time_ms },
            4 => Act::Put { name: text },
            5 => Act::Table { name: text },
            _ => Act::Get { name: text },
        };
        Ask::Act { session, act, what }
    }

    #[test]
    fn only_plain_names_name_runs() {
        for text in ["", "..", "0123456789abcdeg", "0123456789ABCDEF", "0123456789abcdef0", "../../../../etc/x"] {
            assert!(RunId::parse(text).is_none(), "{text}");
            assert!(parse::<Ask>(format!(r#"{{"ask":"cancel","run":"{text}"}}"#).as_bytes()).is_none());
        }
        assert_ne!(RunId::random().unwrap(), RunId::random().unwrap());
    }

    #[test]
    fn what_is_not_known_is_not_passed_over() {
        assert!(parse::<Ask>(br#"{"ask":"cancel","run":"0123456789abcdef"}"#).is_some());
        assert!(parse::<Ask>(br#"{"ask":"cancel","run":"0123456789abcdef","argv":["sh"]}"#).is_none());
        assert!(parse::<Ask>(br#"{"ask":"execute","path":"/bin/sh"}"#).is_none());
        assert!(parse::<Ask>(&b"[".repeat(FRAME_BYTES_MAX)).is_none());
        assert!(parse::<Ask>(&b" ".repeat(FRAME_BYTES_MAX + 1)).is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            drop(parse::<Ask>(&bytes));
            drop(parse::<Answer>(&bytes));
        }

        /// A message with some bytes changed is refused, or is a message again that means the same written anew.
        #[test]
        fn a_damaged_message_is_refused_or_whole(at in any::<prop::sample::Index>(), with in any::<u8>(), cut in any::<prop::sample::Index>()) {
            let mut bytes = encode(&start()).unwrap();
            let length = bytes.len();
            bytes[at.index(length)] = with;
            if with % 3 == 0 {
                bytes.truncate(cut.index(length));
            }
            if let Some(ask) = parse::<Ask>(&bytes) {
                prop_assert_eq!(parse::<Ask>(&encode(&ask).unwrap()), Some(ask));
            }
        }

        #[test]
        fn a_damaged_message_about_a_session_is_refused_or_whole(
            which in 0_usize..10, text in ".{0,60}", time_ms in any::<u64>(), at in any::<prop::sample::Index>(), with in any::<u8>()
        ) {
            let ask = of_sessions(which, text, time_ms);
            let mut bytes = encode(&ask).unwrap();
            prop_assert_eq!(parse::<Ask>(&bytes), Some(ask));
            let length = bytes.len();
            bytes[at.index(length)] = with;
            if let Some(ask) = parse::<Ask>(&bytes) {
                prop_assert_eq!(parse::<Ask>(&encode(&ask).unwrap()), Some(ask));
            }
        }

        #[test]
        fn what_is_written_is_read(path in ".{0,300}", number in any::<u64>()) {
            let ask = Ask::Open { number, run: RunId::parse("0123456789abcdef").unwrap(), path };
            prop_assert_eq!(parse::<Ask>(&encode(&ask).unwrap()), Some(ask));
        }
    }
}
