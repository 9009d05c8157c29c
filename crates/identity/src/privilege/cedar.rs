//! From rules to policies of Cedar, and from questions to its requests.
//!
//! Names of people never become text of a policy: policies are made of JSON values (Cedar's own form of its syntax
//! tree), requests of entity ids and string values. Policies are known by their place in the list of rules.
//!
//! Cedar looks at every policy of the set that it is given, so it is given those of the roles that are held: the
//! others could not match. Such sets are put together when they are first asked for, and kept within a bound.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, Policy, PolicyId, PolicySet,
    Request, RestrictedExpression,
};
use moka::sync::Cache;
use serde_json::{Value, json};

use super::kind::Privilege;
use super::rule::{Effect, Rule};

/// Policies in all sets that are kept together.
const KEPT_MAX: u64 = 50_000;

/// What Cedar answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// Yes, by the rule at this place.
    Permit(usize),
    /// No, by the rule at this place, or because no rule says yes.
    Forbid(Option<usize>),
}

/// The types of entities.
struct Types {
    user: EntityTypeName,
    role: EntityTypeName,
    action: EntityTypeName,
    resource: EntityTypeName,
    kind: EntityTypeName,
}

/// The compiled policies.
pub(crate) struct Compiled {
    types: Types,
    authorizer: Authorizer,
    /// Those of each role on each privilege.
    policies: HashMap<(Privilege, u32), Vec<Policy>>,
    sets: Cache<(Privilege, Box<[u32]>), Arc<PolicySet>>,
}

impl Compiled {
    /// Compiles the rules, each with the number of its role; the error is the place of the rule and what Cedar says
    /// to it.
    pub(crate) fn new<'a>(rules: impl Iterator<Item = (u32, &'a Rule)>) -> Result<Self, (usize, String)> {
        let mut policies: HashMap<(Privilege, u32), Vec<Policy>> = HashMap::new();
        for (place, (role, rule)) in rules.enumerate() {
            let id = PolicyId::new(place.to_string());
            let policy = Policy::from_json(Some(id), policy(rule)).map_err(|error| (place, error.to_string()))?;
            policies.entry((rule.privilege, role)).or_default().push(policy);
        }
        let types = Types::new().map_err(|error| (0, error))?;
        Ok(Self::of(types, policies))
    }

    fn of(types: Types, policies: HashMap<(Privilege, u32), Vec<Policy>>) -> Self {
        let weight = |_: &(Privilege, Box<[u32]>), set: &Arc<PolicySet>| {
            u32::try_from(set.policies().count()).unwrap_or(u32::MAX).max(1)
        };
        let sets = Cache::builder().max_capacity(KEPT_MAX).weigher(weight).build();
        Self { types, authorizer: Authorizer::new(), policies, sets }
    }

    /// The policies on a privilege of roles.
    fn set(&self, privilege: Privilege, roles: &[u32]) -> Option<Arc<PolicySet>> {
        let with_rules = |role: &u32| self.policies.contains_key(&(privilege, *role));
        let roles: Box<[u32]> = roles.iter().copied().filter(with_rules).collect();
        let key = (privilege, roles);
        if let Some(set) = self.sets.get(&key) {
            return Some(set);
        }
        let policies = key.1.iter().filter_map(|role| self.policies.get(&(privilege, *role))).flatten().cloned();
        // Ids are places, so there are no two of one.
        let set = Arc::new(PolicySet::from_policies(policies).ok()?);
        self.sets.insert(key, Arc::clone(&set));
        Some(set)
    }

    /// Asks for somebody with these roles, by name and by number. Whatever goes wrong on the way is a no.
    pub(crate) fn ask(
        &self,
        principal: &str,
        (roles, numbers): (&[&str], &[u32]),
        privilege: Privilege,
        resource: Option<&str>,
    ) -> Said {
        let Some(set) = self.set(privilege, numbers) else { return Said::Forbid(None) };
        let Some((request, entities)) = self.types.request(principal, roles, privilege, resource) else {
            return Said::Forbid(None);
        };
        let response = self.authorizer.is_authorized(&request, &set, &entities);
        // Cedar passes over a policy that fails; a denial that fails must not become a yes.
        if response.diagnostics().errors().next().is_some() {
            return Said::Forbid(None);
        }
        let ids = response.diagnostics().reason();
        let first = ids.filter_map(|id| AsRef::<str>::as_ref(id).parse().ok()).min();
        match (response.decision(), first) {
            (Decision::Allow, Some(rule)) => Said::Permit(rule),
            (Decision::Allow, None) => Said::Forbid(None),
            (Decision::Deny, rule) => Said::Forbid(rule),
        }
    }
}

impl Types {
    fn new() -> Result<Self, String> {
        let named = |name: &str| name.parse().map_err(|error| format!("{error}"));
        Ok(Self {
            user: named("User")?,
            role: named("Role")?,
            action: named("Action")?,
            resource: named("Resource")?,
            kind: named("Kind")?,
        })
    }

    /// The question, and the two things it is about. A question about all of a kind is about a thing without a name.
    fn request(
        &self,
        principal: &str,
        roles: &[&str],
        privilege: Privilege,
        resource: Option<&str>,
    ) -> Option<(Request, Entities)> {
        let uid =
            |kind: &EntityTypeName, name: &str| EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(name));
        let user = uid(&self.user, principal);
        let parents: HashSet<EntityUid> = roles.iter().map(|role| uid(&self.role, role)).collect();
        let thing = uid(if resource.is_some() { &self.resource } else { &self.kind }, resource.unwrap_or(""));
        let name = resource.map(|name| ("name".to_owned(), RestrictedExpression::new_string(name.to_owned())));
        let about = Entity::new(thing.clone(), name.into_iter().collect(), HashSet::new()).ok()?;
        let asker = Entity::new_no_attrs(user.clone(), parents);
        let entities = Entities::from_entities([asker, about], None).ok()?;
        let action = uid(&self.action, privilege.name());
        Some((Request::new(user, action, thing, Context::empty(), None).ok()?, entities))
    }
}

/// A rule as Cedar's JSON. A denial on some resources holds for a question about all of them too.
fn policy(rule: &Rule) -> Value {
    let is_named = json!({"has": {"left": {"Var": "resource"}, "attr": "name"}});
    let any = rule.globs.iter().map(|glob| {
        let pattern: Vec<Value> = glob
            .pieces()
            .into_iter()
            .map(|piece| piece.map_or_else(|| json!("Wildcard"), |text| json!({"Literal": text})))
            .collect();
        json!({"like": {"left": {".": {"left": {"Var": "resource"}, "attr": "name"}}, "pattern": pattern}})
    });
    let matches = any.reduce(|one, other| json!({"||": {"left": one, "right": other}}));
    let (effect, condition) = match (rule.effect, matches) {
        (Effect::Grant, Some(matches)) => ("permit", Some(json!({"&&": {"left": is_named, "right": matches}}))),
        (Effect::Deny, Some(matches)) => {
            ("forbid", Some(json!({"||": {"left": {"!": {"arg": is_named}}, "right": matches}})))
        }
        (Effect::Grant, None) => ("permit", None),
        (Effect::Deny, None) => ("forbid", None),
    };
    json!({
        "effect": effect,
        "principal": {"op": "in", "entity": {"type": "Role", "id": rule.role}},
        "action": {"op": "==", "entity": {"type": "Action", "id": rule.privilege.name()}},
        "resource": {"op": "All"},
        "conditions": condition.map(|body| json!({"kind": "when", "body": body})).into_iter().collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// None of our rules can fail; this is for the day on which one does.
    #[test]
    fn a_denial_that_fails_is_a_no_and_not_nothing() {
        let asked = |texts: &[&str]| {
            let named =
                |(place, text): (usize, &&str)| Policy::parse(Some(PolicyId::new(place.to_string())), text).unwrap();
            let policies = HashMap::from([((Privilege::Run, 0), texts.iter().enumerate().map(named).collect())]);
            let compiled = Compiled::of(Types::new().unwrap(), policies);
            compiled.ask("ada", (&["user"], &[0]), Privilege::Run, Some("default"))
        };
        let grant = "permit(principal, action, resource);";
        assert_eq!(asked(&[grant]), Said::Permit(0));
        let failing = "forbid(principal, action, resource) when { resource.missing == 1 };";
        assert_eq!(asked(&[grant, failing]), Said::Forbid(None));
    }
}
