//! Who somebody is, where from, and what they may do. The node asks; nothing here serves, stores or logs anything.
//!
//! One request goes through it in this order, and the first refusal ends it:
//!
//! 1. [`hosts`]: is the address it comes from trusted?
//! 2. [`local`]: is the password right? Bounded, delayed, and as slow for users that do not exist. [`ldap`]: the same of
//!    a directory, with the groups that are roles. [`oidc`]: does a provider vouch for who shows this token?
//!    [`certificate`]: whose is the certificate that TLS has verified?
//! 3. [`entry`]: from all of that one answer, admitted or refused. It is one function without effects.
//! 4. [`token`]: who was admitted gets a token, so that the next request asks none of that again.
//! 5. [`privilege`]: may somebody with these roles do this?
//!
//! Clocks are the caller's: times come in as numbers, but for how long a server may take. It must never fall through to a weaker way of saying who one
//! is, or take a failure of anything (a resolver, a hash that cannot be read, a full table) for a yes.
#![forbid(unsafe_code)]

pub mod certificate;
pub mod entry;
pub mod hosts;
pub mod ldap;
pub mod local;
mod name;
pub mod oidc;
pub mod privilege;
mod reach;
pub mod token;
