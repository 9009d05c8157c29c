//! A template of warm Python, as tests and the benchmark start one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use stockade_core::audit::{Asker, NotRecorded, Record, Recorded, Trail};
use stockade_core::layer::Layers;
use stockade_core::limits::Limit;
use stockade_core::network::Network;
use stockade_core::plan::{self, Plan};
use stockade_core::policy::{Decision, Policy};
use stockade_core::request::{CgroupMode, Language, Request, Scratch, Start, Streams, Tier, Tree};
use stockade_core::trust::Libraries;
use stockade_core::warm::Ids;
use stockade_engines::Interpreter;
use stockade_engines::warm::{self, Answer, Bounds};
use stockade_launch::warm::{Claimed, Engine, Sealing, Template, has_cgroup};
use stockade_launch::{Failure, facts};

/// Records that nobody keeps.
#[derive(Debug)]
struct Nowhere;

impl Trail for Nowhere {
    fn append(&mut self, _: &Record<'_>) -> Result<(), NotRecorded> {
        Ok(())
    }
}

pub fn recorded(plan: Plan) -> Recorded {
    let asker = Asker { principal: "test@local", code_digest: "-", environment_digest: "none" };
    Recorded::intent(&mut Nowhere, asker, plan, 0).unwrap()
}

/// Which Python, and what it has.
pub struct Python {
    pub interpreter: Interpreter,
    pub executable: String,
    pub trees: Vec<Tree>,
}

/// The machine's Python, or that of a virtual environment.
pub fn python(environment: Option<&Path>) -> Python {
    let cache = std::env::temp_dir().join("stockade-warm-test");
    let look = |path: &Path| facts::source(path).ok();
    let interpreter = match environment {
        None => Interpreter::find(None, &cache, look),
        Some(path) => Interpreter::of_venv(path, &cache, look),
    }
    .unwrap();
    let mut trees = interpreter.trees();
    let mut executable = interpreter.inside_executable();
    if let Some(path) = environment {
        let venv = interpreter.venv(facts::source(path).unwrap());
        executable = venv.executable;
        trees.push(venv.tree);
    }
    Python { interpreter, executable, trees }
}

/// What each engine may hold, and the template.
pub const MEMORY: u64 = 512 << 20;

pub fn plan_of(label: &str, start: Start, cgroup: CgroupMode) -> Plan {
    let request = Request {
        label: label.to_owned(),
        language: Language::Python,
        start,
        inputs: vec![],
        tables: vec![],
        shares: vec![],
        libraries: Libraries::Unjudged,
        limits: vec![(Limit::Memory, MEMORY)],
        network: Network::None,
        vars: BTreeMap::new(),
        require: Layers::NONE,
        cgroup,
        scratch: Scratch::Memory,
        streams: Streams::Pipes,
        tier: Tier::Namespaces,
    };
    match Policy::offline().decide(request) {
        Decision::Permit(grant) => plan::build(*grant, &facts::gather(Tier::Namespaces), "0123456789abcdef").unwrap(),
        Decision::Forbid(reason) => panic!("{reason}"),
    }
}

/// The library, built beside the tests by `cargo xtask warm-library`.
pub fn library() -> Vec<u8> {
    let path = std::env::var_os("STOCKADE_WARM_LIBRARY").map_or_else(built, PathBuf::from);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}: run `cargo xtask warm-library`", path.display()))
}

fn built() -> PathBuf {
    // target/TRIPLE/PROFILE/deps/test
    let own = std::env::current_exe().unwrap();
    let target = own.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists()).unwrap();
    let triple = target.file_name().unwrap();
    target.parent().unwrap().join("library").join(triple).join("release/libstockade_warm.so")
}

/// One template with its plan of engines.
pub struct Scene {
    pub template: Template,
    pub engine: Plan,
}

/// How many ids a test has.
pub const IDS: u32 = 0x1_0000;
/// By this a test in a namespace knows which ids that has.
pub const FIRST_ID: &str = "STOCKADE_TEST_FIRST_ID";

/// The first id of a test: of this process, for tests run beside each other, or of its namespace.
pub fn first_id() -> u32 {
    let own = || 0x7100_0000 + std::process::id() % 2000 * IDS;
    std::env::var(FIRST_ID).map_or_else(|_| own(), |first| first.parse().unwrap())
}

pub fn ids() -> Ids {
    Ids::parse(first_id(), IDS).unwrap()
}

impl Scene {
    pub fn start(environment: Option<&Path>, modules: &[&str], cgroup: CgroupMode) -> Self {
        let mut scene = Self::begin(environment, modules, cgroup);
        if let Err(failure) = scene.template.wait_until_ready(Duration::from_secs(60)) {
            panic!("{failure}: {}", String::from_utf8_lossy(scene.template.complaints()));
        }
        scene
    }

    /// Without waiting for it.
    pub fn begin(environment: Option<&Path>, modules: &[&str], cgroup: CgroupMode) -> Self {
        let python = python(environment);
        let start = warm::engine(&python.interpreter, &python.executable, python.trees);
        let engine = plan_of("engine", start.clone(), cgroup);
        let engine = engine.into_engine(ids().engines().start).unwrap();
        let sealing = Sealing::of(&engine, has_cgroup(&engine)).unwrap();
        let modules: Vec<String> = modules.iter().map(|name| (*name).to_owned()).collect();
        let start = warm::template(&start, &modules, library(), &sealing);
        let template = plan_of("template", start, CgroupMode::Off).into_template(ids()).unwrap();
        let template = Template::start(recorded(template), engine.clone()).unwrap();
        Self { template, engine }
    }

    pub fn engine(&mut self) -> Result<Engine, Failure> {
        let cell = self.template.make_cell()?;
        self.template.fork(cell)
    }

    pub fn claimed(&mut self, engine: Engine) -> Claimed {
        let plan = self.engine.clone().into_engine(engine.user()).unwrap();
        engine.claim(recorded(Plan { run: "fedcba9876543210".to_owned(), ..plan })).unwrap()
    }

    /// Code in an engine of its own.
    pub fn run(&mut self, code: &str) -> Answer {
        let engine = self.engine().unwrap();
        let claimed = self.claimed(engine);
        warm::run(&claimed, code.as_bytes(), BOUNDS).unwrap()
    }
}

pub const BOUNDS: Bounds = Bounds { longest: Duration::from_secs(30), stream_bytes_max: 1 << 20 };

/// What attacks share: see `escape/support.rs`.
pub const PRELUDE: &str = include_str!("../escape/prelude.py");

impl Scene {
    /// Code after the prelude of attacks, in an engine of its own.
    pub fn attack(&mut self, code: &str) -> Answer {
        self.run(&format!("{PRELUDE}\n{code}"))
    }
}

pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The lines of an attack: what was tried, and how it ended.
pub fn said(answer: &Answer) -> BTreeMap<String, String> {
    lines(text(&answer.output))
}

pub fn lines(text: &str) -> BTreeMap<String, String> {
    text.lines().filter_map(|line| line.split_once(": ")).map(|(what, how)| (what.to_owned(), how.to_owned())).collect()
}

/// Real, effective, saved and file users of a process; none when it is gone.
pub fn users_of(pid: rustix::process::Pid) -> Vec<u32> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    line.split_whitespace().map(|user| user.parse().unwrap()).collect()
}

/// A virtual environment with these modules and no other.
pub fn made_environment(modules: &[(&str, &str)]) -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::TempDir::with_prefix("stockade-warm-").unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let asked = std::process::Command::new("python3")
        .args([
            "-I",
            "-c",
            "import os, sys; print(os.path.realpath(sys.executable)); print('%d.%d' % sys.version_info[:2])",
        ])
        .output()
        .unwrap();
    let told = String::from_utf8(asked.stdout).unwrap();
    let (program, version) = told.trim_end().split_once('\n').unwrap();
    let site = folder.path().join(format!("lib/python{version}/site-packages"));
    std::fs::create_dir_all(&site).unwrap();
    std::fs::create_dir_all(folder.path().join("bin")).unwrap();
    std::os::unix::fs::symlink(program, folder.path().join("bin/python")).unwrap();
    let home = Path::new(program).parent().unwrap().display().to_string();
    std::fs::write(folder.path().join("pyvenv.cfg"), format!("home = {home}\n")).unwrap();
    for (name, code) in modules {
        std::fs::write(site.join(format!("{name}.py")), code).unwrap();
    }
    folder
}

/// An environment with pandas, made once with the package index that `pip` is set up for.
pub fn pandas() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("STOCKADE_TEST_PANDAS") {
        return Some(path.into());
    }
    let path = Path::new(option_env!("CARGO_TARGET_TMPDIR")?).join("warm-pandas");
    if path.join("done").exists() {
        return Some(path);
    }
    let part = path.with_extension(std::process::id().to_string());
    let run = |program: &Path, words: &[&str]| {
        std::process::Command::new(program).args(words).status().is_ok_and(|status| status.success())
    };
    let is_made = run(Path::new("python3"), &["-m", "venv", &part.display().to_string()])
        && run(&part.join("bin/python"), &["-m", "pip", "install", "--quiet", "pandas"])
        && std::fs::write(part.join("done"), "").is_ok();
    if is_made && (std::fs::rename(&part, &path).is_ok() || path.join("done").exists()) {
        return Some(path);
    }
    println!("SKIPPED: pandas: it could not be installed with pip");
    None
}
