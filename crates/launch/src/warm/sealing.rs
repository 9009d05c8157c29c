//! What an engine seals itself with, as a small file that its template has: made outside, read inside.

use rustix::process::Resource;
use stockade_core::layer::{Layer, Layers};
use stockade_core::plan::Plan;

use crate::inside::rlimits;
use crate::seccomp::{self, Instruction};

/// Limits, filter, and which layers the rules on files are.
#[derive(Debug, Default)]
pub struct Sealing {
    pub(crate) limits: Vec<(Resource, u64)>,
    pub(crate) filter: Vec<Instruction>,
    pub(crate) rules_give: Layers,
}

/// What an engine's own process can put in force; the rest was made before it.
pub(crate) const OWN: Layers = Layers::of(&[
    Layer::LockedMounts,
    Layer::Rlimits,
    Layer::NoCapabilities,
    Layer::NoNewPrivileges,
    Layer::Landlock,
    Layer::Scopes,
    Layer::Seccomp,
]);

const RESOURCES: [Resource; 9] = [
    Resource::Core,
    Resource::Nofile,
    Resource::Fsize,
    Resource::Nproc,
    Resource::Cpu,
    Resource::Memlock,
    Resource::Msgqueue,
    Resource::Rtprio,
    Resource::Nice,
];

/// First of the file, so that another version's is not taken for it.
const BEGINNING: [u8; 8] = *b"SEALING1";

impl Sealing {
    /// That of an engine's plan; `None` when its filter is larger than the kernel takes.
    #[must_use]
    pub fn of(plan: &Plan, has_cgroup: bool) -> Option<Self> {
        let profile = crate::outside::code_profile(plan, has_cgroup);
        // As the template's plan has it ([`Plan::into_template`]); what of it is stricter for want of a cgroup
        // is loaded once more.
        let filter = seccomp::compile_beneath(&profile, &plan.syscalls.clone().of_template()).ok()?;
        let known = crate::sys::landlock_abi();
        let rules_give = match known {
            0 => Layers::NONE,
            1..crate::confine::SCOPES_SINCE => Layers::of(&[Layer::Landlock]),
            _ => Layers::of(&[Layer::Landlock, Layer::Scopes]),
        };
        Some(Self { limits: rlimits(plan, has_cgroup, 0), filter, rules_give })
    }

    /// As a file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = BEGINNING.to_vec();
        bytes.extend(self.rules_give.bits().to_le_bytes());
        for resource in RESOURCES {
            let most = self.limits.iter().find(|(one, _)| *one == resource).map_or(u64::MAX, |(_, most)| *most);
            bytes.extend(most.to_le_bytes());
        }
        bytes.extend(self.filter.iter().flat_map(|instruction| instruction.to_bytes()));
        bytes
    }

    /// From a file; `None` when it is none.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&BEGINNING)?;
        let (layers, mut rest) = rest.split_first_chunk::<4>()?;
        let mut limits = Vec::new();
        for resource in RESOURCES {
            let (most, after) = rest.split_first_chunk::<8>()?;
            limits.push((resource, u64::from_le_bytes(*most)));
            rest = after;
        }
        let (filter, left) = rest.as_chunks::<8>();
        let filter: Vec<Instruction> = filter.iter().map(|bytes| Instruction::from_bytes(*bytes)).collect();
        let is_filter = !filter.is_empty() && filter.len() <= seccomp::INSTRUCTIONS_MAX && left.is_empty();
        is_filter.then(|| Self { limits, filter, rules_give: Layers::from_bits(u32::from_le_bytes(*layers)) })
    }
}
