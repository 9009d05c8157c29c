//! Looks, as the node asks for them: a few at once, one of each principal at a time, and none for ever.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use crate::link::Ending;
use crate::look::Look;
use crate::refusal::{Kind, Refusal};
use crate::runner::{memory, read_report};
use crate::service::Node;
use crate::wire::RunId;

/// At once.
const AT_ONCE: usize = 2;
/// How long who asks waits for its turn, and for the answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// The status of a look that found nothing of the name.
const NOT_FOUND: i32 = 127;

/// Who looks.
#[derive(Debug)]
pub(crate) struct Looks {
    all: Arc<Semaphore>,
    each: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl Default for Looks {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(AT_ONCE)), each: Mutex::default() }
    }
}

impl Looks {
    /// The turns of one principal.
    fn of(&self, principal: &str) -> Arc<Semaphore> {
        let mut each = self.each.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody waits for are not remembered.
        each.retain(|_, turns| Arc::strong_count(turns) > 1);
        Arc::clone(each.entry(principal.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(1))))
    }
}

/// What a look says that found nothing.
#[derive(Debug, Deserialize)]
struct Problem {
    what: String,
    why: String,
    next: String,
}

impl Node {
    /// Looks at something for a principal. A caller who goes away meanwhile changes nothing.
    pub(crate) async fn look<T: DeserializeOwned + Send + 'static>(
        self: &Arc<Self>,
        principal: &str,
        look: Look,
        files: Vec<Bytes>,
    ) -> Result<T, Refusal> {
        let (node, principal) = (Arc::clone(self), principal.to_owned());
        let looked = tokio::spawn(async move {
            let busy = |_| {
                let why = "you and others ask for more than can be told at once";
                Refusal::new(Kind::TooMany, "the node has not come to it", why, "ask again in a moment")
            };
            let (own, all) = (node.looks.of(&principal), Arc::clone(&node.looks.all));
            let turn = async { (own.acquire_owned().await.ok(), all.acquire_owned().await.ok()) };
            let _turn = tokio::time::timeout(PATIENCE, turn).await.map_err(busy)?;
            node.carry_out(&principal, look, files).await
        });
        looked.await.map_err(|_| unseen("it broke off"))?
    }

    async fn carry_out<T: DeserializeOwned>(
        &self,
        principal: &str,
        look: Look,
        files: Vec<Bytes>,
    ) -> Result<T, Refusal> {
        let failed = |error: std::io::Error| unseen(&crate::system_text(&error));
        let run = RunId::random().map_err(failed)?;
        let report = memory("report").map_err(failed)?;
        let mut descriptors = vec![report.try_clone().map_err(failed)?.into()];
        for bytes in files {
            let mut file = memory("input").map_err(failed)?;
            file.write_all(&bytes).map_err(failed)?;
            descriptors.push(file.into());
        }
        let ending = self.link.look(&run, principal, look, descriptors).await?;
        let ending = ending.await.map_err(|_| unseen("the launcher is gone"))?;
        let report = read_report(report, &ending);
        match ending {
            Ending::Refused(refusal) => Err(refusal),
            Ending::Ended { status: 0, killed: false } => serde_json::from_slice(&report).map_err(|error| {
                tracing::error!(error = %error, "what was looked at cannot be understood");
                unseen("the answer cannot be understood")
            }),
            Ending::Ended { killed: true, .. } => {
                let why = "it took too long, or was ended";
                Err(Refusal::new(Kind::Unavailable, "the node cannot see this", why, "ask again in a moment"))
            }
            Ending::Ended { status, .. } => {
                let kind = if status == NOT_FOUND { Kind::Missing } else { Kind::Failed };
                let Ok(Problem { what, why, next }) = serde_json::from_slice(&report) else {
                    return Err(unseen("it ended without an answer"));
                };
                Err(Refusal::new(kind, what, why, next))
            }
        }
    }
}

fn unseen(why: &str) -> Refusal {
    Refusal::failed("the node cannot see this", why)
}
