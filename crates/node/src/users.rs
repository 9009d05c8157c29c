//! Which users of the host engines have: a range of ids that are no one's, or the node's own.

use std::fs::File;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;

use crate::lock::{self, PATIENCE};
use crate::range::{COUNT_MAX, Range};
use crate::refusal::Refusal;
use crate::user::Service;

/// Where ranges begin that nobody named: above those that distributions and systemd hand out.
const USUAL_FIRST: u32 = 0x7100_0000;
/// How many of them there are.
const USUAL: u32 = (0x8000_0000 - USUAL_FIRST) / COUNT_MAX;
/// What `stockade run` gives to runs and services of root, by their process ids.
const OF_COMMAND: (u32, u32) = (0x7000_0000, 0x0080_0000);
/// Fewer would make runs wait for each other's ids.
const EACH: u32 = 2;
/// Where root's nodes tell each other which ranges are in use.
const LOCKS: &str = "/run/stockade-users";

/// Whom engines are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engines {
    /// Each one of its own, of these.
    Own(Range),
    /// All of them the node's: the operator said so.
    Shared,
}

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) range: Option<Range>,
    pub(crate) shared: bool,
    /// Runs at once.
    pub(crate) runs: usize,
}

/// The host's files about users.
#[derive(Debug, Default)]
struct Files {
    passwords: String,
    groups: String,
    subordinate_users: String,
    subordinate_groups: String,
}

impl Files {
    /// # Errors
    /// [`Refusal`] when one is there and cannot be read: nobody knows then whose ids are whose.
    fn read(folder: &Path) -> Result<Self, Refusal> {
        let read = |name: &str| match std::fs::read_to_string(folder.join(name)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            read => read.map_err(|error| {
                let next = "let the node read it, or start the node with --shared-user";
                let what = format!("it cannot be seen whose ids are in `{name}`");
                Refusal::invalid(what, crate::system_text(&error), next)
            }),
        };
        Ok(Self {
            passwords: read("passwd")?,
            groups: read("group")?,
            subordinate_users: read("subuid")?,
            subordinate_groups: read("subgid")?,
        })
    }
}

impl Engines {
    /// Whether an id of the host is one of theirs.
    pub(crate) const fn has(self, id: u32) -> bool {
        match self {
            Self::Own(range) => range.has(id),
            Self::Shared => false,
        }
    }
}

/// Whom engines will be, and what is held for as long as they are.
///
/// # Errors
/// [`Refusal`] when they cannot have users of their own and nobody said that they need none.
pub(crate) fn choose(service: &Service, asked: Asked) -> Result<(Engines, Vec<File>), Refusal> {
    if asked.shared {
        return Ok((Engines::Shared, Vec::new()));
    }
    let files = Files::read(Path::new("/etc"))?;
    let is_root = rustix::process::geteuid().is_root();
    let mut refused = None;
    let candidates = candidates(&files, service, asked, is_root)?;
    // A former node that was killed ends in a moment; where there are others, nobody waits for it.
    let patience = if candidates.len() == 1 { PATIENCE } else { Duration::ZERO };
    for range in candidates {
        if let Err(refusal) = check(&files, service, range, asked.runs) {
            refused = refused.or(Some(refusal));
            continue;
        }
        // Others of the same user see by the processes that are alive which ids they must not take.
        if !is_root {
            return Ok((Engines::Own(range), Vec::new()));
        }
        match hold(Path::new(LOCKS), range, patience) {
            Ok(held) => return Ok((Engines::Own(range), held)),
            Err(Errno::WOULDBLOCK) => {
                let why = "another node has it, or has not ended yet";
                refused = Some(not_to_be_had(range, why.to_owned()));
            }
            Err(errno) => return Err(Refusal::failed(format!("`{LOCKS}` cannot be used"), errno)),
        }
    }
    Err(refused.unwrap_or_else(|| nothing(service)))
}

/// Ranges in the order in which they are tried.
fn candidates(files: &Files, service: &Service, asked: Asked, is_root: bool) -> Result<Vec<Range>, Refusal> {
    let own = subordinate(files, service);
    if let Some(range) = asked.range {
        let may = is_root || own.is_some_and(|own| own.has(range.first()) && own.has(range.last()));
        return if may { Ok(vec![range]) } else { Err(not_its_own(service, range)) };
    }
    if let Some(own) = own {
        return Ok(vec![own]);
    }
    if !is_root {
        return Ok(Vec::new());
    }
    let slot =
        |number: u32| Range::new(USUAL_FIRST + (service.uid.as_raw() % USUAL + number) % USUAL * COUNT_MAX, COUNT_MAX);
    Ok((0..USUAL).filter_map(slot).collect())
}

/// What `/etc/subuid` and `/etc/subgid` both give to the service's user: the largest part.
fn subordinate(files: &Files, service: &Service) -> Option<Range> {
    let users: Vec<_> = entries(&files.subordinate_users).filter(|(who, ..)| service.is(who)).collect();
    let groups: Vec<_> = entries(&files.subordinate_groups).filter(|(who, ..)| service.is(who)).collect();
    let common = users.iter().flat_map(|user| groups.iter().map(move |group| (user, group)));
    common
        .filter_map(|((_, first, count), (_, other, others))| {
            let start = (*first).max(*other);
            let end = first.saturating_add(*count).min(other.saturating_add(*others));
            Range::new(start, end.checked_sub(start)?.min(COUNT_MAX))
        })
        .max_by_key(|range| range.count())
}

/// Lines of `NAME:FIRST:COUNT`; others are passed over, as shadow-utils do.
fn entries(text: &str) -> impl Iterator<Item = (&str, u32, u32)> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        Some((fields.next()?, fields.next()?.parse().ok()?, fields.next()?.trim().parse().ok()?))
    })
}

/// The range is no one's, and is large enough.
fn check(files: &Files, service: &Service, range: Range, runs: usize) -> Result<(), Refusal> {
    let wanted = u32::try_from(runs).unwrap_or(u32::MAX).saturating_mul(EACH);
    if range.count() < wanted {
        return Err(not_to_be_had(range, format!("{runs} runs at once need {wanted} ids")));
    }
    match owner(files, service, range) {
        None => Ok(()),
        Some(owner) => Err(not_to_be_had(range, owner)),
    }
}

/// Whose some of the ids are, in words.
fn owner(files: &Files, service: &Service, range: Range) -> Option<String> {
    let shown = |name: &str| stockade_core::text::shown(name, 60);
    if range.meets(OF_COMMAND.0, OF_COMMAND.1) {
        return Some("runs that root starts have some of these ids".to_owned());
    }
    let listed = |text: &str, kind: &str, places: &[usize]| {
        text.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let mut ids = places.iter().filter_map(|place| fields.get(*place)?.parse::<u32>().ok());
            let id = ids.find(|id| range.has(*id))?;
            Some(format!("the {kind} `{}` has the id {id}", shown(fields.first().unwrap_or(&""))))
        })
    };
    let given = |text: &str, file: &str| {
        entries(text)
            .find(|(who, first, count)| !service.is(who) && range.meets(*first, *count))
            .map(|(who, ..)| format!("{file} gives some of these ids to `{}`", shown(who)))
    };
    listed(&files.passwords, "user", &[2, 3])
        .or_else(|| listed(&files.groups, "group", &[2]))
        .or_else(|| given(&files.subordinate_users, "/etc/subuid"))
        .or_else(|| given(&files.subordinate_groups, "/etc/subgid"))
}

/// Locks the range against other nodes that root started: each block of ids it has a part of.
fn hold(folder: &Path, range: Range, patience: Duration) -> Result<Vec<File>, Errno> {
    let errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    match std::fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(errno(error)),
        Ok(()) | Err(_) => {}
    }
    let status = std::fs::symlink_metadata(folder).map_err(errno)?;
    // Whoever else could write there could keep nodes from starting.
    if !status.is_dir() || status.uid() != rustix::process::geteuid().as_raw() || status.mode() & 0o022 != 0 {
        return Err(Errno::PERM);
    }
    (range.first() / COUNT_MAX..=range.last() / COUNT_MAX)
        .map(|block| {
            let path = folder.join(format!("{:08x}", block * COUNT_MAX));
            let file = File::options()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
                .open(path)
                .map_err(errno)?;
            lock::take_alone(&file, patience)?;
            Ok(file)
        })
        .collect()
}

fn not_to_be_had(range: Range, why: String) -> Refusal {
    Refusal::invalid(
        format!("engines cannot have the host's ids {} to {}", range.first(), range.last()),
        why,
        "name a range that is no one's, with --uid-range START:COUNT",
    )
}

fn not_its_own(service: &Service, range: Range) -> Refusal {
    Refusal::invalid(
        format!("engines cannot have the host's ids {} to {}", range.first(), range.last()),
        format!("/etc/subuid and /etc/subgid do not both give them to {}", service.shown()),
        "name a part of what they give, or start the node as root with --run-as USER",
    )
}

fn nothing(service: &Service) -> Refusal {
    Refusal::invalid(
        "engines cannot have users of their own",
        format!("/etc/subuid and /etc/subgid give no range of ids to {}", service.shown()),
        format!(
            "start the node as root with --run-as USER, give it ids (usermod --add-subuids 100000-165535 \
             --add-subgids 100000-165535 {}), or let all runs have the node's own user with --shared-user",
            service.name.as_deref().map_or_else(|| "USER".to_owned(), |name| stockade_core::text::shown(name, 60))
        ),
    )
}

#[cfg(test)]
mod tests {
    use rustix::process::{Gid, Uid};

    use super::*;

    fn service() -> Service {
        Service { uid: Uid::from_raw(990), gid: Gid::from_raw(991), name: Some("stockade".to_owned()) }
    }

    fn asked(range: Option<&str>) -> Asked {
        Asked { range: range.map(|range| range.parse().unwrap()), shared: false, runs: 4 }
    }

    fn files(users: &str, groups: &str) -> Files {
        let (subordinate_users, subordinate_groups) = (users.to_owned(), groups.to_owned());
        Files { subordinate_users, subordinate_groups, ..Files::default() }
    }

    fn range(text: &str) -> Range {
        text.parse().unwrap()
    }

    #[test]
    fn a_range_must_be_given_in_both_files() {
        let both = files("a:1:2\nstockade:100000:65536\n", "stockade:100000:200000\nbroken\n");
        assert_eq!(subordinate(&both, &service()), Some(range("100000:65536")));
        let by_number = files("990:100000:70000\n", "stockade:110000:1000\n");
        assert_eq!(subordinate(&by_number, &service()), Some(range("110000:1000")));
        for (users, groups) in
            [("stockade:100000:65536", ""), ("", "stockade:100000:65536"), ("stockade:100000:10", "stockade:200000:10")]
        {
            assert_eq!(subordinate(&files(users, groups), &service()), None, "{users} {groups}");
        }
    }

    #[test]
    fn root_has_a_usual_range_and_others_only_what_is_theirs() {
        let none = Files::default();
        let usual = candidates(&none, &service(), asked(None), true).unwrap();
        assert_eq!(usual[0], Range::new(USUAL_FIRST + 990 * COUNT_MAX, COUNT_MAX).unwrap());
        assert_eq!(usual.len(), usize::try_from(USUAL).unwrap());
        assert!(candidates(&none, &service(), asked(None), false).unwrap().is_empty());
        let own = files("stockade:100000:65536", "stockade:100000:65536");
        assert_eq!(candidates(&own, &service(), asked(None), true).unwrap(), [range("100000:65536")]);
        assert_eq!(candidates(&own, &service(), asked(Some("100010:20")), false).unwrap(), [range("100010:20")]);
        let refused = candidates(&own, &service(), asked(Some("99999:20")), false).unwrap_err();
        assert!(refused.why.contains("do not both give them to `stockade`"), "{refused}");
        assert!(candidates(&own, &service(), asked(Some("200000:20")), true).is_ok(), "root says so");
    }

    #[test]
    fn files_that_cannot_be_read_are_not_files_without_users() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Files::read(folder.path()).is_ok(), "a machine may have none");
        for name in ["passwd", "group", "subuid", "subgid"] {
            // Root could read a file of any mode.
            std::fs::create_dir(folder.path().join(name)).unwrap();
            let refusal = Files::read(folder.path()).unwrap_err();
            assert!(refusal.what.contains(name), "{refusal:?}");
            std::fs::remove_dir(folder.path().join(name)).unwrap();
        }
    }

    #[test]
    fn a_range_that_somebody_has_a_part_of_is_refused() {
        let range = range("100000:100");
        let of = |files: &Files| owner(files, &service(), range);
        assert_eq!(of(&Files::default()), None);
        assert_eq!(of(&files("stockade:100000:100", "stockade:100000:100")), None, "it is its own");
        let user = |passwords: &str| Files { passwords: passwords.to_owned(), ..Files::default() };
        assert_eq!(of(&user("x:x:100099:1::/:/bin/sh")).unwrap(), "the user `x` has the id 100099");
        assert_eq!(of(&user("x:x:1:100000::/:/bin/sh")).unwrap(), "the user `x` has the id 100000");
        assert_eq!(of(&user("x:x:100100:1::/:/bin/sh")), None);
        let group = Files { groups: "g:x:100001:".to_owned(), ..Files::default() };
        assert_eq!(of(&group).unwrap(), "the group `g` has the id 100001");
        assert_eq!(of(&files("other:99000:1001", "")).unwrap(), "/etc/subuid gives some of these ids to `other`");
        assert_eq!(of(&files("", "other:100099:1")).unwrap(), "/etc/subgid gives some of these ids to `other`");
        assert!(owner(&Files::default(), &service(), Range::new(0x7000_0001, 9).unwrap()).is_some());
    }

    #[test]
    fn a_range_that_is_too_small_for_the_runs_is_refused() {
        let check = |text: &str| check(&Files::default(), &service(), range(text), 4);
        assert!(check("100000:8").is_ok());
        assert!(check("100000:7").unwrap_err().why.contains("4 runs at once need 8 ids"));
    }

    #[test]
    fn two_nodes_do_not_hold_the_same_ids() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("locks");
        let hold = |text: &str| hold(&folder, range(text), Duration::ZERO);
        let held = hold("100000:65536").unwrap();
        assert_eq!(hold("165000:10").unwrap_err(), Errno::WOULDBLOCK);
        assert!(hold("300000:10").is_ok());
        drop(held);
        assert!(hold("165000:10").is_ok());
    }
}
