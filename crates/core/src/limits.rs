//! The limits of a run: names, units, defaults, and how people write them.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Everything that bounds a run. Every field has a flag, a policy key and a default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Wall-clock time, milliseconds.
    pub wall_ms: u64,
    /// CPU time of the whole tree, milliseconds.
    pub cpu_ms: u64,
    /// Memory of the whole tree, scratch and memfds included, bytes.
    pub memory_bytes: u64,
    /// Processes and threads together.
    pub processes: u64,
    /// Open descriptors of one process.
    pub open_files: u64,
    /// Bytes on scratch: `/job`, `/tmp`, HOME and `/dev/shm` together.
    pub scratch_bytes: u64,
    /// Files and folders on scratch.
    pub scratch_files: u64,
    /// Bytes of a single file.
    pub file_bytes: u64,
    /// Bytes of all outputs that are collected.
    pub output_bytes: u64,
    /// Number of outputs that are collected.
    pub output_files: u64,
    /// Folder depth of outputs.
    pub output_depth: u64,
    /// Bytes of standard output and standard error together.
    pub stream_bytes: u64,
    /// CPU share, percent of one CPU (200 is two CPUs).
    pub cpu_percent: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            wall_ms: 3_600_000,
            cpu_ms: 7_200_000,
            memory_bytes: 4 << 30,
            processes: 512,
            open_files: 4_096,
            scratch_bytes: 1 << 30,
            scratch_files: 200_000,
            file_bytes: 1 << 30,
            output_bytes: 1 << 30,
            output_files: 20_000,
            output_depth: 64,
            stream_bytes: 256 << 20,
            cpu_percent: 100_000,
        }
    }
}

/// A limit by name, as flags and reports write it; policy files have [`Limit::key`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// Wall-clock time.
    Time,
    /// CPU time.
    CpuTime,
    /// Memory of the tree.
    Memory,
    /// Processes and threads.
    Processes,
    /// Open descriptors of one process.
    OpenFiles,
    /// Bytes on scratch.
    Scratch,
    /// Files on scratch.
    ScratchFiles,
    /// Bytes of one file.
    FileSize,
    /// Bytes of outputs.
    Output,
    /// Number of outputs.
    OutputFiles,
    /// Depth of outputs.
    OutputDepth,
    /// Bytes of the streams.
    Streams,
    /// CPU share.
    Cpus,
}

impl Limit {
    /// Every limit, in the order reports use.
    pub const ALL: [Self; 13] = [
        Self::Time,
        Self::CpuTime,
        Self::Memory,
        Self::Processes,
        Self::OpenFiles,
        Self::Scratch,
        Self::ScratchFiles,
        Self::FileSize,
        Self::Output,
        Self::OutputFiles,
        Self::OutputDepth,
        Self::Streams,
        Self::Cpus,
    ];

    /// The key in policy files.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Time => "wallTime",
            Self::CpuTime => "cpuTime",
            Self::Memory => "memory",
            Self::Processes => "pids",
            Self::OpenFiles => "openFiles",
            Self::Scratch => "scratch",
            Self::ScratchFiles => "scratchFiles",
            Self::FileSize => "fileSize",
            Self::Output => "output",
            Self::OutputFiles => "outputFiles",
            Self::OutputDepth => "outputDepth",
            Self::Streams => "streams",
            Self::Cpus => "cpus",
        }
    }

    /// The name in `--limit NAME=VALUE` and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::CpuTime => "cpu-time",
            Self::Memory => "memory",
            Self::Processes => "processes",
            Self::OpenFiles => "open-files",
            Self::Scratch => "scratch",
            Self::ScratchFiles => "scratch-files",
            Self::FileSize => "file-size",
            Self::Output => "output",
            Self::OutputFiles => "output-files",
            Self::OutputDepth => "output-depth",
            Self::Streams => "streams",
            Self::Cpus => "cpus",
        }
    }

    /// Parses a value the way people write this limit: `90s`, `2GiB`, `1.5` (CPUs), `512`.
    ///
    /// # Errors
    /// [`BadAmount`] when it is not a positive amount of the right kind.
    pub fn parse(self, text: &str) -> Result<u64, BadAmount> {
        let value = match self {
            Self::Time | Self::CpuTime => parse_span(text),
            Self::Memory | Self::Scratch | Self::FileSize | Self::Output | Self::Streams => parse_bytes(text),
            Self::Cpus => parse_scaled(text, 100),
            Self::Processes | Self::OpenFiles | Self::ScratchFiles | Self::OutputFiles | Self::OutputDepth => {
                text.parse().ok()
            }
        };
        value.filter(|amount| *amount > 0).ok_or(BadAmount { limit: self })
    }

    /// The value as people read it.
    #[must_use]
    pub fn show(self, value: u64) -> String {
        match self {
            Self::Time | Self::CpuTime => crate::text::span(value),
            Self::Memory | Self::Scratch | Self::FileSize | Self::Output | Self::Streams => crate::text::bytes(value),
            Self::Cpus => format!("{}.{:02}", value / 100, value % 100),
            Self::Processes | Self::OpenFiles | Self::ScratchFiles | Self::OutputFiles | Self::OutputDepth => {
                value.to_string()
            }
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A value that is not an amount of its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{limit} takes {}", expected(*limit))]
pub struct BadAmount {
    limit: Limit,
}

const fn expected(limit: Limit) -> &'static str {
    match limit {
        Limit::Time | Limit::CpuTime => "a time such as 500ms, 90s, 10m or 2h",
        Limit::Memory | Limit::Scratch | Limit::FileSize | Limit::Output | Limit::Streams => {
            "a size such as 512MiB or 2GiB"
        }
        Limit::Cpus => "a number of CPUs such as 0.5 or 2",
        Limit::Processes | Limit::OpenFiles | Limit::ScratchFiles | Limit::OutputFiles | Limit::OutputDepth => {
            "a whole number above zero"
        }
    }
}

impl Limits {
    /// The value of one limit.
    #[must_use]
    pub const fn of(&self, limit: Limit) -> u64 {
        match limit {
            Limit::Time => self.wall_ms,
            Limit::CpuTime => self.cpu_ms,
            Limit::Memory => self.memory_bytes,
            Limit::Processes => self.processes,
            Limit::OpenFiles => self.open_files,
            Limit::Scratch => self.scratch_bytes,
            Limit::ScratchFiles => self.scratch_files,
            Limit::FileSize => self.file_bytes,
            Limit::Output => self.output_bytes,
            Limit::OutputFiles => self.output_files,
            Limit::OutputDepth => self.output_depth,
            Limit::Streams => self.stream_bytes,
            Limit::Cpus => self.cpu_percent,
        }
    }

    /// Sets one limit.
    pub const fn set(&mut self, limit: Limit, value: u64) {
        let field = match limit {
            Limit::Time => &mut self.wall_ms,
            Limit::CpuTime => &mut self.cpu_ms,
            Limit::Memory => &mut self.memory_bytes,
            Limit::Processes => &mut self.processes,
            Limit::OpenFiles => &mut self.open_files,
            Limit::Scratch => &mut self.scratch_bytes,
            Limit::ScratchFiles => &mut self.scratch_files,
            Limit::FileSize => &mut self.file_bytes,
            Limit::Output => &mut self.output_bytes,
            Limit::OutputFiles => &mut self.output_files,
            Limit::OutputDepth => &mut self.output_depth,
            Limit::Streams => &mut self.stream_bytes,
            Limit::Cpus => &mut self.cpu_percent,
        };
        *field = value;
    }
}

/// `512`, `64k`, `1.5GiB`, `2GB`: binary units, as memory is counted; `B` alone is bytes.
fn parse_bytes(text: &str) -> Option<u64> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits_end)?;
    let scale = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return None,
    };
    parse_scaled(number, scale)
}

/// `500ms`, `90s`, `10m`, `2h`, `1d`; a bare number is seconds.
fn parse_span(text: &str) -> Option<u64> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits_end)?;
    let scale = match unit.trim() {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    parse_scaled(number, scale)
}

/// A decimal number times `scale`, exactly, at most nine decimals.
fn parse_scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.len() > 9 || (number.contains('.') && fraction.is_empty()) {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let part = if fraction.is_empty() {
        0
    } else {
        let digits: u64 = fraction.parse().ok()?;
        let power = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        u64::try_from(u128::from(digits) * u128::from(scale) / power).ok()?
    };
    whole.checked_mul(scale)?.checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_people_write_them() {
        for (limit, text, value) in [
            (Limit::Memory, "1.5GiB", Some(3 << 29)),
            (Limit::Memory, "64k", Some(65_536)),
            (Limit::Memory, "10", Some(10)),
            (Limit::Memory, "10q", None),
            (Limit::Memory, "-1", None),
            (Limit::Memory, "0", None),
            (Limit::Memory, "99999999999999T", None),
            (Limit::Time, "90s", Some(90_000)),
            (Limit::Time, "1.5h", Some(5_400_000)),
            (Limit::Time, "200ms", Some(200)),
            (Limit::Time, "1.", None),
            (Limit::Cpus, "0.5", Some(50)),
            (Limit::Processes, "7", Some(7)),
            (Limit::Processes, "7.5", None),
        ] {
            assert_eq!(limit.parse(text).ok(), value, "{limit} {text}");
        }
    }

    #[test]
    fn every_limit_is_a_field_of_its_own() {
        let mut limits = Limits::default();
        for (number, limit) in (1..).zip(Limit::ALL) {
            limits.set(limit, number);
        }
        for (number, limit) in (1..).zip(Limit::ALL) {
            assert_eq!(limits.of(limit), number, "{limit}");
        }
    }
}
