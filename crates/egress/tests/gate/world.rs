//! A gate, a run, and what the gate told.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use stockade_egress::dial::Answer;
use stockade_egress::event::What;
use stockade_egress::{Budget, Event, Gate, Handle, Name, NewRun, Resolve, Rules, Secret, Sink, Sockets};

/// Everything the gate told.
#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<Vec<Event>>);

impl Sink for Told {
    fn take(&self, event: &Event) -> std::io::Result<()> {
        self.0.lock().unwrap().push(event.clone());
        Ok(())
    }
}

impl Told {
    pub(crate) fn all(&self) -> Vec<What> {
        self.0.lock().unwrap().iter().map(|event| event.what.clone()).collect()
    }

    pub(crate) fn of(&self, run: &str) -> Vec<What> {
        self.0.lock().unwrap().iter().filter(|event| event.run == run).map(|event| event.what.clone()).collect()
    }
}

/// Names and their answers, one after the other; the last one stays.
#[derive(Debug, Default)]
pub(crate) struct Names {
    answers: Mutex<HashMap<String, Vec<Vec<IpAddr>>>>,
    pub(crate) asked: AtomicU64,
}

impl Names {
    pub(crate) fn set(&self, name: &str, answers: &[&[&str]]) {
        let answers = answers.iter().map(|one| one.iter().map(|ip| ip.parse().unwrap()).collect()).collect();
        self.answers.lock().unwrap().insert(name.to_owned(), answers);
    }
}

impl Resolve for Names {
    fn resolve<'a>(&'a self, name: &'a Name) -> Answer<'a> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut answers = self.answers.lock().unwrap();
        let answer = match answers.get_mut(name.as_str()) {
            Some(known) if known.len() > 1 => known.remove(0),
            Some(known) => known[0].clone(),
            // Every other name of the tests is here.
            None => vec!["127.0.0.1".parse().unwrap()],
        };
        Box::pin(async move { Ok(answer) })
    }
}

/// A gate that serves one run, `r1`.
pub(crate) struct World {
    pub(crate) gate: Gate,
    pub(crate) told: Arc<Told>,
    pub(crate) names: Arc<Names>,
    pub(crate) proxy: SocketAddr,
    pub(crate) handle: Handle,
}

/// What is not usual about a world.
#[derive(Default)]
pub(crate) struct Unusual {
    pub(crate) budget: Budget,
    pub(crate) secrets: Vec<Secret>,
    pub(crate) roots: Vec<CertificateDer<'static>>,
}

impl World {
    pub(crate) fn new(grants: &[impl AsRef<str>]) -> Self {
        Self::with(grants, Unusual::default())
    }

    pub(crate) fn with(grants: &[impl AsRef<str>], unusual: Unusual) -> Self {
        let (told, names) = (Arc::new(Told::default()), Arc::new(Names::default()));
        let gate = Gate::trusting(names.clone(), told.clone(), unusual.roots);
        let (proxy, handle) = add(&gate, "r1", grants, unusual.budget, unusual.secrets);
        Self { gate, told, names, proxy, handle }
    }

    /// What was refused so far: what was asked, and the code of the reason.
    pub(crate) fn refusals(&self) -> Vec<(String, String)> {
        refusals(&self.told.all())
    }

    /// Waits for a refusal with this reason and returns what was asked.
    pub(crate) async fn refused(&self, reason: &str) -> String {
        for _ in 0..400 {
            if let Some((asked, _)) = self.refusals().into_iter().find(|(_, code)| code == reason) {
                return asked;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no refusal `{reason}` among {:?}", self.told.all());
    }

    /// Waits until as many connections are closed.
    pub(crate) async fn closed(&self, count: usize) -> Vec<What> {
        for _ in 0..400 {
            let closed: Vec<What> =
                self.told.all().into_iter().filter(|what| matches!(what, What::Closed { .. })).collect();
            if closed.len() >= count {
                return closed;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("fewer than {count} connections closed: {:?}", self.told.all());
    }
}

pub(crate) fn refusals(told: &[What]) -> Vec<(String, String)> {
    told.iter()
        .filter_map(|what| match what {
            What::Refused { asked, reason, .. } => Some((asked.clone(), reason.clone())),
            What::Opened { .. } | What::Closed { .. } | What::Ended { .. } => None,
        })
        .collect()
}

/// Adds a run with a TCP listener of its own.
pub(crate) fn add(
    gate: &Gate,
    id: &str,
    grants: &[impl AsRef<str>],
    budget: Budget,
    secrets: Vec<Secret>,
) -> (SocketAddr, Handle) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = listener.local_addr().unwrap();
    let rules = rules(grants);
    let run = NewRun { id: id.to_owned(), rules, budget, secrets, ..NewRun::default() };
    (proxy, gate.add(run, Sockets::proxies(vec![listener.into()])).unwrap())
}

pub(crate) fn rules(grants: &[impl AsRef<str>]) -> Rules {
    Rules::new(grants.iter().map(|text| text.as_ref().parse().unwrap()).collect())
}
