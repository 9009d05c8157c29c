//! The layers of the walls: their names, sets of them, and which were really in force.

use std::fmt;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One layer. A layer is *in force* only when the kernel accepted it for this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Layer {
    /// A user namespace of its own: capabilities inside mean nothing outside.
    UserNamespace,
    /// Mounts of its own.
    MountNamespace,
    /// Sees and signals only its own processes.
    PidNamespace,
    /// No interface but an empty loopback.
    Network,
    /// System V and POSIX queues of its own.
    IpcNamespace,
    /// Host name of its own.
    UtsNamespace,
    /// Cgroup paths start at the run's own.
    CgroupNamespace,
    /// Clocks count from the start of the run.
    TimeNamespace,
    /// A root file system made for this run; the host's is gone.
    Root,
    /// A second user namespace locks every mount attribute.
    LockedMounts,
    /// A process file system of its own.
    Proc,
    /// A user that exists for this run only.
    ThrowAwayUser,
    /// No program gains rights by being executed.
    NoNewPrivileges,
    /// Every capability set is empty, the bounding set too.
    NoCapabilities,
    /// System calls are an allow-list.
    Seccomp,
    /// Files by allow-list, below the mount table.
    Landlock,
    /// Abstract sockets and signals stay inside (Landlock scopes).
    Scopes,
    /// Memory, processes and CPU of the tree, by the kernel.
    Cgroup,
    /// Memory and CPU of the tree, sampled: approximate.
    Watchdog,
    /// Limits of each process.
    Rlimits,
    /// Bytes and files of scratch, by the kernel.
    Scratch,
    /// No socket can be made or connected but pairs of the code's own (the tier `landlock`).
    NoSockets,
    /// What is granted of the network is reached through the egress gate, which checks and records it.
    Gate,
    /// The code's system calls are answered by a kernel of its own (the tier `gvisor`).
    SecondKernel,
}

impl Layer {
    /// Every layer, in the order reports use.
    pub const ALL: [Self; 24] = [
        Self::UserNamespace,
        Self::MountNamespace,
        Self::PidNamespace,
        Self::Network,
        Self::IpcNamespace,
        Self::UtsNamespace,
        Self::CgroupNamespace,
        Self::TimeNamespace,
        Self::Root,
        Self::LockedMounts,
        Self::Proc,
        Self::ThrowAwayUser,
        Self::NoNewPrivileges,
        Self::NoCapabilities,
        Self::Seccomp,
        Self::Landlock,
        Self::Scopes,
        Self::Cgroup,
        Self::Watchdog,
        Self::Rlimits,
        Self::Scratch,
        Self::NoSockets,
        Self::Gate,
        Self::SecondKernel,
    ];

    /// The name in `--require`, policies and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UserNamespace => "user",
            Self::MountNamespace => "mount",
            Self::PidNamespace => "pid",
            Self::Network => "network",
            Self::IpcNamespace => "ipc",
            Self::UtsNamespace => "uts",
            Self::CgroupNamespace => "cgroup-namespace",
            Self::TimeNamespace => "time",
            Self::Root => "root",
            Self::LockedMounts => "locked-mounts",
            Self::Proc => "proc",
            Self::ThrowAwayUser => "throw-away-user",
            Self::NoNewPrivileges => "no-new-privileges",
            Self::NoCapabilities => "no-capabilities",
            Self::Seccomp => "seccomp",
            Self::Landlock => "landlock",
            Self::Scopes => "scopes",
            Self::Cgroup => "cgroup",
            Self::Watchdog => "watchdog",
            Self::Rlimits => "rlimits",
            Self::Scratch => "scratch",
            Self::NoSockets => "no-sockets",
            Self::Gate => "gate",
            Self::SecondKernel => "second-kernel",
        }
    }

    /// What the layer keeps out, in a few words.
    #[must_use]
    pub const fn purpose(self) -> &'static str {
        match self {
            Self::UserNamespace => "rights inside mean nothing outside",
            Self::MountNamespace => "mounts of its own",
            Self::PidNamespace => "sees and signals only its own processes",
            Self::Network => "no network but an empty loopback",
            Self::IpcNamespace => "no shared memory or queues of others",
            Self::UtsNamespace => "host name of its own",
            Self::CgroupNamespace => "does not see the host's cgroups",
            Self::TimeNamespace => "does not see how long the host is up",
            Self::Root => "files only as given",
            Self::LockedMounts => "read-only stays read-only",
            Self::Proc => "process information only of its own",
            Self::ThrowAwayUser => "a user that owns nothing outside",
            Self::NoNewPrivileges => "set-uid programs give nothing",
            Self::NoCapabilities => "no privilege of any kind",
            Self::Seccomp => "system calls by allow-list",
            Self::Landlock => "files by allow-list, a second wall",
            Self::Scopes => "abstract sockets and signals stay inside",
            Self::Cgroup => "memory, processes and CPU of the tree",
            Self::Watchdog => "memory and CPU of the tree, sampled",
            Self::Rlimits => "descriptors, file size, core dumps",
            Self::Scratch => "bytes and files that can be written",
            Self::NoSockets => "no network and no socket, but pairs of its own",
            Self::Gate => "of the network what is granted, checked and recorded",
            Self::SecondKernel => "the host's kernel hears of no system call of the code",
        }
    }

    const fn bit(self) -> u32 {
        1 << self as u8
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A set of layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layers(u32);

impl Layers {
    /// No layer.
    pub const NONE: Self = Self(0);

    /// The set of these.
    #[must_use]
    pub const fn of(layers: &[Layer]) -> Self {
        let mut bits = 0;
        let mut rest = layers;
        while let [first, others @ ..] = rest {
            bits |= first.bit();
            rest = others;
        }
        Self(bits)
    }

    /// This set and one more.
    #[must_use]
    pub const fn with(self, layer: Layer) -> Self {
        Self(self.0 | layer.bit())
    }

    /// This set without one.
    #[must_use]
    pub const fn without(self, layer: Layer) -> Self {
        Self(self.0 & !layer.bit())
    }

    /// Both sets together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both sets.
    #[must_use]
    pub const fn shared_with(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What of `self` is not in `other`.
    #[must_use]
    pub const fn missing_from(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the layer is in the set.
    #[must_use]
    pub const fn has(self, layer: Layer) -> bool {
        self.0 & layer.bit() != 0
    }

    /// Whether no layer is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The layers, in report order.
    pub fn iter(self) -> impl Iterator<Item = Layer> {
        Layer::ALL.into_iter().filter(move |layer| self.has(*layer))
    }

    /// The set as a number, for the fixed frames between the sandbox's init and the supervisor.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The set of a number from such a frame; unknown bits are dropped.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits & ((1 << Layer::ALL.len()) - 1))
    }

    /// Parses one name of `--require`: a layer, or the group `namespaces`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if name == "namespaces" {
            return Some(Self::of(&[
                Layer::UserNamespace,
                Layer::MountNamespace,
                Layer::PidNamespace,
                Layer::Network,
                Layer::IpcNamespace,
                Layer::UtsNamespace,
            ]));
        }
        Layer::ALL.into_iter().find(|layer| layer.name() == name).map(|layer| Self::of(&[layer]))
    }
}

impl fmt::Display for Layers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for layer in self.iter() {
            write!(formatter, "{separator}{layer}")?;
            separator = " ";
        }
        Ok(())
    }
}

impl Serialize for Layers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(Layer::name))
    }
}

impl<'de> Deserialize<'de> for Layers {
    /// A layer that this version does not know is refused.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        names.iter().try_fold(Self::NONE, |all, name| {
            let layer = Layer::ALL.into_iter().find(|layer| layer.name() == name);
            layer.map(|layer| all.with(layer)).ok_or_else(|| D::Error::custom("there is no such layer"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layer_has_a_bit_and_a_name_of_its_own() {
        for layer in Layer::ALL {
            assert_eq!(Layers::parse(layer.name()), Some(Layers::of(&[layer])));
        }
        assert_eq!(Layers::of(&Layer::ALL).iter().count(), Layer::ALL.len());
        assert_eq!(Layers::from_bits(u32::MAX), Layers::of(&Layer::ALL));
    }

    #[test]
    fn what_is_required_and_not_in_force_is_named() {
        let required = Layers::of(&[Layer::Seccomp, Layer::Landlock]);
        let enforced = Layers::of(&[Layer::Seccomp, Layer::Root]);
        assert_eq!(required.missing_from(enforced).to_string(), "landlock");
    }
}
