//! A pool of the node: one template of warm engines, and engines that wait behind their walls for runs.
//!
//! What its runs have in common was asked for on its command line as for any run: interpreter, environment, policies,
//! limits. Each engine is followed by a process of its own from before it is claimed (`attend`), which the launcher
//! speaks to directly: no run waits for this process, which makes engines and takes their walls down.

mod attend;
mod control;
mod library;
mod make;
mod watch;

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use stockade_core::pool::Notice;
use stockade_launch::warm::Template;
use stockade_launch::warm::twin::{Heard, Link, Remains, Twin, Word};

use crate::args::Run;
use crate::problem::Problem;
use control::Control;
use make::Kind;
use watch::Watch;

/// As much as demand is looked back at.
const DEMAND: Duration = Duration::from_secs(2);
/// How often it is looked at what nobody tells.
const TICK: Duration = Duration::from_secs(1);
/// How many engines in a row may not come to be; each is tried for again a tick later.
const FAILURES_MAX: u32 = 5;
/// After a claim the machine is the run's for a moment, which is often all that it needs; then the next engine is made.
const AFTER_CLAIM: Duration = Duration::from_millis(4);
/// How long the walls of an engine may take to come down.
const DYING: Duration = Duration::from_secs(20);

/// Keeps engines until the launcher closes its end.
pub(crate) fn keep(arguments: &Run) -> Result<ExitCode, Problem> {
    let control = Control::take()?;
    allow_descriptors();
    let (kind, template) = make::kind(arguments).inspect_err(|problem| tell_why(&control, problem))?;
    let mut pool = Pool {
        control,
        kind: Some(kind),
        template: Some(template),
        followed: Vec::new(),
        dying: Vec::new(),
        claims: VecDeque::new(),
        watch: Watch::begin(),
        most: usize::try_from(arguments.supervised.ahead).unwrap_or(1),
        failures: 0,
        not_before: Instant::now(),
        is_closing: false,
    };
    let kept = pool.follow();
    pool.end();
    if let Err(problem) = &kept {
        tell_why(&pool.control, problem);
    }
    kept.map(|()| ExitCode::SUCCESS)
}

/// Every engine has a dozen; a program that waits by select(2) is not among what is started here.
fn allow_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).ok();
}

fn tell_why(control: &Control, problem: &Problem) {
    control.tell(&Notice::NotWarm { what: problem.what().to_owned(), why: problem.why().to_owned() });
}

struct Pool {
    control: Control,
    // In an option, for a fork takes both away.
    kind: Option<Kind>,
    template: Option<Template>,
    followed: Vec<Followed>,
    /// Killed, and not down yet.
    dying: Vec<(Remains, Instant)>,
    /// When engines were claimed, lately.
    claims: VecDeque<Instant>,
    watch: Watch,
    most: usize,
    failures: u32,
    /// No engine is made before.
    not_before: Instant,
    /// No more engines are made, and runs under way are finished.
    is_closing: bool,
}

/// An engine, as this process sees it.
struct Followed {
    remains: Remains,
    link: Link,
    process: OwnedFd,
    state: State,
    has_ended: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    GivenUp,
    Claimed,
}

impl Pool {
    fn follow(&mut self) -> Result<(), Problem> {
        let mut next_look = Instant::now() + TICK;
        while !self.is_closing || !self.followed.is_empty() {
            self.tell_of_ends()?;
            if Instant::now() >= next_look {
                next_look = Instant::now() + TICK;
                self.look();
            }
            let wanted = self.wanted();
            self.give_up_beyond(wanted);
            let is_short = self.waiting() < wanted && Instant::now() >= self.not_before;
            if is_short && let Err(problem) = self.make_one() {
                self.close(&problem);
            }
            let until = if self.waiting() < wanted { self.not_before.min(next_look) } else { next_look };
            self.is_closing |= !self.wait(until)?;
        }
        Ok(())
    }

    /// What was begun under what held then is finished.
    fn look(&mut self) {
        if let Err(problem) = self.watch.look(self.kind.as_ref()) {
            self.close(&problem);
        }
        let now = Instant::now();
        for (remains, _) in self.dying.iter().filter(|(remains, until)| now >= *until && !remains.are_down()) {
            remains.kill_template();
        }
    }

    fn close(&mut self, problem: &Problem) {
        if !self.is_closing {
            tell_why(&self.control, problem);
            self.is_closing = true;
        }
    }

    fn waiting(&self) -> usize {
        self.followed.iter().filter(|one| one.state == State::Waiting).count()
    }

    /// As many as were claimed lately in the time in which one is made, several times over; one at least.
    fn wanted(&mut self) -> usize {
        let now = Instant::now();
        self.claims.retain(|claim| now.duration_since(*claim) < DEMAND);
        if self.is_closing || self.watch.is_memory_short() {
            return 0;
        }
        (1 + self.claims.len().div_ceil(4)).min(self.most)
    }

    /// An engine that is being claimed at this moment is not given up: its follower decides.
    fn give_up_beyond(&mut self, wanted: usize) {
        // Demand falls for a moment again and again; that many may stay.
        let surplus = self.waiting().saturating_sub(wanted.saturating_mul(2));
        for one in self.followed.iter_mut().filter(|one| one.state == State::Waiting).take(surplus) {
            one.link.say(Word::GiveUp);
            one.state = State::GivenUp;
        }
    }

    fn make_one(&mut self) -> Result<(), Problem> {
        let Some(template) = &mut self.template else { return Ok(()) };
        let engine = match make::next_engine(template) {
            Ok(engine) => engine,
            Err(failure) => {
                self.failures += 1;
                self.not_before = Instant::now() + TICK;
                let is_over = self.failures > FAILURES_MAX || template.makes_no_more();
                return if is_over { Err(self.gone(failure.into())) } else { Ok(()) };
            }
        };
        self.failures = 0;
        let (near, far) = control::pair()?;
        match stockade_launch::warm::twin::fork()? {
            Twin::First(process, link) => {
                drop(far);
                self.control.tell_waiting(process.as_fd(), near.as_fd())?;
                let remains = engine.into_remains();
                self.followed.push(Followed { remains, link, process, state: State::Waiting, has_ended: false });
                Ok(())
            }
            Twin::Second(link) => {
                drop(near);
                let kind = self.kind.take();
                match kind.filter(|_| self.disown().is_ok()) {
                    Some(kind) => attend::attend(kind, engine, &far, &link),
                    None => stockade_launch::warm::twin::leave(1),
                }
            }
        }
    }

    /// In a fork: none of this is its own.
    fn disown(&mut self) -> Result<(), Problem> {
        self.followed.drain(..).for_each(|one| one.remains.disown());
        self.dying.drain(..).for_each(|(remains, _)| remains.disown());
        if let Some(template) = self.template.take() {
            template.disown();
        }
        self.control.shut()
    }

    /// Their followers learn how engines ended, which only the template's parent hears.
    fn tell_of_ends(&mut self) -> Result<(), Problem> {
        let Some(template) = &mut self.template else { return Ok(()) };
        for one in self.followed.iter_mut().filter(|one| !one.has_ended) {
            match template.end_of_followed(&one.remains) {
                Ok(Some(status)) => {
                    one.link.say(Word::Ended(status));
                    one.has_ended = true;
                }
                Ok(None) => {}
                Err(failure) => return Err(self.gone(failure.into())),
            }
        }
        Ok(())
    }

    /// The template is gone: what it said last tells why.
    fn gone(&mut self, problem: Problem) -> Problem {
        let said = self.template.as_mut().map(|template| String::from_utf8_lossy(template.complaints()).into_owned());
        make::with_complaints(problem, &said.unwrap_or_default())
    }

    /// Waits until something happens; says whether the launcher is there.
    fn wait(&mut self, until: Instant) -> Result<bool, Problem> {
        let Some(template) = &self.template else { return Ok(false) };
        let timeout = Timespec::try_from(until.saturating_duration_since(Instant::now())).ok();
        let mut polled = vec![PollFd::from_borrowed_fd(template.control(), PollFlags::IN)];
        // A launcher that is gone would be heard for ever.
        if !self.is_closing {
            polled.push(PollFd::new(&self.control, PollFlags::IN));
        }
        for one in &self.followed {
            polled.push(PollFd::new(&one.link, PollFlags::IN));
            polled.push(PollFd::new(&one.process, PollFlags::IN));
        }
        for (remains, _) in &self.dying {
            polled.push(PollFd::from_borrowed_fd(remains.init(), PollFlags::IN));
        }
        match rustix::event::poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(control::failed(errno)),
        }
        let mut ready = polled.iter().map(|one| !one.revents().is_empty()).collect::<Vec<_>>().into_iter();
        drop(polled);
        let _template = ready.next();
        let launcher = !self.is_closing && ready.next().unwrap_or(false);
        let mut over = Vec::new();
        for (number, one) in self.followed.iter_mut().enumerate() {
            if ready.next() == Some(true) && one.link.hear() == Heard::Word(Word::Claimed) {
                one.state = State::Claimed;
                self.claims.push_back(Instant::now());
                self.not_before = self.not_before.max(Instant::now() + AFTER_CLAIM);
            }
            if ready.next() == Some(true) {
                over.push(number);
            }
        }
        let mut down = ready.collect::<Vec<_>>().into_iter();
        // Their walls are down: nothing is waited for when they are dropped.
        self.dying.retain(|_| !down.next().unwrap_or(false));
        for number in over.into_iter().rev() {
            let Followed { remains, .. } = self.followed.swap_remove(number);
            remains.kill()?;
            self.dying.push((remains, Instant::now() + DYING));
        }
        Ok(self.is_closing || !launcher || self.control.is_open())
    }

    /// Ends everything, engines of runs too.
    fn end(&mut self) {
        self.followed.clear();
        self.dying.clear();
        self.template = None;
        if let Some(kind) = &mut self.kind {
            kind.end();
        }
    }
}
