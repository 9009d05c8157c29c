//! The node's end of the socket to its launcher.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use stockade_core::session::Act;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use crate::look::Look;
use crate::opening::Opening;
use crate::order::Order;
use crate::refusal::Refusal;
use crate::wire::{self, Answer, Ask, Beside, Frame, RunId};

/// Said and not yet sent; who says more waits.
const WAITING_MAX: usize = 64;

/// How a run ended, by the launcher's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Its supervisor has ended.
    Ended { status: i32, killed: bool },
    /// It did not start.
    Refused(Refusal),
}

#[derive(Debug)]
enum Replied {
    Opened(OwnedFd, u64),
    Done,
    Failed(Refusal),
}

/// The way to the launcher.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    said: mpsc::Sender<(Vec<u8>, Vec<OwnedFd>)>,
    expected: Arc<Mutex<Expected>>,
    number: Arc<AtomicU64>,
}

/// Who waits for what. When the launcher is gone it is emptied, and everybody hears that.
#[derive(Debug, Default)]
struct Expected {
    endings: HashMap<RunId, oneshot::Sender<Ending>>,
    replies: HashMap<u64, oneshot::Sender<Replied>>,
    is_over: bool,
}

impl Link {
    /// Speaks over this socket; the future ends when the launcher is gone, and says why.
    pub(crate) fn open(socket: OwnedFd) -> io::Result<(Self, impl Future<Output = io::Error> + Send)> {
        // Not a stream, but the runtime only looks at whether it is ready.
        let socket = std::os::unix::net::UnixStream::from(socket);
        socket.set_nonblocking(true)?;
        let socket = UnixStream::from_std(socket)?;
        let (said, to_say) = mpsc::channel(WAITING_MAX);
        let expected = Arc::new(Mutex::new(Expected::default()));
        let link = Self { said, expected: Arc::clone(&expected), number: Arc::new(AtomicU64::new(0)) };
        let follow = async move {
            let error = tokio::select! {
                Err(error) = speak(&socket, to_say) => error,
                Err(error) = listen(&socket, &expected) => error,
                else => io::ErrorKind::UnexpectedEof.into(),
            };
            let mut expected = expected.lock().unwrap_or_else(PoisonError::into_inner);
            *expected = Expected { is_over: true, ..Expected::default() };
            error
        };
        Ok((link, follow))
    }

    /// Starts a run. The answer comes when it has ended; none, when the launcher is gone.
    pub(crate) async fn start(
        &self,
        run: &RunId,
        principal: &str,
        order: Order,
        descriptors: Vec<OwnedFd>,
    ) -> Result<oneshot::Receiver<Ending>, Refusal> {
        let ask = Ask::Start { run: run.clone(), principal: principal.to_owned(), order };
        self.begin(run, ask, descriptors).await
    }

    /// Opens a session; as with a run.
    pub(crate) async fn open_session(
        &self,
        run: &RunId,
        principal: &str,
        opening: Opening,
        descriptors: Vec<OwnedFd>,
    ) -> Result<oneshot::Receiver<Ending>, Refusal> {
        let ask = Ask::OpenSession { run: run.clone(), principal: principal.to_owned(), opening };
        self.begin(run, ask, descriptors).await
    }

    /// Looks at something; as with a run.
    pub(crate) async fn look(
        &self,
        run: &RunId,
        principal: &str,
        what: Look,
        descriptors: Vec<OwnedFd>,
    ) -> Result<oneshot::Receiver<Ending>, Refusal> {
        let ask = Ask::Look { run: run.clone(), principal: principal.to_owned(), what };
        self.begin(run, ask, descriptors).await
    }

    /// Has something done in a session; as with a run.
    pub(crate) async fn act(
        &self,
        session: &RunId,
        act: &RunId,
        what: Act,
        descriptors: Vec<OwnedFd>,
    ) -> Result<oneshot::Receiver<Ending>, Refusal> {
        let ask = Ask::Act { session: session.clone(), act: act.clone(), what };
        self.begin(act, ask, descriptors).await
    }

    /// Interrupts something in a session, if it is under way.
    pub(crate) async fn interrupt(&self, session: &RunId, act: &RunId) -> Result<(), Refusal> {
        self.say(&Ask::Interrupt { session: session.clone(), act: act.clone() }, Vec::new()).await
    }

    /// Ends a session, if it is open.
    pub(crate) async fn close_session(&self, session: &RunId) -> Result<(), Refusal> {
        self.say(&Ask::CloseSession { session: session.clone() }, Vec::new()).await
    }

    async fn begin(
        &self,
        run: &RunId,
        ask: Ask,
        descriptors: Vec<OwnedFd>,
    ) -> Result<oneshot::Receiver<Ending>, Refusal> {
        let (sender, ending) = oneshot::channel();
        self.expect(|expected| drop(expected.endings.insert(run.clone(), sender)))?;
        let said = self.say(&ask, descriptors).await;
        if said.is_err() {
            self.expect(|expected| drop(expected.endings.remove(run)))?;
        }
        said.map(|()| ending)
    }

    /// Ends a run, if it runs.
    pub(crate) async fn cancel(&self, run: &RunId) -> Result<(), Refusal> {
        self.say(&Ask::Cancel { run: run.clone() }, Vec::new()).await
    }

    /// Opens an output; tells its bytes.
    pub(crate) async fn output(&self, run: &RunId, path: &str) -> Result<(std::fs::File, u64), Refusal> {
        let number = self.next();
        match self.ask(number, Ask::Open { number, run: run.clone(), path: path.to_owned() }, Vec::new()).await? {
            Replied::Opened(file, bytes) => Ok((file.into(), bytes)),
            Replied::Failed(refusal) => Err(refusal),
            Replied::Done => Err(gone()),
        }
    }

    /// Removes the files of a run.
    pub(crate) async fn forget(&self, run: &RunId) -> Result<(), Refusal> {
        let number = self.next();
        done(self.ask(number, Ask::Forget { number, run: run.clone() }, Vec::new()).await?)
    }

    /// Refuses a process, by its pidfd, that is not in the launcher's user namespace.
    pub(crate) async fn beside(&self, process: OwnedFd) -> Result<(), Refusal> {
        let number = self.next();
        done(self.ask(number, Ask::Beside { number }, vec![process]).await?)
    }

    /// Whether the launcher is gone.
    pub(crate) fn is_over(&self) -> bool {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner).is_over
    }

    fn next(&self) -> u64 {
        self.number.fetch_add(1, Ordering::Relaxed)
    }

    async fn ask(&self, number: u64, ask: Ask, descriptors: Vec<OwnedFd>) -> Result<Replied, Refusal> {
        let (sender, reply) = oneshot::channel();
        self.expect(|expected| drop(expected.replies.insert(number, sender)))?;
        self.say(&ask, descriptors).await?;
        reply.await.map_err(|_| gone())
    }

    async fn say(&self, ask: &Ask, descriptors: Vec<OwnedFd>) -> Result<(), Refusal> {
        let bytes = wire::encode(ask).ok_or_else(|| Refusal::failed("the run is too large", "it fits no frame"))?;
        self.said.send((bytes, descriptors)).await.map_err(|_| gone())
    }

    fn expect(&self, act: impl FnOnce(&mut Expected)) -> Result<(), Refusal> {
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        if expected.is_over {
            return Err(gone());
        }
        act(&mut expected);
        Ok(())
    }
}

fn done(replied: Replied) -> Result<(), Refusal> {
    match replied {
        Replied::Done => Ok(()),
        Replied::Failed(refusal) => Err(refusal),
        Replied::Opened(..) => Err(gone()),
    }
}

fn gone() -> Refusal {
    Refusal::failed("nothing can be run", "the launcher is gone")
}

async fn speak(
    socket: &UnixStream,
    mut to_say: mpsc::Receiver<(Vec<u8>, Vec<OwnedFd>)>,
) -> io::Result<std::convert::Infallible> {
    while let Some((bytes, descriptors)) = to_say.recv().await {
        let beside: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
        socket.async_io(Interest::WRITABLE, || wire::send(socket, &bytes, &beside)).await?;
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

async fn listen(socket: &UnixStream, expected: &Mutex<Expected>) -> io::Result<std::convert::Infallible> {
    loop {
        let frame = socket.async_io(Interest::READABLE, || wire::receive(socket, Beside::Descriptors)).await?;
        let Frame::Whole(bytes, descriptors) = frame else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        let answer = wire::parse::<Answer>(&bytes).ok_or(io::ErrorKind::InvalidData)?;
        let mut expected = expected.lock().unwrap_or_else(PoisonError::into_inner);
        expected.hear(answer, descriptors);
    }
}

impl Expected {
    fn hear(&mut self, answer: Answer, descriptors: Vec<OwnedFd>) {
        // Who waited may have gone away, as a client does whose output is being opened.
        match answer {
            Answer::Apart {} | Answer::Ready {} => {}
            Answer::Refused { run, refusal } => {
                drop(self.endings.remove(&run).map(|waits| waits.send(Ending::Refused(refusal))));
            }
            Answer::Ended { run, status, killed } => {
                drop(self.endings.remove(&run).map(|waits| waits.send(Ending::Ended { status, killed })));
            }
            Answer::Opened { number, bytes } => {
                let reply = descriptors
                    .into_iter()
                    .next()
                    .map_or_else(|| Replied::Failed(gone()), |file| Replied::Opened(file, bytes));
                drop(self.replies.remove(&number).map(|waits| waits.send(reply)));
            }
            Answer::Done { number } => drop(self.replies.remove(&number).map(|waits| waits.send(Replied::Done))),
            Answer::Failed { number, refusal } => {
                drop(self.replies.remove(&number).map(|waits| waits.send(Replied::Failed(refusal))));
            }
        }
    }
}
