//! The rules, and the one function that says yes or no.

mod explain;

use std::borrow::Cow;
use std::fmt;

use thiserror::Error;

use crate::grant::{Effect, Grant as NetworkGrant};
use crate::layer::{Layer, Layers};
use crate::limits::{Limit, Limits};
use crate::network::Network;
pub use explain::{Explained, Rules};

use crate::request::{CgroupMode, Language, Request, Scratch, Tier};
use crate::trust::{self, Libraries, Sensitive};

/// What a run may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    title: Title,
    languages: Vec<Language>,
    reach: Reach,
    /// The limits of a request that asks for none, where they are not the usual ones.
    defaults: Vec<(Limit, u64)>,
    maxima: Limits,
    /// What the walls are made of at the least, unless the tier is another one.
    walls: Layers,
    /// What is required besides, in every tier.
    require: Layers,
    trust: Trust,
}

/// What a policy keeps for runs whose libraries are all trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// All of these kinds.
    pub required_for: Vec<Sensitive>,
    /// Of the network, what these grants lead to.
    pub grants: Vec<NetworkGrant>,
}

/// What a policy keeps that says nothing about it: secrets and governed data.
impl Default for Trust {
    fn default() -> Self {
        Self { required_for: Sensitive::USUAL.to_vec(), grants: Vec::new() }
    }
}

/// What of the network a policy lets runs ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Nothing.
    Nothing,
    /// Whatever the caller names: it is the caller's own machine and code.
    Named,
    /// Of this, what the request names.
    AtMost(Vec<NetworkGrant>),
}

/// How a policy is called in messages, plans and records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Title {
    name: Cow<'static, str>,
    version: Option<String>,
    file: Option<String>,
}

impl Title {
    const fn shipped(name: &'static str) -> Self {
        Self { name: Cow::Borrowed(name), version: None, file: None }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its name, and its version if it has one.
    #[must_use]
    pub fn with_version(&self) -> String {
        match &self.version {
            None => self.name.to_string(),
            Some(version) => format!("{} {version}", self.name),
        }
    }
}

/// In a sentence, with the file it is in.
impl fmt::Display for Title {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "`{}`", self.name)?;
        match &self.file {
            None => Ok(()),
            Some(file) => write!(out, " ({file})"),
        }
    }
}

/// What a policy says, as it is written down; [`Policy::from_parts`] makes one of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Its name.
    pub name: String,
    /// Its version, any text.
    pub version: Option<String>,
    /// The languages it permits.
    pub languages: Vec<Language>,
    /// What of the network.
    pub reach: Reach,
    /// Limits: what a request gets when it asks for none, and the most it may ask for.
    pub limits: Vec<(Limit, u64)>,
    /// Layers, besides those that every run requires.
    pub require: Layers,
    /// What is kept for runs whose libraries are all trusted.
    pub trust: Trust,
}

/// Why parts make no policy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadPolicy {
    /// The name is no name.
    #[error("a policy's name has letters, digits, `-`, `_` and `.`, at most {NAME_MAX}")]
    Name,
    /// The name is that of a policy that ships with Stockade.
    #[error("`{0}` is the name of a policy that ships with Stockade")]
    Shipped(&'static str),
    /// The version cannot be shown on a line.
    #[error("a version is a line of at most {NAME_MAX} characters")]
    Version,
    /// It permits nothing to run.
    #[error("it permits no language")]
    NoLanguage,
    /// Denials, and nothing that they could take away from.
    #[error("it denies what it never granted")]
    OnlyDenials,
    /// A limit that is none.
    #[error("limit `{limit}` of {} is more than any run may have ({})", limit.show(*value), limit.show(*most))]
    Limit {
        /// The limit.
        limit: Limit,
        /// What it says.
        value: u64,
        /// The most there is.
        most: u64,
    },
}

impl BadPolicy {
    /// What to do about it.
    #[must_use]
    pub fn next(&self) -> String {
        match self {
            Self::Name => "name it as in `team-a.analysis`".to_owned(),
            Self::Shipped(_) => "give it a name of its own".to_owned(),
            Self::Version => "write it as in `1.0`".to_owned(),
            Self::NoLanguage => format!("permit some of {}, or leave the key out", names(&Language::ALL)),
            Self::OnlyDenials => "grant something that is denied in part, or leave the denials out".to_owned(),
            Self::Limit { limit, most, .. } => format!("write at most {}, or leave it out", limit.show(*most)),
        }
    }
}

fn names(languages: &[Language]) -> String {
    languages.iter().map(|language| language.name()).collect::<Vec<_>>().join(", ")
}

/// Most characters of a name or version.
const NAME_MAX: usize = 64;
/// Names that a file may not take, so that a record with one of them means what ships.
const SHIPPED: [&str; 4] = ["offline", "default", "package-build", "examination"];

/// The layers every shipped policy requires.
pub const REQUIRED: Layers = Layers::of(&[
    Layer::Root,
    Layer::Network,
    Layer::NoNewPrivileges,
    Layer::NoCapabilities,
    Layer::Seccomp,
    Layer::Landlock,
]);

/// What a run of the tier `landlock` requires instead: asking for the tier by name is the consent to
/// go without the rest.
pub const REQUIRED_OF_LANDLOCK: Layers = Layers::of(&[
    Layer::NoNewPrivileges,
    Layer::NoCapabilities,
    Layer::Seccomp,
    Layer::Landlock,
    Layer::Scopes,
    Layer::NoSockets,
]);

/// What a run of the tier `gvisor` requires instead.
pub const REQUIRED_OF_GVISOR: Layers = Layers::of(&[
    Layer::UserNamespace,
    Layer::MountNamespace,
    Layer::PidNamespace,
    Layer::Root,
    Layer::Network,
    Layer::NoNewPrivileges,
    Layer::NoCapabilities,
    Layer::Seccomp,
    Layer::Proc,
    Layer::SecondKernel,
]);

/// What a run of the tier `oci` requires instead.
pub const REQUIRED_OF_OCI: Layers = Layers::of(&[
    Layer::UserNamespace,
    Layer::MountNamespace,
    Layer::PidNamespace,
    Layer::Root,
    Layer::Network,
    Layer::NoNewPrivileges,
    Layer::NoCapabilities,
    Layer::Seccomp,
    Layer::Proc,
]);

const UNBOUNDED: Limits = Limits {
    wall_ms: u64::MAX,
    cpu_ms: u64::MAX,
    memory_bytes: u64::MAX,
    processes: 1 << 20,
    open_files: 1 << 20,
    scratch_bytes: 1 << 42,
    scratch_files: 1 << 28,
    file_bytes: 1 << 42,
    output_bytes: 1 << 42,
    output_files: 1 << 24,
    output_depth: 256,
    stream_bytes: 1 << 42,
    cpu_percent: 1 << 20,
};

impl Policy {
    fn shipped(name: &'static str, reach: Reach) -> Self {
        Self {
            title: Title::shipped(name),
            languages: Language::ALL.to_vec(),
            reach,
            defaults: Vec::new(),
            maxima: UNBOUNDED,
            walls: REQUIRED,
            require: Layers::NONE,
            trust: Trust::default(),
        }
    }

    /// `offline`: nothing but staged files, no network. The default of `stockade run`.
    #[must_use]
    pub fn offline() -> Self {
        Self::shipped("offline", Reach::Nothing)
    }

    /// `default`: as `offline`, and of the network what the caller of `stockade run` names.
    #[must_use]
    pub fn default_of_callers() -> Self {
        Self::shipped("default", Reach::Named)
    }

    /// `package-build`: the jail that resolves and fetches packages; may reach the package index, sees no data.
    #[must_use]
    pub fn package_build(index: Vec<NetworkGrant>) -> Self {
        let defaults = vec![
            (Limit::Scratch, 12 << 30),
            (Limit::Memory, 16 << 30),
            (Limit::FileSize, 4 << 30),
            (Limit::Output, 12 << 30),
            (Limit::OutputFiles, 500_000),
            (Limit::ScratchFiles, 1_000_000),
        ];
        let languages = BUILDERS.to_vec();
        Self { languages, defaults, ..Self::shipped("package-build", Reach::AtMost(index)) }
    }

    /// `examination`: the probes of `stockade doctor`, which run our own code and show which layers
    /// a machine gives, so none is required, and one name that nobody has is granted to examine the gate.
    #[must_use]
    pub fn examination() -> Self {
        let languages = vec![Language::Program];
        Self { languages, walls: Layers::NONE, ..Self::shipped("examination", Reach::Named) }
    }

    /// A policy of somebody's own. It requires what the shipped ones require, whatever its parts say.
    ///
    /// # Errors
    /// [`BadPolicy`].
    pub fn from_parts(parts: Parts) -> Result<Self, BadPolicy> {
        let Parts { name, version, languages, reach, limits, require, trust } = parts;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(is_plain) {
            return Err(BadPolicy::Name);
        }
        if let Some(shipped) = SHIPPED.into_iter().find(|shipped| *shipped == name) {
            return Err(BadPolicy::Shipped(shipped));
        }
        let is_line =
            |text: &String| (1..=NAME_MAX).contains(&text.chars().count()) && !text.contains(crate::text::is_harmful);
        if !version.as_ref().is_none_or(is_line) {
            return Err(BadPolicy::Version);
        }
        if languages.is_empty() {
            return Err(BadPolicy::NoLanguage);
        }
        if let Reach::AtMost(grants) = &reach
            && grants.iter().all(|grant| grant.effect() == Effect::Deny)
        {
            return Err(BadPolicy::OnlyDenials);
        }
        let mut maxima = UNBOUNDED;
        for (limit, value) in &limits {
            let most = UNBOUNDED.of(*limit);
            if *value > most {
                return Err(BadPolicy::Limit { limit: *limit, value: *value, most });
            }
            maxima.set(*limit, *value);
        }
        let title = Title { name: Cow::Owned(name), version, file: None };
        Ok(Self { title, languages, reach, defaults: limits, maxima, walls: REQUIRED, require, trust })
    }

    /// The same, read from this file: messages name it.
    #[must_use]
    pub fn of_file(mut self, file: &str) -> Self {
        self.title.file = Some(crate::text::shown(file, 400));
        self
    }

    /// The same as it bounds the builds of packages: in what they reach, use and require, not in what they are
    /// written in.
    #[must_use]
    pub fn of_builds(mut self) -> Self {
        self.languages = BUILDERS.to_vec();
        self
    }

    /// How it is called.
    #[must_use]
    pub const fn title(&self) -> &Title {
        &self.title
    }

    /// Decides about a request by this policy alone.
    #[must_use]
    pub fn decide(&self, request: Request) -> Decision {
        decide(std::slice::from_ref(self), request)
    }

    /// Whether the policy permits the language, the network and the tier of a request.
    fn check(&self, request: &Request) -> Result<(), Reason> {
        let policy = || self.title.clone();
        if !self.languages.contains(&request.language) {
            return Err(Reason::Language { policy: policy(), language: request.language });
        }
        if let Network::Gate(egress) = &request.network {
            match &self.reach {
                Reach::Nothing => return Err(Reason::Network { policy: policy() }),
                Reach::Named => {}
                Reach::AtMost(grants) => {
                    if let Some(asked) = egress.layers.iter().flatten().find(|asked| is_beyond(asked, grants)) {
                        return Err(Reason::Egress {
                            policy: policy(),
                            asked: Box::new(asked.clone()),
                            granted: grants.clone(),
                        });
                    }
                }
            }
        }
        self.check_trust(request)?;
        let missing = self.require.shared_with(request.tier.goes_without());
        if !missing.is_empty() {
            return Err(Reason::Walls { policy: policy(), tier: request.tier, layers: missing });
        }
        for (limit, value) in &request.limits {
            let most = self.maxima.of(*limit);
            if *value > most {
                return Err(Reason::Limit { policy: policy(), limit: *limit, asked: *value, most });
            }
        }
        Ok(())
    }

    /// Whether what is asked for may be given to code with the libraries that it has.
    fn check_trust(&self, request: &Request) -> Result<(), Reason> {
        if request.libraries.are_trusted() {
            return Ok(());
        }
        let kept = self.trust.required_for.iter().find(|sensitive| sensitive.is_asked(request));
        let kept = kept.map(|sensitive| sensitive.shown().to_owned());
        let Some(kept) = kept.or_else(|| self.kept_grant(&request.network)) else { return Ok(()) };
        Err(Reason::Untrusted { policy: self.title.clone(), kept, libraries: Box::new(request.libraries.clone()) })
    }

    /// What is asked of the network that leads, if only in part, to where trusted code alone may go.
    fn kept_grant(&self, network: &Network) -> Option<String> {
        let Network::Gate(egress) = network else { return None };
        let allows = |grant: &&NetworkGrant| grant.effect() == Effect::Allow;
        let asked = egress.layers.iter().flatten().filter(allows);
        let kept = |asked: &&NetworkGrant| self.trust.grants.iter().any(|grant| grant.overlaps(asked));
        asked.into_iter().find(kept).map(|grant| format!("`{grant}`"))
    }
}

/// What builds of packages are written in: uv, and the interpreter it calls.
const BUILDERS: [Language; 2] = [Language::Program, Language::Python];

/// Whether none of the grants permits anything of what is asked.
fn is_beyond(asked: &NetworkGrant, grants: &[NetworkGrant]) -> bool {
    let allows = |grant: &&NetworkGrant| grant.effect() == Effect::Allow;
    allows(&asked) && !grants.iter().filter(allows).any(|grant| grant.overlaps(asked))
}

/// The most that every one of these policies permits of a limit.
#[must_use]
pub fn most(policies: &[Policy], limit: Limit) -> u64 {
    policies.iter().map(|policy| policy.maxima.of(limit)).min().unwrap_or(0)
}

/// What a request gets of a limit that it does not name: the least that a policy says, else the usual.
#[must_use]
pub fn usual(policies: &[Policy], limit: Limit) -> u64 {
    let said = policies.iter().flat_map(|policy| &policy.defaults).filter(|(other, _)| *other == limit);
    said.map(|(_, value)| *value).min().unwrap_or_else(|| Limits::default().of(limit)).min(most(policies, limit))
}

/// Decides about a request by several policies, each of which must permit it. The first refusal ends it; where no
/// policy has a say, nothing is permitted.
#[must_use]
pub fn decide(policies: &[Policy], request: Request) -> Decision {
    match grant(policies, request) {
        Ok(grant) => Decision::Permit(Box::new(grant)),
        Err(reason) => Decision::Forbid(reason),
    }
}

fn grant(policies: &[Policy], mut request: Request) -> Result<Grant, Reason> {
    if policies.is_empty() {
        return Err(Reason::NoPolicy);
    }
    policies.iter().try_for_each(|policy| policy.check(&request))?;
    if let Network::Gate(egress) = &mut request.network {
        let bounds = policies.iter().filter_map(|policy| match &policy.reach {
            Reach::AtMost(grants) => Some(grants.clone()),
            Reach::Nothing | Reach::Named => None,
        });
        egress.layers.splice(0..0, bounds);
    }
    let mut limits = Limits::default();
    for limit in Limit::ALL {
        limits.set(limit, usual(policies, limit));
    }
    for (limit, value) in &request.limits {
        limits.set(*limit, *value);
    }
    if request.scratch == Scratch::Memory {
        // It can never be the larger of the two.
        limits.scratch_bytes = limits.scratch_bytes.min(limits.memory_bytes);
    }
    let mut required = policies.iter().fold(request.require, |all, policy| {
        let walls = match request.tier {
            Tier::Namespaces => policy.walls,
            Tier::Landlock => REQUIRED_OF_LANDLOCK,
            Tier::Gvisor => REQUIRED_OF_GVISOR,
            Tier::Oci => REQUIRED_OF_OCI,
        };
        all.and(walls).and(policy.require)
    });
    if request.cgroup == CgroupMode::Require {
        required = required.with(Layer::Cgroup);
    }
    let lacked = required.shared_with(request.tier.goes_without());
    if !lacked.is_empty() {
        return Err(Reason::Tier { tier: request.tier, lacked });
    }
    if required.has(Layer::Scratch) && request.scratch != Scratch::Memory {
        return Err(Reason::Scratch);
    }
    let policy = policies.iter().map(|policy| policy.title.with_version()).collect::<Vec<_>>().join(" + ");
    Ok(Grant { request, limits, required, policy })
}

/// The answer of [`decide`].
#[derive(Debug)]
pub enum Decision {
    /// Yes, with the proof.
    Permit(Box<Grant>),
    /// No, with the reason.
    Forbid(Reason),
}

/// The proof of yes: made only by [`decide`], consumed by [`crate::plan::build`].
#[derive(Debug)]
pub struct Grant {
    request: Request,
    limits: Limits,
    required: Layers,
    policy: String,
}

impl Grant {
    pub(crate) fn into_parts(self) -> (Request, Limits, Layers, String) {
        (self.request, self.limits, self.required, self.policy)
    }
}

/// Why a policy says no.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Reason {
    /// The policy does not permit the language.
    #[error("policy {policy} does not permit {language}")]
    Language {
        /// The policy.
        policy: Title,
        /// What was asked.
        language: Language,
    },
    /// The policy permits no network.
    #[error("policy {policy} grants no network")]
    Network {
        /// The policy.
        policy: Title,
    },
    /// The policy permits other places.
    #[error("policy {policy} grants nothing of `{asked}`")]
    Egress {
        /// The policy.
        policy: Title,
        /// What was asked.
        asked: Box<NetworkGrant>,
        /// What may be asked.
        granted: Vec<NetworkGrant>,
    },
    /// The policy requires what the tier goes without.
    #[error("policy {policy} requires {}, which the tier `{}` goes without", listed(*layers), tier.name())]
    Walls {
        /// The policy.
        policy: Title,
        /// What was asked.
        tier: Tier,
        /// What is missing.
        layers: Layers,
    },
    /// The request asks for more than the policy's maximum.
    #[error("limit `{limit}` of {} is more than policy {policy} permits ({})", limit.show(*asked), limit.show(*most))]
    Limit {
        /// The policy.
        policy: Title,
        /// The limit.
        limit: Limit,
        /// What was asked.
        asked: u64,
        /// The most the policy permits.
        most: u64,
    },
    /// What is asked for is kept for code whose libraries are all trusted.
    #[error("policy {policy} keeps {kept} for runs whose libraries are all trusted: {}", trust::doubts(libraries))]
    Untrusted {
        /// The policy.
        policy: Title,
        /// What it keeps.
        kept: String,
        /// The libraries.
        libraries: Box<Libraries>,
    },
    /// Nobody says what is permitted.
    #[error("no policy says what is permitted")]
    NoPolicy,
    /// A layer is required that the tier never has.
    #[error("the tier `{}` never has what is required: {lacked}", tier.name())]
    Tier {
        /// The tier.
        tier: Tier,
        /// What it lacks.
        lacked: Layers,
    },
    /// The layer `scratch` is required, and scratch on disk does not have it.
    #[error("layer `scratch` is required, and scratch on disk is watched, not walled")]
    Scratch,
}

/// What to do next, as every refusal says.
impl Reason {
    /// The next step for the caller.
    #[must_use]
    pub fn next(&self) -> Next {
        match self {
            Self::Language { policy, .. } => Next(format!("use a policy other than {policy} that permits it")),
            Self::Egress { granted, .. } => Next(format!("ask for what it grants: {}", shown(granted))),
            Self::Walls { layers, .. } if layers.has(Layer::SecondKernel) => Next("ask for --tier gvisor".to_owned()),
            Self::Walls { .. } => Next("leave out --tier, or use a policy that does not require it".to_owned()),
            Self::Untrusted { libraries, .. } => Next(trust::next(libraries)),
            Self::NoPolicy => Next("name a policy".to_owned()),
            Self::Network { .. } => Next("stage the data with --in instead, or use a policy that grants it".to_owned()),
            Self::Limit { limit, most, .. } => Next(format!("ask for at most {}", limit.show(*most))),
            Self::Tier { lacked, .. } if lacked.has(Layer::SecondKernel) => Next("ask for --tier gvisor".to_owned()),
            Self::Tier { .. } => Next("ask for another --tier, or do not require it".to_owned()),
            Self::Scratch => Next("leave out --scratch-dir, or do not require the layer `scratch`".to_owned()),
        }
    }
}

/// Layers in a sentence.
fn listed(layers: Layers) -> String {
    layers.iter().map(|layer| format!("`{layer}`")).collect::<Vec<_>>().join(", ")
}

/// The first few of what is granted.
fn shown(granted: &[NetworkGrant]) -> String {
    const SHOWN_MAX: usize = 6;
    let allowed = || granted.iter().filter(|grant| grant.effect() == Effect::Allow);
    let texts: Vec<String> = allowed().take(SHOWN_MAX).map(|grant| format!("`{grant}`")).collect();
    let more = allowed().count() - texts.len();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{}{more}", texts.join(", "))
}

/// The `next:` line of a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next(String);

impl fmt::Display for Next {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
