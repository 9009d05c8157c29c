//! Why somebody is not let in by a provider: the reason is for the log, what the caller is told is the same for all.

use stockade_core::text;
use thiserror::Error;

use crate::entry::{Outside, Proof};
use crate::reach::Unreached;

/// Longest text of others in a message.
const CHARS_MAX: usize = 200;

/// Why somebody is not let in.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OidcRefusal {
    /// Longer than any token is.
    #[error("the token is longer than {bytes_max} bytes")]
    TooLong {
        /// How long one may be.
        bytes_max: usize,
    },
    /// It is not three parts, or they are not what they should be.
    #[error("the text is no signed token: {0}")]
    Form(&'static str),
    /// An algorithm that proves nothing, or is not taken.
    #[error("the token's algorithm is `{}`", text::shown(.0, 40))]
    Algorithm(String),
    /// A token for something else than saying who somebody is.
    #[error("the token is of the type `{}`", text::shown(.0, 40))]
    Type(String),
    /// It can be used only together with a key that its holder has.
    #[error("the token is bound to a key of its holder")]
    Bound,
    /// Nobody of the realm made it.
    #[error("the token is of the issuer `{}`, which the realm does not have", text::shown(.0, CHARS_MAX))]
    Issuer(String),
    /// For somebody else.
    #[error("the token is not for `{}`", text::shown(.expected, CHARS_MAX))]
    Audience {
        /// Whom it should be for.
        expected: String,
    },
    /// Somebody else asked for it.
    #[error("the token was made for another client, `{}`", text::shown(.0, CHARS_MAX))]
    Party(String),
    /// The provider has no such key.
    #[error("the provider has no key `{}` for the token", text::shown(.0, 100))]
    NoKey(String),
    /// It does not say which of several keys, or several are called the same.
    #[error("the token does not say which of the provider's keys it was signed with")]
    WhichKey,
    /// Not signed with that key.
    #[error("the token's signature is wrong")]
    Signature,
    /// A claim is missing, or is not what it should be.
    #[error("the claim `{}` is missing, or is not what it should be", text::shown(.0, 128))]
    Claim(String),
    /// Its time is over.
    #[error("the token's time is over since {since_s} s")]
    Over {
        /// For how long.
        since_s: u64,
    },
    /// Its time has not begun, or it was made in the future.
    #[error("the token's time begins in {in_s} s")]
    Early {
        /// When.
        in_s: u64,
    },
    /// It is good for too long.
    #[error("the token is good for {span_s} s, more than {max_s} s")]
    Lasting {
        /// How long.
        span_s: u64,
        /// How long one may be good.
        max_s: u64,
    },
    /// Nobody can be called that.
    #[error("the claim `{}` has no name that a principal can have", text::shown(.attribute, 128))]
    Nameless {
        /// The claim.
        attribute: String,
    },
    /// Anybody can say that it is his address.
    #[error("the provider does not say that the address in `email` is the user's")]
    Unverified,
    /// The provider says that the claim is somewhere else.
    #[error("the claim `{}` is not in the token but elsewhere", text::shown(.0, 128))]
    Elsewhere(String),
    /// More roles than are taken.
    #[error("the token has more than {roles_max} roles")]
    TooManyRoles {
        /// How many are.
        roles_max: usize,
    },
    /// Not the token of this log-in.
    #[error("the token is of another log-in")]
    Nonce,
    /// No log-in has begun with this, or it has ended.
    #[error("there is no such log-in under way")]
    NotBegun,
    /// A log-in took too long.
    #[error("the log-in took too long")]
    TooLate,
    /// The user said no, or the provider did.
    #[error("the provider refuses: `{}`", text::shown(.0, CHARS_MAX))]
    Denied(String),
    /// The provider does not do this.
    #[error("the provider has no {0}")]
    Lacks(&'static str),
    /// Too many at once.
    #[error("too many are being looked for at the provider")]
    Busy,
    /// The provider did not answer, or what it says is nothing that a provider says.
    #[error("the provider `{}` did not answer: {trouble}", text::shown(.provider, CHARS_MAX))]
    Unavailable {
        /// Where it is.
        provider: String,
        /// Why.
        trouble: Trouble,
    },
}

/// Why a provider is no answer.
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
    /// It hung up, or does not speak HTTP.
    #[error("it does not speak HTTP: {}", text::shown(.0, CHARS_MAX))]
    Http(String),
    /// It sends us elsewhere.
    #[error("it answers with a redirect, status {0}")]
    Redirect(u16),
    /// It answers with a status that is none of an answer.
    #[error("it answers with the status {0}")]
    Status(u16),
    /// It says too much.
    #[error("its answer is longer than {bytes_max} bytes")]
    TooLong {
        /// How long one may be.
        bytes_max: usize,
    },
    /// It is not JSON with what should be in it.
    #[error("its {0} is not JSON with what should be in it")]
    Nonsense(&'static str),
    /// It says that it is another.
    #[error("it calls itself `{}`", text::shown(.0, CHARS_MAX))]
    Issuer(String),
    /// It names an address that is not taken.
    #[error("its `{0}` is no address that is asked")]
    Address(&'static str),
    /// It has more keys than anybody has.
    #[error("it has more than {keys_max} keys")]
    TooManyKeys {
        /// How many are taken.
        keys_max: usize,
    },
    /// It wants to know us by something that we do not do.
    #[error("it does not take a client's secret as we show it")]
    Secret,
    /// The system gives none.
    #[error("this machine gives no random bytes")]
    Randomness,
}

impl OidcRefusal {
    /// Why that ends it.
    #[must_use]
    pub fn why(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "what strangers send is bounded before it is looked at",
            Self::Form(_) => "a signed token is a header, claims and a signature in the compact form of JWS",
            Self::Algorithm(_) => {
                "RS256, PS256, ES256 and EdDSA prove who signed; `none` proves nothing, and with HS256 whoever can check \
                 a token can make one"
            }
            Self::Type(_) => "a token that was made for something else is no proof of who somebody is",
            Self::Bound => "without that key a thief could show it as well",
            Self::Issuer(_) => "only the providers that the realm names are believed",
            Self::Audience { .. } => "a token that somebody gave to another service must open nothing here",
            Self::Party(_) => "`azp` must be the realm's client where no `audience` is set",
            Self::NoKey(_) => "its keys were asked for as often as they may be, and it is not among them",
            Self::WhichKey => "no keys are tried one after the other",
            Self::Signature => "the provider did not sign these claims with that key",
            Self::Claim(_) => "what is not there proves nothing",
            Self::Over { .. } | Self::Early { .. } => {
                "a token is good for the time that it says, give or take a minute"
            }
            Self::Lasting { .. } => "a token cannot be taken back, so it may not last",
            Self::Nameless { .. } => "a principal needs one name, of at most 128 characters that can be shown",
            Self::Unverified => "with many providers a user can write any address there",
            Self::Elsewhere(_) | Self::TooManyRoles { .. } => "a role that is left out could be the one with a denial",
            Self::Nonce => "a token that somebody got hold of must not be shown as the answer to another log-in",
            Self::NotBegun => "an answer is taken once, and only for a log-in that began here",
            Self::TooLate => "log-ins that are under way are kept for minutes",
            Self::Denied(_) => "the user or the provider's rules said no",
            Self::Lacks(_) => "its discovery document does not name it",
            Self::Busy => "questions to a provider are bounded",
            Self::Unavailable { .. } => "without the provider's keys no token can be checked",
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn next(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "ask the provider for a token with fewer claims",
            Self::Form(_) => "send `Authorization: Bearer TOKEN` with a token of the provider, as it gave it",
            Self::Algorithm(_) => "have the provider sign with RS256, PS256, ES256 or EdDSA",
            Self::Type(_) => "send an ID token, or an access token that is a JWT",
            Self::Bound => "ask the provider for a bearer token",
            Self::Issuer(_) => "get a token of the provider that the realm names, or add this one to the realm",
            Self::Audience { .. } => "ask the provider for a token with this audience, or correct `audience`",
            Self::Party(_) => "get the token as the realm's client, or set `audience`",
            Self::NoKey(_) => "get another token; if that is refused too, look at the provider's `jwks_uri`",
            Self::WhichKey => "have the provider write `kid` into tokens, each key with one of its own",
            Self::Signature => "get another token",
            Self::Claim(_) => "have the provider write this claim",
            Self::Over { .. } => "get another token; if it is new, correct the clocks",
            Self::Early { .. } => "correct the clocks of this machine and the provider",
            Self::Lasting { .. } => "have the provider make tokens that last shorter",
            Self::Nameless { .. } => "have the provider write a name there, or name another `identityAttributeName`",
            Self::Unverified => "have the provider write `email_verified`, or name another `identityAttributeName`",
            Self::Elsewhere(_) | Self::TooManyRoles { .. } => {
                "have the provider write only the roles that are meant for this service"
            }
            Self::Nonce | Self::NotBegun | Self::TooLate => "log in again",
            Self::Denied(_) => "log in again, or ask who looks after the provider",
            Self::Lacks(_) => "allow it to the client at the provider, or log in in another way",
            Self::Busy => "try again later; when it happens often, look why the provider is slow",
            Self::Unavailable { trouble, .. } => trouble.next(),
        }
    }

    /// What came of the token, for [`crate::entry`].
    #[must_use]
    pub const fn proof(&self) -> Proof {
        if matches!(self, Self::Busy | Self::Unavailable { .. }) { Proof::NotNow } else { Proof::Wrong }
    }

    /// What the caller is told: whether it was looked at, and nothing of why not.
    #[must_use]
    pub const fn outside(&self) -> Outside {
        match self.proof() {
            Proof::NotNow => Outside::Wait,
            Proof::Right | Proof::Wrong => Outside::No,
        }
    }
}

impl Trouble {
    /// What to do about it.
    #[must_use]
    pub const fn next(&self) -> &'static str {
        match self {
            Self::NoAddress(_) => "correct `documentDiscoveryUrl`, or look at the machine's name servers",
            Self::Unreachable(_) => "look whether it runs, and at `documentDiscoveryUrl`",
            Self::Slow(_) => "look at the provider and the network",
            Self::Tls(_) => "look at its certificate, and at whom this machine trusts",
            Self::Redirect(_) => "write the address that it redirects to into `documentDiscoveryUrl`, if it is right",
            Self::Http(_) | Self::Status(_) | Self::Nonsense(_) | Self::TooLong { .. } => {
                "look what is at `documentDiscoveryUrl`, and at the provider's log"
            }
            Self::Issuer(_) => "write the issuer's own address into `documentDiscoveryUrl`",
            Self::Address(_) => {
                "look at the provider's discovery document: its addresses are https, without user names"
            }
            Self::TooManyKeys { .. } => "take old keys away at the provider",
            Self::Secret => "allow the client `client_secret_basic` or `client_secret_post` at the provider",
            Self::Randomness => "look at the machine: getrandom(2) fails",
        }
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
