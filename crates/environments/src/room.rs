//! How much room a build takes. Its steps write to memory, so much work is done in pieces, and what
//! cannot fit is refused with its size before it is tried.

use crate::build::Limits;
use crate::error::{Detail, Error};
use crate::machine::Machine;

/// Files are fetched, and packages installed, in pieces of about this size.
const PIECE_BYTES: u64 = 1 << 30;
/// What a step may write beyond what was counted: notes of its tools, folders, a file half done.
const SLACK_BYTES: u64 = 64 << 20;

/// What the steps of a build, and its result, may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// The most that may be counted for a step.
    step_bytes_max: u64,
    /// Where the bound on a step comes from; completes "a build step …".
    bound: &'static str,
    environment_bytes_max: u64,
}

/// Something that takes room in a step.
#[derive(Debug, Clone)]
pub(crate) struct Load<T> {
    pub(crate) item: T,
    /// What a refusal calls it.
    pub(crate) name: String,
    pub(crate) bytes: u64,
}

impl Room {
    /// The limits of a build, or what this machine can spare if that is less: whoever fills the
    /// memory of a machine may see other programs end.
    pub(crate) fn of(limits: &Limits, machine: &Machine) -> Self {
        let spare = machine.memory_bytes_free().map_or(u64::MAX, |free| free / 4 * 3);
        let (step_bytes_max, bound) = if spare < limits.scratch_bytes_max {
            (spare, "writes to memory, of which this machine can spare")
        } else {
            (limits.scratch_bytes_max, "may write")
        };
        Self { step_bytes_max, bound, environment_bytes_max: limits.environment_bytes_max }
    }

    /// No more than a step may write.
    pub(crate) fn at_most(&self, bytes: u64) -> u64 {
        bytes.min(self.step_bytes_max.saturating_add(SLACK_BYTES))
    }

    /// Cuts the work into pieces, in order; with each, what its step may write.
    pub(crate) fn pieces<T>(&self, loads: impl IntoIterator<Item = Load<T>>) -> Result<Vec<(u64, Vec<T>)>, Error> {
        let mut pieces: Vec<(u64, Vec<T>)> = Vec::new();
        let mut all = 0_u64;
        for load in loads {
            if load.bytes > self.step_bytes_max {
                return Err(self.too_large(&load.name, load.bytes));
            }
            all = all.saturating_add(load.bytes);
            match pieces.last_mut() {
                Some((taken, items)) if taken.saturating_add(load.bytes) <= self.step_bytes_max.min(PIECE_BYTES) => {
                    *taken = taken.saturating_add(load.bytes);
                    items.push(load.item);
                }
                Some(_) | None => pieces.push((load.bytes, vec![load.item])),
            }
        }
        if all > self.environment_bytes_max {
            return Err(self.too_many(all));
        }
        Ok(pieces.into_iter().map(|(taken, items)| (taken.saturating_add(SLACK_BYTES), items)).collect())
    }

    fn too_large(&self, name: &str, bytes: u64) -> Error {
        Error::Size(Detail::new(
            format!("{name} is too large for a build"),
            format!("it takes {}; a build step {} {}", shown(bytes), self.bound, shown(self.step_bytes_max)),
            "choose a smaller build or version of it, or install it yourself and give that environment with `--venv DIR`",
        ))
    }

    fn too_many(&self, bytes: u64) -> Error {
        Error::Size(Detail::new(
            "the packages are too large for an environment",
            format!(
                "together they take {}; an environment may take {}",
                shown(bytes),
                shown(self.environment_bytes_max)
            ),
            "ask for fewer packages, or install them yourself and give that environment with `--venv DIR`",
        ))
    }
}

/// A size as people read it.
pub(crate) fn shown(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    if bytes < 1024 * MIB {
        return format!("{} MiB", bytes.div_ceil(MIB));
    }
    let tenths = bytes.div_ceil(MIB).saturating_mul(10) / 1024;
    format!("{}.{} GiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn room(step: u64, free: Option<u64>) -> Room {
        let root = tempfile::tempdir().unwrap();
        if let Some(free) = free {
            std::fs::create_dir(root.path().join("proc")).unwrap();
            let text = format!("MemTotal: 9 kB\nMemAvailable:   {} kB\n", free / 1024);
            std::fs::write(root.path().join("proc/meminfo"), text).unwrap();
        }
        let machine = Machine { root: root.path().to_path_buf(), ..Machine::default() };
        let limits = Limits { scratch_bytes_max: step, environment_bytes_max: 20 * GIB, ..Limits::default() };
        Room::of(&limits, &machine)
    }

    fn pieces(room: Room, sizes: &[u64]) -> Result<Vec<(u64, Vec<usize>)>, Error> {
        let load = |(item, bytes): (usize, &u64)| Load { item, name: format!("the package `p{item}`"), bytes: *bytes };
        room.pieces(sizes.iter().enumerate().map(load))
    }

    #[test]
    fn work_is_cut_into_pieces_that_fit() {
        let half = GIB / 2;
        let cut = pieces(room(8 * GIB, None), &[half, half, 1, 3 * GIB, 1, 2]).unwrap();
        let slack = SLACK_BYTES;
        assert_eq!(
            cut,
            [(GIB + slack, vec![0, 1]), (1 + slack, vec![2]), (3 * GIB + slack, vec![3]), (3 + slack, vec![4, 5])]
        );
        assert_eq!(pieces(room(half, None), &[half, half]).unwrap().len(), 2);
        assert_eq!((room(half, None).at_most(GIB), room(half, None).at_most(1)), (half + slack, 1));
        assert_eq!(pieces(room(8 * GIB, None), &[]).unwrap(), []);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_size() {
        let error = pieces(room(2 * GIB, None), &[1, 3 * GIB + GIB / 2]).unwrap_err();
        assert_eq!(error.to_string(), "the package `p1` is too large for a build");
        assert_eq!(error.why(), "it takes 3.5 GiB; a build step may write 2.0 GiB");
        assert!(error.is_refusal() && error.next().contains("--venv"));
        let error = pieces(room(8 * GIB, Some(GIB)), &[2 * GIB]).unwrap_err();
        let why = "it takes 2.0 GiB; a build step writes to memory, of which this machine can spare 768 MiB";
        assert_eq!(error.why(), why);
        let error = pieces(room(8 * GIB, None), &[7 * GIB; 3]).unwrap_err();
        assert_eq!(error.why(), "together they take 21.0 GiB; an environment may take 20.0 GiB");
        assert!(pieces(room(8 * GIB, None), &[u64::MAX]).is_err());
    }
}
