//! What the launcher does about warm engines: who of them has which order, and what when none has.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use stockade_core::limits::Limit;
use stockade_core::pool::Claim;

use super::claims::{Anew, Come, Work};
use super::command::{self, Task};
use super::kind::{Kind, LOOKED_AT_BYTES};
use super::parked::Parked;
use super::pools::{self, Found};
use super::supervisor::{self, Supervisor};
use super::{BESIDE, Launcher, STREAMS, not_spooled};
use crate::refusal::Refusal;
use crate::wire::{self, Answer, RunId};

/// The status of a run that was refused.
const REFUSED: i32 = 125;
/// A follower that has reported has this long to end.
const LEAVING: Duration = Duration::from_secs(5);

impl Launcher {
    /// Hands an order to a warm engine, or lets it wait for the next one; says whether it is seen to.
    pub(super) fn claim(
        &mut self,
        run: &RunId,
        principal: &str,
        task: Task<'_>,
        descriptors: &mut Vec<OwnedFd>,
    ) -> Result<bool, Refusal> {
        if !self.pools.are_possible() {
            return Ok(false);
        }
        let kind = match task {
            Task::Run(order) => {
                let beginning = descriptors.get(STREAMS).map(beginning).unwrap_or_default();
                Kind::of(order, &beginning, &self.bounds)
            }
            Task::Session(opening, _) => Kind::of_session(opening, &self.bounds),
            Task::Look(_) => None,
        };
        let Some(kind) = kind else { return Ok(false) };
        let work = Work::of(task).map_err(|error| not_spooled(&error))?;
        let out = self.folders.make_outputs(run).map_err(|error| not_spooled(&error))?;
        let claim = Claim {
            principal: principal.to_owned(),
            script: task.script().map(ToOwned::to_owned),
            arguments: task.arguments().to_vec(),
            inputs: task.inputs().to_vec(),
            limits: task.limits().clone(),
            out: out.to_string_lossy().into_owned(),
        };
        let now = Instant::now();
        let anew = Anew { principal: principal.to_owned(), work, descriptors: std::mem::take(descriptors) };
        let found = if self.parked.has_kind(&kind) {
            self.pools.comes_soon(&kind)
        } else {
            self.pools.claim(&kind, &claim, &anew.beside(), now)
        };
        match found {
            Found::Claimed(process, socket) => {
                self.begin(run, (process, socket), anew, now);
                return Ok(true);
            }
            Found::Soon(_) if self.parked.has_room_for(anew.descriptors.len()) => {
                self.parked.park(Parked::new(run.clone(), kind, claim, anew, now));
                return Ok(true);
            }
            // A name that anybody could have made up is believed when a run has had its environment.
            Found::Wanted if kind.environment.is_some() => drop(self.wanted.insert(run.clone(), kind)),
            Found::Wanted => self.start_pool(kind, now),
            Found::Soon(_) | Found::Nothing => {}
        }
        *descriptors = anew.descriptors;
        self.folders.remove(run);
        Ok(false)
    }

    fn begin(&mut self, run: &RunId, (process, socket): (OwnedFd, OwnedFd), anew: Anew, now: Instant) {
        let wall = Duration::from_millis(anew.work.task().limit(Limit::Time).unwrap_or(0));
        self.runs.insert(run.clone(), Supervisor::of_twin(process, now + wall + BESIDE));
        self.claims.insert(run, socket, anew);
    }

    /// Gives runs that wait the engines that have come, and starts those anew that have waited long enough; tells when
    /// to look again.
    pub(super) fn serve_parked(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let (mut next, mut has_started): (Option<Instant>, bool) = (None, false);
        for parked in self.parked.take() {
            let found = self.pools.claim(&parked.kind, &parked.claim, &parked.anew.beside(), now);
            match found {
                Found::Claimed(process, socket) => self.begin(&parked.run, (process, socket), parked.anew, now),
                Found::Soon(made) if now < parked.until(made) => {
                    let until = parked.until(made);
                    next = Some(next.map_or(until, |next| next.min(until)));
                    self.parked.park(parked);
                }
                // One a turn: others may be cancelled meanwhile.
                Found::Soon(_) | Found::Wanted | Found::Nothing if has_started => {
                    next = Some(now);
                    self.parked.park(parked);
                }
                Found::Soon(_) | Found::Wanted | Found::Nothing => {
                    has_started = true;
                    self.start_anew(&parked.run, parked.anew);
                }
            }
        }
        next
    }

    /// Takes back a run that waits for an engine; says whether it did.
    pub(super) fn unpark(&mut self, run: &RunId) -> bool {
        let was_parked = self.parked.remove(run).is_some();
        if was_parked {
            self.say_interrupted(run);
        }
        was_parked
    }

    /// Of what has not begun.
    fn say_interrupted(&mut self, run: &RunId) {
        let status = supervisor::INTERRUPTED;
        self.end_session(run, status, false);
        self.outbox.say(&Answer::Ended { run: run.clone(), status, killed: true }, None);
    }

    /// The next runs of this kind may find an engine; without one they are started anew.
    fn start_pool(&mut self, kind: Kind, now: Instant) {
        if !self.pools.have_room_for(&kind, now) {
            return;
        }
        let Some(users) = &mut self.users else { return };
        let Ok(Some(lease)) = users.lease(pools::IDS) else { return };
        let started =
            wire::pair().and_then(|(near, far)| Ok((near, command::spawn_pool(&self.settings, &kind, lease, far)?)));
        match started {
            Ok((socket, child)) => {
                let left = self.pools.insert(kind, socket, child, lease, now);
                self.give_back(left);
            }
            Err(error) => {
                tracing::warn!(error = %error, "a pool of warm engines cannot be started");
                self.give_back(Some(lease));
            }
        }
    }

    /// A run that was started anew has ended: was there an environment for it, others of its kind may find engines.
    pub(super) fn learn_from(&mut self, run: &RunId, status: Option<i32>) {
        if let Some(kind) = self.wanted.remove(run)
            && status.is_some_and(|status| status != REFUSED && status != supervisor::INTERRUPTED)
        {
            self.start_pool(kind, Instant::now());
        }
    }

    /// Takes what pools say, and what has become of their processes.
    pub(super) fn hear_pools(&mut self) {
        for lease in self.pools.hear(Instant::now()) {
            self.give_back(Some(lease));
        }
    }

    /// Takes what the follower of a run says.
    pub(super) fn hear_claim(&mut self, run: &RunId) {
        match self.claims.hear(run) {
            Come::Nothing => {}
            Come::Cold(anew) => self.start_anew(run, *anew),
            Come::Done(status) => {
                self.let_follower_go(run);
                self.hear_session(run);
                self.end_session(run, status, false);
                self.outbox.say(&Answer::Ended { run: run.clone(), status, killed: false }, None);
            }
            Come::Nonsense => {
                tracing::error!(run = %run, "a follower of a warm engine is not itself any more");
                if let Some(supervisor) = self.runs.get_mut(run) {
                    supervisor.kill();
                }
            }
        }
    }

    fn let_follower_go(&mut self, run: &RunId) -> Option<bool> {
        let mut supervisor = self.runs.remove(run)?;
        let was_asked = supervisor.is_asked_to_end();
        supervisor.end_by(Instant::now() + LEAVING);
        self.pools.leave(supervisor);
        Some(was_asked)
    }

    /// A run that has not begun is started as if there were no warm engines, unless it was to end meanwhile.
    pub(super) fn start_anew(&mut self, run: &RunId, anew: Anew) {
        if self.let_follower_go(run) == Some(true) {
            return self.say_interrupted(run);
        }
        let place = self.folders.make_inputs(run).map_err(|error| not_spooled(&error));
        let Anew { principal, work, descriptors } = anew;
        let started = place.and_then(|place| self.start_in(run, &principal, work.task(), &descriptors, &place));
        if started.is_err() {
            self.end_session(run, REFUSED, false);
        }
        self.refuse(run, started);
    }
}

/// How a script begins; nothing of what is no file.
fn beginning(file: &OwnedFd) -> Vec<u8> {
    let mut bytes = vec![0; LOOKED_AT_BYTES];
    // Another length is only another guess.
    let length = rustix::io::pread(file.as_fd(), &mut bytes, 0).unwrap_or(0);
    bytes.truncate(length);
    bytes
}

#[cfg(test)]
mod tests {
    use std::process::Child;

    use stockade_testkit::Folder;

    use super::super::{Settings, parked, pools};
    use super::*;
    use crate::launcher::kind::Tier;
    use crate::order::tests::order;

    /// A launcher with one pool, of plain Python, whose only engine a run has.
    struct Scene {
        launcher: Launcher,
        pool: OwnedFd,
        engines: Vec<(OwnedFd, Child)>,
        _folder: Folder,
    }

    impl Scene {
        fn start() -> Self {
            let folder = Folder::new();
            let settings = Settings {
                folder: folder.path().to_owned(),
                program: "/bin/false".into(),
                policies: Vec::new(),
                concurrent: 8,
                sessions: 0,
                pools: 1,
                users: None,
                witness: None,
            };
            let mut launcher = Launcher::new(wire::pair().unwrap().0, settings).unwrap();
            let kind = Kind { environment: None, tier: Tier::Bare };
            let pool = pools::tests::insert(&mut launcher.pools, &kind, Instant::now());
            let mut scene = Self { launcher, pool, engines: Vec::new(), _folder: folder };
            scene.engine_comes();
            assert!(scene.claim("0000000000000000", 4));
            assert!(scene.has_engine("0000000000000000"));
            scene
        }

        fn engine_comes(&mut self) {
            self.engines.push(pools::tests::engine(&self.pool));
            self.launcher.hear_pools();
        }

        /// A run with so many descriptors; says whether it is seen to.
        fn claim(&mut self, id: &str, descriptors: usize) -> bool {
            let nothing = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
            let mut given: Vec<_> = (0..descriptors).map(|_| nothing.try_clone().unwrap()).collect();
            let is_seen_to = self.launcher.claim(&run(id), "uid-1@local", Task::Run(&order()), &mut given).unwrap();
            assert_eq!(given.len(), if is_seen_to { 0 } else { descriptors });
            is_seen_to
        }

        fn has_engine(&self, id: &str) -> bool {
            self.launcher.runs.contains_key(&run(id))
        }

        fn waits(&self, id: &str) -> bool {
            self.launcher.parked.has(&run(id))
        }
    }

    fn run(id: &str) -> RunId {
        RunId::parse(id).unwrap()
    }

    #[test]
    fn who_waits_for_an_engine_comes_before_who_comes() {
        let (waiting, coming) = ("1111111111111111", "2222222222222222");
        let mut scene = Scene::start();
        assert!(scene.claim(waiting, 4) && scene.waits(waiting));
        scene.engine_comes();
        assert!(scene.claim(coming, 4));
        assert!(!scene.has_engine(coming) && scene.waits(coming), "it has taken another's");
        scene.launcher.serve_parked();
        assert!(scene.has_engine(waiting));
    }

    #[test]
    fn those_who_wait_keep_so_many_descriptors_and_no_more() {
        let mut scene = Scene::start();
        assert!(scene.claim("1111111111111111", parked::DESCRIPTORS_MAX - 4));
        assert!(scene.claim("2222222222222222", 4) && scene.waits("2222222222222222"));
        assert!(!scene.claim("3333333333333333", 4), "it is to be started anew");
        assert!(!scene.waits("3333333333333333"));
    }
}
