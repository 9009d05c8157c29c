//! The rules, and the one function that says yes or no.

use std::fmt;

use thiserror::Error;

use crate::grant::Grant as NetworkGrant;
use crate::layer::{Layer, Layers};
use crate::limits::{Limit, Limits};
use crate::network::Network;
use crate::request::{CgroupMode, Language, Request, Scratch, Tier};

/// What a run may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    name: &'static str,
    languages: &'static [Language],
    reach: Reach,
    defaults: Limits,
    maxima: Limits,
    require: Layers,
}

/// What of the network a policy lets runs ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reach {
    /// Nothing.
    Nothing,
    /// Whatever the caller names: it is the caller's own machine and code.
    Named,
    /// Of this, what the request names.
    AtMost(Vec<NetworkGrant>),
}

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
    /// `offline`: nothing but staged files, no network. The default of `stockade run`.
    #[must_use]
    pub fn offline() -> Self {
        Self {
            name: "offline",
            languages: &[Language::Python, Language::R, Language::Sql, Language::Program],
            reach: Reach::Nothing,
            defaults: Limits::default(),
            maxima: UNBOUNDED,
            require: REQUIRED,
        }
    }

    /// `default`: as `offline`, and of the network what the caller of `stockade run` names.
    #[must_use]
    pub fn default_of_callers() -> Self {
        Self { name: "default", reach: Reach::Named, ..Self::offline() }
    }

    /// `package-build`: the jail that resolves and fetches packages; may reach the package index, sees no data.
    #[must_use]
    pub fn package_build(index: Vec<NetworkGrant>) -> Self {
        let defaults = Limits {
            scratch_bytes: 12 << 30,
            memory_bytes: 16 << 30,
            file_bytes: 4 << 30,
            output_bytes: 12 << 30,
            output_files: 500_000,
            scratch_files: 1_000_000,
            ..Limits::default()
        };
        Self {
            name: "package-build",
            languages: &[Language::Program, Language::Python],
            reach: Reach::AtMost(index),
            defaults,
            ..Self::offline()
        }
    }

    /// `examination`: the probes of `stockade doctor`, which run our own code and show which layers
    /// a machine gives, so none is required, and one name that nobody has is granted to examine the gate.
    #[must_use]
    pub fn examination() -> Self {
        Self {
            name: "examination",
            languages: &[Language::Program],
            reach: Reach::Named,
            require: Layers::NONE,
            ..Self::offline()
        }
    }

    /// The name in reports and records.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The limits a request gets when it asks for none.
    #[must_use]
    pub const fn defaults(&self) -> &Limits {
        &self.defaults
    }

    /// Decides about a request. The first refusal ends it.
    #[must_use]
    pub fn decide(&self, request: Request) -> Decision {
        match self.grant(request) {
            Ok(grant) => Decision::Permit(Box::new(grant)),
            Err(reason) => Decision::Forbid(reason),
        }
    }

    fn grant(&self, mut request: Request) -> Result<Grant, Reason> {
        if !self.languages.contains(&request.language) {
            return Err(Reason::Language { policy: self.name, language: request.language });
        }
        if let Network::Gate(egress) = &mut request.network {
            match &self.reach {
                Reach::Nothing => return Err(Reason::Network { policy: self.name }),
                Reach::Named => {}
                Reach::AtMost(grants) => egress.layers.insert(0, grants.clone()),
            }
        }
        let mut limits = self.defaults.clone();
        for (limit, value) in &request.limits {
            let most = self.maxima.of(*limit);
            if *value > most {
                return Err(Reason::Limit { policy: self.name, limit: *limit, asked: *value, most });
            }
            limits.set(*limit, *value);
        }
        if request.scratch == Scratch::Memory {
            // It can never be the larger of the two.
            limits.scratch_bytes = limits.scratch_bytes.min(limits.memory_bytes);
        }
        let mut required = request.require.and(match request.tier {
            Tier::Namespaces => self.require,
            Tier::Landlock => REQUIRED_OF_LANDLOCK,
            Tier::Gvisor => REQUIRED_OF_GVISOR,
            Tier::Oci => REQUIRED_OF_OCI,
        });
        if request.cgroup == CgroupMode::Require {
            required = required.with(Layer::Cgroup);
        }
        let lacked = required.missing_from(required.missing_from(request.tier.goes_without()));
        if !lacked.is_empty() {
            return Err(Reason::Tier { tier: request.tier, lacked });
        }
        if required.has(Layer::Scratch) && request.scratch != Scratch::Memory {
            return Err(Reason::Scratch);
        }
        Ok(Grant { request, limits, required, policy: self.name })
    }
}

/// The answer of [`Policy::decide`].
#[derive(Debug)]
pub enum Decision {
    /// Yes, with the proof.
    Permit(Box<Grant>),
    /// No, with the reason.
    Forbid(Reason),
}

/// The proof of yes: made only by [`Policy::decide`], consumed by [`crate::plan::build`].
#[derive(Debug)]
pub struct Grant {
    request: Request,
    limits: Limits,
    required: Layers,
    policy: &'static str,
}

impl Grant {
    pub(crate) fn into_parts(self) -> (Request, Limits, Layers, &'static str) {
        (self.request, self.limits, self.required, self.policy)
    }
}

/// Why a policy says no.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Reason {
    /// The policy does not permit the language.
    #[error("policy `{policy}` does not permit {language}")]
    Language {
        /// The policy.
        policy: &'static str,
        /// What was asked.
        language: Language,
    },
    /// The policy permits no network.
    #[error("policy `{policy}` grants no network")]
    Network {
        /// The policy.
        policy: &'static str,
    },
    /// The request asks for more than the policy's maximum.
    #[error("limit `{limit}` of {} is more than policy `{policy}` permits ({})", limit.show(*asked), limit.show(*most))]
    Limit {
        /// The policy.
        policy: &'static str,
        /// The limit.
        limit: Limit,
        /// What was asked.
        asked: u64,
        /// The most the policy permits.
        most: u64,
    },
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
            Self::Language { policy, .. } => Next(format!("use a policy other than `{policy}` that permits it")),
            Self::Network { .. } => Next("stage the data with --in instead, or use a policy that grants it".to_owned()),
            Self::Limit { limit, most, .. } => Next(format!("ask for at most {}", limit.show(*most))),
            Self::Tier { lacked, .. } if lacked.has(Layer::SecondKernel) => Next("ask for --tier gvisor".to_owned()),
            Self::Tier { .. } => Next("ask for another --tier, or do not require it".to_owned()),
            Self::Scratch => Next("leave out --scratch-dir, or do not require the layer `scratch`".to_owned()),
        }
    }
}

/// The `next:` line of a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next(String);

impl fmt::Display for Next {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
