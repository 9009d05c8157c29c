//! Which Python runs the code: the real executable behind shims, found once and cached by device,
//! inode and time; where its tree lies inside.
//!
//! The interpreter asked is the machine's own, chosen by the caller, started outside with `-I`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};
use stockade_core::facts::Source;
use stockade_core::paths;
use stockade_core::request::{MadeFile, Over, Tree};

use crate::assets;
use crate::python::inside_tree;
use crate::versions::{Places, Wanted};

/// What the interpreter tells of itself, in one line of JSON; it also compiles our files whose names and texts
/// are its arguments, so that no run has to (PEP 552: hash-based, unchecked).
const QUESTION: &str = r#"
import importlib.util, json, marshal, os, sys, sysconfig
def compiled(name, source):
    code = compile(source, f"/opt/stockade/engine/{name}.py", "exec", dont_inherit=True)
    head = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + importlib.util.source_hash(source.encode())
    return (head + marshal.dumps(code)).hex()
print(json.dumps({
    "executable": os.path.realpath(sys.executable),
    "base_prefix": os.path.realpath(sys.base_prefix),
    "version": ".".join(map(str, sys.version_info[:3])),
    "abi": "cp%d%d" % sys.version_info[:2],
    "platform": sysconfig.get_platform().replace("-", "_").replace(".", "_"),
    "cache_tag": sys.implementation.cache_tag,
    "libc": os.confstr("CS_GNU_LIBC_VERSION") or "" if "CS_GNU_LIBC_VERSION" in os.confstr_names else "",
    "compiled": {name: compiled(name, source) for name, source in zip(sys.argv[1::2], sys.argv[2::2])},
    "shared": bool(sysconfig.get_config_var("Py_ENABLE_SHARED")) and not os.path.isdir(os.path.join(sys.base_prefix, "conda-meta")),
}))
"#;

/// One Python interpreter of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interpreter {
    executable: PathBuf,
    base_prefix: PathBuf,
    /// The full version, such as `3.11.7`.
    pub version: String,
    /// The ABI tag, such as `cp311`.
    pub abi: String,
    /// The platform tag, such as `linux_x86_64`.
    pub platform: String,
    cache_tag: String,
    /// The C library in its own words, such as `glibc 2.36`; empty when it is another one.
    libc: String,
    /// Files of ours by their names without `.py`, in hexadecimal digits.
    compiled: BTreeMap<String, String>,
    /// Its library is found by an outside path, which means nothing inside.
    shared: bool,
    #[serde(skip)]
    tree: Option<Source>,
}

/// Why an interpreter cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// What cannot be used.
    pub what: String,
    /// Why.
    pub why: String,
    /// What to do next.
    pub next: String,
}

/// An existing virtual environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Venv {
    /// It, read-only, with its interpreter's name corrected for the inside.
    pub tree: Tree,
    /// The inside path of its interpreter.
    pub executable: String,
}

/// An interpreter is asked again when the file it was found through changes.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Key {
    program: PathBuf,
    device: u64,
    inode: u64,
    modified: (i64, i64),
    /// What pyenv's shims choose by.
    version_wanted: Option<String>,
    /// Our own version: another one has another start-up file.
    ours: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    key: Key,
    interpreter: Interpreter,
}

impl Interpreter {
    /// Finds the interpreter behind `program`, or behind `python3` of the caller's `PATH`; a version such
    /// as `3.12` in place of a program is looked for on the machine.
    ///
    /// # Errors
    /// [`Unusable`] when there is none, or it does not answer.
    pub fn find(
        program: Option<&Path>,
        cache: &Path,
        look: impl Fn(&Path) -> Option<Source>,
    ) -> Result<Self, Unusable> {
        if let Some(wanted) = program.and_then(Wanted::parse) {
            return Self::of_version(&wanted, cache, look);
        }
        match program {
            Some(path) if path.components().count() > 1 => Self::of_program(path, cache, look),
            Some(name) => Self::of_program(&search(name).ok_or_else(|| absent(name))?, cache, look),
            None => {
                let name = Path::new("python3");
                Self::of_program(&search(name).ok_or_else(|| absent(name))?, cache, look)
            }
        }
    }

    fn of_program(program: &Path, cache: &Path, look: impl Fn(&Path) -> Option<Source>) -> Result<Self, Unusable> {
        let key = Key::of(program).ok_or_else(|| absent(program))?;
        let store = cache.join("interpreters").join(key.file_name());
        let known: Option<Entry> = std::fs::read(&store).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let mut interpreter = match known {
            Some(entry) if entry.key == key && entry.interpreter.executable.exists() => entry.interpreter,
            _ => {
                let entry = Entry { key, interpreter: ask(program)? };
                remember(&store, &entry);
                entry.interpreter
            }
        };
        if !interpreter.base_prefix.starts_with("/usr") {
            let tree = look(&interpreter.base_prefix).ok_or_else(|| absent(&interpreter.base_prefix))?;
            interpreter.tree = Some(tree);
        }
        Ok(interpreter)
    }

    /// The first interpreter of the machine that answers with this version.
    fn of_version(wanted: &Wanted, cache: &Path, look: impl Fn(&Path) -> Option<Source>) -> Result<Self, Unusable> {
        let places = Places::of_this_machine();
        let answered = places.programs(wanted).into_iter().filter_map(|program| {
            let found = Self::of_program(&program, cache, &look).ok()?;
            wanted.is(&found.version).then_some(found)
        });
        answered.into_iter().next().ok_or_else(|| no_version(wanted, &places.minors()))
    }

    /// Finds the interpreter that a virtual environment was made for.
    ///
    /// What its `bin/python` leads to was chosen by whoever made the folder, and finding out about an
    /// interpreter starts it outside: so it must be one of the machine's, or the one that `PATH`
    /// leads to anyway.
    ///
    /// # Errors
    /// [`Unusable`] when the link leads nowhere, or to any other program.
    pub fn of_venv(venv: &Path, cache: &Path, look: impl Fn(&Path) -> Option<Source>) -> Result<Self, Unusable> {
        let link = venv.join("bin/python");
        let program = link.canonicalize().map_err(|_| absent(&link))?;
        if program.starts_with("/usr") {
            return Self::find(Some(&program), cache, look);
        }
        let own = Self::find(None, cache, look)?;
        if own.executable == program {
            return Ok(own);
        }
        let why = "it is neither the machine's nor the one PATH leads to, and finding out about it would start it outside of the walls";
        Err(Unusable {
            next: format!("--python {} if you trust it", stockade_core::text::shown(&program.to_string_lossy(), 200)),
            ..unusable(&link, why)
        })
    }

    /// The path of its executable inside.
    #[must_use]
    pub fn inside_executable(&self) -> String {
        match self.executable.strip_prefix(&self.base_prefix) {
            Ok(below) if self.tree.is_some() => format!("{}/{}", paths::INTERPRETER, below.to_string_lossy()),
            _ => self.executable.to_string_lossy().into_owned(),
        }
    }

    /// The version of the GNU C library it runs with, unless that is another library.
    #[must_use]
    pub fn glibc(&self) -> Option<(u32, u32)> {
        let (major, minor) = self.libc.strip_prefix("glibc ")?.split_once('.')?;
        Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
    }

    /// Its tree, unless it lies in `/usr`, which every run sees.
    #[must_use]
    pub fn trees(&self) -> Vec<Tree> {
        self.tree
            .iter()
            .map(|source| Tree { source: source.clone(), target: inside_tree(), over: Vec::new() })
            .collect()
    }

    /// Variables without which it does not start inside.
    #[must_use]
    pub fn vars(&self) -> Vec<(String, String)> {
        // Otherwise the loader takes the machine's library of the same name, if there is one.
        let library = (self.shared && self.tree.is_some())
            .then(|| ("LD_LIBRARY_PATH".to_owned(), format!("{}/lib", paths::INTERPRETER)));
        library.into_iter().collect()
    }

    /// A file of ours, compiled by this interpreter: `name` as in `assets`, without `.py`.
    pub(crate) fn compiled(&self, name: &str) -> Option<MadeFile> {
        let (folder, module) = name.rsplit_once('/')?;
        let target = paths::InsidePath::fixed(paths::ENGINE)
            .join(&format!("{folder}/__pycache__/{module}.{}.pyc", self.cache_tag))
            .ok()?;
        let digits = self.compiled.get(name)?.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
        let contents = digits.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect::<Option<Vec<u8>>>()?;
        Some(MadeFile { target, contents: Cow::Owned(contents) })
    }

    /// A virtual environment made for this interpreter, as it will be inside.
    #[must_use]
    pub fn venv(&self, source: Source) -> Venv {
        let inside = self.inside_executable();
        let home = inside.rsplit_once('/').map_or("", |(home, _)| home);
        let mut minor = self.version.split('.');
        let names = [
            "python".to_owned(),
            "python3".to_owned(),
            format!("python{}.{}", minor.next().unwrap_or("3"), minor.next().unwrap_or("0")),
        ];
        let system = sees_system_packages(&source.path.join("pyvenv.cfg"));
        let mut over = vec![Over::File {
            name: "pyvenv.cfg".to_owned(),
            contents: format!("home = {home}\ninclude-system-site-packages = {system}\nversion = {}\n", self.version)
                .into_bytes(),
        }];
        over.extend(names.map(|name| Over::Link { name: format!("bin/{name}"), text: inside.clone() }));
        let target = stockade_core::paths::InsidePath::fixed(paths::ENVIRONMENT);
        Venv { tree: Tree { source, target, over }, executable: format!("{}/bin/python", paths::ENVIRONMENT) }
    }
}

impl Key {
    fn of(program: &Path) -> Option<Self> {
        let status = std::fs::metadata(program).ok()?;
        Some(Self {
            program: program.to_path_buf(),
            device: status.dev(),
            inode: status.ino(),
            modified: (status.mtime(), status.mtime_nsec()),
            version_wanted: std::env::var("PYENV_VERSION").ok(),
            ours: [QUESTION]
                .into_iter()
                .chain(assets::COMPILED.iter().map(|(_, text)| *text))
                .fold(env!("CARGO_PKG_VERSION").to_owned(), |ours, text| format!("{ours} {}", text.len())),
        })
    }

    /// One file for each way to an interpreter: a run reads no other's.
    fn file_name(&self) -> String {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        (&self.program, &self.version_wanted).hash(&mut hasher);
        format!("{:016x}.json", hasher.finish())
    }
}

/// The first executable of the name in the caller's `PATH`.
fn search(name: &Path) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders)
        .map(|folder| folder.join(name))
        .find(|path| std::fs::metadata(path).is_ok_and(|status| status.is_file() && status.mode() & 0o111 != 0))
}

/// Whether a virtual environment adds to the interpreter's own packages, as its file says.
fn sees_system_packages(file: &Path) -> bool {
    use std::io::Read;
    let mut text = String::new();
    let read = std::fs::File::open(file).and_then(|file| file.take(1 << 16).read_to_string(&mut text));
    let is_true = |line: &str| {
        line.split_once('=').is_some_and(|(key, value)| {
            key.trim() == "include-system-site-packages" && value.trim().eq_ignore_ascii_case("true")
        })
    };
    read.is_ok() && text.lines().any(is_true)
}

fn ask(program: &Path) -> Result<Interpreter, Unusable> {
    // Not in the caller's folder: shims choose a version by files that lie there.
    let answer = Command::new(program)
        .args(["-I", "-c", QUESTION])
        .args(assets::COMPILED.iter().flat_map(|(name, text)| [name, text]))
        .current_dir("/")
        .output()
        .map_err(|error| unusable(program, &error.to_string()))?;
    if !answer.status.success() {
        return Err(unusable(program, String::from_utf8_lossy(&answer.stderr).lines().last().unwrap_or("it failed")));
    }
    serde_json::from_slice(&answer.stdout).map_err(|_| unusable(program, "it is no Python 3 that answers"))
}

/// A cache that cannot be written costs time, nothing else.
fn remember(store: &Path, known: &Entry) {
    let write = || -> std::io::Result<()> {
        if let Some(folder) = store.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let fresh = store.with_extension(format!("{}.part", std::process::id()));
        std::fs::write(&fresh, serde_json::to_vec(known)?)?;
        std::fs::rename(&fresh, store)
    };
    drop(write());
}

fn no_version(wanted: &Wanted, minors: &[String]) -> Unusable {
    let there =
        if minors.is_empty() { "none was found".to_owned() } else { format!("there are {}", minors.join(", ")) };
    Unusable {
        what: format!("there is no Python {wanted} on this machine"),
        why: format!("{there}; looked for in PATH, /usr, and where pyenv and uv keep theirs"),
        next: "choose one of these with --python, install it, or name a program with --python PROGRAM".to_owned(),
    }
}

fn absent(program: &Path) -> Unusable {
    Unusable {
        what: format!(
            "there is no Python interpreter `{}`",
            stockade_core::text::shown(&program.to_string_lossy(), 200)
        ),
        why: "it was looked for in PATH, or by its path".to_owned(),
        next: "install Python 3, or name one with --python PROGRAM".to_owned(),
    }
}

fn unusable(program: &Path, why: &str) -> Unusable {
    Unusable {
        what: format!(
            "the Python interpreter `{}` cannot be used",
            stockade_core::text::shown(&program.to_string_lossy(), 200)
        ),
        why: stockade_core::text::shown(why, 300),
        next: "name another one with --python PROGRAM".to_owned(),
    }
}
