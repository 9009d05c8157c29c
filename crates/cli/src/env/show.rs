//! `stockade env show` and `stockade env diff`.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::SystemTime;

use serde::Serialize;
use stockade_core::text;
use stockade_core::trust::Doubt;
use stockade_environments::{
    Denied, Difference, Environment, Imported, LockedPackage, attestations, diff as difference, imported, locked,
};

use super::time;
use crate::environment::{self, Versions, short};
use crate::printer;
use crate::problem::Problem;
use crate::progress;

/// Digits of a hash that people are shown.
const DIGITS: usize = 12;

/// Shows what is in an environment.
pub(crate) fn show(reference: &str, json: bool) -> Result<ExitCode, Problem> {
    let store = environment::store();
    let environment = store.environment(reference)?;
    let names = store.names()?.into_iter().filter(|(_, digest)| *digest == environment.digest);
    let about = About {
        names: names.map(|(name, _)| name.to_string()).collect(),
        packages: locked(&environment)?,
        preload: imported(&store, &environment),
        attestations: attestations(&store, &environment)?,
        // A list that says nothing is no reason to show nothing.
        doubts: crate::trust::doubts(&environment)
            .unwrap_or_else(|problem| vec![Doubt { library: "all".to_owned(), why: problem.what().to_owned() }]),
        environment: &environment,
    };
    printer::page(&if json { printer::document(&about.document()) + "\n" } else { about.lines() });
    Ok(ExitCode::SUCCESS)
}

/// Shows what differs between two environments.
pub(crate) fn diff(from: &str, to: &str, json: bool) -> Result<ExitCode, Problem> {
    let store = environment::store();
    let [from, to] = [store.environment(from)?, store.environment(to)?];
    let found = difference(locked(&from)?, locked(&to)?);
    printer::page(&if json { printer::document(&found) + "\n" } else { lines(&from, &to, &found) });
    Ok(ExitCode::SUCCESS)
}

/// What there is to say about an environment.
struct About<'a> {
    names: Vec<String>,
    environment: &'a Environment,
    packages: Vec<LockedPackage>,
    preload: Vec<Imported>,
    attestations: BTreeMap<String, &'static str>,
    doubts: Vec<Doubt>,
}

/// The same for programs.
#[derive(Debug, Serialize)]
struct Document<'a> {
    names: &'a [String],
    digest: &'a str,
    #[serde(flatten)]
    versions: Versions,
    platform: &'a str,
    executable: &'a str,
    bytes: u64,
    folder: String,
    lock: String,
    created: Option<u64>,
    used: Option<u64>,
    uses: u64,
    packages: &'a [LockedPackage],
    dropped_startup: &'a [String],
    shadowed: &'a [String],
    denied: &'a [Denied],
    imported: bool,
    preload: &'a [Imported],
    attestations: &'a BTreeMap<String, &'static str>,
    trusted: bool,
    doubts: &'a [Doubt],
}

impl About<'_> {
    fn lock(&self) -> String {
        let lock = self.environment.interpreter.ecosystem().lock_file();
        self.environment.folder.join(lock).to_string_lossy().into_owned()
    }

    fn document(&self) -> Document<'_> {
        let (uses, used) = self.environment.used();
        Document {
            names: &self.names,
            digest: &self.environment.digest,
            versions: Versions::of(&self.environment.interpreter),
            platform: &self.environment.interpreter.platform,
            executable: &self.environment.interpreter.inside_executable,
            bytes: self.environment.bytes,
            folder: self.environment.folder.to_string_lossy().into_owned(),
            lock: self.lock(),
            created: self.environment.created().map(time::seconds),
            used: used.filter(|_| uses > 0).map(time::seconds),
            uses,
            packages: &self.packages,
            dropped_startup: &self.environment.dropped_pth,
            shadowed: &self.environment.shadowed,
            denied: &self.environment.denied,
            imported: self.environment.imported,
            preload: &self.preload,
            attestations: &self.attestations,
            trusted: self.doubts.is_empty(),
            doubts: &self.doubts,
        }
    }

    fn lines(&self) -> String {
        let environment = self.environment;
        let (uses, used) = environment.used();
        let names = if self.names.is_empty() { "-".to_owned() } else { self.names.join(" ") };
        let now = SystemTime::now();
        let used = match used.filter(|_| uses > 0) {
            Some(at) => format!("{}, {}", time::ago(at, now), text::count(uses, "run", "runs")),
            None => "never".to_owned(),
        };
        let built = environment.created().map_or_else(|| "-".to_owned(), |at| time::ago(at, now));
        let mut lines = format!(
            "names:    {names}\ndigest:   {}\nfor:      {}, {}\nsize:     {}\nbuilt:    {built}\nused:     {used}\nlock:     {}\npackages:\n",
            environment.digest,
            environment::runs_with(&environment.interpreter),
            text::shown(&environment.interpreter.platform, 60),
            text::bytes(environment.bytes),
            text::shown(&self.lock(), 400),
        );
        for package in &self.packages {
            lines += &format!("  {}\n", one(package));
        }
        for dropped in &environment.dropped_pth {
            lines += &format!("taken out: {}, which would run before any code\n", text::quoted(dropped, 200));
        }
        for shadowed in &environment.shadowed {
            lines += &format!("never imported: {}, for the standard library has it too\n", text::quoted(shadowed, 200));
        }
        for denied in &environment.denied {
            lines += &format!("denied to {}\n", progress::shown(denied));
        }
        let attested = self.attestations.values().filter(|known| known.starts_with("published")).count();
        if attested > 0 {
            let packages = text::count(self.packages.len(), "package", "packages");
            lines += &format!(
                "attestations: the index says that it has some for {attested} of {packages}; none was verified\n"
            );
        }
        if environment.imported {
            lines += "came in an archive: its files fit its digest; that they are those of its packages, its exporter says\n";
        }
        lines += &super::trust::lines(&self.doubts, self.packages.len());
        if !self.preload.is_empty() {
            let modules: Vec<&str> = self.preload.iter().map(|imported| imported.module.as_str()).collect();
            lines += &format!("runs import: {}\n", modules.join(" "));
        }
        lines
    }
}

/// A package, its version and the hashes of its files.
fn one(package: &LockedPackage) -> String {
    let hashes: Vec<&str> = package.files.iter().map(|file| file.sha256.get(..DIGITS).unwrap_or_default()).collect();
    let source = if package.from_source { " (built here from source)" } else { "" };
    format!("{} {} sha256:{}{source}", package.name, package.version, hashes.join(","))
}

fn lines(from: &Environment, to: &Environment, found: &Difference) -> String {
    let mut lines = format!("from {} to {}\n", short(&from.digest), short(&to.digest));
    for package in &found.added {
        lines += &format!("+ {}\n", one(package));
    }
    for package in &found.removed {
        lines += &format!("- {}\n", one(package));
    }
    for changed in &found.changed {
        lines += &if changed.from.version == changed.to.version {
            format!("~ {}, other files: {}\n", one(&changed.from), one(&changed.to))
        } else {
            format!("~ {} {} -> {}\n", changed.from.name, changed.from.version, changed.to.version)
        };
    }
    if from.interpreter != to.interpreter {
        lines += &format!(
            "~ {} -> {}\n",
            environment::runs_with(&from.interpreter),
            environment::runs_with(&to.interpreter)
        );
    }
    if lines.lines().count() == 1 {
        lines += "the same packages\n";
    }
    lines
}
