//! `RoleToPrivilegeMappings`: what roles may do, in either of its shapes.

use std::collections::{BTreeMap, BTreeSet};

use super::object::Note;
use super::read::{Notes, once};
use super::words::Word;
use super::{Mappings, Privilege, Rules};
use crate::refused::{Refused, Wrong};
use crate::value::Value;

/// The privileges that a node knows.
pub const PRIVILEGES: [&str; 10] = [
    "AdminRunCommand",
    "Run",
    "Session",
    "EnvironmentBuild",
    "EnvironmentUse",
    "DataSourceRead",
    "ScriptTrust",
    "Egress",
    "AuditRead",
    "MetricsRead",
];

/// Those of them that no node asks for, since nothing that it does is what they are about.
const UNASKED: [&str; 3] = ["DataSourceRead", "ScriptTrust", "Egress"];

const LIST: &str = "a list such as [{ privilege = Run, resource = \"reports\" }]";
const ROLES: &str = "roles and what each may do, in braces";

/// Reads both shapes: `privileges = { ROLE = […] }` with `deny = { ROLE = […] }` beside it, and
/// `roles = { ROLE = { privileges = […], deny = […] } }`.
pub(super) fn read(value: &Value<'_>, notes: &mut Notes) -> Result<Mappings, Refused> {
    let mut fields = value.object("`RoleToPrivilegeMappings`", &["privileges", "deny", "roles"])?;
    let mut gathered = Gathered::default();
    if let Some(flat) = fields.take("privileges") {
        for (role, list) in flat.named(ROLES)? {
            gathered.role(role, &list)?.grant = privileges(&list, notes)?;
        }
    }
    if let Some(flat) = fields.take("deny") {
        for (role, list) in flat.named(ROLES)? {
            gathered.role(role, &list)?.deny = privileges(&list, notes)?;
        }
    }
    if let Some(nested) = fields.take("roles") {
        for (role, object) in nested.named(ROLES)? {
            if gathered.at.contains_key(role) {
                return Err(object.refuse(Wrong::Repeated(role.to_owned())));
            }
            *gathered.role(role, &object)? = rules(&object, notes)?;
        }
    }
    Ok(Mappings { roles: gathered.roles })
}

/// Roles in the order of the text, and where each is.
#[derive(Debug, Default)]
struct Gathered {
    roles: Vec<(String, Rules)>,
    at: BTreeMap<String, usize>,
}

impl Gathered {
    fn role(&mut self, role: &str, value: &Value<'_>) -> Result<&mut Rules, Refused> {
        let role = Word::Role.check(role, value)?;
        let at = *self.at.entry(role.clone()).or_insert(self.roles.len());
        if at == self.roles.len() {
            self.roles.push((role, Rules::default()));
        }
        self.roles.get_mut(at).map(|(_, rules)| rules).ok_or_else(|| value.refuse(Wrong::Empty))
    }
}

fn rules(value: &Value<'_>, notes: &mut Notes) -> Result<Rules, Refused> {
    let mut fields = value.object("a role", &["privileges", "deny"])?;
    let mut list = |key| fields.take(key).map_or(Ok(Vec::new()), |value: Value<'_>| privileges(&value, notes));
    Ok(Rules { grant: list("privileges")?, deny: list("deny")? })
}

fn privileges(value: &Value<'_>, notes: &mut Notes) -> Result<Vec<Privilege>, Refused> {
    let mut found = Vec::new();
    let mut shown = BTreeSet::new();
    for item in value.list(LIST)? {
        let privilege = privilege(&item, notes)?;
        once(&mut shown, &privilege.to_string(), &item)?;
        found.push(privilege);
    }
    Ok(found)
}

fn privilege(value: &Value<'_>, notes: &mut Notes) -> Result<Privilege, Refused> {
    let mut fields = value.object("a privilege", &["privilege", "resource"])?;
    let named = fields.need("privilege")?;
    let name = named.text("a privilege such as \"Run\"")?;
    if !PRIVILEGES.contains(&name) {
        let known = PRIVILEGES.to_vec();
        return Err(named.refuse(Wrong::Word { what: "privilege", word: name.to_owned(), known }));
    }
    if let Some(unasked) = UNASKED.into_iter().find(|unasked| *unasked == name) {
        notes.add_once(&named, Note::Unasked(unasked));
    }
    let resource = fields.take("resource").map(|value| Word::Resource.read(&value)).transpose()?;
    Ok(Privilege { name: name.to_owned(), resource })
}

impl std::fmt::Display for Privilege {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.resource {
            Some(resource) => write!(out, "{} on {resource}", self.name),
            None => out.write_str(&self.name),
        }
    }
}
