//! Parent, outside: follows a running sandbox to its end, with one poll loop and no thread.
//!
//! Relays the streams, counts, answers refusals, watches the limits, forwards signals; when the
//! code has ended and everything inside is dead, measures. The init ends by itself.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;
use stockade_core::limits::Limit;
use stockade_core::outcome::{Accounting, Cause, Denial, Outcome, ScratchPlace, Usage};
use stockade_core::plan::Plan;
use stockade_core::request::Tier;

use crate::cgroup::{Group, Version};
use crate::failure::{Failure, Step, told_errno};
use crate::finished::{Ending, Finished};
use crate::measure::{DEPTH_MAX, Measure, Over};
use crate::outside::{Init, Running, failed, tree_limits};
use crate::ready::has_something;
use crate::resolver::Resolver;
use crate::routes::RouteCounters;
use crate::session::{Caller, Needed, Relay};
use crate::streams::{self, Input, Inward, Outward, RawTerminal, Streams};
use crate::sys;
use crate::warm::ending::{Engine, Of};
use crate::watch::{Verdict, Watch};
use crate::wire::{self, Drained, Event, Order, Received};

/// How often limits are looked at while a watchdog stands in for a cgroup.
const TICK: Duration = Duration::from_millis(50);
/// How often when a cgroup bounds memory: CPU time and scratch are all that is left to see.
const SLOW_TICK: Duration = Duration::from_millis(250);
/// A disk with fewer blocks left for ordinary users counts as full: file systems keep a few.
const DISK_BLOCKS_LEFT: u64 = 16;
/// How long an ended run may take to die before its init is killed.
const DYING: Duration = Duration::from_secs(5);
/// How long helpers of code that has ended may take to end.
const HELPERS: Duration = Duration::from_millis(20);
/// How long code may take over a termination request before it is killed.
const GRACE: Duration = Duration::from_secs(10);
/// How many refused calls are told; then the listener is closed and the kernel answers by itself.
const REFUSALS_MAX: u64 = 1_000;
/// How much an engine may say on its result descriptor.
const RESULT_BYTES_MAX: usize = 1 << 20;

/// What a supervisor hears of by signals.
pub(crate) const SIGNALS: [libc::c_int; 5] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGWINCH];

/// Follows a run to its end; a session, for as long as its caller has something for it.
pub(crate) fn wait(
    running: Running,
    streams: Streams<'_>,
    caller: Option<&mut dyn Caller>,
) -> Result<Finished, Failure> {
    follow(running, streams, caller, None)
}

/// Follows the run of a warm engine to its end, or its session.
pub(crate) fn follow_engine(
    mut running: Running,
    streams: Streams<'_>,
    engine: Engine<'_>,
    caller: Option<&mut dyn Caller>,
) -> Result<Finished, Failure> {
    // Nothing is read from it: the code's input is at its end.
    let nothing = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    running.ends.input = Some(nothing.map_err(failed("open", "/dev/null"))?);
    follow(running, streams, caller, Some(engine))
}

fn follow(
    mut running: Running,
    streams: Streams<'_>,
    caller: Option<&mut dyn Caller>,
    engine: Option<Engine<'_>>,
) -> Result<Finished, Failure> {
    let signals = sys::signal_descriptor(&SIGNALS).map_err(failed("watch for", "signals"))?;
    // Opened while the init lives; an open file keeps the namespace it tells of.
    let routes = RouteCounters::open(&running);
    let mut supervisor = Supervisor::new(&mut running, streams, signals)?;
    supervisor.engine = engine;
    if let Some(caller) = caller {
        let channel = match &mut supervisor.engine {
            // What it says of itself comes there too.
            Some(engine) => engine.take_socket(),
            None => supervisor.result.take(),
        };
        let channel = channel.ok_or(Failure::Lost)?;
        supervisor.session = Some(Relay::new(caller, channel));
    }
    if let Err(failure) = supervisor.follow() {
        // What was executed has run, and is told so.
        if let Some(session) = &mut supervisor.session {
            session.end(Cause::Cancelled, &mut streams::buffer());
        }
        return Err(failure);
    }
    let ended = supervisor.finish();
    conclude(running, ended, routes.packets_without_route())
}

/// What the loop knows when everything inside is dead.
struct Ended {
    cause: Cause,
    note: Option<&'static str>,
    wall_ms: u64,
    memory_peak_bytes: u64,
    cpu_usec: u64,
    stream_bytes: u64,
    drained: Drained,
    init_was_killed: bool,
    names: Vec<String>,
    refused: BTreeMap<i32, u64>,
    scratch_was_full: Option<Limit>,
    disk_was_full: bool,
    is_too_deep: bool,
    said: Vec<u8>,
    error_ends_open: bool,
}

struct Supervisor<'r, 'a, 'c, 'e> {
    plan: &'r Plan,
    control: &'r OwnedFd,
    inits: &'r Init,
    scratch: &'r OwnedFd,
    /// Scratch on disk: a walk stands in for what the kernel bounds in memory.
    measure: Option<Measure>,
    too_much: Option<Over>,
    disk_was_full: bool,
    /// What of files lies in memory.
    in_memory: Option<&'r OwnedFd>,
    group: Option<&'r Group>,
    terminal: Option<(OwnedFd, RawTerminal<'a>)>,
    input: Inward<'a>,
    output: Outward<'a>,
    error: Outward<'a>,
    result: Option<OwnedFd>,
    session: Option<Relay<'c>>,
    engine: Option<Engine<'e>>,
    note: Option<&'static str>,
    /// Processes of a warm engine that were there when its own had ended.
    left: u32,
    said: Vec<u8>,
    resolver: Option<Resolver>,
    refusals: Option<OwnedFd>,
    refused: BTreeMap<i32, u64>,
    signals: OwnedFd,
    /// Stands in for a cgroup, from the first tick on.
    watch: Option<Watch>,
    init: Pid,
    started: Instant,
    next_tick: Instant,
    kill_by: Option<Instant>,
    interrupts: u32,
    asked_to_end: bool,
    /// The first signal that the code was sent.
    passed_on: Option<i32>,
    stop: Option<Cause>,
    exec_failed: Option<Cause>,
    status: Option<i32>,
    drained: Option<Drained>,
    init_was_killed: bool,
    memory_peak_bytes: u64,
    cpu_usec: u64,
    scratch_was_full: Option<Limit>,
}

impl<'r, 'a> Supervisor<'r, 'a, '_, '_> {
    fn new(running: &'r mut Running, streams: Streams<'a>, signals: OwnedFd) -> Result<Self, Failure> {
        let copy = |descriptor: &OwnedFd| {
            rustix::io::fcntl_dupfd_cloexec(descriptor, 3).map_err(failed("copy", "a descriptor"))
        };
        let Streams { input, output, error } = streams;
        let (terminal, to_code, from_code) = match running.terminal.take() {
            None => (None, running.ends.input.take().ok_or(Failure::Lost)?, copy(&running.ends.output)?),
            Some(master) => {
                rustix::io::ioctl_fionbio(&master, true).map_err(failed("set up", "the terminal"))?;
                let ends = (copy(&master)?, copy(&master)?);
                let raw = match input {
                    Input::Descriptor(terminal) => {
                        Some(RawTerminal::enter(terminal).map_err(failed("set up", "the terminal"))?)
                    }
                    Input::Empty => None,
                };
                if let Some(raw) = &raw {
                    raw.copy_size(&master);
                }
                (raw.map(|raw| (master, raw)), ends.0, ends.1)
            }
        };
        let error_end = copy(&running.ends.error)?;
        // The original is given up, so that the code reads end of file when the caller's input ends.
        running.ends.input = None;
        let scratch = running.scratch.as_ref().ok_or(Failure::Lost)?;
        let is_on_host = running.plan.ground.folder().is_some();
        Ok(Self {
            plan: &running.plan,
            control: &running.control,
            inits: &running.init,
            scratch,
            measure: (running.disk.is_some() || is_on_host).then(|| Measure::new(&running.plan.limits)),
            too_much: None,
            disk_was_full: false,
            in_memory: match (&running.disk, is_on_host) {
                (Some(_), _) => running.shared_memory.as_ref(),
                // A folder of the host is no memory of the run's, or shares it with others.
                (None, true) => None,
                (None, false) => Some(scratch),
            },
            group: running.group.as_ref(),
            terminal,
            input: Inward::new(input, to_code),
            output: Outward::new(from_code, output),
            error: Outward::new(error_end, error),
            result: running.ends.result.take(),
            session: None,
            engine: None,
            note: None,
            left: 0,
            said: Vec::new(),
            resolver: running.sockets.resolver.take().map(Resolver::new),
            refusals: running.refusals.take(),
            refused: BTreeMap::new(),
            signals,
            watch: None,
            init: running.init.pid,
            started: running.started,
            next_tick: running.started + TICK,
            kill_by: None,
            interrupts: 0,
            asked_to_end: false,
            passed_on: None,
            stop: None,
            exec_failed: None,
            status: None,
            drained: None,
            init_was_killed: false,
            memory_peak_bytes: 0,
            cpu_usec: 0,
            scratch_was_full: None,
        })
    }

    /// Until everything inside is dead.
    fn follow(&mut self) -> Result<(), Failure> {
        let mut buffer = streams::buffer();
        while self.drained.is_none() {
            let ready = self.wait_for_something()?;
            self.serve(ready, &mut buffer)?;
            self.look_at_the_clock()?;
        }
        let most = self.plan.limits.stream_bytes;
        // Whoever asked for the end already does not wait for a slow reader.
        let interrupt = (!self.asked_to_end).then_some(self.signals.as_fd());
        self.output.drain(&mut buffer, most.saturating_sub(self.error.bytes), interrupt);
        self.error.drain(&mut buffer, most.saturating_sub(self.output.bytes), interrupt);
        self.hear_result(&mut buffer);
        Ok(())
    }

    fn wait_for_something(&self) -> Result<Ready, Failure> {
        let [caller, engine, act_output, act_error] = self.session.as_ref().map_or([const { None }; 4], Relay::wait);
        let [answer, link] = self.engine.as_ref().map_or([const { None }; 2], Engine::wait);
        let slots: [Option<PollFd<'_>>; 14] = [
            Some(PollFd::new(self.control, PollFlags::IN)),
            Some(PollFd::new(&self.signals, PollFlags::IN)),
            self.input.wait(),
            self.output.wait(),
            self.error.wait(),
            self.result.as_ref().map(|result| PollFd::new(result, PollFlags::IN)),
            self.resolver.as_ref().map(|resolver| PollFd::from_borrowed_fd(resolver.socket(), PollFlags::IN)),
            self.refusals.as_ref().map(|refusals| PollFd::new(refusals, PollFlags::IN)),
            answer,
            link,
            caller,
            engine,
            act_output,
            act_error,
        ];
        let mut which = Vec::with_capacity(slots.len());
        let mut waited = Vec::with_capacity(slots.len());
        for (number, slot) in slots.into_iter().enumerate() {
            if let Some(slot) = slot {
                which.push(number);
                waited.push(slot);
            }
        }
        let until = self.next_event().saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(until.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(until.subsec_nanos()),
        };
        match rustix::event::poll(&mut waited, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(failed("wait for", "the sandbox")(errno)),
        }
        let mut ready = Ready::default();
        for (number, one) in which.into_iter().zip(&waited) {
            if let Some(flag) = ready.0.get_mut(number) {
                *flag = !one.revents().is_empty();
            }
        }
        Ok(ready)
    }

    fn serve(&mut self, ready: Ready, buffer: &mut [u8]) -> Result<(), Failure> {
        let Ready([control, signals, input, output, error, result, resolver, refusals, answer, link, session @ ..]) =
            ready;
        if session.contains(&true) {
            self.serve_session(session, buffer)?;
        }
        if output {
            self.output.advance(buffer, self.room());
        }
        if error {
            self.error.advance(buffer, self.room());
        }
        if self.output.bytes.saturating_add(self.error.bytes) > self.plan.limits.stream_bytes {
            self.stop(Cause::Limit { limit: Limit::Streams })?;
        }
        if input && self.input.advance(buffer) > 0 && self.terminal.is_some() {
            self.interrupted_at_terminal()?;
        }
        if result {
            self.hear_result(buffer);
        }
        if resolver && let Some(resolver) = &mut self.resolver {
            resolver.answer_waiting();
        }
        if refusals {
            self.hear_refusals();
        }
        if signals {
            self.take_signals()?;
        }
        if answer || link {
            self.hear_engine()?;
        }
        if control { self.hear_init() } else { Ok(()) }
    }

    /// The process of a warm engine has ended, as it says or as its parent does: so has the run, and whoever else is
    /// inside ends with its init.
    fn hear_engine(&mut self) -> Result<(), Failure> {
        let Some(engine) = &mut self.engine else { return Ok(()) };
        match engine.hear() {
            Of::Nothing => Ok(()),
            Of::Nonsense => {
                self.note = Some("the engine said what is no answer");
                self.stop(Cause::Cancelled)
            }
            // How it ended is still to be heard of; code that closes what it has open goes on.
            Of::Silence => {
                if engine.has_ended() {
                    self.kill_by.get_or_insert(Instant::now() + DYING);
                }
                Ok(())
            }
            Of::End(status) => self.engine_has_ended(status),
        }
    }

    fn engine_has_ended(&mut self, status: i32) -> Result<(), Failure> {
        let Some(engine) = self.engine.as_ref().filter(|_| self.status.is_none() && self.stop.is_none()) else {
            return Ok(());
        };
        let process = engine.pid;
        self.status = Some(status);
        self.kill_by = Some(Instant::now() + DYING);
        self.left = self.wait_for_helpers(process);
        self.order(Order::Kill)
    }

    /// As the init of a run does: helpers of the code end by themselves, a moment later. How many have not.
    fn wait_for_helpers(&self, process: Pid) -> u32 {
        let Some(group) = self.group else { return 0 };
        let until = Instant::now() + HELPERS;
        loop {
            let left = group.others_than(process);
            if left == 0 || Instant::now() >= until {
                return left;
            }
            // Until the walls fall, or for a moment.
            let moment = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };
            rustix::event::poll(&mut [PollFd::new(self.control, PollFlags::IN)], Some(&moment)).ok();
        }
    }

    fn serve_session(&mut self, ready: [bool; 4], buffer: &mut [u8]) -> Result<(), Failure> {
        let Some(session) = &mut self.session else { return Ok(()) };
        let needed = session.serve(ready, self.plan.limits.stream_bytes, buffer);
        self.meet(needed)
    }

    fn meet(&mut self, needed: Needed) -> Result<(), Failure> {
        match needed {
            Needed::Nothing => Ok(()),
            Needed::Interrupt => self.signal(libc::SIGINT),
            Needed::Stop(cause) => self.stop(cause),
            // Of others their init tells.
            Needed::Ended(status) => self.engine_has_ended(i32::from(status) << 8),
        }
    }

    /// How much of the streams may still be passed on.
    fn room(&self) -> u64 {
        self.plan.limits.stream_bytes.saturating_sub(self.output.bytes.saturating_add(self.error.bytes))
    }

    fn hear_init(&mut self) -> Result<(), Failure> {
        match wire::next_event(self.control.as_fd()) {
            Ok(Received::Frame((event, _))) => match event {
                Event::Exited(status) => {
                    self.status = Some(status);
                    self.kill_by = Some(Instant::now() + DYING);
                }
                Event::Drained(drained) => self.drained = Some(drained),
                Event::Failed(step, _, errno) => self.exec_failed = Some(cause_of_failed_execution(step, errno)?),
                Event::Scratch
                | Event::OverlayRefused(_)
                | Event::Resolver
                | Event::Proxy
                | Event::Transparent
                | Event::Watcher
                | Event::Terminal
                | Event::Entrance(_)
                | Event::Stands(_)
                | Event::Guarded
                | Event::EngineEnded(..)
                | Event::Sealed(_) => return Err(Failure::Lost),
            },
            // The init was killed: by the kernel for memory, or by somebody outside.
            Ok(Received::Closed) | Err(Errno::CONNRESET) => {
                let oom = self.group.is_some_and(|group| group.oom_kills().unwrap_or(0) > 0);
                match (oom, self.stop, self.status) {
                    (true, None, None) => self.stop = Some(Cause::Limit { limit: Limit::Memory }),
                    (false, None, None) => return Err(Failure::Lost),
                    _ => {}
                }
                // Its descriptors close before the rest of the sandbox is dead; its end comes after.
                let used = match self.engine {
                    None => sys::wait_for_end(self.inits.pidfd.as_fd()),
                    // Another process waits for it.
                    Some(_) => self.inits.wait_beside().map(|()| sys::Used::default()),
                }
                .map_err(failed("wait for", "the sandbox"))?;
                self.inits.end_orphans();
                self.drained = Some(Drained { killed: self.left, used });
                self.init_was_killed = self.engine.is_none() || (self.status.is_none() && self.stop.is_none());
            }
            Err(errno) => return Err(failed("hear from", "the sandbox")(errno)),
        }
        Ok(())
    }

    fn hear_result(&mut self, buffer: &mut [u8]) {
        let Some(result) = &self.result else { return };
        loop {
            match rustix::io::read(result, &mut *buffer) {
                Ok(count) if count > 0 => {
                    let room = RESULT_BYTES_MAX.saturating_sub(self.said.len());
                    self.said.extend_from_slice(buffer.get(..count.min(room)).unwrap_or_default());
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Ok(_) | Err(_) => {
                    self.result = None;
                    return;
                }
            }
        }
    }

    fn hear_refusals(&mut self) {
        let Some(listener) = &self.refusals else { return };
        match sys::next_refused(listener.as_fd()) {
            Ok(refused) => {
                *self.refused.entry(refused.number).or_default() += 1;
                // The asker may have been killed meanwhile.
                sys::answer_refused(listener.as_fd(), refused).ok();
            }
            Err(Errno::INTR) => {}
            // The asker died before it was heard; when all have, the descriptor is ready for ever.
            Err(Errno::NOENT) if has_something(listener) => {}
            Err(_) => self.refusals = None,
        }
        // A loop of refused calls must not keep the supervisor busy: from here on the kernel says no.
        if self.refused.values().sum::<u64>() >= REFUSALS_MAX {
            self.refusals = None;
        }
    }

    fn take_signals(&mut self) -> Result<(), Failure> {
        while let Some(signal) = sys::next_signal(self.signals.as_fd()) {
            self.asked_to_end |= signal != libc::SIGWINCH;
            match signal {
                libc::SIGWINCH => {
                    if let Some((master, raw)) = &self.terminal {
                        raw.copy_size(master);
                    }
                }
                libc::SIGHUP => self.stop(Cause::Cancelled)?,
                libc::SIGINT | libc::SIGQUIT => self.interrupt(signal)?,
                _ => {
                    self.pass_on(signal)?;
                    self.kill_by.get_or_insert(Instant::now() + GRACE);
                }
            }
        }
        Ok(())
    }

    /// The first interrupt is the code's to handle; the second ends it.
    fn interrupt(&mut self, signal: i32) -> Result<(), Failure> {
        self.interrupts += 1;
        if self.interrupts > 1 { self.stop(Cause::Cancelled) } else { self.pass_on(signal) }
    }

    fn pass_on(&mut self, signal: i32) -> Result<(), Failure> {
        self.passed_on.get_or_insert(signal);
        self.signal(signal)
    }

    /// Sends it to the code's processes.
    fn signal(&self, signal: i32) -> Result<(), Failure> {
        match &self.engine {
            None => self.order(Order::Signal(signal)),
            Some(engine) => engine.signal(signal),
        }
    }

    /// At the run's own terminal the keys are the code's; three interrupts in a row are ours.
    fn interrupted_at_terminal(&mut self) -> Result<(), Failure> {
        self.interrupts += 1;
        if self.interrupts > 2 { self.stop(Cause::Cancelled) } else { Ok(()) }
    }

    fn order(&self, order: Order) -> Result<(), Failure> {
        match wire::order(self.control.as_fd(), order) {
            // It has ended already; its last words are still to be read.
            Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(errno) => Err(failed("speak to", "the sandbox")(errno)),
        }
    }

    /// Ends the run; the first reason counts.
    fn stop(&mut self, cause: Cause) -> Result<(), Failure> {
        if self.stop.is_some() || self.status.is_some() {
            return Ok(());
        }
        self.stop = Some(cause);
        self.kill_by = Some(Instant::now() + DYING);
        self.order(Order::Kill)
    }

    fn deadline(&self) -> Option<Instant> {
        self.started.checked_add(Duration::from_millis(self.plan.limits.wall_ms))
    }

    fn next_event(&self) -> Instant {
        let mut next = self.next_tick;
        let of_act = self.session.as_ref().and_then(Relay::deadline);
        let before_the_end = [self.deadline(), of_act].map(|deadline| deadline.filter(|_| self.stop.is_none()));
        for other in before_the_end.into_iter().chain([self.kill_by]).flatten() {
            next = next.min(other);
        }
        next
    }

    fn look_at_the_clock(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        if self.deadline().is_some_and(|deadline| now >= deadline) {
            self.stop(Cause::Limit { limit: Limit::Time })?;
        }
        if self.stop.is_none()
            && let Some(session) = &mut self.session
        {
            let needed = session.look_at_the_clock(now);
            self.meet(needed)?;
        }
        if self.kill_by.is_some_and(|kill_by| now >= kill_by) {
            // Code that has ended by itself, and only leaves much behind, has its own end.
            if self.status.is_none() {
                self.stop.get_or_insert(Cause::Cancelled);
            }
            self.kill_by = None;
            // With its init the kernel kills everything inside; the closed socket then tells us.
            self.inits.kill().map_err(failed("kill", "the sandbox"))?;
        }
        if now >= self.next_tick {
            let is_watched = self.group.is_none() || self.measure.is_some();
            self.next_tick = now + if is_watched { TICK } else { SLOW_TICK };
            self.tick()?;
        }
        Ok(())
    }

    fn watch(&mut self) -> Result<&mut Watch, Failure> {
        let watch = match self.watch.take() {
            Some(watch) => watch,
            None => Watch::new(self.init, &tree_limits(self.plan)).map_err(failed("watch", "the sandbox"))?,
        };
        Ok(self.watch.insert(watch))
    }

    fn tick(&mut self) -> Result<(), Failure> {
        self.look_at_scratch();
        if let Some(measure) = &mut self.measure
            && let Some(over) = measure.look(self.scratch.as_fd())
        {
            self.too_much.get_or_insert(over);
            self.stop(Cause::Limit { limit: over.limit() })?;
        }
        let in_memory = self.in_memory.map(AsFd::as_fd);
        let (cpu_usec, memory_over) = match self.group {
            Some(group) => (group.usage().cpu_usec.unwrap_or(0), group.oom_kills().unwrap_or(0) > 0),
            None => {
                let sample = self.watch()?.tick(in_memory);
                self.memory_peak_bytes = self.memory_peak_bytes.max(sample.memory_bytes);
                self.cpu_usec = self.cpu_usec.max(sample.cpu_usec);
                (sample.cpu_usec, sample.verdict == Verdict::Over)
            }
        };
        if cpu_usec / 1_000 > self.plan.limits.cpu_ms {
            self.stop(Cause::Limit { limit: Limit::CpuTime })?;
        }
        if memory_over { self.stop(Cause::Limit { limit: Limit::Memory }) } else { Ok(()) }
    }

    fn look_at_scratch(&mut self) {
        if let Ok(space) = rustix::fs::fstatvfs(self.scratch) {
            if self.measure.is_some() {
                self.disk_was_full |= space.f_bavail < DISK_BLOCKS_LEFT || (space.f_files > 0 && space.f_ffree == 0);
            } else if space.f_bfree == 0 {
                self.scratch_was_full = Some(Limit::Scratch);
            } else if space.f_ffree == 0 {
                self.scratch_was_full = Some(Limit::ScratchFiles);
            }
        }
    }

    fn finish(mut self) -> Ended {
        self.look_at_scratch();
        if self.too_much.is_none() {
            self.too_much = self.measure.as_mut().and_then(|measure| measure.whole(self.scratch.as_fd()));
        }
        while self.refusals.as_ref().is_some_and(has_something) {
            self.hear_refusals();
        }
        let oom = self.group.is_some_and(|group| group.oom_kills().unwrap_or(0) > 0);
        let too_much = self.too_much.map(|over| Cause::Limit { limit: over.limit() });
        let cause = match (self.stop.or(too_much), self.exec_failed, self.status) {
            (Some(stop), ..) => stop,
            (None, Some(failed), _) => failed,
            // The kernel kills with SIGKILL: for memory, by the cgroup's count.
            (None, None, Some(status)) if oom && status & 0x7f == libc::SIGKILL => {
                Cause::Limit { limit: Limit::Memory }
            }
            // A runtime passes on the end of a container as a status.
            (None, None, Some(status)) if oom && status != 0 && self.plan.ground.runtime().is_some() => {
                Cause::Limit { limit: Limit::Memory }
            }
            (None, None, Some(status)) => match self.passed_on {
                // gVisor's runtime ends of a signal that is meant for the code, and so does the code.
                Some(signal) if status >> 8 == 255 && self.plan.ground.tier() == Tier::Gvisor => {
                    Cause::Signalled { signal }
                }
                _ => cause_of_status(status, self.plan),
            },
            (None, None, None) => Cause::Cancelled,
        };
        if let Some(session) = &mut self.session {
            session.end(cause, &mut streams::buffer());
            self.said = std::mem::take(&mut session.said);
        }
        Ended {
            cause,
            note: self.note.or_else(|| self.session.as_ref().and_then(|session| session.note)),
            wall_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            memory_peak_bytes: self.memory_peak_bytes,
            cpu_usec: self.cpu_usec,
            stream_bytes: self.output.bytes.saturating_add(self.error.bytes),
            drained: self.drained.unwrap_or_default(),
            init_was_killed: self.init_was_killed,
            names: self.resolver.iter().flat_map(Resolver::names).cloned().collect(),
            refused: self.refused,
            scratch_was_full: self.scratch_was_full,
            disk_was_full: self.disk_was_full,
            is_too_deep: self.too_much == Some(Over::Depth),
            said: self.said,
            error_ends_open: self.error.ends_open() || (self.terminal.is_some() && self.output.ends_open()),
        }
    }
}

/// Which of the descriptors have something.
#[derive(Clone, Copy, Debug, Default)]
struct Ready([bool; 14]);

fn cause_of_failed_execution(step: u8, errno: i32) -> Result<Cause, Failure> {
    match (Step::parse(step), told_errno(errno)) {
        (Some(Step::Execute), Errno::NOENT | Errno::NOTDIR) => Ok(Cause::NotFound),
        (Some(Step::Execute), _) => Ok(Cause::NotExecutable),
        (Some(step), errno) => Err(Failure::Inside { step, object: None, errno }),
        (None, _) => Err(Failure::Lost),
    }
}

fn cause_of_status(status: i32, plan: &Plan) -> Cause {
    // wait(2): the low seven bits are the signal, the next byte the exit status.
    match status & 0x7f {
        0 => Cause::Exited { status: (status >> 8) & 0xff },
        // The backstop of one process; the tree's limit is watched.
        libc::SIGXCPU if plan.limits.cpu_ms > 0 => Cause::Limit { limit: Limit::CpuTime },
        libc::SIGXFSZ => Cause::Limit { limit: Limit::FileSize },
        signal => Cause::Signalled { signal },
    }
}

fn conclude(mut running: Running, mut ended: Ended, refused_network: u64) -> Result<Finished, Failure> {
    if let Some(proofs) = running.proofs.take() {
        let told = proofs.read(&running, ended.cause)?;
        ended.cause = told.cause;
        running.enforced = running.enforced.and(told.proven);
        running.notes.extend(told.note);
        // What is left of a container is its runtime's own.
        ended.drained.killed = 0;
    }
    let used = ended.drained.used;
    let counted = running.group.as_ref().map(Group::usage);
    let usage = Usage {
        wall_ms: ended.wall_ms,
        cpu_ms: counted
            .as_ref()
            .and_then(|counted| counted.cpu_usec)
            .map_or(u64::from(used.cpu_ms).max(ended.cpu_usec / 1_000), |cpu_usec| cpu_usec / 1_000),
        memory_peak_bytes: counted
            .as_ref()
            .and_then(|counted| counted.memory_peak_bytes)
            .unwrap_or_else(|| ended.memory_peak_bytes.max(u64::from(used.resident_peak_kib) << 10)),
        bytes_in: running.staged.iter().map(|staged| staged.identity.bytes).sum(),
        bytes_out: 0,
        stream_bytes: ended.stream_bytes,
    };
    let mut denials: Vec<Denial> = ended.names.into_iter().map(|name| Denial::Name { name }).collect();
    if refused_network > 0 {
        denials.push(Denial::Addresses { count: refused_network });
    }
    denials.extend(
        ended
            .refused
            .into_iter()
            .map(|(number, count)| Denial::SystemCall { name: call_name(&running.plan, number), count }),
    );
    if let Some(count) = counted.as_ref().and_then(|counted| counted.pids_refused).filter(|count| *count > 0) {
        denials.push(Denial::Processes { count });
    }
    denials.extend(ended.scratch_was_full.map(|limit| Denial::Full { limit }));
    if ended.disk_was_full {
        denials.push(Denial::DiskFull);
    }
    let mut notes = running.notes;
    if running.disk.is_some() {
        notes.push("scratch is on disk: watched, not walled".to_owned());
    }
    notes.extend(ended.note.map(ToOwned::to_owned));
    if ended.is_too_deep {
        notes.push(format!("scratch on disk cannot be watched below {DEPTH_MAX} folders in each other"));
    }
    let accounting = running.group.as_ref().map_or(Accounting::Watchdog, |group| match group.enforced().version {
        Version::V1 => Accounting::CgroupV1,
        Version::V2 => Accounting::CgroupV2,
    });
    if ended.init_was_killed {
        notes.push("the sandbox was killed as a whole: how many processes were left is not known".to_owned());
    }
    let is_on_disk = running.disk.is_some() || running.plan.ground.folder().is_some();
    let outcome = Outcome {
        cause: ended.cause,
        usage,
        enforced: running.enforced,
        accounting,
        scratch: if is_on_disk { ScratchPlace::Disk } else { ScratchPlace::Memory },
        denials,
        network: None,
        attempts: Vec::new(),
        processes_left: u64::from(ended.drained.killed),
        notes,
    };
    Ok(Finished {
        plan: running.plan,
        outcome,
        said: ended.said,
        error_ends_open: ended.error_ends_open,
        began: running.began,
        scratch: running.scratch.ok_or(Failure::Lost)?,
        staged: running.staged,
        copied_mounts: running.copied_mounts,
        disk: running.disk,
        ending: Ending { _init: running.init, _group: running.group, _folder: running.folder },
    })
}

fn call_name(plan: &Plan, number: i32) -> String {
    u32::try_from(number)
        .ok()
        .and_then(|number| plan.syscalls.name(number))
        .map_or_else(|| format!("number {number}"), ToOwned::to_owned)
}
