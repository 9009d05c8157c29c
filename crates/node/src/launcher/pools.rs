//! Pools of warm engines: which there are, which engines wait in them, and what they are claimed with.
//!
//! A pool is a process that the launcher starts like a supervisor (`stockade run --pool`); each of its engines is
//! followed by a process of its own, which is the launcher's child and takes one claim. Nothing that a pool says is
//! needed for a run: whatever goes wrong with it, runs are started anew each.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use stockade_core::pool::{Claim, Notice};

use super::kind::Kind;
use super::supervisor::Supervisor;
use super::users::Lease;
use crate::wire::{self, Beside, Frame};

/// Host ids of one pool: its template's, those of its engines.
pub(super) const IDS: u32 = 512;
/// Engines that wait in one pool; none keeps as many.
const WAITING_MAX: usize = 64;
/// A pool that is not needed for so long ends.
const IDLE: Duration = Duration::from_secs(600);
/// And after so long it ends for another that is.
const IDLE_FOR_ANOTHER: Duration = Duration::from_secs(20);
/// How long an engine that nobody claimed may take to end.
const LEAVING: Duration = Duration::from_secs(2);
/// After a pool has failed no other of its kind is started for so long, and each time longer.
const PAUSE: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_secs(600);
/// Kinds whose failures are remembered.
const FAILED_MAX: usize = 100;

/// All of them.
#[derive(Debug)]
pub(super) struct Pools {
    most: usize,
    /// How long a pool and its engines may take to end: as long as any of their runs.
    ending: Duration,
    all: Vec<Pool>,
    failed: BTreeMap<Kind, Failed>,
    /// Processes that end by themselves, and are waited for.
    leaving: Vec<Supervisor>,
}

#[derive(Debug)]
struct Pool {
    kind: Kind,
    /// `None` once it is to end.
    socket: Option<OwnedFd>,
    process: Supervisor,
    waiting: VecDeque<Waiting>,
    used: Instant,
    /// When it told of an engine last.
    made: Option<Instant>,
    has_served: bool,
    /// It has said that it makes no more engines, and finishes what it has begun.
    is_closing: bool,
}

/// An engine, by the process that follows it.
#[derive(Debug)]
struct Waiting {
    process: OwnedFd,
    socket: OwnedFd,
}

#[derive(Clone, Copy, Debug)]
struct Failed {
    times: u32,
    not_before: Instant,
}

/// What is to be done about an order.
#[derive(Debug)]
pub(super) enum Found {
    /// This process has it, and speaks on this socket.
    Claimed(OwnedFd, OwnedFd),
    /// Nothing waits, and the pool of its kind makes engines: it made one at this moment.
    Soon(Instant),
    /// Nothing waits, and a pool of its kind should be started.
    Wanted,
    /// Nothing waits.
    Nothing,
}

impl Pools {
    pub(super) const fn new(most: usize, ending: Duration) -> Self {
        Self { most, ending, all: Vec::new(), failed: BTreeMap::new(), leaving: Vec::new() }
    }

    /// Whether there can be any.
    pub(super) const fn are_possible(&self) -> bool {
        self.most > 0
    }

    /// Whether engines of this kind are being made.
    pub(super) fn comes_soon(&self, kind: &Kind) -> Found {
        let pool = self.all.iter().find(|pool| pool.kind == *kind && pool.socket.is_some());
        pool.and_then(|pool| pool.made).map_or(Found::Nothing, Found::Soon)
    }

    /// Hands an order to an engine that waits.
    pub(super) fn claim(&mut self, kind: &Kind, claim: &Claim, beside: &[BorrowedFd<'_>], now: Instant) -> Found {
        let Some(pool) = self.all.iter_mut().find(|pool| pool.kind == *kind && pool.socket.is_some()) else {
            let may = self.failed.get(kind).map_or(self.failed.len() < FAILED_MAX, |failed| now >= failed.not_before);
            return if may { Found::Wanted } else { Found::Nothing };
        };
        pool.used = now;
        if pool.waiting.is_empty() {
            return pool.made.map_or(Found::Nothing, Found::Soon);
        }
        let Ok(bytes) = serde_json::to_vec(claim) else { return Found::Nothing };
        while let Some(Waiting { process, socket }) = pool.waiting.pop_front() {
            match wire::send(&socket, &bytes, beside) {
                Ok(()) => {
                    pool.has_served = true;
                    return Found::Claimed(process, socket);
                }
                // It has gone meanwhile.
                Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                    self.leaving.push(Supervisor::of_twin(process, now + LEAVING));
                }
                Err(error) => {
                    tracing::warn!(error = %error, "an engine cannot be claimed");
                    pool.waiting.push_front(Waiting { process, socket });
                    return Found::Nothing;
                }
            }
        }
        pool.made.map_or(Found::Nothing, Found::Soon)
    }

    /// Whether a pool of this kind may be started now. If only room is missing, lets the pool go that was needed least
    /// lately, if none of late.
    pub(super) fn have_room_for(&mut self, kind: &Kind, now: Instant) -> bool {
        if self.all.iter().any(|pool| pool.kind == *kind && pool.socket.is_some()) {
            return false;
        }
        // One that ends counts until it is gone: with it go memory and users. But its own kind is not without engines
        // as long as its longest session lives.
        let ending = self.all.iter().filter(|pool| pool.socket.is_none());
        let replaced = usize::from(ending.clone().any(|pool| pool.kind == *kind));
        if self.all.len() - replaced < self.most {
            return true;
        }
        if ending.count() > replaced {
            // There will be room when it is gone; ending another makes it no sooner.
            return false;
        }
        let oldest = self.all.iter_mut().filter(|pool| pool.socket.is_some()).min_by_key(|pool| pool.used);
        if let Some(pool) = oldest.filter(|pool| now.duration_since(pool.used) > IDLE_FOR_ANOTHER) {
            let left = pool.end(now + self.ending);
            self.leaving.extend(left);
        }
        false
    }

    /// Takes a pool that was started; gives its users back when it cannot be followed.
    pub(super) fn insert(
        &mut self,
        kind: Kind,
        socket: OwnedFd,
        child: Child,
        lease: Lease,
        now: Instant,
    ) -> Option<Lease> {
        // It has no end of its own.
        let until = now + Duration::from_secs(u64::from(u32::MAX));
        match Supervisor::of(child, Some(lease), until) {
            Ok(process) => self.all.push(Pool {
                kind,
                socket: Some(socket),
                process,
                waiting: VecDeque::new(),
                used: now,
                made: None,
                has_served: false,
                is_closing: false,
            }),
            Err(error) => {
                tracing::warn!(error = %error, "a pool of warm engines cannot be followed");
                return Some(lease);
            }
        }
        None
    }

    /// What is waited for: see [`Self::hear`].
    pub(super) fn polled(&self) -> impl Iterator<Item = PollFd<'_>> {
        self.descriptors().map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN))
    }

    fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let pools = self.all.iter().flat_map(|pool| {
            let waiting = pool.waiting.iter().map(|one| one.process.as_fd());
            std::iter::once(pool.process.pidfd().as_fd()).chain(pool.socket.as_ref().map(AsFd::as_fd)).chain(waiting)
        });
        pools.chain(self.leaving.iter().map(|one| one.pidfd().as_fd()))
    }

    /// Takes notice of what has happened, where something has; gives the leases back of pools that are gone.
    pub(super) fn hear(&mut self, now: Instant) -> Vec<Lease> {
        let mut leases = Vec::new();
        let mut number = 0;
        while let Some(pool) = self.all.get_mut(number) {
            let left = pool.hear(now);
            self.leaving.extend(left);
            if pool.is_closing && pool.socket.is_some() {
                let (kind, has_served) = (pool.kind.clone(), pool.has_served);
                let left = pool.end(now + self.ending);
                self.leaving.extend(left);
                self.note_failure(kind, has_served, now);
                continue;
            }
            if pool.process.ended().is_none() {
                number += 1;
                continue;
            }
            let mut pool = self.all.swap_remove(number);
            leases.extend(pool.process.lease());
            if pool.socket.is_some() {
                self.note_failure(pool.kind.clone(), pool.has_served, now);
            }
            let left = pool.end(now + self.ending);
            self.leaving.extend(left);
        }
        self.leaving.retain_mut(|one| one.ended().is_none());
        leases
    }

    fn note_failure(&mut self, kind: Kind, has_served: bool, now: Instant) {
        if self.failed.len() >= FAILED_MAX {
            self.failed.retain(|_, failed| now < failed.not_before);
        }
        if self.failed.len() >= FAILED_MAX {
            return;
        }
        let failed = self.failed.entry(kind).or_insert(Failed { times: 0, not_before: now });
        failed.times = if has_served { 1 } else { failed.times.saturating_add(1) };
        failed.not_before = now + pause(failed.times);
    }

    /// Ends what nobody needs, and kills what does not end; tells when to look again.
    pub(super) fn press(&mut self, now: Instant) -> Option<Instant> {
        for pool in self.all.iter_mut().filter(|pool| pool.socket.is_some()) {
            if now.duration_since(pool.used) > IDLE {
                let left = pool.end(now + self.ending);
                self.leaving.extend(left);
            }
        }
        let ends = self.all.iter_mut().map(|pool| &mut pool.process).chain(&mut self.leaving);
        let ends = ends.filter_map(|process| process.press(now)).min();
        let idle = self.all.iter().filter(|pool| pool.socket.is_some()).map(|pool| pool.used + IDLE).min();
        ends.into_iter().chain(idle).min()
    }

    /// A process that has reported and is about to end.
    pub(super) fn leave(&mut self, supervisor: Supervisor) {
        self.leaving.push(supervisor);
    }

    /// Kills all and waits for them.
    pub(super) fn end_all(&mut self) {
        let waiting = self.all.drain(..).flat_map(|pool| {
            let now = Instant::now();
            let waiting = pool.waiting.into_iter().map(move |one| Supervisor::of_twin(one.process, now + LEAVING));
            std::iter::once(pool.process).chain(waiting)
        });
        let mut all: Vec<Supervisor> = waiting.chain(self.leaving.drain(..)).collect();
        all.iter_mut().for_each(Supervisor::kill);
        all.into_iter().for_each(Supervisor::wait);
    }
}

fn pause(times: u32) -> Duration {
    PAUSE.saturating_mul(2_u32.saturating_pow(times.saturating_sub(1))).min(PAUSE_MAX)
}

impl Pool {
    /// Lets it end: it finishes what it has begun.
    fn end(&mut self, until: Instant) -> Vec<Supervisor> {
        // Engines of which it has told meanwhile are this process's children too, to be waited for.
        while let Some(socket) = &self.socket {
            let Ok(Frame::Whole(bytes, descriptors)) = wire::receive(socket, Beside::Descriptors) else { break };
            if self.take(&bytes, descriptors).is_err() {
                break;
            }
        }
        self.socket = None;
        self.process.end_by(until);
        let leave = Instant::now() + LEAVING;
        self.waiting.drain(..).map(|one| Supervisor::of_twin(one.process, leave)).collect()
    }

    /// Takes what it says; those of its engines that are no more are to be waited for.
    fn hear(&mut self, now: Instant) -> Vec<Supervisor> {
        let mut left = Vec::new();
        while let Some(socket) = &self.socket {
            match wire::receive(socket, Beside::Descriptors) {
                Ok(Frame::Whole(bytes, descriptors)) => match self.take(&bytes, descriptors) {
                    Ok(()) => {}
                    Err(why) => {
                        tracing::error!(why, "a pool of warm engines is not itself any more");
                        self.process.kill();
                        break;
                    }
                },
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => break,
                // It has ended, or is not itself any more.
                Ok(Frame::End | Frame::Broken) | Err(_) => {
                    self.process.kill();
                    break;
                }
            }
        }
        let mut number = 0;
        while let Some(one) = self.waiting.get(number) {
            if stockade_launch::has_something(&one.process) {
                left.extend(self.waiting.remove(number).map(|one| Supervisor::of_twin(one.process, now + LEAVING)));
            } else {
                number += 1;
            }
        }
        left
    }

    fn take(&mut self, bytes: &[u8], descriptors: Vec<OwnedFd>) -> Result<(), &'static str> {
        let notice = serde_json::from_slice(bytes).map_err(|_| "it said something unknown")?;
        let mut descriptors = descriptors.into_iter();
        match (notice, descriptors.next(), descriptors.next(), descriptors.next()) {
            (Notice::Waiting {}, Some(process), Some(socket), None) if self.waiting.len() < WAITING_MAX => {
                self.waiting.push_back(Waiting { process, socket });
                self.made = Some(Instant::now());
                Ok(())
            }
            (Notice::NotWarm { what, why }, None, None, None) => {
                tracing::warn!(environment = ?self.kind.environment, what, why, "no warm engines");
                self.is_closing = true;
                Ok(())
            }
            _ => Err("what lies beside its words is not what should"),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::launcher::kind::Tier;

    pub(in crate::launcher) fn kind(name: &str) -> Kind {
        Kind { environment: Some(name.to_owned()), tier: Tier::Bare }
    }

    /// A process that ends when this one lets go of it.
    fn idle() -> Child {
        Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
    }

    /// A pool, by its end of the socket: it says what a test says.
    pub(in crate::launcher) fn insert(pools: &mut Pools, kind: &Kind, now: Instant) -> OwnedFd {
        let (near, far) = wire::pair().unwrap();
        let lease = Lease { first: 1, count: 1 };
        assert!(pools.insert(kind.clone(), near, idle(), lease, now).is_none());
        far
    }

    /// An engine, by its follower's end of the socket, which has been told of.
    pub(in crate::launcher) fn engine(pool: &OwnedFd) -> (OwnedFd, Child) {
        let ((near, far), follower) = (wire::pair().unwrap(), idle());
        let pid = rustix::process::Pid::from_child(&follower);
        let process = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        wire::send(pool, &serde_json::to_vec(&Notice::Waiting {}).unwrap(), &[process.as_fd(), far.as_fd()]).unwrap();
        (near, follower)
    }

    fn is_to_end(pools: &Pools, kind: &Kind) -> bool {
        pools.all.iter().any(|pool| pool.kind == *kind && pool.socket.is_none())
    }

    /// Two pools are all there may be; when nobody has needed them for long.
    fn two() -> (Pools, [Kind; 2], [OwnedFd; 2], Instant) {
        let (mut pools, now) = (Pools::new(2, Duration::from_secs(1_000)), Instant::now());
        let kinds = [kind("first"), kind("second")];
        let sockets = [0, 1].map(|number: usize| {
            insert(&mut pools, &kinds[number], now + Duration::from_secs(u64::try_from(number).unwrap()))
        });
        (pools, kinds, sockets, now + IDLE_FOR_ANOTHER * 2)
    }

    #[test]
    fn the_pause_after_failures_grows_and_has_an_end() {
        assert_eq!(pause(1), PAUSE);
        assert_eq!(pause(2), PAUSE * 2);
        assert_eq!(pause(u32::MAX), PAUSE_MAX);
    }

    #[test]
    fn a_pool_that_was_needed_of_late_does_not_end_for_another() {
        let (mut pools, [first, second], _sockets, later) = two();
        assert!(!pools.have_room_for(&kind("third"), later - IDLE_FOR_ANOTHER));
        assert!(!is_to_end(&pools, &first) && !is_to_end(&pools, &second));
    }

    #[test]
    fn one_pool_at_a_time_ends_to_make_room_and_counts_until_it_is_gone() {
        let (mut pools, [first, second], _sockets, later) = two();
        assert!(!pools.have_room_for(&kind("third"), later));
        assert!(is_to_end(&pools, &first), "it was needed least lately");
        for other in ["third", "fourth"] {
            assert!(!pools.have_room_for(&kind(other), later));
        }
        assert!(!is_to_end(&pools, &second), "ending it would make no room sooner");
        pools.all[0].process.kill();
        while pools.hear(later).is_empty() {
            rustix::event::poll(&mut pools.polled().collect::<Vec<_>>(), None).unwrap();
        }
        assert!(pools.have_room_for(&kind("third"), later));
    }

    #[test]
    fn a_kind_may_have_another_pool_while_its_own_is_to_end_and_no_third_ends_for_it() {
        let (mut pools, [first, second], _sockets, later) = two();
        assert!(!pools.have_room_for(&first, later), "it has one");
        assert!(!pools.have_room_for(&kind("third"), later));
        assert!(is_to_end(&pools, &first) && pools.have_room_for(&first, later));
        assert!(!is_to_end(&pools, &second));
        let _again = insert(&mut pools, &first, later);
        assert!(!pools.have_room_for(&first, later), "one more, and no more");
        assert!(!pools.have_room_for(&kind("third"), later + IDLE_FOR_ANOTHER * 2));
        assert!(!is_to_end(&pools, &second));
    }
}
