//! The privileges there are.

use std::fmt;

/// One kind of thing that may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Privilege {
    /// A command of administration; on `target.command`.
    AdminRunCommand,
    /// Running code; on the name of a policy.
    Run,
    /// Keeping an engine for oneself.
    Session,
    /// Building an environment; on its name.
    EnvironmentBuild,
    /// Running code in an environment; on its name.
    EnvironmentUse,
    /// Reading data; on `source` or `source.table`.
    DataSourceRead,
    /// Registering a script as trusted.
    ScriptTrust,
    /// Reaching the network; on `host:port`.
    Egress,
    /// Reading the audit trail.
    AuditRead,
    /// Reading metrics.
    MetricsRead,
}

impl Privilege {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::AdminRunCommand,
        Self::Run,
        Self::Session,
        Self::EnvironmentBuild,
        Self::EnvironmentUse,
        Self::DataSourceRead,
        Self::ScriptTrust,
        Self::Egress,
        Self::AuditRead,
        Self::MetricsRead,
    ];

    /// Its name in files and commands.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AdminRunCommand => "AdminRunCommand",
            Self::Run => "Run",
            Self::Session => "Session",
            Self::EnvironmentBuild => "EnvironmentBuild",
            Self::EnvironmentUse => "EnvironmentUse",
            Self::DataSourceRead => "DataSourceRead",
            Self::ScriptTrust => "ScriptTrust",
            Self::Egress => "Egress",
            Self::AuditRead => "AuditRead",
            Self::MetricsRead => "MetricsRead",
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|privilege| privilege.name() == name)
    }

    /// Whether upper and lower case are the same in what it is on: commands and hosts, where a denial that is
    /// written in another case must not miss.
    pub(crate) const fn folds_case(self) -> bool {
        matches!(self, Self::AdminRunCommand | Self::Egress)
    }

    /// What a rule on `pattern` is on: a source includes its tables.
    pub(crate) fn patterns(self, pattern: &str) -> Vec<String> {
        let pattern = if self.folds_case() { pattern.to_ascii_lowercase() } else { pattern.to_owned() };
        if self == Self::DataSourceRead && !pattern.contains('.') {
            let tables = format!("{pattern}.*");
            return vec![pattern, tables];
        }
        vec![pattern]
    }
}

impl fmt::Display for Privilege {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}
