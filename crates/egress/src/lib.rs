//! The egress gate: a run reaches what it was granted, and nothing else.
//!
//! Outside, unprivileged, a process of its own. A sandbox has no route and no resolver; what it has is a
//! listener whose accepting side is here. Everything that arrives is hostile. Pure decisions ([`rules`],
//! [`address`], [`budget`]; names and grants are of `stockade-core`) come first; then one line leads every stream to its server:
//!
//! ```text
//! listener → front → http or socks → Want → flow::admit → Passage → hello → dial → Upstream → tunnel
//!                    or transparent         rules, budget, resolve,   TLS's       recorded,
//!                                           check every address       name        counted
//! ```
//!
//! Code that knows no proxy looks names up (`resolver` makes addresses up and asks nobody) and connects to them: the
//! kernel of its network namespace takes the connection, `transparent` tells what it wants, `watch` what nobody
//! took. [`control`] is how a supervisor in another process opens, serves and closes runs.
//!
//! It must never resolve before the rules have said yes, dial an address that was not checked, or let a byte
//! pass that is not recorded.

pub mod address;
pub mod budget;
pub mod control;
pub mod dial;
mod doors;
pub mod event;
mod flow;
mod front;
pub mod gate;
mod hello;
mod http;
mod inside;
mod inspect;
mod names;
mod pace;
mod postgres;
pub mod refusal;
mod resolver;
mod retry;
pub mod rules;
mod run;
mod sockets;
mod socks;
mod tally;
mod trail;
mod transparent;
mod tunnel;
mod upstream;
mod watch;

pub use dial::{Resolve, SystemResolver};
pub use event::{Event, JsonLines, Sink};
pub use flow::Way;
pub use gate::{Gate, Handle, NewRun};
pub use inside::Stream;
pub use inspect::{BadSecret, Secret};
pub use rules::Rules;
pub use sockets::Sockets;
pub use stockade_core::budget::Budget;
pub use stockade_core::grant::Grant;
pub use stockade_core::name::{Host, Name};
pub use tally::{Connected, Refused, RunReport};
pub use trail::Trail;
