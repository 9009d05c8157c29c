//! Memory that must be free before more is taken on: who is refused now can come again, what the kernel kills cannot.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::refusal::{Kind, Refusal};

/// Where the kernel says how much may be had without swapping (proc_meminfo(5)).
const SOURCE: &str = "/proc/meminfo";
const LINE: &str = "MemAvailable:";

/// The machine's memory.
#[derive(Debug)]
pub(crate) struct Pressure {
    /// Open since before the node gave up every file.
    source: File,
    reserve_bytes: u64,
}

impl Pressure {
    /// Opens what is asked later.
    pub(crate) fn new(reserve_bytes: u64) -> Result<Self, Refusal> {
        let source = File::open(SOURCE)
            .map_err(|error| Refusal::failed("the machine's memory cannot be watched", crate::system_text(&error)))?;
        Ok(Self { source, reserve_bytes })
    }

    /// Makes sure that another run may be taken on.
    ///
    /// # Errors
    /// [`Refusal`] when only the reserve is left, or nobody knows.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        if self.available().is_some_and(|available| available >= self.reserve_bytes) {
            return Ok(());
        }
        let why = format!("less than {} of it are available", stockade_core::text::bytes(self.reserve_bytes));
        Err(Refusal::new(Kind::TooMany, "the machine is short of memory", why, "try again when some runs have ended"))
    }

    fn available(&self) -> Option<u64> {
        let mut text = [0; 1024];
        let length = self.source.read_at(&mut text, 0).ok()?;
        available(std::str::from_utf8(text.get(..length)?).ok()?)
    }
}

fn available(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(LINE))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_when_memory_is_short_is_told_to_come_again() {
        Pressure::new(1).unwrap().check().unwrap();
        let refusal = Pressure::new(1 << 60).unwrap().check().unwrap_err();
        assert_eq!(refusal.kind, Kind::TooMany);
    }

    #[test]
    fn what_cannot_be_read_is_no_memory() {
        assert_eq!(available("MemTotal: 1 kB\nMemAvailable:    2048 kB\n"), Some(2 << 20));
        for text in ["", "MemAvailable: many kB", "MemAvailable: 5", "MemAvailable: 99999999999999999999 kB"] {
            assert_eq!(available(text), None);
        }
    }
}
