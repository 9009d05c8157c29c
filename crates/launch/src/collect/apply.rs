//! Writes what a run changed back onto the project folder it was given.
//!
//! Parent, outside, after the changes were shown and agreed to. The project is
//! the caller's and trusted less than it seems: it may hold symlinks, and may
//! have been edited since. Must never replace or remove what is not what the
//! run saw, follow a symlink, remove a folder that holds something, or write a
//! name that tools act upon unless it was named.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, unlinkat};
use rustix::io::Errno;

use super::beneath::{self, Facts, Kind};
use super::names::{self, Guard};
use super::place::{self, Permissions, Placer, Refused, Source};
use super::{
    Area, Collected, Existing, Failure, LeftOut, Output, Removed, RemovedKind, Stamp, State, Step, Stopped, Why,
};

/// The folder that changes go back to.
#[derive(Debug)]
pub struct Project<'a> {
    /// Where it lay below `/job`: the prefix of its area.
    pub prefix: &'a str,
    /// The folder itself, open; the area's original.
    pub folder: BorrowedFd<'a>,
    /// When the run began: what was changed at or after it was not what the run saw.
    pub run_began: Stamp,
}

/// One file written back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedFile {
    /// Path below `/job`, as collected.
    pub path: String,
    /// Created or changed.
    pub state: State,
    /// It can be executed now and could not before.
    pub newly_executable: bool,
    /// Tools are known to run or load it unasked.
    pub run_by_tools: bool,
}

/// What was written back, and what was not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Files created or replaced.
    pub files: Vec<AppliedFile>,
    /// Folders made.
    pub folders: Vec<String>,
    /// Files and empty folders removed.
    pub removed: Vec<String>,
    /// What was not applied, and why.
    pub left_out: Vec<LeftOut>,
}

/// Applies removals, then new folders, then files, each file atomically.
pub fn apply(
    collected: &Collected,
    areas: &[Area<'_>],
    project: &Project<'_>,
    allow: &[String],
) -> Result<Applied, Stopped<Applied>> {
    place::sweep(project.folder);
    let mut applying = Applying { areas, project, allow, placer: Placer::new(), applied: Applied::default() };
    match applying.all(collected) {
        Ok(()) => Ok(applying.applied),
        Err(failure) => Err(Stopped { failure, done: Box::new(applying.applied) }),
    }
}

struct Applying<'a> {
    areas: &'a [Area<'a>],
    project: &'a Project<'a>,
    allow: &'a [String],
    placer: Placer,
    applied: Applied,
}

impl Applying<'_> {
    fn all(&mut self, collected: &Collected) -> Result<(), Failure> {
        for removed in &collected.removed {
            if let Some(relative) = self.relative(&removed.path) {
                let done = self.remove(removed, relative).map(|()| self.applied.removed.push(removed.path.clone()));
                self.settle(&removed.path, done)?;
            }
        }
        for folder in &collected.folders {
            if let Some(relative) = self.relative(folder) {
                let done = self.new_folder(relative).map(|_| self.applied.folders.push(folder.clone()));
                self.settle(folder, done)?;
            }
        }
        for output in &collected.files {
            if let Some(relative) = self.relative(&output.path) {
                let done = self.write(output, relative).map(|file| self.applied.files.push(file));
                self.settle(&output.path, done)?;
            }
        }
        Ok(())
    }

    /// A path below the project; `None` if it belongs to another area.
    fn relative<'b>(&self, path: &'b str) -> Option<&'b str> {
        let area = super::area_of(self.areas, path)?;
        if area.prefix == self.project.prefix { names::below(self.project.prefix, path) } else { None }
    }

    fn settle(&mut self, path: &str, done: Result<(), Refused>) -> Result<(), Failure> {
        match done {
            Ok(()) => {}
            Err(Refused::LeftOut(why)) => {
                self.applied.left_out.push(LeftOut { name_shown: names::shown(path.as_bytes()), why });
            }
            Err(Refused::Stopped(step, errno)) => return Err(Failure::new(step, path, errno)),
        }
        Ok(())
    }

    fn guard(&self, relative: &str) -> Result<(), Refused> {
        if names::refuses(relative, Guard::KnownAndDotted, self.allow) { Err(left_out(Why::Guarded)) } else { Ok(()) }
    }

    fn remove(&self, removed: &Removed, relative: &str) -> Result<(), Refused> {
        self.guard(relative)?;
        let (parent, name) = self.parent(relative)?;
        let now = match Facts::at(parent.as_fd(), &name) {
            Ok(now) => now,
            Err(Errno::NOENT) => return Err(left_out(Why::Conflict)),
            Err(errno) => return Err(Refused::Stopped(Step::Remove, errno)),
        };
        let flags = match removed.kind {
            RemovedKind::Folder if now.kind == Kind::Folder => AtFlags::REMOVEDIR,
            RemovedKind::File if now.kind != Kind::Folder && self.is_what_the_run_saw(&now, removed) => {
                AtFlags::empty()
            }
            RemovedKind::Folder | RemovedKind::File => return Err(left_out(Why::Conflict)),
        };
        unlinkat(&parent, name.as_c_str(), flags).map_err(|errno| match errno {
            Errno::NOTEMPTY | Errno::EXIST => left_out(Why::NotEmpty),
            errno => Refused::Stopped(Step::Remove, errno),
        })
    }

    fn is_what_the_run_saw(&self, now: &Facts, removed: &Removed) -> bool {
        removed.original == Some(now.identity) && now.identity.changed < self.project.run_began
    }

    fn new_folder(&self, relative: &str) -> Result<OwnedFd, Refused> {
        if names::refuses_folder(relative, Guard::KnownAndDotted, self.allow) {
            return Err(left_out(Why::Guarded));
        }
        self.make_folder(relative)
    }

    /// Opens a folder of the project, made with its parents if need be.
    fn make_folder(&self, relative: &str) -> Result<OwnedFd, Refused> {
        match beneath::host_folder_at(self.project.folder, relative) {
            Ok(folder) => return Ok(folder),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(in_the_way(errno)),
        }
        let mut at = beneath::host_folder_at(self.project.folder, "").map_err(in_the_way)?;
        for part in relative.split('/') {
            at = place::enter(at.as_fd(), &c_name(part)?)?;
        }
        Ok(at)
    }

    fn write(&mut self, output: &Output, relative: &str) -> Result<AppliedFile, Refused> {
        self.guard(relative)?;
        let file = super::open_output(self.areas, &output.path)
            .map_err(|failure| left_out(Why::Unreadable(failure.errno())))?;
        let seen = Facts::of(file.as_fd()).map_err(|errno| left_out(Why::Unreadable(errno)))?;
        if seen.identity.bytes != output.bytes {
            return Err(left_out(Why::Restless));
        }
        let folder = match relative.rsplit_once('/') {
            Some((folder, _)) if output.state == State::Created => self.make_folder(folder)?,
            _ => self.parent(relative)?.0,
        };
        let name = last_name(relative)?;
        let before = self.before(folder.as_fd(), &name, output)?;
        let source = Source { file: file.as_fd(), seen: &seen };
        let (existing, permissions) = match &before {
            Some(before) => (Existing::Overwrite, Permissions::Exactly(mode_after(before, seen.executable()))),
            None => (Existing::Keep, Permissions::Fresh { executable: seen.executable() }),
        };
        self.placer.place(folder.as_fd(), &name, source, existing, permissions)?;
        Ok(AppliedFile {
            path: output.path.clone(),
            state: output.state,
            newly_executable: seen.executable() && !before.is_some_and(|before| before.executable()),
            run_by_tools: output.run_by_tools,
        })
    }

    /// What lies at the target, if it is still what the run saw there.
    fn before(&self, folder: BorrowedFd<'_>, name: &CStr, output: &Output) -> Result<Option<Facts>, Refused> {
        match (Facts::at(folder, name), &output.original) {
            (Err(Errno::NOENT), None) => Ok(None),
            (Ok(now), Some(original)) if now.identity == *original && now.identity.changed < self.project.run_began => {
                Ok(Some(now))
            }
            (Ok(now), None) if now.kind != Kind::File => Err(left_out(Why::InTheWay)),
            (Ok(_), _) | (Err(Errno::NOENT), Some(_)) => Err(left_out(Why::Conflict)),
            (Err(errno), _) => Err(Refused::Stopped(Step::Open, errno)),
        }
    }

    /// The folder that a path's last name lies in, which must exist.
    fn parent(&self, relative: &str) -> Result<(OwnedFd, CString), Refused> {
        let folder = relative.rsplit_once('/').map_or("", |(folder, _)| folder);
        let opened = beneath::host_folder_at(self.project.folder, folder).map_err(in_the_way)?;
        Ok((opened, last_name(relative)?))
    }
}

/// The permissions of a file that is replaced, with its execute bits as the
/// run left them; set-id and sticky bits are not kept.
fn mode_after(before: &Facts, executable: bool) -> Mode {
    let plain = before.mode & 0o666;
    let execute = if executable { (plain & 0o444) >> 2 } else { 0 };
    Mode::from_raw_mode(plain | execute)
}

fn left_out(why: Why) -> Refused {
    Refused::LeftOut(why)
}

/// Why a folder of the project cannot be gone into.
fn in_the_way(errno: Errno) -> Refused {
    match errno {
        Errno::LOOP | Errno::NOTDIR => left_out(Why::InTheWay),
        Errno::NOENT => left_out(Why::Conflict),
        errno => Refused::Stopped(Step::Open, errno),
    }
}

fn last_name(relative: &str) -> Result<CString, Refused> {
    c_name(relative.rsplit('/').next().unwrap_or(relative))
}

/// Paths come from our own walk; should one not, it is refused here.
fn c_name(part: &str) -> Result<CString, Refused> {
    let odd = part.is_empty() || part == "." || part == "..";
    let name = if odd { None } else { CString::new(part).ok() };
    name.ok_or(left_out(Why::NameRefused(Errno::INVAL)))
}
