//! Where the files of a run lie: in a root of its own, or, in the tier `landlock`, in a folder of the
//! host. `Ground::of_folder` and [`onto_host`] turn the plan of the one into that of the other: pure,
//! so that what changes can be read before anything runs.

use std::fmt;

use crate::facts::{HostFacts, Runtime, RuntimeKind, SystemKind};
use crate::network::Network;
use crate::paths::{self, InsidePath};
use crate::plan::{Mount, Permits, Plan, Reach, Unplannable};
use crate::request::{Over, Streams, Tier};
use crate::text;

/// How the names of run folders begin.
pub const FOLDER_START: &str = "stockade-run-";

/// Where the paths inside are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ground {
    /// In a root file system of the run's own, where they are what they say.
    OwnRoot,
    /// In a folder of the host made for this run, and in trees of the host.
    Host {
        /// The run's folder.
        folder: InsidePath,
        /// What else has another path: inside, outside; the deepest first.
        places: Vec<(InsidePath, InsidePath)>,
    },
    /// As in a root of the run's own, which a container runtime makes the root of a container.
    Container(Runtime),
}

/// What of `/proc` the code may read: nothing of any process. `/proc/self` cannot be given, since a
/// rule holds for one process's folder and not for those to come.
const PROC: [&str; 16] = [
    "/proc/cpuinfo",
    "/proc/filesystems",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/uptime",
    "/proc/version",
    "/proc/sys/kernel/cap_last_cap",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/ngroups_max",
    "/proc/sys/kernel/osrelease",
    "/proc/sys/kernel/ostype",
    "/proc/sys/kernel/pid_max",
    "/proc/sys/kernel/random/uuid",
    "/proc/sys/vm/max_map_count",
    "/proc/sys/vm/overcommit_memory",
];
/// The harmless devices.
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];
/// The folders the code writes to, and what they are called in the run's folder.
const WRITABLE: [(&str, &str); 3] = [(paths::JOB, "job"), ("/tmp", "tmp"), (paths::HOME, "home")];
/// Where our own files lie, and what that is called in the run's folder.
const OURS: (&str, &str) = (paths::ENGINE, "engine");
/// What a tree with something laid over it is called in the run's folder.
const OVERLAID: &str = "env";

impl Ground {
    /// The run's folder, if its files lie on the host.
    #[must_use]
    pub const fn folder(&self) -> Option<&InsidePath> {
        if let Self::Host { folder, .. } = self { Some(folder) } else { None }
    }

    /// The container runtime, if there is one.
    #[must_use]
    pub const fn runtime(&self) -> Option<&Runtime> {
        if let Self::Container(runtime) = self { Some(runtime) } else { None }
    }

    /// The tier it is of.
    #[must_use]
    pub const fn tier(&self) -> Tier {
        match self {
            Self::OwnRoot => Tier::Namespaces,
            Self::Host { .. } => Tier::Landlock,
            Self::Container(Runtime { kind: RuntimeKind::Runsc, .. }) => Tier::Gvisor,
            Self::Container(Runtime { kind: RuntimeKind::Runc | RuntimeKind::Crun, .. }) => Tier::Oci,
        }
    }

    /// Where a path inside really is.
    #[must_use]
    pub fn place(&self, path: &InsidePath) -> InsidePath {
        self.moved(path.as_str()).unwrap_or_else(|| path.clone())
    }

    /// A word of the command line or a variable: paths inside become what they are outside, alone or in
    /// a list with colons; anything else stays.
    #[must_use]
    pub fn word(&self, word: &str) -> String {
        let one = |part: &str| self.moved(part).map_or_else(|| part.to_owned(), |path| path.to_string());
        word.split(':').map(one).collect::<Vec<_>>().join(":")
    }

    /// The name, in the folder that the supervisor holds, of the scratch that a mount of the plan stands for.
    #[must_use]
    pub fn scratch_name(&self, number: u32, target: &InsidePath) -> String {
        let named = |(inside, name): &(&str, &str)| (target.as_str() == *inside).then(|| (*name).to_owned());
        match self {
            Self::OwnRoot | Self::Container(_) => None,
            Self::Host { .. } => WRITABLE.iter().find_map(named),
        }
        .unwrap_or_else(|| format!("s{number}"))
    }

    fn moved(&self, path: &str) -> Option<InsidePath> {
        let Self::Host { places, .. } = self else { return None };
        let path = InsidePath::parse(path).ok()?;
        places.iter().find_map(|(inside, outside)| match path.below(inside.as_str())? {
            "" => Some(outside.clone()),
            below => outside.join(below).ok(),
        })
    }

    fn of_folder(folder: InsidePath, mounts: &[Mount]) -> Result<Self, Unplannable> {
        let bad = |path: &dyn fmt::Display| Unplannable::Place(text::shown(&path.to_string(), 200));
        let mut places = Vec::new();
        for (inside, name) in WRITABLE.into_iter().chain([OURS]) {
            places.push((InsidePath::fixed(inside), folder.join(name).map_err(|_| bad(&folder))?));
        }
        for mount in mounts {
            let Mount::Layered { source, target, over } = mount else { continue };
            let place = if over.is_empty() {
                let path = source.path.to_str().and_then(|path| InsidePath::parse(path).ok());
                path.ok_or_else(|| bad(&source.path.display()))?
            } else {
                folder.join(OVERLAID).map_err(|_| bad(&folder))?
            };
            places.push((target.clone(), place));
        }
        places.sort_by_key(|(inside, _)| std::cmp::Reverse(inside.as_str().len()));
        Ok(Self::Host { folder, places })
    }
}

/// Turns the plan of a run with a root of its own into that of the tier `landlock`.
///
/// # Errors
/// [`Unplannable`] when something is asked that only namespaces give.
pub fn onto_host(plan: Plan, host: &HostFacts) -> Result<Plan, Unplannable> {
    if plan.network != Network::None {
        return Err(Unplannable::Tier("a network"));
    }
    let bad = |_| Unplannable::Place(text::shown(&host.temporary, 200));
    let folder = InsidePath::parse(host.temporary.trim_end_matches('/'))
        .and_then(|temporary| temporary.join(&format!("{FOLDER_START}{}", plan.run)))
        .map_err(bad)?;
    let ground = Ground::of_folder(folder, &plan.mounts)?;
    let landlock = reach(&ground, host, &plan.mounts);
    let job = Mount::Scratch { target: InsidePath::fixed(paths::JOB), sticky: false };
    let mut mounts = Vec::new();
    // A project that is the working folder is copied into it like everything else.
    if !plan.mounts.contains(&job) {
        mounts.push(job);
    }
    for mount in plan.mounts {
        mounts.extend(kept(&ground, mount)?);
    }
    let syscalls = plan.syscalls.without_namespaces();
    // A throw-away user owns nothing of the host, so what it may do to its own files harms nobody.
    let syscalls = if plan.identity.outside_uid == host.uid { syscalls.same_user() } else { syscalls };
    Ok(Plan {
        argv: plan.argv.iter().map(|word| ground.word(word)).collect(),
        vars: plan.vars.into_iter().map(|(name, value)| (name, ground.word(&value))).collect(),
        mounts,
        landlock,
        syscalls,
        // A terminal of its own would need a file system of its own.
        streams: Streams::Pipes,
        ground,
        ..plan
    })
}

/// What of a plan's mounts is made in the run's folder; what the host has already is not.
fn kept(ground: &Ground, mount: Mount) -> Result<Option<Mount>, Unplannable> {
    let ours = |target: &InsidePath| target.below(paths::ENGINE).is_some();
    Ok(match mount {
        Mount::Scratch { ref target, .. } => {
            WRITABLE.iter().any(|(inside, _)| target.as_str() == *inside).then_some(mount)
        }
        Mount::File { ref target, .. } => ours(target).then_some(mount),
        Mount::CopyOnWrite { source, target, hidden } => Some(Mount::CopiedTree { source, target, hidden }),
        Mount::Copied { ref target, .. } if target.below(paths::JOB).is_some() => Some(mount),
        Mount::Copied { .. } => return Err(Unplannable::Tier("a program given as a single file")),
        Mount::Layered { ref target, .. } if target.below(paths::JOB).is_some() => {
            return Err(Unplannable::Tier("a shared folder"));
        }
        Mount::Layered { source, target, over } => (!over.is_empty()).then(|| {
            let over = over.into_iter().map(|piece| moved_piece(ground, piece)).collect();
            Mount::Layered { source, target, over }
        }),
        Mount::Shared { .. } => return Err(Unplannable::Tier("a shared folder")),
        Mount::Table { .. } => return Err(Unplannable::NoTables(Tier::Landlock)),
        Mount::System { .. }
        | Mount::Link { .. }
        | Mount::Device { .. }
        | Mount::Terminals
        | Mount::Proc
        | Mount::ForRuntime(_) => None,
        Mount::CopiedTree { .. } => Some(mount),
    })
}

/// What is laid over a virtual environment names the interpreter by its path.
fn moved_piece(ground: &Ground, piece: Over) -> Over {
    match piece {
        Over::Link { name, text } => Over::Link { name, text: ground.word(&text) },
        Over::File { name, contents } => {
            let moved = |text: &str| {
                let line = |line: &str| match line.split_once(" = ") {
                    Some((key, value)) => format!("{key} = {}\n", ground.word(value)),
                    None => format!("{line}\n"),
                };
                text.lines().map(line).collect::<String>()
            };
            let contents = std::str::from_utf8(&contents).map(moved).map_or(contents.clone(), String::into_bytes);
            Over::File { name, contents }
        }
    }
}

fn reach(ground: &Ground, host: &HostFacts, mounts: &[Mount]) -> Vec<Reach> {
    let mut rules = Vec::new();
    let mut permit = |path: InsidePath, permits: Permits| rules.push(Reach { path, permits });
    for (entry, permits) in host
        .system
        .iter()
        .map(|entry| (entry, Permits::Execute))
        .chain(host.etc.iter().map(|entry| (entry, Permits::Read)))
    {
        if let (Ok(path), SystemKind::Folder | SystemKind::File) = (InsidePath::parse(&entry.path), &entry.kind) {
            permit(path, permits);
        }
    }
    for mount in mounts {
        if let Mount::Layered { source, target, over } = mount {
            if let Some(path) = source.path.to_str().and_then(|path| InsidePath::parse(path).ok()) {
                permit(path, Permits::Execute);
            }
            if !over.is_empty() {
                permit(ground.place(target), Permits::Execute);
            }
        }
    }
    permit(ground.place(&InsidePath::fixed(OURS.0)), Permits::Read);
    for (inside, _) in WRITABLE {
        permit(ground.place(&InsidePath::fixed(inside)), Permits::Write);
    }
    for device in DEVICES {
        permit(InsidePath::fixed(device), Permits::Devices);
    }
    for file in PROC {
        permit(InsidePath::fixed(file), Permits::Read);
    }
    rules
}

impl fmt::Display for Ground {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Container(runtime) = self {
            writeln!(out, "runtime   {} ({})", text::quoted(&runtime.program, 400), runtime.kind.name())?;
        }
        let Self::Host { places, .. } = self else { return Ok(()) };
        for (inside, outside) in places {
            writeln!(
                out,
                "place     {} is {}",
                text::quoted(inside.as_str(), 400),
                text::quoted(outside.as_str(), 400)
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ground() -> Ground {
        Ground::of_folder(InsidePath::fixed("/tmp/stockade-run-1"), &[]).unwrap()
    }

    #[test]
    fn fixed_paths_are_well_formed() {
        for path in PROC.into_iter().chain(DEVICES).chain(WRITABLE.map(|(inside, _)| inside)).chain([OURS.0]) {
            assert_eq!(InsidePath::fixed(path).as_str(), path);
        }
    }

    #[test]
    fn only_whole_words_that_are_paths_inside_are_moved() {
        let ground = ground();
        for (word, moved) in [
            ("/job", "/tmp/stockade-run-1/job"),
            ("/job/a/b", "/tmp/stockade-run-1/job/a/b"),
            ("/tmp/x", "/tmp/stockade-run-1/tmp/x"),
            ("/home/runner/.cache", "/tmp/stockade-run-1/home/.cache"),
            ("/opt/stockade/engine/site:/usr/lib", "/tmp/stockade-run-1/engine/site:/usr/lib"),
            ("/jobs", "/jobs"),
            ("/job/../etc", "/job/../etc"),
            ("print('/job')", "print('/job')"),
            ("module://stockade_figures", "module://stockade_figures"),
            ("--file=/job/x", "--file=/job/x"),
            ("", ""),
        ] {
            assert_eq!(ground.word(word), moved);
            assert_eq!(Ground::OwnRoot.word(word), word);
        }
    }
}
