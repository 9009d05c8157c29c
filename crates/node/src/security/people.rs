//! The principals of the realms that the node keeps itself.

use stockade_store::{Change, NewPrincipal, Principal};

use super::lockout::{Lost, PEOPLE};
use super::{Caller, Security};
use crate::refusal::{Kind, Refusal};
use crate::service::now_ms;

/// Most principals of all realms together.
pub(super) const PEOPLE_MAX: usize = 100_000;
/// Longest name of a user or role.
const NAME_CHARS_MAX: usize = 128;

impl Security {
    /// The realm that is meant: the named one, or the only one there is.
    pub(super) fn realm(&self, named: Option<&str>) -> Result<String, Refusal> {
        let in_force = self.in_force();
        let realms: Vec<&str> = in_force.local_realms().map(|realm| realm.name.as_str()).collect();
        match (named, realms.as_slice()) {
            (Some(name), known) if known.contains(&name) => Ok(name.to_owned()),
            (None, [only]) => Ok((*only).to_owned()),
            (None, [_, _, ..]) => Err(Refusal::invalid(
                "which realm is meant?",
                format!("there are {}", realms.join(", ")),
                "name one with --realm",
            )),
            (Some(_), _) | (None, []) => Err(Refusal::new(
                Kind::Missing,
                "there is no such realm",
                "no local realm of this name is in force",
                "activate an object with a LocalAuthenticationRealm",
            )),
        }
    }

    /// Adds somebody.
    pub(super) async fn add_user(
        &self,
        caller: &Caller,
        realm: Option<&str>,
        new: NewPrincipal,
        clear: Option<String>,
    ) -> Result<(), Refusal> {
        let _changing = self.changing.lock().await;
        self.check_no_trial().await?;
        let realm = self.realm(realm)?;
        check_names(std::iter::once(&new.user).chain(&new.roles))?;
        check_may_give(caller, &new.roles)?;
        if self.keeper.with(|store| Ok(store.principals()?.len())).await? >= PEOPLE_MAX {
            return Err(Refusal::new(
                Kind::TooMany,
                "nobody is added",
                format!("there are {PEOPLE_MAX} already"),
                "remove some, or use a directory",
            ));
        }
        let password = match clear {
            Some(clear) => Some(self.hash(caller, clear).await?),
            None => new.password.clone(),
        };
        let user = new.user.clone();
        let new = NewPrincipal { password, ..new };
        if !self.keeper.with(move |store| store.add_principal(&realm, &new, now_ms())).await? {
            let what = format!("there is a user `{}` already", stockade_core::text::shown(&user, 100));
            return Err(Refusal::new(
                Kind::Conflict,
                what,
                "names are unique in a realm",
                "update that one, or take another name",
            ));
        }
        self.take_up(self.hosts()).await
    }

    /// Changes somebody. Who does must hold what that one holds, before and after.
    pub(super) async fn change_user(
        &self,
        caller: &Caller,
        (realm, user): (Option<&str>, &str),
        change: Change,
        clear: Option<String>,
    ) -> Result<(), Refusal> {
        let _changing = self.changing.lock().await;
        let found = self.user(realm, user).await?;
        check_may_give(caller, &found.roles)?;
        if let Some(roles) = &change.roles {
            // They may mean something else in what is given back. Who is locked, and by which password, may change.
            self.check_no_trial().await?;
            check_names(roles.iter())?;
            check_may_give(caller, roles)?;
        }
        let password = match clear {
            Some(clear) => Some(self.hash(caller, clear).await?),
            None => change.password.clone(),
        };
        let change = Change { password, ..change };
        let mut after = self.everybody_but(&found).await?;
        after.push(changed(found.clone(), &change, now_ms()));
        self.check_people(caller, after).await.map_err(not_yourself)?;
        let changed =
            self.keeper.with(move |store| store.change_principal(&found.realm, &found.user, &change, now_ms())).await?;
        if !changed {
            return Err(nobody(user));
        }
        self.take_up(self.hosts()).await
    }

    /// Takes somebody away.
    pub(super) async fn remove_user(&self, caller: &Caller, realm: Option<&str>, user: &str) -> Result<(), Refusal> {
        let _changing = self.changing.lock().await;
        self.check_no_trial().await?;
        let found = self.user(realm, user).await?;
        check_may_give(caller, &found.roles)?;
        let after = self.everybody_but(&found).await?;
        self.check_people(caller, after).await.map_err(not_yourself)?;
        self.keeper.with(move |store| store.remove_principal(&found.realm, &found.user)).await?;
        self.take_up(self.hosts()).await
    }

    async fn user(&self, realm: Option<&str>, user: &str) -> Result<Principal, Refusal> {
        let (realm, name) = (self.realm(realm)?, user.to_owned());
        let found = self.keeper.with(move |store| store.principal(&realm, &name)).await?;
        found.ok_or_else(|| nobody(user))
    }

    async fn everybody_but(&self, one: &Principal) -> Result<Vec<Principal>, Refusal> {
        let mut people = self.keeper.with(stockade_store::Store::principals).await?;
        people.retain(|other| (&other.realm, &other.user) != (&one.realm, &one.user));
        Ok(people)
    }

    /// Looks whether a caller stays who changes principals.
    pub(super) async fn check_people(&self, caller: &Caller, after: Vec<Principal>) -> Result<(), Lost> {
        self.check_stays(caller, &self.in_force().with_people(after), PEOPLE).await
    }
}

/// Somebody as a change leaves him, the same as the store does it.
fn changed(before: Principal, change: &Change, now_ms: i64) -> Principal {
    Principal {
        password_ms: if change.password.is_some() { now_ms } else { before.password_ms },
        password: change.password.clone().or(before.password),
        roles: change.roles.clone().unwrap_or(before.roles),
        locked: change.locked.unwrap_or(before.locked),
        password_days: change.password_days.unwrap_or(before.password_days),
        ..before
    }
}

fn not_yourself(lost: Lost) -> Refusal {
    let next = "let somebody else do it, or do it at the node's socket as its own user";
    Refusal::new(Kind::Conflict, "nothing was changed", lost.to_string(), next)
}

fn nobody(user: &str) -> Refusal {
    let what = format!("there is no user `{}`", stockade_core::text::shown(user, 100));
    Refusal::new(Kind::Missing, what, "the realm has none of this name", "see stockade admin display user")
}

/// Nobody gives away what he lacks.
pub(super) fn check_may_give(caller: &Caller, roles: &[String]) -> Result<(), Refusal> {
    caller.in_force.authoriser.holds_all_of(&caller.roles, roles).map_err(|lack| {
        Refusal::new(
            Kind::Denied,
            "you cannot look after somebody who may do more than you",
            lack.to_string(),
            "ask somebody who holds all of it",
        )
    })
}

/// Names have no character that a list, a line or a terminal takes for something else; those that are given have no `@`,
/// which would be read as another's.
fn check_names<'a>(names: impl Iterator<Item = &'a String>) -> Result<(), Refusal> {
    check(names, ",@", "a comma, an @ or a control character")
}

/// The same of those that a realm has already: its file may name users of this machine, who can have an `@`.
pub(super) fn check_kept_names<'a>(names: impl Iterator<Item = &'a String>) -> Result<(), Refusal> {
    check(names, ",", "a comma or a control character")
}

fn check<'a>(mut names: impl Iterator<Item = &'a String>, barred: &str, told: &str) -> Result<(), Refusal> {
    let is_bad = |name: &&String| {
        name.is_empty()
            || name.chars().count() > NAME_CHARS_MAX
            || name.contains(|one: char| one.is_control() || barred.contains(one))
            || name.trim() != *name
    };
    match names.find(is_bad) {
        Some(bad) => Err(Refusal::invalid(
            format!("`{}` is no name", stockade_core::text::shown(bad, 100)),
            format!("a name has 1 to {NAME_CHARS_MAX} characters, none of them {told}"),
            "choose another one",
        )),
        None => Ok(()),
    }
}
