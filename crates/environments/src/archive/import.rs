//! From an archive to an environment in the store: unpacked where builds are made, what is missing made
//! anew, laid out by the same code as a build, and published by the same rename.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::contents::Listed;
use super::read::{Archive, Stop, expect_member, next};
use super::{entry_points, records, refused};
use crate::build::Limits;
use crate::digest::hex;
use crate::ecosystem::Ecosystem;
use crate::environment::Environment;
use crate::error::{self, Detail, Error};
use crate::inside;
use crate::install::Installed;
use crate::interpreter::Interpreter;
use crate::jail::Jail;
use crate::layout;
use crate::machine::Machine;
use crate::progress::{Progress, counted};
use crate::publish::{Building, hold_builds};
use crate::quote::{quote, quote_path};
use crate::room::Room;
use crate::step::{self, Bench, Step};
use crate::store::Store;
use crate::tree::{self, Kind};

const ENTRY_POINTS_BYTES_MAX: u64 = 1 << 20;

/// What a check found: the archive is what its digest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The digest of its environment.
    pub digest: String,
    /// How many files were hashed.
    pub files: usize,
    /// What they take.
    pub bytes: u64,
}

/// Takes archives into a store.
pub struct Importer<'a> {
    /// Where environments are kept.
    pub store: &'a Store,
    /// The machine's configuration.
    pub machine: &'a Machine,
    /// Bounds on what is taken.
    pub limits: Limits,
    /// Told about each stage.
    pub progress: &'a mut dyn Progress,
}

impl std::fmt::Debug for Importer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Importer").field("store", &self.store).field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Importer<'_> {
    /// The environment of an archive, whose bytecode is compiled in `jail`; one that is in the store
    /// already is given back as it is.
    ///
    /// # Errors
    /// When the interpreter does not fit, or anything is not as the digest says; then nothing is left.
    pub fn import(
        &mut self,
        archive: Archive,
        interpreter: &Interpreter,
        jail: &mut dyn Jail,
    ) -> Result<Environment, Error> {
        archive.fits(interpreter)?;
        self.store.prepare()?;
        if let Some(there) = Environment::load(self.store, archive.digest())? {
            return Ok(there);
        }
        let _builds = hold_builds(self.store)?;
        let building = Building::begin(self.store)?;
        let (path, digest) = (archive.path.clone(), archive.claims.digest.clone());
        let (lock, files) = (archive.lock.clone(), archive.files.clone());
        let prefix = self.unpacked(archive, &building, interpreter)?;
        let mut bench = Bench {
            interpreter,
            folder: building.folder().to_path_buf(),
            steps_run: 0,
            denied: Vec::new(),
            certificates: PathBuf::new(),
            patience_s: self.machine.patience_s(),
            hidden: None,
            limits: self.limits,
            room: Room::of(&self.limits, self.machine),
            jail,
            progress: &mut *self.progress,
        };
        // What R installed is covered by the digest to the last file: nothing is made anew.
        let is_python = interpreter.ecosystem() == Ecosystem::Pypi;
        let standard = if is_python { compile(&mut bench, &prefix, &files)? } else { BTreeSet::new() };
        self.progress.step("checking and publishing the environment");
        let installed = Installed { prefix, standard, denied: Vec::new(), imported: true };
        let (tree, found) = layout::assemble(&installed, &lock, interpreter)?;
        if found != digest {
            return Err(not_itself(&path));
        }
        building.publish(self.store, &tree, &digest)
    }

    /// Does all that an import does but to compile and to publish; the store is as it was.
    ///
    /// # Errors
    /// When anything is not as the digest says.
    pub fn check(&mut self, archive: Archive) -> Result<Checked, Error> {
        self.store.prepare()?;
        let building = Building::begin(self.store)?;
        let (path, interpreter, lock) = (archive.path.clone(), archive.interpreter(), archive.lock.clone());
        let checked =
            Checked { digest: archive.claims.digest.clone(), files: archive.claims.files, bytes: archive.claims.bytes };
        let prefix = self.unpacked(archive, &building, &interpreter)?;
        let installed = Installed { prefix, standard: BTreeSet::new(), denied: Vec::new(), imported: true };
        let (_, found) = layout::assemble(&installed, &lock, &interpreter)?;
        if found == checked.digest { Ok(checked) } else { Err(not_itself(&path)) }
    }

    /// Unpacks the files of an archive and adds what follows from them; the folder.
    fn unpacked(
        &mut self,
        mut archive: Archive,
        building: &Building,
        interpreter: &Interpreter,
    ) -> Result<PathBuf, Error> {
        self.check_room(&archive, building)?;
        let prefix = building.folder().join("prefix");
        tree::make_folder(&prefix)?;
        unpack(&mut archive, &prefix, self.progress)?;
        add_launchers(&prefix, &archive.files, &interpreter.inside_executable)?;
        records::write(&prefix, &archive.files, &archive.records)?;
        archive.end()?;
        Ok(prefix)
    }

    /// Refuses what does not fit before a byte of it is written.
    fn check_room(&self, archive: &Archive, building: &Building) -> Result<(), Error> {
        let bytes = archive.claims.bytes;
        let folder = building.folder();
        let disk = rustix::fs::statvfs(folder).map_err(|e| error::store("look at", folder, &e.into()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let why = if bytes > self.limits.environment_bytes_max {
            format!("its files take {bytes} bytes, and an environment may take {}", self.limits.environment_bytes_max)
        } else if bytes > free {
            format!("its files take {bytes} bytes, and the disk of the store has {free} left")
        } else {
            return Ok(());
        };
        Err(Error::Size(Detail::new(
            format!("the archive {} is too large", quote_path(&archive.path)),
            why,
            "free space (`stockade env gc` takes away what nobody needs), or export a smaller environment",
        )))
    }
}

/// A list may fit its digest and yet name what a build would not have left in place.
fn not_itself(path: &Path) -> Error {
    refused(
        path,
        "laid out as an environment it has another digest: it holds start-up code or files that only stockade makes",
    )
}

/// Writes every file, in the order of the list, and holds it against its hash.
fn unpack(archive: &mut Archive, root: &Path, progress: &mut dyn Progress) -> Result<(), Error> {
    let (path, total) = (archive.path.as_path(), archive.claims.bytes);
    progress.step(&format!("unpacking {}", counted(archive.files.len(), "file")));
    let (mut done, mut folder) = (0_u64, PathBuf::new());
    for listed in &archive.files {
        let Some(member) = next(&mut archive.reader, path)? else {
            return Err(refused(path, &format!("its file {} is missing", quote(&listed.path))));
        };
        expect_member(&member, listed).map_err(|why| refused(path, &why))?;
        done = done.saturating_add(member.bytes);
        if done > total {
            return Err(refused(path, "its files are larger than its manifest says"));
        }
        let place = root.join(&listed.path);
        let parent = place.parent().unwrap_or(root);
        if parent != folder {
            tree::make_folder(parent)?;
            parent.clone_into(&mut folder);
        }
        let unwritten = |cause: &std::io::Error| error::store("write", &place, cause);
        let mode = if listed.executable { 0o755 } else { 0o644 };
        let mut file = created(&place, mode).map_err(|e| unwritten(&e))?;
        let mut hash = Sha256::new();
        let written = archive.reader.content(member.bytes, |piece| {
            hash.update(piece);
            file.write_all(piece).map_err(|e| Stop::Taker(unwritten(&e)))
        });
        written.map_err(|stop| stop.into_error(path))?;
        if hex(&hash.finalize()) != listed.sha256 {
            return Err(refused(
                path,
                &format!("its file {} has other contents than its list says", quote(&listed.path)),
            ));
        }
        progress.bytes(done, total);
    }
    if done < total {
        return Err(refused(path, "its files are smaller than its manifest says"));
    }
    Ok(())
}

/// A new file, of this mode whatever the mask of the process is.
fn created(place: &Path, mode: u32) -> std::io::Result<File> {
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(place)?;
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    Ok(file)
}

/// Makes the launchers of every package, except where a file stands.
fn add_launchers(root: &Path, files: &[Listed], executable: &str) -> Result<(), Error> {
    let described = files.iter().filter(|file| file.path.ends_with(".dist-info/entry_points.txt"));
    for file in described {
        // One that is no text or too large starts nothing.
        let text = tree::read_bounded(&root.join(&file.path), ENTRY_POINTS_BYTES_MAX).unwrap_or_default();
        for (name, object) in entry_points::parse(&text) {
            let below = format!("bin/{name}");
            let place = root.join(&below);
            if layout::is_reserved(&below) || fs::symlink_metadata(&place).is_ok() {
                continue;
            }
            tree::make_folder(&root.join("bin"))?;
            let text = entry_points::text(executable, &object);
            let written = created(&place, 0o755).and_then(|mut file| file.write_all(text.as_bytes()));
            written.map_err(|e| error::store("write", &place, &e))?;
        }
    }
    Ok(())
}

/// Compiles the modules in a jail without network, and takes what is bytecode of them; the names of the
/// standard library.
fn compile(bench: &mut Bench<'_>, prefix: &Path, files: &[Listed]) -> Result<BTreeSet<String>, Error> {
    let sources: BTreeSet<&str> = files.iter().filter_map(|file| file.path.strip_suffix(".py")).collect();
    let size = |stem: &&str| fs::symlink_metadata(prefix.join(format!("{stem}.py"))).map_or(0, |about| about.len());
    let bytes: u64 = sources.iter().map(|stem| size(stem).saturating_mul(2).saturating_add(8 << 10)).sum();
    let script = ("compile.py", inside::COMPILE_SCRIPT);
    let (outputs, failed) = bench.attempt(Step {
        shown: vec![step::shown(prefix, inside::ENVIRONMENT)],
        time_ms_max: bench.limits.time_ms_max,
        scratch_bytes_max: bytes.saturating_add(64 << 20),
        failed: (Error::Install, "the modules were not compiled", "run again; if it stays, run `stockade doctor`"),
        ..Step::of_script("compile", script, &[inside::ENVIRONMENT, inside::COMPILE_SECONDS], bench.interpreter)
    })?;
    if failed.is_some() {
        // Python does it at import, in every run.
        bench.progress.step("the modules were not compiled; they work, and importing them takes longer");
        return Ok(BTreeSet::new());
    }
    let cache = outputs.join("cache");
    let made = if cache.is_dir() { tree::walk(&cache)? } else { Vec::new() };
    for entry in made.iter().filter(|entry| entry.kind != Kind::Folder) {
        if !source_of(&entry.path).is_some_and(|stem| sources.contains(stem.as_str())) {
            return Err(Error::Install(Detail::new(
                "the modules were not compiled",
                format!("the build step left {}, which is bytecode of no module", quote(&entry.path)),
                "run again; if it stays, run `stockade doctor`",
            )));
        }
    }
    if !made.is_empty() {
        tree::merge(&cache, prefix)?;
    }
    let listed = tree::read_bounded(&outputs.join("stdlib"), 64 << 10)?;
    Ok(listed.lines().map(str::to_owned).collect())
}

/// `a/b` for `a/__pycache__/b.cpython-311.pyc`.
fn source_of(path: &str) -> Option<String> {
    let (folder, name) = path.rsplit_once('/')?;
    let folder = folder.strip_suffix("__pycache__")?;
    let (stem, tag) = name.strip_suffix(".pyc")?.rsplit_once('.')?;
    let plain = tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    (plain && (folder.is_empty() || folder.ends_with('/'))).then(|| format!("{folder}{stem}"))
}
