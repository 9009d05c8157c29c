//! Parent, outside: what the run's streams are connected to. No descriptor of the caller enters the
//! sandbox; bytes are relayed, counted, and neutralised where a terminal would obey them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use crate::neutralise::Neutraliser;

/// Most bytes moved at once: two pipes' worth, for the reason told at [`buffer`].
const CHUNK_BYTES: usize = 1 << 17;

/// Where the code's standard input comes from.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A descriptor of the caller.
    Descriptor(BorrowedFd<'a>),
    /// Nothing: end of file at once.
    Empty,
}

/// Where the code's output goes.
pub enum Output<'a> {
    /// A descriptor of the caller; `neutral` drops what a terminal would obey.
    Descriptor {
        /// The descriptor.
        to: BorrowedFd<'a>,
        /// Whether control sequences are neutralised.
        neutral: bool,
    },
    /// The same, owned.
    Owned(OwnedFd),
    /// A function that takes the bytes as they come.
    Taken(&'a mut dyn FnMut(&[u8])),
}

impl std::fmt::Debug for Output<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Descriptor { .. } => "Descriptor",
            Self::Owned(_) => "Owned",
            Self::Taken(_) => "Taken",
        })
    }
}

impl Output<'_> {
    /// The caller's end, where it is a descriptor.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Descriptor { to, .. } => Some(*to),
            Self::Owned(to) => Some(to.as_fd()),
            Self::Taken(_) => None,
        }
    }

    const fn is_neutral(&self) -> bool {
        matches!(self, Self::Descriptor { neutral: true, .. })
    }
}

/// The caller's side of the three streams.
#[derive(Debug)]
pub struct Streams<'a> {
    /// Standard input.
    pub input: Input<'a>,
    /// Standard output.
    pub output: Output<'a>,
    /// Standard error.
    pub error: Output<'a>,
}

/// One output stream on its way from the code to the caller.
#[derive(Debug)]
pub(crate) struct Outward<'a> {
    from: Option<OwnedFd>,
    to: Output<'a>,
    filter: Neutraliser,
    pending: Vec<u8>,
    written: usize,
    last: Option<u8>,
    /// How much is still taken of the code, once that is known.
    left: Option<usize>,
    /// Bytes that came from the code.
    pub(crate) bytes: u64,
}

impl<'a> Outward<'a> {
    pub(crate) fn new(from: OwnedFd, to: Output<'a>) -> Self {
        Self {
            from: Some(from),
            to,
            filter: Neutraliser::default(),
            pending: Vec::new(),
            written: 0,
            last: None,
            left: None,
            bytes: 0,
        }
    }

    fn has_pending(&self) -> bool {
        self.written < self.pending.len()
    }

    /// What to wait for: room at the caller's end when bytes are pending, else bytes of the code.
    pub(crate) fn wait(&self) -> Option<PollFd<'_>> {
        match (self.to.descriptor(), &self.from) {
            (Some(to), _) if self.has_pending() => Some(PollFd::from_borrowed_fd(to, PollFlags::OUT)),
            (_, Some(from)) => Some(PollFd::new(from, PollFlags::IN)),
            (_, None) => None,
        }
    }

    /// Takes what lies in the pipe now, and nothing that is written later.
    pub(crate) fn end_here(&mut self) {
        let waits = self.from.as_ref().and_then(|from| rustix::io::ioctl_fionread(from).ok()).unwrap_or(0);
        self.left = Some(usize::try_from(waits).unwrap_or(usize::MAX));
        self.close_if_done();
    }

    /// Whether nothing will be passed on any more.
    pub(crate) fn is_done(&self) -> bool {
        self.from.is_none() && !self.has_pending()
    }

    fn close_if_done(&mut self) {
        if self.left == Some(0) {
            self.from = None;
        }
    }

    /// Whether the last line that came is not ended.
    pub(crate) fn ends_open(&self) -> bool {
        self.last.is_some_and(|last| last != b'\n')
    }

    /// Moves what can be moved without waiting; of the code's bytes at most `room` are passed on,
    /// the rest is counted and dropped. Says whether anything moved.
    pub(crate) fn advance(&mut self, buffer: &mut [u8], room: u64) -> bool {
        if self.has_pending() {
            self.write_some();
            return true;
        }
        let Some(from) = &self.from else { return false };
        let most = self.left.unwrap_or(buffer.len()).min(buffer.len());
        match rustix::io::read(from, buffer.get_mut(..most).unwrap_or_default()) {
            Ok(count) if count > 0 => {
                self.left = self.left.map(|left| left.saturating_sub(count));
                self.bytes += u64::try_from(count).unwrap_or(u64::MAX);
                let kept = count.min(usize::try_from(room).unwrap_or(usize::MAX));
                let bytes = buffer.get(..kept).unwrap_or_default();
                self.last = bytes.last().copied().or(self.last);
                self.accept(bytes);
                self.close_if_done();
                true
            }
            Err(Errno::AGAIN | Errno::INTR) => false,
            // End of file; EIO is what a terminal's master says when nobody holds the other side.
            Ok(_) | Err(_) => {
                self.from = None;
                false
            }
        }
    }

    fn accept(&mut self, bytes: &[u8]) {
        if let Output::Taken(take) = &mut self.to {
            take(bytes);
            return;
        }
        self.pending = if self.to.is_neutral() { self.filter.pass(bytes) } else { bytes.to_vec() };
        self.written = 0;
        self.write_some();
    }

    /// Writes at most what fits into a pipe that `poll` says has room, so a slow reader never
    /// keeps the supervisor from its other duties.
    fn write_some(&mut self) {
        let Some(to) = self.to.descriptor() else { return };
        let mut ready = [PollFd::from_borrowed_fd(to, PollFlags::OUT)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        while self.written < self.pending.len() {
            if !matches!(rustix::event::poll(&mut ready, Some(&now)), Ok(1..)) {
                return;
            }
            let end = self.pending.len().min(self.written + rustix::pipe::PIPE_BUF);
            match rustix::io::write(to, self.pending.get(self.written..end).unwrap_or_default()) {
                Ok(count) => self.written += count,
                Err(Errno::AGAIN | Errno::INTR) => return,
                Err(_) => {
                    // The caller's reader is gone: so is ours, and the code learns it as usual.
                    self.from = None;
                    self.pending.clear();
                    self.written = 0;
                    return;
                }
            }
        }
    }

    /// After the code's end: everything it still wrote, at most `most` bytes in all; waits for a slow
    /// reader until `interrupt` has something, and not at all without it.
    pub(crate) fn drain(&mut self, buffer: &mut [u8], most: u64, interrupt: Option<BorrowedFd<'_>>) {
        while self.advance(buffer, most.saturating_sub(self.bytes)) || self.has_pending() {
            if self.bytes > most && !self.has_pending() {
                break;
            }
            if self.has_pending() && !self.reader_has_room(interrupt) {
                return;
            }
        }
        self.restore_colours();
    }

    /// Waits until the caller's end takes more; `false` when something else happened.
    fn reader_has_room(&self, interrupt: Option<BorrowedFd<'_>>) -> bool {
        let (Some(to), Some(interrupt)) = (self.to.descriptor(), interrupt) else { return false };
        let mut ready =
            [PollFd::from_borrowed_fd(to, PollFlags::OUT), PollFd::from_borrowed_fd(interrupt, PollFlags::IN)];
        let waited = rustix::event::poll(&mut ready, None);
        let [_, interrupted] = ready;
        waited.is_ok() && interrupted.revents().is_empty()
    }

    /// Colours the code left on would hide what comes after.
    fn restore_colours(&mut self) {
        if self.filter.left_colours() && self.to.is_neutral() {
            self.pending = b"\x1b[0m".to_vec();
            self.written = 0;
            self.write_some();
        }
    }
}

/// Standard input on its way from the caller to the code.
#[derive(Debug)]
pub(crate) struct Inward<'a> {
    from: Option<BorrowedFd<'a>>,
    to: Option<OwnedFd>,
    pending: Vec<u8>,
    written: usize,
}

impl<'a> Inward<'a> {
    pub(crate) fn new(input: Input<'a>, to: OwnedFd) -> Self {
        match input {
            Input::Descriptor(from) => Self { from: Some(from), to: Some(to), pending: Vec::new(), written: 0 },
            Input::Empty => Self { from: None, to: None, pending: Vec::new(), written: 0 },
        }
    }

    /// What to wait for: the caller's bytes, or room in the code's pipe when bytes are pending.
    pub(crate) fn wait(&self) -> Option<PollFd<'_>> {
        let to = self.to.as_ref()?;
        if self.written < self.pending.len() {
            return Some(PollFd::new(to, PollFlags::OUT));
        }
        self.from.map(|from| PollFd::from_borrowed_fd(from, PollFlags::IN))
    }

    /// Moves what can be moved; says what was read from the caller, for the terminal's interrupts.
    pub(crate) fn advance(&mut self, buffer: &mut [u8]) -> usize {
        let mut interrupts = 0;
        if self.written >= self.pending.len() {
            let Some(from) = self.from else { return 0 };
            match rustix::io::read(from, &mut *buffer) {
                Ok(count) if count > 0 => {
                    let bytes = buffer.get(..count).unwrap_or_default();
                    interrupts = bytes.iter().filter(|byte| **byte == 3).count();
                    self.pending.clear();
                    self.pending.extend_from_slice(bytes);
                    self.written = 0;
                }
                Err(Errno::AGAIN | Errno::INTR) => return 0,
                // End of the caller's input: the code reads end of file.
                Ok(_) | Err(_) => {
                    self.from = None;
                    self.to = None;
                    return 0;
                }
            }
        }
        self.write_some();
        interrupts
    }

    fn write_some(&mut self) {
        let Some(to) = &self.to else { return };
        while self.written < self.pending.len() {
            match rustix::io::write(to, self.pending.get(self.written..).unwrap_or_default()) {
                Ok(count) => self.written += count,
                Err(Errno::AGAIN | Errno::INTR) => return,
                // The code closed its input.
                Err(_) => {
                    self.from = None;
                    self.to = None;
                    return;
                }
            }
        }
    }
}

/// The buffer that one supervisor shares among its streams.
///
/// Large enough to come from the kernel as zero pages, of which only those in use are ever made.
pub(crate) fn buffer() -> Vec<u8> {
    vec![0; CHUNK_BYTES]
}

/// The caller's terminal in raw mode, restored on drop: the run's own terminal interprets the keys.
#[derive(Debug)]
pub(crate) struct RawTerminal<'a> {
    terminal: BorrowedFd<'a>,
    before: rustix::termios::Termios,
}

impl<'a> RawTerminal<'a> {
    pub(crate) fn enter(terminal: BorrowedFd<'a>) -> Result<Self, Errno> {
        let before = rustix::termios::tcgetattr(terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(terminal, rustix::termios::OptionalActions::Now, &raw)?;
        Ok(Self { terminal, before })
    }

    /// Gives the run's terminal the size of the caller's.
    pub(crate) fn copy_size(&self, master: impl AsFd) {
        if let Ok(size) = rustix::termios::tcgetwinsize(self.terminal) {
            // A terminal without a size is as good as one of the wrong size.
            rustix::termios::tcsetwinsize(master, size).ok();
        }
    }
}

impl Drop for RawTerminal<'_> {
    fn drop(&mut self) {
        // Nothing better can be done when the terminal is gone.
        rustix::termios::tcsetattr(self.terminal, rustix::termios::OptionalActions::Now, &self.before).ok();
    }
}
