//! What security has to know of the machine and the command line, read while the node can still open files.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use stockade_core::policy::Policy;
use stockade_identity::hosts::{Answer, Resolve, SystemResolver, Unresolved};

use super::outward::Outward;
use crate::refusal::Refusal;
use crate::secrets::Secrets;
use crate::settings::Start;
use crate::tls::Names;

/// Longest name of a node or a cluster.
const LABEL_CHARS_MAX: usize = 63;
/// The cluster of a node that was given no name.
const CLUSTER: &str = "stockade";

/// What a node is made with.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// `NODE.CLUSTER`.
    pub(super) service: String,
    /// Who administers the node whatever its configuration says: the user it runs as, and root.
    pub(super) owners: [u32; 2],
    /// Users of this machine, by number. Who is made later counts when the node is started anew.
    pub(super) accounts: HashMap<u32, String>,
    /// The policies that runs are decided by, of which each must be granted.
    pub(super) policies: Vec<String>,
    /// Where secrets come from that configuration names.
    pub(super) secrets: Arc<Secrets>,
    /// What the node is reached as over TLS, if it is.
    pub(super) names: Option<Arc<Names>>,
    /// The server profile that is offered there, where it is not a certificate of the flags.
    pub(super) profile: Option<String>,
    /// Addresses of the machine, each with what it is called.
    pub(super) addresses: Vec<(IpAddr, String)>,
    /// What realms may use of outside.
    pub(crate) outward: Outward,
    /// What the machine calls itself since it was started.
    pub(super) boot: String,
    resolver: Arc<dyn Resolve>,
}

impl Terms {
    /// As the flags say it; once the process is whom it serves as.
    ///
    /// # Errors
    /// [`Refusal`] for a name that is none, or a policy that cannot be read.
    pub(crate) fn of(asked: &Start, policies: &[PathBuf]) -> Result<Self, Refusal> {
        let service = match &asked.service_name {
            Some(name) => checked(name)?,
            None => usual_name(),
        };
        let passwords = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        Ok(Self {
            service,
            owners: [rustix::process::geteuid(), rustix::process::Uid::ROOT].map(rustix::process::Uid::as_raw),
            accounts: accounts(&passwords),
            policies: names(policies)?,
            secrets: Arc::default(),
            names: None,
            profile: asked.tls_profile.clone(),
            addresses: addresses(),
            outward: Outward::of(asked)?,
            boot: crate::start::boot(),
            resolver: resolver(),
        })
    }

    /// Those of a test: no names are asked for.
    #[cfg(test)]
    pub(super) fn of_test() -> Self {
        Self {
            service: "A.X".to_owned(),
            owners: [0, 0],
            accounts: HashMap::new(),
            policies: Vec::new(),
            secrets: Arc::default(),
            names: None,
            profile: None,
            addresses: Vec::new(),
            outward: Outward::default(),
            boot: "boot".to_owned(),
            resolver: Arc::new(Nobody),
        }
    }

    /// The same with somebody who is asked for names.
    #[cfg(test)]
    pub(super) fn asking(self, resolver: Arc<dyn Resolve>) -> Self {
        Self { resolver, ..self }
    }

    /// The same, reached over TLS.
    pub(crate) fn reached_as(self, names: Option<Arc<Names>>) -> Self {
        Self { names, ..self }
    }

    /// The name of the node.
    pub(crate) fn service(&self) -> &str {
        &self.service
    }

    /// The same, with secrets.
    pub(crate) fn knowing(self, secrets: Secrets) -> Self {
        Self { secrets: Arc::new(secrets), ..self }
    }

    /// Who is asked for names: what the machine is set up with.
    pub(super) const fn resolver(&self) -> &Arc<dyn Resolve> {
        &self.resolver
    }
}

fn resolver() -> Arc<dyn Resolve> {
    match SystemResolver::new() {
        Ok(resolver) => Arc::new(resolver),
        Err(why) => {
            tracing::warn!(why, "the machine has no name servers that can be asked: no name is trusted");
            Arc::new(Nobody)
        }
    }
}

/// Where nobody can be asked.
#[derive(Debug)]
struct Nobody;

impl Resolve for Nobody {
    fn addresses<'a>(&'a self, _: &'a str) -> Answer<'a, IpAddr> {
        Box::pin(async { Err(Unresolved::Unanswered) })
    }

    fn names(&self, _: IpAddr) -> Answer<'_, String> {
        Box::pin(async { Err(Unresolved::Unanswered) })
    }
}

/// Those of every interface; the loopback ones are `localhost`, the others what the machine calls itself.
fn addresses() -> Vec<(IpAddr, String)> {
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let named = interfaces.into_iter().map(|interface| {
        let name = if interface.is_loopback() { "localhost".to_owned() } else { machine.clone() };
        (interface.ip(), name)
    });
    let mut found: Vec<_> = named.collect();
    found.sort();
    found.dedup();
    found
}

/// The policies that decide about runs, by name: those of the command line, or the one that runs have without any.
fn names(policies: &[PathBuf]) -> Result<Vec<String>, Refusal> {
    if policies.is_empty() {
        return Ok(vec![Policy::offline().title().name().to_owned()]);
    }
    policies
        .iter()
        .map(|path| {
            let shown = stockade_core::text::shown(&path.to_string_lossy(), 300);
            let what = format!("the policy `{shown}` is refused");
            let text = std::fs::read_to_string(path).map_err(|error| {
                Refusal::invalid(&what, crate::system_text(&error), "name a file that the node's user may read")
            })?;
            let policy = stockade_config::parse_policy(&text)
                .map_err(|bad| Refusal::invalid(&what, bad.to_string(), bad.next()))?;
            Ok(policy.title().name().to_owned())
        })
        .collect()
}

/// The users of a machine by number, of its `/etc/passwd`.
pub(crate) fn accounts(passwords: &str) -> HashMap<u32, String> {
    let mut found = HashMap::new();
    for line in passwords.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(Ok(uid))) = (fields.next(), fields.nth(1).map(str::parse)) {
            // The first of a number counts, as for everything else on the machine.
            found.entry(uid).or_insert_with(|| name.to_owned());
        }
    }
    found
}

pub(crate) fn checked(name: &str) -> Result<String, Refusal> {
    match name.split_once('.') {
        Some((node, cluster)) if is_label(node) && is_label(cluster) => Ok(name.to_owned()),
        _ => Err(Refusal::invalid(
            format!("`{}` is no name of a node", stockade_core::text::shown(name, 100)),
            format!("it is NODE.CLUSTER, each of 1 to {LABEL_CHARS_MAX} letters, digits, dashes and underscores"),
            "write --service-name A.X",
        )),
    }
}

fn is_label(text: &str) -> bool {
    (1..=LABEL_CHARS_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// By what the machine calls itself.
pub(crate) fn usual_name() -> String {
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let first: String = machine.split('.').next().unwrap_or_default().chars().take(LABEL_CHARS_MAX).collect();
    format!("{}.{CLUSTER}", if is_label(&first) { &first } else { "node" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_a_name_of_two_parts() {
        assert!(checked("A.X").is_ok() && checked("node-1.prod_eu").is_ok());
        for name in ["A", "A.", ".X", "A.X.Y", "a b.c", "ä.x", &format!("{}.x", "a".repeat(64))] {
            assert!(checked(name).is_err(), "{name}");
        }
        assert!(checked(&usual_name()).is_ok());
    }

    #[test]
    fn the_first_name_of_a_number_counts() {
        let accounts = accounts("root:x:0:0\ntoor:x:0:0\nbroken\nann:x:1001:5:\nx:y:z\n");
        assert_eq!(accounts, HashMap::from([(0, "root".to_owned()), (1001, "ann".to_owned())]));
    }
}
