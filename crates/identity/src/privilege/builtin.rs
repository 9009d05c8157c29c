//! The roles that every node has.

use super::kind::Privilege;

/// The name of everything's role, and the name that it had before.
pub(crate) const ADMINISTRATOR: &str = "administrator";
const ADMINISTRATOR_ALIAS: &str = "switchadmin";

/// What a rule of these is said to come from.
pub(crate) const OBJECT: &str = "built-in";

/// Commands that change nothing and show no secret. Not `realm.backup` and `configuration.export`, which have hashes
/// of passwords in them.
const READ_ONLY: [&str; 14] = [
    "*.display",
    "services.browse",
    "role.explain",
    "privilege.explain",
    "authorization.explain",
    "realm.getadmin",
    "node.getadminport",
    "trusted.test",
    "configuration.list",
    "configuration.diff",
    "configuration.validate",
    "configuration.history",
    "audit.verify",
    "audit.export",
];

/// What the roles may do: on what, or on everything of the kind.
pub(crate) fn rules() -> Vec<(&'static str, Privilege, Option<&'static str>)> {
    let every = |role, privileges: &[Privilege]| {
        privileges.iter().map(|privilege| (role, *privilege, None)).collect::<Vec<_>>()
    };
    let read = READ_ONLY.iter().map(|command| ("monitor", Privilege::AdminRunCommand, Some(*command)));
    let mut rules = every(ADMINISTRATOR, &Privilege::ALL);
    rules.extend(read);
    rules.extend(every("monitor", &[Privilege::AuditRead, Privilege::MetricsRead]));
    let runs = [Privilege::Run, Privilege::Session, Privilege::EnvironmentUse];
    rules.extend(every("user", &runs));
    rules.extend(every("author", &runs));
    rules.extend(every("author", &[Privilege::EnvironmentBuild, Privilege::ScriptTrust]));
    rules
}

/// The one name of a role that has two.
pub(crate) fn canonical(role: &str) -> &str {
    if role == ADMINISTRATOR_ALIAS { ADMINISTRATOR } else { role }
}
