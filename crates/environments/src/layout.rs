//! Lays a finished environment out from what the jail installed. All that makes it an environment
//! (`pyvenv.cfg`, the links to the interpreter, lock, manifest) is ours; packages cannot bring it.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::digest;
use crate::ecosystem::Ecosystem;
use crate::environment::COMPLETE;
use crate::error::{self, Error};
use crate::install::Installed;
use crate::interpreter::Interpreter;
use crate::launchers;
use crate::lock::Lock;
use crate::manifest::{self, Manifest};
use crate::r;
use crate::record::{FILES, RECORDED};
use crate::startup;
use crate::tree::{self, Entry, Kind};

/// What uv notes for itself: it holds times and paths of the build.
const NOTE_OF_UV: &str = ".dist-info/uv_cache.json";

/// Turns the installed `prefix` into an environment; its folder and its digest.
pub(crate) fn assemble(
    installed: &Installed,
    lock: &Lock,
    interpreter: &Interpreter,
) -> Result<(PathBuf, String), Error> {
    if interpreter.ecosystem() == Ecosystem::Cran {
        return assemble_r(installed, lock, interpreter);
    }
    let prefix = installed.prefix.as_path();
    // Nothing is changed before everything was seen to be plain files and folders.
    let mut entries = tree::walk(prefix)?;
    remove_reserved(prefix, &entries)?;
    let dropped_startup = clean_startup(prefix, &entries)?;
    entries = tree::walk(prefix)?;
    let launchers = launchers::rewrite(prefix, &entries, &interpreter.inside_executable)?;
    let files = list(prefix, &entries, &launchers)?;
    let digest = digest::of_environment(lock, interpreter, &files);
    write_skeleton(prefix, interpreter)?;
    let manifest = Manifest {
        dropped_startup,
        shadowed: shadowed(&entries, &installed.standard),
        bytes: bytes_of(prefix, &entries)?,
        denied: installed.denied.clone(),
        imported: installed.imported,
        ..Manifest::of(&digest, lock, interpreter)
    };
    write_ours(prefix, &manifest, lock, &files)?;
    Ok((prefix.to_path_buf(), digest))
}

/// The same for packages of R: they lie in `library`, each in a folder of its own, and all of their files
/// are covered by the digest.
fn assemble_r(installed: &Installed, lock: &Lock, interpreter: &Interpreter) -> Result<(PathBuf, String), Error> {
    let prefix = installed.prefix.as_path();
    let mut entries = tree::walk(prefix)?;
    // Bytecode of Python in a package of R would be made anew by nobody.
    for entry in entries.extract_if(.., |entry| entry.kind != Kind::Folder && is_uncounted(&entry.path)) {
        tree::remove(&prefix.join(&entry.path))?;
    }
    if let Some(stray) = entries.iter().find(|entry| !is_of_library(&entry.path, lock)) {
        return Err(tree::refused(&stray.path, "it belongs to no package of the lock"));
    }
    let files = list(prefix, &entries, &[])?;
    let digest = digest::of_environment(lock, interpreter, &files);
    let manifest = Manifest {
        bytes: bytes_of(prefix, &entries)?,
        denied: installed.denied.clone(),
        imported: installed.imported,
        ..Manifest::of(&digest, lock, interpreter)
    };
    write_ours(prefix, &manifest, lock, &files)?;
    Ok((prefix.to_path_buf(), digest))
}

/// Whether a path is that of the library, or in the folder of a package of the lock.
fn is_of_library(path: &str, lock: &Lock) -> bool {
    let mut parts = path.split('/');
    parts.next() == Some(r::LIBRARY)
        && parts.next().is_none_or(|name| lock.locked().any(|package| package.name == name))
}

fn write_ours(prefix: &Path, manifest: &Manifest, lock: &Lock, files: &str) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(manifest).unwrap_or_default();
    tree::write(&prefix.join(manifest::FILE), &text)?;
    tree::write(&prefix.join(lock.ecosystem().lock_file()), &lock.to_text())?;
    tree::write(&prefix.join(FILES), files)
}

/// Whether only we may write this path of an environment.
pub(crate) fn is_reserved(path: &str) -> bool {
    let ours = [CONFIG, "pylock.toml", "rlock.toml", FILES, RECORDED, ".lock", manifest::FILE, COMPLETE];
    let beside = path.strip_prefix("bin/").is_some_and(|name| is_interpreter(name) || steers_interpreter(name));
    // `lib64/python3.X/site-packages` is real on some systems; `bin` as a file is not.
    ours.contains(&path) || beside || path.ends_with(NOTE_OF_UV)
}

/// `python`, `python3`, `python3.11`.
fn is_interpreter(name: &str) -> bool {
    name.strip_prefix("python").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit() || b == b'.'))
}

/// Whether Python looks for this file beside its executable, and before our `pyvenv.cfg`, to learn
/// where its library is: with it a package would choose what runs before any code is asked for.
fn steers_interpreter(name: &str) -> bool {
    matches!(name, "pyvenv.cfg" | "pybuilddir.txt") || name.ends_with("._pth")
}

fn remove_reserved(prefix: &Path, entries: &[Entry]) -> Result<(), Error> {
    for entry in entries.iter().filter(|entry| is_reserved(&entry.path)) {
        tree::remove(&prefix.join(&entry.path))?;
    }
    let bin = entries.iter().find(|entry| entry.path == "bin");
    if bin.is_some_and(|bin| bin.kind != Kind::Folder) {
        tree::remove(&prefix.join("bin"))?;
    }
    Ok(())
}

/// Cleans every folder that some Python looks into at start-up.
fn clean_startup(prefix: &Path, entries: &[Entry]) -> Result<Vec<String>, Error> {
    let mut dropped = Vec::new();
    for folder in entries.iter().filter(|entry| is_site(&entry.path)) {
        let below = format!("{}/", folder.path);
        let names: Vec<&str> = entries
            .iter()
            .filter_map(|entry| entry.path.strip_prefix(&below))
            .filter(|name| !name.contains('/'))
            .collect();
        dropped.extend(startup::clean(&prefix.join(&folder.path), &names)?);
    }
    Ok(dropped)
}

/// By the last name only: where distributions put them differs, Debian has three `dist-packages`.
fn is_site(path: &str) -> bool {
    matches!(path.rsplit('/').next(), Some("site-packages" | "dist-packages"))
}

/// One line a file: mode, sha256, path. Left out is what the tools make anew each time: cached
/// bytecode, launchers, and the `RECORD` that names them.
fn list(prefix: &Path, entries: &[Entry], launchers: &[String]) -> Result<String, Error> {
    let counted =
        |entry: &&Entry| entry.kind != Kind::Folder && !is_uncounted(&entry.path) && !launchers.contains(&entry.path);
    let mut text = String::new();
    for entry in entries.iter().filter(counted) {
        let path = prefix.join(&entry.path);
        let (sha256, _) = digest::of_file(&path).map_err(|e| error::store("read", &path, &e))?;
        let mode = if entry.kind == Kind::Executable { "x" } else { "-" };
        text.push_str(&format!("{mode} {sha256} {}\n", entry.path));
    }
    Ok(text)
}

/// Top-level modules that the standard library has too: it comes first, so nobody ever imports these.
fn shadowed(entries: &[Entry], standard: &BTreeSet<String>) -> Vec<String> {
    let is_top = |entry: &&Entry| entry.path.rsplit_once('/').is_some_and(|(folder, _)| is_site(folder));
    let is_module = |name: &&str| {
        let plain = !name.contains('.') || name.ends_with(".py") || name.ends_with(".so");
        plain && name.split('.').next().is_some_and(|stem| standard.contains(stem))
    };
    let names = entries.iter().filter(is_top).filter_map(|entry| entry.path.rsplit('/').next());
    let found: BTreeSet<String> = names.filter(is_module).map(str::to_owned).collect();
    found.into_iter().collect()
}

/// What all files take together.
fn bytes_of(prefix: &Path, entries: &[Entry]) -> Result<u64, Error> {
    let files = entries.iter().filter(|entry| entry.kind != Kind::Folder).map(|entry| prefix.join(&entry.path));
    let size = |path: PathBuf| path.metadata().map(|about| about.len()).map_err(|e| error::store("look at", &path, &e));
    files.map(size).sum()
}

/// What is made anew each time, and told apart by its path.
pub(crate) fn is_uncounted(path: &str) -> bool {
    is_cached_bytecode(path) || path.ends_with(".dist-info/RECORD")
}

/// Bytecode elsewhere is a module of its own, which needs no source.
fn is_cached_bytecode(path: &str) -> bool {
    path.ends_with(".pyc") && path.rsplit('/').nth(1) == Some("__pycache__")
}

/// The file that makes Python take a folder for a virtual environment.
pub(crate) const CONFIG: &str = "pyvenv.cfg";

/// The parts of a virtual environment that make Python use this folder; they follow from the
/// interpreter alone.
pub(crate) struct Skeleton {
    /// Links by their paths, and where they lead.
    pub(crate) links: [(String, String); 3],
    /// The text of [`CONFIG`].
    pub(crate) config: String,
}

pub(crate) fn skeleton(interpreter: &Interpreter) -> Result<Skeleton, Error> {
    let (home, python) = (interpreter.inside_home()?, interpreter.folder_name()?);
    let links = [("python", interpreter.inside_executable.as_str()), ("python3", "python"), (&python, "python")]
        .map(|(name, target)| (format!("bin/{name}"), target.to_owned()));
    let config = format!("home = {home}\ninclude-system-site-packages = false\nversion = {}\n", interpreter.version);
    Ok(Skeleton { links, config })
}

fn write_skeleton(prefix: &Path, interpreter: &Interpreter) -> Result<(), Error> {
    let (skeleton, python) = (skeleton(interpreter)?, interpreter.folder_name()?);
    tree::make_folder(&prefix.join("bin"))?;
    tree::make_folder(&prefix.join("lib").join(&python).join("site-packages"))?;
    for (name, target) in skeleton.links {
        let link = prefix.join(name);
        symlink(target, &link).map_err(|e| error::store("make the link", &link, &e))?;
    }
    tree::write(&prefix.join(CONFIG), &skeleton.config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interpreter::fixture::interpreter;
    use crate::lock::tests::lock_of_six;
    use std::fs;

    const SITE: &str = "lib/python3.11/site-packages";

    /// What a hostile set of packages could install.
    fn installed(pyc: &str, launcher: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("pyvenv.cfg", "home = /evil\ninclude-system-site-packages = true\n"),
            ("manifest.json", "{}"),
            ("complete", "x"),
            ("bin/python", "#!/bin/sh\n"),
            ("bin/python3.11", "#!/bin/sh\n"),
            ("bin/tool", launcher),
            (&format!("{SITE}/six.py"), "x = 1\n"),
            (&format!("{SITE}/__pycache__/six.cpython-311.pyc"), pyc),
            (&format!("{SITE}/six-1.17.0.dist-info/RECORD"), launcher),
            (&format!("{SITE}/six-1.17.0.dist-info/uv_cache.json"), pyc),
            (&format!("{SITE}/evil.pth"), "import os\n"),
            ("lib64/python3.11/site-packages/evil64.pth", "import os\n"),
        ] {
            let path = root.path().join("prefix").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn all(root: &tempfile::TempDir) -> Installed {
        Installed {
            prefix: root.path().join("prefix"),
            standard: BTreeSet::from(["json".to_owned()]),
            denied: Vec::new(),
            imported: false,
        }
    }

    fn build(root: &tempfile::TempDir, host: &str) -> (PathBuf, String) {
        assemble(&all(root), &lock_of_six(host), &interpreter()).unwrap()
    }

    #[test]
    fn what_makes_it_an_environment_is_ours() {
        let root = installed("a", "#!/opt/stockade/python/bin/python3.11\nx\n");
        let (folder, digest) = build(&root, "files.invalid");
        let read = |path: &str| fs::read_to_string(folder.join(path)).unwrap();
        assert!(
            read("pyvenv.cfg").starts_with("home = /opt/stockade/python/bin\ninclude-system-site-packages = false\n")
        );
        assert_eq!(fs::read_link(folder.join("bin/python")).unwrap(), Path::new("/opt/stockade/python/bin/python3.11"));
        assert_eq!(fs::read_link(folder.join("bin/python3.11")).unwrap(), Path::new("python"));
        assert_eq!(read("bin/tool"), "#!/opt/stockade/env/bin/python\nx\n");
        assert!(!folder.join(SITE).join("evil.pth").exists());
        assert!(!folder.join("complete").exists());
        let manifest: Manifest = serde_json::from_str(&read("manifest.json")).unwrap();
        assert_eq!(manifest.dropped_startup, ["evil.pth", "evil64.pth"]);
        assert_eq!(manifest.digest, digest);
    }

    #[test]
    fn nothing_that_packages_bring_steers_the_interpreter() {
        let root = installed("a", "x");
        let prefix = root.path().join("prefix");
        let hostile = ["bin/pyvenv.cfg", "bin/python._pth", "bin/python3.11._pth", "bin/pybuilddir.txt"];
        for file in hostile.iter().chain(&["bin/python-argcomplete", "bin/pythonic"]) {
            fs::write(prefix.join(file), "home = /evil\n").unwrap();
        }
        let (folder, _) = build(&root, "files.invalid");
        assert_eq!(hostile.map(|file| folder.join(file).exists()), [false; 4]);
        assert!(folder.join("bin/python-argcomplete").exists() && folder.join("bin/pythonic").exists());
    }

    #[test]
    fn start_up_code_goes_wherever_some_python_looks() {
        let root = installed("a", "x");
        // The last three are those of Debian's Python, in a virtual environment too.
        let folders =
            [SITE, "lib/python3/dist-packages", "lib/python3.11/dist-packages", "local/lib/python3.11/dist-packages"];
        for folder in folders {
            let folder = root.path().join("prefix").join(folder);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("more.pth"), "import os\n").unwrap();
        }
        let (folder, _) = build(&root, "files.invalid");
        assert_eq!(folders.map(|site| folder.join(site).join("more.pth").exists()), [false; 4]);
    }

    #[test]
    fn the_digest_covers_files_and_lock_and_nothing_that_changes_by_itself() {
        let launcher = "#!/opt/stockade/python/bin/python3.11\n";
        let (_, digest) = build(&installed("a", launcher), "files.invalid");
        let (_, again) = build(&installed("b", &format!("{launcher}other template\n")), "mirror.invalid");
        assert_eq!(digest, again);
        let changed = installed("a", launcher);
        fs::write(changed.path().join("prefix").join(SITE).join("six.py"), "x = 2\n").unwrap();
        assert_ne!(build(&changed, "files.invalid").1, digest);
        let executable = installed("a", launcher);
        tree::set_mode(&executable.path().join("prefix").join(SITE).join("six.py"), 0o755).unwrap();
        assert_ne!(build(&executable, "files.invalid").1, digest);
        // Bytecode that can be imported without a source is no cache of ours.
        let sourceless = installed("a", launcher);
        fs::write(sourceless.path().join("prefix").join(SITE).join("six_too.pyc"), "x").unwrap();
        assert_ne!(build(&sourceless, "files.invalid").1, digest);
    }

    #[test]
    fn a_link_in_the_installed_tree_is_refused_before_anything_is_written() {
        let root = installed("a", "x");
        let target = root.path().join("target");
        fs::write(&target, "keep").unwrap();
        symlink(&target, root.path().join("prefix/pylock.toml")).unwrap();
        let lock = lock_of_six("files.invalid");
        assert!(assemble(&all(&root), &lock, &interpreter()).is_err());
        assert_eq!(fs::read_to_string(target).unwrap(), "keep");
    }
}
