//! Why somebody does not get in by a directory: all of it for administrators, and next to nothing for him.

use stockade_core::text;
use thiserror::Error;

use super::Limits;
use crate::entry::{Outside, Proof};
use crate::reach::Unreached;

/// Longest text of a server in a message of ours.
const CHARS_MAX: usize = 200;

/// Why there is no [`super::Found`]. Its text and `why` are for the log and the audit trail: they tell who exists.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LdapRefusal {
    /// No entry has the name.
    #[error("the directory does not know the user")]
    Unknown,
    /// More than one entry has it.
    #[error("several entries of the directory have the user's name")]
    Several,
    /// The directory is elsewhere.
    #[error("the directory refers to another one for {what}")]
    Referred {
        /// For what.
        what: String,
    },
    /// The entry does not say what the user is called.
    #[error("the user's entry `{}` has no name that he could be known by", text::shown(.entry, CHARS_MAX))]
    Nameless {
        /// Its name.
        entry: String,
    },
    /// The directory does not take the password.
    #[error("the directory refuses the password: {}", named(*.code))]
    Wrong {
        /// What it says, as a number.
        code: u32,
    },
    /// A password that no directory has.
    #[error("the password is empty or has a NUL in it")]
    BadPassword,
    /// More groups than are followed.
    #[error("the user is in more than {groups_max} groups")]
    TooManyGroups {
        /// How many are.
        groups_max: usize,
    },
    /// Groups within groups within groups.
    #[error("the user's groups are in others, more than {depth_max} deep")]
    TooDeepGroups {
        /// How deep they are followed.
        depth_max: usize,
    },
    /// Too many at once.
    #[error("too many are being looked for in the directory")]
    Busy,
    /// No server answered.
    #[error("no server of the directory answered: {}", failed(.0))]
    Unavailable(Vec<Failed>),
}

/// A server that did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Its name and port.
    pub server: String,
    /// Why.
    pub trouble: Trouble,
}

/// Why a server is no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Trouble {
    /// Its name has no address.
    #[error("its name has no address: {0}")]
    NoAddress(String),
    /// Nobody is there.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// It took too long.
    #[error("it was too slow: {0}")]
    Slow(&'static str),
    /// There is no encryption with it, or somebody else is there.
    #[error("TLS with it failed: {}", text::shown(.0, CHARS_MAX))]
    Tls(String),
    /// It does not do StartTLS.
    #[error("it refuses StartTLS: {}", named(*.0))]
    NoStartTls(u32),
    /// What it says is nothing that a directory says.
    #[error("it does not speak as a directory: {0}")]
    Nonsense(String),
    /// It hung up.
    #[error("it ended the connection")]
    Ended,
    /// It does not let the system principal in.
    #[error("it refuses the system principal: {}", named(*.0))]
    SystemPrincipal(u32),
    /// It does not search.
    #[error("it refuses to search: {}", named(*.0))]
    Search(u32),
    /// It cannot say whether the password is right.
    #[error("it cannot check the password: {}", named(*.0))]
    Bind(u32),
}

impl LdapRefusal {
    /// Why that ends it.
    #[must_use]
    pub fn why(&self) -> String {
        match self {
            Self::Unknown => "no entry below `principalRoot` has the name in `userAttribute`".to_owned(),
            Self::Several => "one name must be one person, so none of them is asked for a password".to_owned(),
            Self::Referred { .. } => {
                "referrals are not followed: a directory could send passwords anywhere, and in circles".to_owned()
            }
            Self::Nameless { .. } => {
                "each entry must be one principal: it needs one name that was meant, of at most 128 characters that can \
                 be shown"
                    .to_owned()
            }
            Self::Wrong { .. } => {
                "the password is wrong, or the entry is locked or expired: most directories do not tell which".to_owned()
            }
            Self::BadPassword => "directories take an empty password for a yes, and some end it at a NUL".to_owned(),
            Self::TooManyGroups { .. } | Self::TooDeepGroups { .. } => {
                "a role that is left out could be the one with a denial".to_owned()
            }
            Self::Busy => "connections to a directory are bounded".to_owned(),
            Self::Unavailable(_) => "every server was tried, in order".to_owned(),
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn next(&self) -> String {
        let next = match self {
            Self::Unknown => "check the name, `principalRoot`, `userAttribute`, and what the system principal may read",
            Self::Several => "give each entry another name, or narrow `principalRoot`",
            Self::Referred { .. } => "name the server that has the entries in `servers`",
            Self::Nameless { .. } => "give the entry one value of `userAttribute`, or name another attribute",
            Self::Wrong { .. } => "try again, or look at the entry in the directory",
            Self::BadPassword => "give another password",
            Self::TooManyGroups { .. } => "take the user out of groups, or let `roleAttribute` have fewer",
            Self::TooDeepGroups { .. } => "make the groups flatter",
            Self::Busy => "try again later; when it happens often, look why the directory is slow",
            Self::Unavailable(failed) => failed.first().map_or("name a server", |failed| failed.trouble.next()),
        };
        next.to_owned()
    }

    /// What came of the password, for [`crate::entry`]. Of a user that is not there it is the same as of a wrong one.
    #[must_use]
    pub const fn proof(&self) -> Proof {
        match self {
            Self::Busy | Self::Unavailable(_) => Proof::NotNow,
            Self::Unknown
            | Self::Several
            | Self::Referred { .. }
            | Self::Nameless { .. }
            | Self::Wrong { .. }
            | Self::BadPassword
            | Self::TooManyGroups { .. }
            | Self::TooDeepGroups { .. } => Proof::Wrong,
        }
    }

    /// What the caller is told: whether it was looked at, and nothing of the user.
    #[must_use]
    pub const fn outside(&self) -> Outside {
        match self.proof() {
            Proof::NotNow => Outside::Wait,
            Proof::Right | Proof::Wrong => Outside::No,
        }
    }

    pub(super) const fn too_many_groups(limits: &Limits) -> Self {
        Self::TooManyGroups { groups_max: limits.groups_max }
    }
}

impl From<Unreached> for Trouble {
    fn from(unreached: Unreached) -> Self {
        match unreached {
            Unreached::NoAddress(why) => Self::NoAddress(why),
            Unreached::Unreachable(why) => Self::Unreachable(why),
            Unreached::Slow(step) => Self::Slow(step),
            Unreached::Tls(why) => Self::Tls(why),
        }
    }
}

impl Trouble {
    /// What to do about it.
    #[must_use]
    pub const fn next(&self) -> &'static str {
        match self {
            Self::NoAddress(_) => "correct `host`, or look at the machine's name servers",
            Self::Unreachable(_) => "look whether it runs, and at `host` and `portNumber`",
            Self::Slow(_) => "look at the server and the network, or give a longer `connectTimeout`",
            Self::Tls(_) => {
                "look at its certificate, at the profile's `trustFile` and `minimumVersion`, and whether it wants \
                 `startTls`"
            }
            Self::NoStartTls(_) => "set StartTLS up there, or use its port for ldaps and leave `startTls` out",
            Self::Nonsense(_) => "look what listens at this port",
            Self::Ended => "look at the log of the server",
            Self::SystemPrincipal(_) => "correct `systemPrincipal` and `systemPassword`",
            Self::Search(_) => "correct `principalRoot`, and let the system principal read below it",
            Self::Bind(_) => "look at the log of the server: it may want TLS, or be busy",
        }
    }
}

fn failed(servers: &[Failed]) -> String {
    let one = |failed: &Failed| format!("`{}`: {}", text::shown(&failed.server, CHARS_MAX), failed.trouble);
    if servers.is_empty() { "none is named".to_owned() } else { servers.iter().map(one).collect::<Vec<_>>().join("; ") }
}

/// A result's code by the name that RFC 4511 has for it.
fn named(code: u32) -> String {
    let name = match code {
        1 => "operationsError",
        2 => "protocolError",
        3 => "timeLimitExceeded",
        8 => "strongerAuthRequired",
        10 => "referral",
        11 => "adminLimitExceeded",
        13 => "confidentialityRequired",
        19 => "constraintViolation",
        32 => "noSuchObject",
        34 => "invalidDNSyntax",
        48 => "inappropriateAuthentication",
        49 => "invalidCredentials",
        50 => "insufficientAccessRights",
        51 => "busy",
        52 => "unavailable",
        53 => "unwillingToPerform",
        80 => "other",
        _ => return format!("code {code}"),
    };
    format!("{name} ({code})")
}
