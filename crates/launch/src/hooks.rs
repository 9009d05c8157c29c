//! Doors for tests: fail the n-th system call, leave out one wall, do without a required one.
//!
//! Compiled in only with the feature `dangerous-test-hooks`; without it the functions are empty
//! and no variable is read, so a release binary has no way to weaken itself.

use rustix::io::Errno;
use stockade_core::layer::{Layer, Layers};

/// Which side of the fork the process is on; each counts its own calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The supervisor.
    Outside,
    /// The sandbox, from its birth to the execution of the code.
    Inside,
    /// The sandbox's init, from the moment it has forked the code's process.
    Init,
}

#[cfg(not(feature = "dangerous-test-hooks"))]
mod doors {
    use super::{Errno, Layer, Layers, Side};

    pub(crate) const fn fault(_: &'static str) -> Result<(), Errno> {
        Ok(())
    }

    pub(crate) const fn removed(_: Layer) -> bool {
        false
    }

    pub(crate) const fn unrequired() -> Layers {
        Layers::NONE
    }

    pub(crate) const fn enter(_: Side) {}

    pub(crate) const fn told() -> u8 {
        0
    }

    pub(crate) const fn pass_on(_: u8) {}
}

#[cfg(feature = "dangerous-test-hooks")]
mod doors {
    use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

    use super::{Errno, Layer, Layers, Side};

    static SIDE: AtomicU8 = AtomicU8::new(0);
    static CALLS: AtomicU64 = AtomicU64::new(0);

    /// Tells tests that a call was failed: outside in the file `STOCKADE_TEST_FAULT_LOG`; inside, where
    /// no file can be reached any more, by a niceness that the code inherits.
    fn tell(here: &str, call: &str) {
        use std::io::Write;
        if SIDE.load(Ordering::Relaxed) == 0 {
            let log = std::env::var("STOCKADE_TEST_FAULT_LOG")
                .map(|path| std::fs::OpenOptions::new().append(true).create(true).open(path));
            // A test that misses the line fails by itself.
            drop(log.map(|file| file.and_then(|mut file| writeln!(file, "{here} {call}"))));
        } else {
            pass_on(1);
        }
    }

    /// Whether a call of this process, or of one that said so before, was failed.
    pub(crate) fn told() -> u8 {
        u8::from(rustix::process::getpriority_process(None).is_ok_and(|niceness| niceness > 0))
    }

    /// Tells it on: to what this process becomes.
    pub(crate) fn pass_on(told: u8) {
        if told > 0 {
            rustix::process::nice(1).ok();
        }
    }

    fn name(side: u8) -> &'static str {
        match side {
            0 => "outside",
            1 => "inside",
            _ => "init",
        }
    }

    /// Fails call number N of a side with EIO when `STOCKADE_TEST_FAULT=SIDE:N`.
    pub(crate) fn fault(call: &'static str) -> Result<(), Errno> {
        let Ok(wanted) = std::env::var("STOCKADE_TEST_FAULT") else { return Ok(()) };
        let number = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
        let here = format!("{}:{number}", name(SIDE.load(Ordering::Relaxed)));
        if here != wanted {
            return Ok(());
        }
        tell(&here, call);
        Err(Errno::IO)
    }

    /// Whether `STOCKADE_TEST_WITHOUT` names the layer.
    pub(crate) fn removed(layer: Layer) -> bool {
        std::env::var("STOCKADE_TEST_WITHOUT").is_ok_and(|names| names.split(',').any(|name| name == layer.name()))
    }

    /// Required layers that `STOCKADE_TEST_UNREQUIRED` names: a run starts without them.
    pub(crate) fn unrequired() -> Layers {
        let names = std::env::var("STOCKADE_TEST_UNREQUIRED").unwrap_or_default();
        names.split(',').filter_map(Layers::parse).fold(Layers::NONE, Layers::and)
    }

    pub(crate) fn enter(side: Side) {
        SIDE.store(
            match side {
                Side::Outside => 0,
                Side::Inside => 1,
                Side::Init => 2,
            },
            Ordering::Relaxed,
        );
        CALLS.store(0, Ordering::Relaxed);
    }
}

pub(crate) use doors::{enter, fault, pass_on, removed, told, unrequired};
