//! What comes out of the decision: how somebody got in, or why not and what he is told.

use thiserror::Error;

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The caller is who it says it is.
    Admit(How),
    /// It is not admitted.
    Refuse {
        /// The reason, for the log and the audit trail.
        why: Why,
        /// What the caller is told.
        outside: Outside,
    },
}

/// How somebody was admitted, for the audit trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum How {
    /// By a password.
    Password,
    /// By a bearer token.
    Token,
    /// By a certificate.
    Certificate,
    /// By the kernel's word.
    Peer,
    /// By its address alone.
    HostTrust,
}

/// Why somebody was not admitted: for the log and the audit trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum Why {
    /// A password or token that others on the way can read.
    #[error("a password or token came over TCP without TLS")]
    InClear,
    /// Something that this kind of connection cannot show.
    #[error("this kind of connection has no such credential")]
    Misplaced,
    /// Not from a trusted host.
    #[error("the realm admits trusted hosts only, and the address is of none")]
    Untrusted,
    /// No such principal.
    #[error("the realm does not know the principal")]
    Unknown,
    /// Somebody locked it.
    #[error("the principal is locked")]
    Locked,
    /// Its password is too old.
    #[error("the password is expired")]
    Expired,
    /// What was shown is not the principal's.
    #[error("the credential is wrong")]
    Wrong,
    /// What was shown was not looked at.
    #[error("too many attempts")]
    NotNow,
    /// The realm wants a password always, and something else was shown.
    #[error("the realm wants a password")]
    PasswordRequired,
    /// A user was named, and the kernel vouches for another or for none.
    #[error("a user was named, so the kernel's word for the caller is no credential")]
    Named,
    /// Nothing was shown, and nothing makes up for it.
    #[error("no credential was shown")]
    Nothing,
}

impl Why {
    /// What to do about it: for who looks after the node.
    #[must_use]
    pub const fn next(self) -> &'static str {
        match self {
            Self::InClear => "connect with TLS, and change the password: others may have read it",
            Self::Misplaced => "show a password or a token",
            Self::Untrusted => {
                "add the host to a TrustedHosts object: `stockade admin test trusted --address=IP` tells"
            }
            Self::Unknown => "add the principal: `stockade admin add user`",
            Self::Locked => "unlock it: `stockade admin unlock user`",
            Self::Expired => "change the password: `stockade admin change password`",
            Self::Wrong => "try again, or have the password set anew",
            Self::NotNow => "wait, then try again",
            Self::PasswordRequired => "give a password: `--username` and `--password-stdin`",
            Self::Named => "leave the user name out, or give that user's password",
            Self::Nothing => "log in: `stockade login`, or `--username` and `--password-stdin`",
        }
    }
}

/// What a caller is told that was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum Outside {
    /// The connection has to be encrypted.
    #[error("passwords and tokens are not taken without TLS")]
    UseTls,
    /// Later.
    #[error("too many attempts, try again later")]
    Wait,
    /// Something has to be shown.
    #[error("a credential is needed")]
    Show,
    /// Only who proved that he is the principal is told.
    #[error("the principal is locked")]
    Locked,
    /// Only who proved that he is the principal is told.
    #[error("the password is expired")]
    Expired,
    /// No.
    #[error("not authenticated")]
    No,
}

impl Outside {
    /// What to do about it.
    #[must_use]
    pub const fn next(self) -> &'static str {
        match self {
            Self::UseTls => "connect with TLS, and change the password: others may have read it",
            Self::Wait => "wait, then try again",
            Self::Show => "log in: `stockade login`, or `--username` and `--password-stdin`",
            Self::Locked => "have an administrator unlock it",
            Self::Expired => "have an administrator set another one: `stockade admin change password`",
            Self::No => "check the user name and the password, and where you connect from, or ask an administrator",
        }
    }
}
