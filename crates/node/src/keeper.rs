//! The store, on a thread of its own: everything else asks it and waits its turn.

use std::path::PathBuf;

use stockade_store::Store;
use tokio::sync::{mpsc, oneshot};

use crate::refusal::{Kind, Refusal};

/// Asked and not yet done; who asks more waits.
const WAITING_MAX: usize = 64;

type Job = Box<dyn FnOnce(&mut Store) + Send>;

/// The way to the store.
#[derive(Clone, Debug)]
pub(crate) struct Keeper(mpsc::Sender<Job>);

impl Keeper {
    /// Opens the file on the thread that will use it.
    pub(crate) fn open(path: PathBuf) -> Result<Self, stockade_store::Error> {
        let (jobs, mut waiting) = mpsc::channel::<Job>(WAITING_MAX);
        let mut store = Store::open(&path)?;
        std::thread::spawn(move || {
            while let Some(job) = waiting.blocking_recv() {
                job(&mut store);
            }
        });
        Ok(Self(jobs))
    }

    /// Does something with the store.
    pub(crate) async fn with<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Store) -> stockade_store::Result<T> + Send + 'static,
    ) -> Result<T, Refusal> {
        let (answer, done) = oneshot::channel();
        let job: Job = Box::new(move |store| {
            // Who asked may have gone away.
            drop(answer.send(act(store)));
        });
        let gone = |()| {
            let next = "ask again when it is back, with the same idempotency key";
            Refusal::new(Kind::Unavailable, "the node may not have kept this", "it is ending", next)
        };
        self.0.send(job).await.map_err(|_| gone(()))?;
        Ok(done.await.map_err(|_| gone(()))??)
    }
}
