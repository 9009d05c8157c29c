//! A local realm as a whole: all its principals in one document and back, and the realm that administrators are of.
//!
//! A document has what passwords hash to, which can be guessed at leisure. So it takes all that anybody in it holds,
//! and it is in no record: the trail has that it was given out, or that one was given.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use stockade_identity::local::Stored;
use stockade_store::Principal;

use super::changes::check_holds_everything;
use super::lockout::CONFIGURATION;
use super::people::{PEOPLE_MAX, check_kept_names, check_may_give};
use super::{Caller, Security};
use crate::refusal::{Kind, Refusal};
use crate::service::now_ms;

/// Largest document.
pub(super) const BYTES_MAX: usize = 7 << 20;
/// What a document says it is.
const FORM: &str = "stockade.realm/1";

/// A realm.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    form: String,
    realm: String,
    principals: Vec<Person>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Person {
    user_name: String,
    /// What it hashes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password: Option<String>,
    roles: Vec<String>,
    locked: bool,
    password_expiration_days: u32,
    /// Milliseconds since 1970.
    password_set_ms: i64,
}

/// What was restored.
#[derive(Debug)]
pub(super) struct Restored {
    pub(super) realm: String,
    pub(super) count: usize,
}

impl Security {
    /// All principals of a local realm.
    pub(super) fn backup(&self, caller: &Caller, realm: Option<&str>) -> Result<String, Refusal> {
        let realm = self.realm(realm)?;
        let in_force = self.in_force();
        let people: Vec<&Principal> = in_force.people().into_iter().filter(|one| one.realm == realm).collect();
        check_may_give_all(caller, people.iter().copied())?;
        let principals = people.into_iter().map(|one| Person {
            user_name: one.user.clone(),
            password: one.password.clone(),
            roles: one.roles.clone(),
            locked: one.locked,
            password_expiration_days: one.password_days,
            password_set_ms: one.password_ms,
        });
        let document = Document { form: FORM.to_owned(), principals: principals.collect(), realm };
        let text =
            serde_json::to_string(&document).map_err(|error| Refusal::failed("the realm cannot be written", error))?;
        if text.len() <= BYTES_MAX {
            return Ok(text);
        }
        Err(Refusal::new(
            Kind::TooLarge,
            "the realm is too large for one document",
            format!("it would have more than {}", stockade_core::text::bytes(BYTES_MAX as u64)),
            "copy the node's folder instead: docs/operate/upkeep.md",
        ))
    }

    /// Puts those of a document in the place of all principals of its realm.
    pub(super) async fn restore(&self, caller: &Caller, text: &str, realm: Option<&str>) -> Result<Restored, Refusal> {
        let document = parse(text)?;
        if realm.is_some_and(|realm| realm != document.realm) {
            return Err(refused("it is of another realm", "leave --realm out, or take the document of that realm"));
        }
        let _changing = self.changing.lock().await;
        self.check_no_trial().await?;
        let realm = self.realm(Some(&document.realm))?;
        let new = people(document, &realm)?;
        let all = self.keeper.with(stockade_store::Store::principals).await?;
        let (before, mut after): (Vec<Principal>, Vec<Principal>) = all.into_iter().partition(|one| one.realm == realm);
        check_may_give_all(caller, before.iter().chain(&new))?;
        after.extend(new.iter().cloned());
        if after.len() > PEOPLE_MAX {
            return Err(refused(&format!("there would be more than {PEOPLE_MAX} users"), "use a directory"));
        }
        self.check_people(caller, after).await.map_err(|lost| {
            let next = "restore a document in which you hold what you hold now, or do it as somebody else";
            refused(&lost.to_string(), next)
        })?;
        let count = new.len();
        let of_realm = realm.clone();
        self.keeper.with(move |store| store.replace_principals(&of_realm, &new)).await?;
        self.take_up(self.hosts()).await?;
        Ok(Restored { realm, count })
    }

    /// Changes whom administrators over the network must be.
    pub(super) async fn set_administration(
        &self,
        caller: &Caller,
        realm: Option<&str>,
        any: bool,
    ) -> Result<(), Refusal> {
        check_holds_everything(caller)?;
        let _changing = self.changing.lock().await;
        self.check_no_trial().await?;
        let realm = match (realm, any) {
            (Some(realm), false) => Some(realm.to_owned()),
            (None, true) => None,
            _ => {
                let why = "a realm is named, or any is let in";
                return Err(Refusal::invalid("nothing was changed", why, "write --realm=NAME, or --any"));
            }
        };
        if let Some(realm) = &realm
            && !self.in_force().realms().any(|known| known == realm)
        {
            return Err(Refusal::new(
                Kind::Missing,
                format!("there is no realm `{}`", stockade_core::text::shown(realm, 100)),
                "none of this name is in force",
                "see stockade admin display realm",
            ));
        }
        let people = self.keeper.with(stockade_store::Store::principals).await?;
        let new = self.in_force().with_people(people).administered_by(realm.clone());
        self.check_stays(caller, &new, CONFIGURATION).await.map_err(|lost| {
            let next = "let somebody of that realm do it, or do it at the node's socket";
            Refusal::new(Kind::Conflict, "nothing was changed", lost.to_string(), next)
        })?;
        self.keeper.with(move |store| store.set_administration_realm(realm.as_deref())).await?;
        self.take_up(self.hosts()).await
    }
}

fn refused(why: &str, next: &str) -> Refusal {
    Refusal::new(Kind::Conflict, "the realm stays as it is", why, next)
}

fn parse(text: &str) -> Result<Document, Refusal> {
    let bad = |why: String| {
        Refusal::invalid("the document cannot be understood", why, "take one that `backup realm` has made, as it is")
    };
    // What serde says of a text may have a part of it, which may be a hash.
    let at = |error: serde_json::Error| bad(format!("line {}, column {}", error.line(), error.column()));
    let document: Document = serde_json::from_str(text).map_err(at)?;
    if document.form != FORM {
        return Err(bad(format!("it is not of the form `{FORM}`")));
    }
    Ok(document)
}

/// Those of a document, each of them one that the node could have made.
fn people(document: Document, realm: &str) -> Result<Vec<Principal>, Refusal> {
    let now_ms = now_ms();
    let mut names = BTreeSet::new();
    let person = |one: Person| {
        check_kept_names(std::iter::once(&one.user_name).chain(&one.roles))?;
        let shown = stockade_core::text::shown(&one.user_name, 100);
        if !names.insert(one.user_name.clone()) {
            return Err(refused(&format!("the user `{shown}` is in it twice"), "leave one out"));
        }
        let stored = one
            .password
            .as_deref()
            .map(Stored::parse)
            .transpose()
            .map_err(|bad| refused(&format!("the password of `{shown}` cannot be used: {bad}"), bad.next()))?;
        Ok(Principal {
            realm: realm.to_owned(),
            user: one.user_name,
            password: stored.map(|stored| stored.to_string()),
            roles: one.roles,
            locked: one.locked,
            password_days: one.password_expiration_days,
            // No password lasts longer because somebody's clock was ahead.
            password_ms: one.password_set_ms.clamp(0, now_ms),
        })
    };
    document.principals.into_iter().map(person).collect()
}

/// It takes all that anybody of them holds; most hold the same.
fn check_may_give_all<'a>(caller: &Caller, people: impl Iterator<Item = &'a Principal>) -> Result<(), Refusal> {
    let roles: BTreeSet<&[String]> = people.map(|one| one.roles.as_slice()).collect();
    roles.into_iter().try_for_each(|roles| check_may_give(caller, roles))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(people: &str) -> String {
        format!(r#"{{"form":"stockade.realm/1","realm":"people","principals":[{people}]}}"#)
    }

    fn person(more: &str) -> String {
        format!(r#"{{"roles":["user"],"locked":false,"passwordExpirationDays":0,"passwordSetMs":5{more}}}"#)
    }

    #[test]
    fn a_document_is_one_that_the_node_could_have_made() {
        let ann = person(r#","userName":"ann""#);
        let read = people(parse(&document(&ann)).unwrap(), "people").unwrap();
        assert_eq!((read.len(), read[0].user.as_str(), read[0].password_ms), (1, "ann", 5));
        let mail = person(r#","userName":"ann@acme""#);
        assert_eq!(people(parse(&document(&mail)).unwrap(), "people").unwrap()[0].user, "ann@acme");
        let late = ann.replace(":5", ":9223372036854775807");
        assert!(people(parse(&document(&late)).unwrap(), "people").unwrap()[0].password_ms <= now_ms());
        for bad in [
            document(&format!("{ann},{ann}")),
            document(&person(r#","userName":"a,b""#)),
            document(&person(r#","userName":"""#)),
            document(&person(r#","userName":"ann","password":"hunter2""#)),
            document(&person(r#","userName":"ann","password":"$argon2id$v=19$m=1,t=1,p=1$x$y""#)),
            document(&person(r#","userName":"ann","uid":0"#)),
            document(&ann.replace("[\"user\"]", "[\"user\\nadministrator\"]")),
            document(&ann).replace("/1", "/2"),
            String::new(),
        ] {
            let read = parse(&bad).and_then(|document| people(document, "people"));
            let refused = read.unwrap_err().to_string();
            assert!(!refused.contains("hunter2"), "{refused}");
        }
    }
}
