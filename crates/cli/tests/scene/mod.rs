//! One call of the command, and the proof that nothing of it is left: no process, no cgroup, no mount.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use stockade_testkit::{Call, Folder, Ran, User, call, cgroups_left, processes_with};

const STOCKADE: &str = env!("CARGO_BIN_EXE_stockade");

/// A folder to work in, and what the machine looked like before.
#[derive(Debug)]
pub(crate) struct Scene {
    /// The working folder of every call; its name marks their processes.
    pub(crate) folder: Folder,
    mounts: BTreeSet<String>,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self { folder: Folder::new(), mounts: mounts() }
    }

    /// `stockade run` with a mark that every process of the run carries in its command line. What lies
    /// in the folder becomes the user's, as if the user had made it.
    pub(crate) fn call(&self, user: User) -> Call {
        if user == User::Ordinary && rustix::process::geteuid().is_root() {
            let owner = Some(ordinary_user());
            for name in listing(self.folder.path()) {
                // Another call of the same test may just have removed it.
                drop(std::os::unix::fs::lchown(self.folder.path().join(name), owner, owner));
            }
        }
        call(STOCKADE, user).within(self.folder.path()).args(["run", "--env", &format!("MARK={}", self.mark())])
    }

    /// Runs it with these arguments, and looks at what is left.
    pub(crate) fn run(&self, user: User, arguments: &[&str]) -> Ran {
        self.ended(self.call(user).args(arguments)).0
    }

    /// Runs it, looks at what is left, and keeps its state.
    pub(crate) fn ended(&self, call: Call) -> (Ran, Folder) {
        let (ran, state) = call.run_keeping();
        self.assert_nothing_left(&state);
        (ran, state)
    }

    fn mark(&self) -> String {
        self.folder.path().file_name().unwrap().to_string_lossy().into_owned()
    }

    #[track_caller]
    fn assert_nothing_left(&self, state: &Folder) {
        // A killed process stays in the table until its parent has read its status.
        let deadline = Instant::now() + Duration::from_secs(5);
        while !processes_with(&self.mark()).is_empty() {
            assert!(Instant::now() < deadline, "processes are left: {:?}", processes_with(&self.mark()));
            std::thread::yield_now();
        }
        let runs: Vec<String> = Call::trail(state)
            .iter()
            .filter_map(|record| Some(format!("stockade-{}-", record["run"].as_str()?)))
            .collect();
        let left: Vec<String> =
            cgroups_left().into_iter().filter(|path| runs.iter().any(|run| path.contains(run))).collect();
        assert!(left.is_empty(), "cgroups are left: {left:?}");
        let mounted: Vec<String> = mounts().difference(&self.mounts).cloned().collect();
        assert!(mounted.is_empty(), "mounts are left: {mounted:?}");
    }
}

/// The number of the ordinary user: the testkit keeps it to itself, a plan tells it.
pub(crate) fn ordinary_user() -> u32 {
    static NUMBER: OnceLock<u32> = OnceLock::new();
    *NUMBER.get_or_init(|| {
        let plan = call(STOCKADE, User::Ordinary).args(["run", "--explain", "--", "true"]).run().expect(0).stdout;
        let identity = plan.lines().find(|line| line.starts_with("identity")).unwrap();
        identity.split_whitespace().nth(4).unwrap().parse().unwrap()
    })
}

/// Everything below a folder, by name.
pub(crate) fn listing(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(here) = folders.pop() {
        for entry in std::fs::read_dir(&here).into_iter().flatten().flatten() {
            found.insert(entry.path().strip_prefix(folder).unwrap().to_string_lossy().into_owned());
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
        }
    }
    found
}

/// Mounts by the kind of file system and the place, as this process sees them.
fn mounts() -> BTreeSet<String> {
    std::fs::read_to_string("/proc/self/mountinfo").unwrap().lines().map(ToOwned::to_owned).collect()
}
