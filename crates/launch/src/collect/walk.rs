//! The walk over what a run left: finds, judges and hands files on.
//!
//! Parent, outside. Each entry is looked at once, below a held folder, and
//! every loop is bounded by [`super::Bounds`].
//! Must never recurse: the code chose the depth.

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::vec;

use rustix::fs::readlinkat;
use rustix::io::Errno;
use stockade_core::paths;

use super::beneath::{self, Facts, Kind, Side};
use super::names::{self, Guard, NameFault};
use super::place::{Permissions, Placer, Refused, Shelf, Source};
use super::{
    Area, Bounds, Collected, Destination, Existing, Failure, Identity, LEFT_OUT_LISTED_MAX, Leavings, LeftOut, Output,
    Removed, RemovedKind, Staged, State, Step, Why,
};

/// Bytes of a whole path below `/job`, so that it can be opened in one call.
const PATH_BYTES_MAX: usize = 4_000;

/// One folder being walked.
struct Frame {
    folder: OwnedFd,
    names: vec::IntoIter<CString>,
    /// How much of the path is this folder's.
    path_length: usize,
    /// The folder that lay here before, if the area is an overlay.
    original: Option<OwnedFd>,
    /// The original is hidden: what is not here was removed.
    opaque: bool,
}

/// What a file in a run's folder is, compared with what lay there before.
enum Judged {
    Untouched,
    Output(State, Option<Identity>),
}

/// The walk and all it gathered.
pub(super) struct Walk<'a> {
    leavings: &'a Leavings<'a>,
    depth_max: usize,
    entries_left: usize,
    staged: HashMap<&'a str, &'a Staged<'a>>,
    folders_given: HashSet<&'a str>,
    placer: Placer,
    out: Option<Out<'a>>,
    overlay: bool,
    path: String,
    collected: Collected,
}

/// Where outputs go.
struct Out<'a> {
    shelf: Shelf<'a>,
    top: BorrowedFd<'a>,
    existing: Existing,
    allow: &'a [String],
}

impl<'a> Walk<'a> {
    pub(super) fn new(leavings: &'a Leavings<'a>, destination: &Destination<'a>) -> Self {
        let out = match *destination {
            Destination::List => None,
            Destination::Folder { folder, existing, allow } => {
                super::place::sweep(folder);
                Some(Out { shelf: Shelf::new(folder), top: folder, existing, allow })
            }
        };
        Self {
            leavings,
            depth_max: leavings.bounds.depth_max.min(Bounds::DEPTH_MAX),
            entries_left: leavings.bounds.entries_max,
            staged: leavings.staged.iter().map(|staged| (staged.path.as_str(), staged)).collect(),
            folders_given: folders_given(leavings),
            placer: Placer::new(),
            out,
            overlay: false,
            path: String::new(),
            collected: Collected::default(),
        }
    }

    pub(super) fn all(&mut self) -> Result<(), Failure> {
        for area in self.leavings.areas {
            self.area(area)?;
        }
        self.staged_and_gone();
        Ok(())
    }

    pub(super) fn done(self) -> Collected {
        self.collected
    }

    fn area(&mut self, area: &Area<'a>) -> Result<(), Failure> {
        self.path.clone_from(&area.prefix);
        self.overlay = area.original.is_some();
        if let Some(out) = &mut self.out {
            out.shelf = Shelf::new(out.top);
            let parts = area.prefix.split('/').filter(|part| !part.is_empty());
            parts.filter_map(|part| CString::new(part).ok()).for_each(|part| out.shelf.down(part));
        }
        let folder = beneath::top(area.changed).map_err(|errno| self.failure(Step::Open, errno))?;
        let original = match area.original {
            Some(lower) => Some(beneath::host_folder(lower, c".").map_err(|errno| self.failure(Step::Open, errno))?),
            None => None,
        };
        let opaque = self.overlay && beneath::is_opaque(folder.as_fd());
        let mut frames: Vec<Frame> = self.frame(folder, original, opaque).into_iter().collect();
        loop {
            let depth = frames.len();
            let Some(frame) = frames.last_mut() else {
                return Ok(());
            };
            self.path.truncate(frame.path_length);
            match frame.names.next() {
                Some(name) => {
                    let deeper = self.entry(frame, depth, &name)?;
                    frames.extend(deeper);
                }
                None => {
                    frames.pop();
                    self.shelf_up();
                }
            }
        }
    }

    /// Starts on an open folder whose path is the present one.
    fn frame(&mut self, folder: OwnedFd, original: Option<OwnedFd>, opaque: bool) -> Option<Frame> {
        let names = match self.names(folder.as_fd()) {
            Ok(names) => names,
            Err(errno) => {
                self.leave_out(Why::Unreadable(errno));
                return None;
            }
        };
        if let Some(original) = original.as_ref().filter(|_| opaque) {
            self.removed_beside(original.as_fd(), &names);
        }
        Some(Frame { folder, names: names.into_iter(), path_length: self.path.len(), original, opaque })
    }

    /// Reads a folder's names, as many as may still be looked at.
    fn names(&mut self, folder: BorrowedFd<'_>) -> Result<Vec<CString>, Errno> {
        let names = beneath::names(folder, self.entries_left)?;
        if names.more {
            self.leave_out(Why::Entries);
        }
        self.entries_left = self.entries_left.saturating_sub(names.sorted.len());
        Ok(names.sorted)
    }

    fn entry(&mut self, frame: &Frame, depth: usize, name: &CStr) -> Result<Option<Frame>, Failure> {
        if let Err(fault) = self.step_into(name) {
            self.leave_out_name(name, Why::Name(fault));
            return Ok(None);
        }
        let facts = match Facts::at(frame.folder.as_fd(), name) {
            Ok(facts) => facts,
            Err(errno) => {
                self.leave_out(Why::Unreadable(errno));
                return Ok(None);
            }
        };
        self.staged_seen_as(facts.kind);
        match facts.kind {
            Kind::Folder => return self.folder(frame, depth, name, &facts),
            Kind::File => self.file(frame, name, &facts)?,
            Kind::Symlink => self.symlink(frame, name),
            Kind::Whiteout if self.overlay => self.whiteout(frame, name),
            Kind::Whiteout | Kind::Device => self.leave_out(Why::Device),
            Kind::Fifo => self.leave_out(Why::Fifo),
            Kind::Socket => self.leave_out(Why::Socket),
        }
        Ok(None)
    }

    /// Adds a name to the path, if it is one that can be taken.
    fn step_into(&mut self, name: &CStr) -> Result<(), NameFault> {
        let text = names::parse(name, self.leavings.bounds.name_bytes_max)?;
        if self.path.len().saturating_add(text.len()) >= PATH_BYTES_MAX {
            return Err(NameFault::TooLong);
        }
        push(&mut self.path, text);
        Ok(())
    }

    fn skips_caches(&self) -> bool {
        self.leavings.bounds.caches == super::Caches::Skip
    }

    fn folder(&mut self, frame: &Frame, depth: usize, name: &CStr, facts: &Facts) -> Result<Option<Frame>, Failure> {
        if self.skips_caches() && name.to_str().is_ok_and(names::is_cache_folder) {
            self.collected.caches += 1;
            return Ok(None);
        }
        if let Some(why) = self.folder_refused(depth) {
            self.leave_out(why);
            return Ok(None);
        }
        let folder = match beneath::folder(frame.folder.as_fd(), name, facts) {
            Ok(folder) => folder,
            Err(shut) => {
                self.leave_out(shut.into());
                return Ok(None);
            }
        };
        let original = self.original_folder(frame, name);
        if let Some(out) = &mut self.out {
            out.shelf.down(name.to_owned());
        }
        let opaque = frame.opaque || (original.is_some() && beneath::is_opaque(folder.as_fd()));
        let wanted = original.is_some() || self.folder_made()?;
        let deeper = if wanted { self.frame(folder, original, opaque) } else { None };
        if deeper.is_none() {
            self.shelf_up();
        }
        Ok(deeper)
    }

    fn folder_refused(&self, depth: usize) -> Option<Why> {
        let guarded = |out: &Out<'_>| names::refuses_folder(&self.path, Guard::Known, out.allow);
        if self.out.as_ref().is_some_and(guarded) {
            Some(Why::Guarded)
        } else if depth > self.depth_max {
            Some(Why::Depth)
        } else {
            None
        }
    }

    /// The folder that lay here before; what else lay here was removed.
    fn original_folder(&mut self, frame: &Frame, name: &CStr) -> Option<OwnedFd> {
        let original = frame.original.as_ref()?.as_fd();
        match Facts::at(original, name).ok()?.kind {
            Kind::Folder => beneath::host_folder(original, name).ok(),
            Kind::File | Kind::Symlink | Kind::Fifo | Kind::Socket | Kind::Device | Kind::Whiteout => {
                self.removed(original, name);
                None
            }
        }
    }

    /// Counts a new folder, and makes it at the destination.
    fn folder_made(&mut self) -> Result<bool, Failure> {
        if self.folders_given.contains(self.path.as_str()) {
            return Ok(true);
        }
        if self.full() {
            self.leave_out(Why::Count);
            return Ok(false);
        }
        let made = match &mut self.out {
            Some(out) => out.shelf.folder().map(|_| ()),
            None => Ok(()),
        };
        match made {
            Ok(()) => {
                self.collected.folders.push(self.path.clone());
                Ok(true)
            }
            Err(refused) => self.refuse(refused).map(|()| false),
        }
    }

    fn file(&mut self, frame: &Frame, name: &CStr, facts: &Facts) -> Result<(), Failure> {
        if self.skips_caches() && name.to_str().is_ok_and(names::is_cache_file) {
            self.collected.caches += 1;
            return Ok(());
        }
        let bytes = facts.identity.bytes;
        let Judged::Output(state, original) = self.judge(frame, name, facts) else {
            return Ok(());
        };
        if let Some(why) = self.over(bytes) {
            self.leave_out(why);
            return Ok(());
        }
        if let Err(refused) = self.bring(frame, name, facts) {
            return self.refuse(refused);
        }
        self.collected.bytes = self.collected.bytes.saturating_add(bytes);
        self.collected.files.push(Output {
            path: self.path.clone(),
            bytes,
            state,
            executable: facts.executable(),
            run_by_tools: names::is_run_by_tools(&self.path),
            original,
        });
        Ok(())
    }

    /// Compares a file with what lay there before the run.
    fn judge(&mut self, frame: &Frame, name: &CStr, facts: &Facts) -> Judged {
        if let Some(staged) = self.staged.remove(self.path.as_str()) {
            return self.judge_staged(frame, name, facts, staged);
        }
        let Some(original) = frame.original.as_ref() else {
            return Judged::Output(State::Created, None);
        };
        let original = original.as_fd();
        let Ok(before) = Facts::at(original, name) else {
            return Judged::Output(State::Created, None);
        };
        match before.kind {
            Kind::File => {
                let opened = beneath::host_file(original, name);
                self.compare(frame, name, facts, &before, opened)
            }
            Kind::Folder => {
                self.removed(original, name);
                Judged::Output(State::Created, None)
            }
            Kind::Symlink | Kind::Fifo | Kind::Socket | Kind::Device | Kind::Whiteout => {
                Judged::Output(State::Changed, None)
            }
        }
    }

    fn judge_staged(&mut self, frame: &Frame, name: &CStr, facts: &Facts, staged: &Staged<'_>) -> Judged {
        if facts.identity == staged.identity {
            return Judged::Untouched;
        }
        let Some(original) = &staged.original else {
            return Judged::Output(State::Changed, None);
        };
        let opened = beneath::file_at(original.folder, &original.path, Side::Host);
        let before = opened.as_ref().map_err(|errno| *errno).and_then(|file| Facts::of(file.as_fd()));
        match before {
            Ok(before) => self.compare(frame, name, facts, &before, opened),
            Err(_) => Judged::Output(State::Changed, None),
        }
    }

    /// What cannot be read counts as changed: nothing shows that it is not.
    fn compare(
        &mut self,
        frame: &Frame,
        name: &CStr,
        facts: &Facts,
        before: &Facts,
        original: Result<OwnedFd, Errno>,
    ) -> Judged {
        let bytes = facts.identity.bytes;
        if bytes == before.identity.bytes
            && let Ok(original) = original
            && let Ok(now) = beneath::file(frame.folder.as_fd(), name, facts)
            && self.placer.content.same(now.as_fd(), original.as_fd(), bytes).unwrap_or(false)
        {
            return Judged::Untouched;
        }
        Judged::Output(State::Changed, Some(before.identity))
    }

    fn over(&self, bytes: u64) -> Option<Why> {
        let bounds = &self.leavings.bounds;
        if bytes > bounds.file_bytes_max {
            Some(Why::FileTooLarge)
        } else if self.full() {
            Some(Why::Count)
        } else if self.collected.bytes.saturating_add(bytes) > bounds.bytes_max {
            Some(Why::TotalBytes)
        } else {
            None
        }
    }

    fn full(&self) -> bool {
        let count = self.collected.files.len().saturating_add(self.collected.folders.len());
        u64::try_from(count).unwrap_or(u64::MAX) >= self.leavings.bounds.files_max
    }

    /// Copies one file to the destination, if there is one.
    fn bring(&mut self, frame: &Frame, name: &CStr, facts: &Facts) -> Result<(), Refused> {
        let Some(out) = &mut self.out else {
            return Ok(());
        };
        if names::refuses(&self.path, Guard::Known, out.allow) {
            return Err(Refused::LeftOut(Why::Guarded));
        }
        let file = beneath::file(frame.folder.as_fd(), name, facts).map_err(|shut| Refused::LeftOut(shut.into()))?;
        let source = Source { file: file.as_fd(), seen: facts };
        let permissions = Permissions::Fresh { executable: facts.executable() };
        self.placer.place(out.shelf.folder()?, name, source, out.existing, permissions)
    }

    /// A link that was only copied up and leads where it did is no change.
    fn symlink(&mut self, frame: &Frame, name: &CStr) {
        let target = |folder: &OwnedFd| readlinkat(folder, name, Vec::new()).ok();
        let now = target(&frame.folder);
        // Tables are found through such, and to whoever is outside it means nothing.
        if now.as_ref().is_some_and(|now| paths::is_descriptor(now.to_bytes())) {
            return;
        }
        if now.is_none() || now != frame.original.as_ref().and_then(target) {
            self.leave_out(Why::Symlink);
        }
    }

    fn whiteout(&mut self, frame: &Frame, name: &CStr) {
        let Ok(text) = name.to_str() else { return };
        if self.skips_caches() && (names::is_cache_folder(text) || names::is_cache_file(text)) {
            self.collected.caches += 1;
        } else if let Some(original) = &frame.original {
            self.removed(original.as_fd(), name);
        }
    }

    /// In an opaque folder: the originals that have no name of their own here.
    fn removed_beside(&mut self, original: BorrowedFd<'_>, present: &[CString]) {
        let length = self.path.len();
        for name in self.names(original).unwrap_or_default() {
            if present.binary_search(&name).is_err() {
                match self.step_into(&name) {
                    Ok(()) => self.removed(original, &name),
                    Err(fault) => self.leave_out_name(&name, Why::Name(fault)),
                }
            }
            self.path.truncate(length);
        }
    }

    /// Lists an original as removed, a folder after all that is in it; the
    /// path is the present one.
    fn removed(&mut self, parent: BorrowedFd<'_>, name: &CStr) {
        let Ok(facts) = Facts::at(parent, name) else {
            return;
        };
        let whole = self.path.len();
        if facts.kind != Kind::Folder {
            self.list_removed(RemovedKind::File, facts.identity);
            return;
        }
        let mut frames = Vec::new();
        frames.extend(self.removed_folder(parent, name, facts.identity));
        loop {
            let depth = frames.len();
            let Some((frame, identity)) = frames.last_mut() else {
                break;
            };
            self.path.truncate(frame.path_length);
            let Some(name) = frame.names.next() else {
                self.list_removed(RemovedKind::Folder, *identity);
                frames.pop();
                continue;
            };
            if let Err(fault) = self.step_into(&name) {
                self.leave_out_name(&name, Why::Name(fault));
                continue;
            }
            let parent = frame.folder.as_fd();
            match Facts::at(parent, &name) {
                Ok(facts) if facts.kind != Kind::Folder => self.list_removed(RemovedKind::File, facts.identity),
                Ok(_) if depth > self.depth_max => self.leave_out(Why::Depth),
                Ok(facts) => {
                    let deeper = self.removed_folder(parent, &name, facts.identity);
                    frames.extend(deeper);
                }
                Err(errno) => self.leave_out(Why::Unreadable(errno)),
            }
        }
        self.path.truncate(whole);
    }

    fn removed_folder(&mut self, parent: BorrowedFd<'_>, name: &CStr, identity: Identity) -> Option<(Frame, Identity)> {
        let folder = match beneath::host_folder(parent, name) {
            Ok(folder) => folder,
            Err(errno) => {
                self.leave_out(Why::Unreadable(errno));
                return None;
            }
        };
        self.frame(folder, None, false).map(|frame| (frame, identity))
    }

    fn list_removed(&mut self, kind: RemovedKind, original: Identity) {
        self.push_removed(Removed { path: self.path.clone(), kind, original: Some(original) });
    }

    fn push_removed(&mut self, removed: Removed) {
        let listed = u64::try_from(self.collected.removed.len()).unwrap_or(u64::MAX);
        if listed < self.leavings.bounds.files_max {
            self.collected.removed.push(removed);
        } else {
            self.collected.removed_more += 1;
        }
    }

    /// A staged file that something else lies in place of is not also removed.
    fn staged_seen_as(&mut self, kind: Kind) {
        if kind != Kind::File && !self.staged.is_empty() {
            self.staged.remove(self.path.as_str());
        }
    }

    /// Lists the staged files that are no longer where they were put.
    fn staged_and_gone(&mut self) {
        let mut unseen: Vec<&Staged<'_>> = self.staged.values().copied().collect();
        unseen.sort_unstable_by_key(|staged| staged.path.as_str());
        for staged in unseen {
            let found = super::area_of(self.leavings.areas, &staged.path)
                .and_then(|area| Some((area.changed, names::below(&area.prefix, &staged.path)?)));
            if found.is_some_and(|(top, path)| !beneath::exists(top, path)) {
                self.push_removed(Removed { path: staged.path.clone(), kind: RemovedKind::File, original: None });
            }
        }
    }

    fn shelf_up(&mut self) {
        if let Some(out) = &mut self.out {
            out.shelf.up();
        }
    }

    fn refuse(&mut self, refused: Refused) -> Result<(), Failure> {
        match refused {
            Refused::LeftOut(why) => {
                self.leave_out(why);
                Ok(())
            }
            Refused::Stopped(step, errno) => Err(self.failure(step, errno)),
        }
    }

    fn failure(&self, step: Step, errno: Errno) -> Failure {
        Failure::new(step, &self.path, errno)
    }

    /// Lists what the present path leads to as left out.
    fn leave_out(&mut self, why: Why) {
        let name_shown = names::shown(self.path.as_bytes());
        self.list_left_out(name_shown, why);
    }

    /// Lists a name in the present folder that could not become a path.
    fn leave_out_name(&mut self, name: &CStr, why: Why) {
        let mut bytes = self.path.clone().into_bytes();
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name.to_bytes());
        self.list_left_out(names::shown(&bytes), why);
    }

    fn list_left_out(&mut self, name_shown: String, why: Why) {
        if self.collected.left_out.len() < LEFT_OUT_LISTED_MAX {
            self.collected.left_out.push(LeftOut { name_shown, why });
        } else {
            self.collected.left_out_more += 1;
        }
    }
}

fn push(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('/');
    }
    path.push_str(name);
}

/// Folders that are no outputs: those named, the areas' own and the parents of
/// staged files, each with its own parents.
fn folders_given<'a>(leavings: &'a Leavings<'a>) -> HashSet<&'a str> {
    let named = leavings.folders_given.iter().map(String::as_str);
    let areas = leavings.areas.iter().map(|area| area.prefix.as_str());
    let parents = leavings.staged.iter().filter_map(|staged| Some(staged.path.rsplit_once('/')?.0));
    let mut given = HashSet::new();
    for folder in named.chain(areas).chain(parents) {
        let mut rest = Some(folder);
        while let Some(path) = rest.filter(|path| given.insert(*path)) {
            rest = path.rsplit_once('/').map(|(parent, _)| parent);
        }
    }
    given
}
