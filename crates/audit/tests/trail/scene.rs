//! A trail in a folder of its own.

use std::path::PathBuf;

use serde::Serialize;
use stockade_audit::{Expected, Keeping, Link, Place, PublicKey, Report, Trail, Wrong, verify};
use tempfile::TempDir;

#[derive(Serialize)]
struct Note<'a> {
    record: &'a str,
    number: u64,
    text: &'a str,
}

/// A folder with a trail.
pub(crate) struct Scene {
    pub(crate) folder: TempDir,
    pub(crate) trail: Trail,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::rotating_at(32 << 20)
    }

    pub(crate) fn rotating_at(bytes: u64) -> Self {
        let folder = TempDir::with_prefix("stockade-audit-").unwrap();
        let trail = Trail::new(Place::new(folder.path()).rotating_at(bytes));
        Self { folder, trail }
    }

    /// With so many records, numbered from 1.
    pub(crate) fn with(records: u64) -> Self {
        let scene = Self::new();
        (1..=records).for_each(|number| _ = scene.note(number));
        scene
    }

    pub(crate) fn note(&self, number: u64) -> Link {
        self.trail.append(&note(number), Keeping::Written).unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("audit.jsonl")).unwrap()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.log().lines().map(ToOwned::to_owned).collect()
    }

    pub(crate) fn put(&self, text: impl AsRef<[u8]>) {
        std::fs::write(self.path("audit.jsonl"), text).unwrap();
    }

    pub(crate) fn put_lines(&self, lines: &[String]) {
        self.put(lines.iter().map(|line| line.clone() + "\n").collect::<String>());
    }

    pub(crate) fn expected(&self) -> Expected {
        Expected::key(PublicKey::beside(self.trail.place()).unwrap())
    }

    pub(crate) fn verify(&self) -> Report {
        verify(self.trail.place(), &self.expected()).unwrap()
    }

    /// The report of a trail with which nothing is wrong.
    pub(crate) fn sound(&self) -> Report {
        let report = self.verify();
        assert_eq!(report.bad, None, "{}", self.log());
        report
    }

    /// Where the first wrong thing is, and what it is.
    pub(crate) fn wrong(&self) -> (u64, Option<u64>, Wrong) {
        let bad = self.verify().bad.unwrap();
        assert_eq!(bad.what, bad.wrong.to_string());
        (bad.line, bad.seq, bad.wrong)
    }

    /// Numbers of the notes in all files, in their order.
    pub(crate) fn notes(&self) -> Vec<u64> {
        stockade_audit::Records::of(self.trail.place().clone())
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.kind() == "note")
            .map(|entry| entry.value()["number"].as_u64().unwrap())
            .collect()
    }
}

pub(crate) fn note(number: u64) -> impl Serialize {
    Note { record: "note", number, text: "what is recorded: \"},{\u{1b}\n" }
}
