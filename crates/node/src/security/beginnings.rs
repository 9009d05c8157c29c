//! Whom a realm begins with, and the secrets that objects name: opened when they are put in force, kept as hashes where
//! they are only compared with.

use stockade_config::security::{LocalRealm, Object, Root, Secret, whole};
use stockade_identity::local::{BadHash, Password, Stored};
use stockade_store::{Beginning, NewPrincipal, Principal, Store};

use zeroize::Zeroizing;

use super::people::PEOPLE_MAX;
use super::{Caller, Security, force};
use crate::refusal::{Kind, Refusal};
use crate::service::now_ms;

impl Security {
    /// The realms of an object that begin with it, those that were in force before left out, and whom they begin with.
    pub(super) async fn beginnings(&self, caller: &Caller, object: &Object) -> Result<Vec<Beginning>, Refusal> {
        let mut begins = Vec::new();
        for root in &object.roots {
            let Some(realm) = whole::realm_name(root) else { continue };
            let name = realm.to_owned();
            if self.keeper.with(move |store| store.has_realm(&name)).await? {
                continue;
            }
            let principals =
                if let Root::Local(realm) = root { self.first_of(caller, realm).await? } else { Vec::new() };
            begins.push(Beginning { realm: realm.to_owned(), kind: root.key().to_owned(), principals });
        }
        self.check_room(&begins).await?;
        Ok(begins)
    }

    /// Whom a local realm begins with.
    async fn first_of(&self, caller: &Caller, realm: &LocalRealm) -> Result<Vec<NewPrincipal>, Refusal> {
        let mut principals = Vec::new();
        for initial in &realm.initial {
            let password = match &initial.password {
                Some(secret) => Some(self.hash_of(caller, &initial.user, secret).await?),
                None => None,
            };
            principals.push(NewPrincipal {
                user: initial.user.clone(),
                password,
                roles: initial.roles.clone(),
                locked: initial.locked,
                password_days: initial.password_expiration_days,
            });
        }
        Ok(principals)
    }

    /// No more principals than there may be, whichever way they come.
    async fn check_room(&self, begins: &[Beginning]) -> Result<(), Refusal> {
        let new: usize = begins.iter().map(|realm| realm.principals.len()).sum();
        if new == 0 || self.keeper.with(|store| Ok(store.principals()?.len())).await? + new <= PEOPLE_MAX {
            return Ok(());
        }
        Err(Refusal::new(
            Kind::TooMany,
            "the configuration stays as it is",
            format!("there would be more than {PEOPLE_MAX} users"),
            "remove some, or use a directory",
        ))
    }

    /// What is to be said to other servers can be.
    pub(super) fn check_secrets(&self, object: &Object) -> Result<(), Refusal> {
        let secrets = object.roots.iter().flat_map(|root| -> Vec<&Secret> {
            match root {
                Root::Ldap(realm) => {
                    realm.servers.iter().filter_map(|server| server.system_password.as_ref()).collect()
                }
                Root::Oidc(realm) => {
                    realm.providers.iter().filter_map(|provider| provider.client_secret.as_ref()).collect()
                }
                Root::TrustedHosts(_)
                | Root::Local(_)
                | Root::Mappings(_)
                | Root::Server(_)
                | Root::Client(_)
                | Root::Settings(_) => Vec::new(),
            }
        });
        secrets.into_iter().try_for_each(|secret| self.terms.secrets.open(secret).map(drop))
    }

    /// What the password of a realm's beginning hashes to.
    async fn hash_of(&self, caller: &Caller, user: &str, secret: &Secret) -> Result<String, Refusal> {
        if let Secret::Hash(hash) = secret {
            let user = stockade_core::text::shown(user, 100);
            return Stored::parse(hash).map(|stored| stored.to_string()).map_err(|bad| {
                Refusal::invalid(format!("the password of `{user}` cannot be used"), bad.to_string(), bad.next())
            });
        }
        let clear = self.terms.secrets.open(secret)?;
        self.hash(caller, clear).await
    }

    /// Puts what passwords hash to in the place of passwords.
    pub(super) async fn hash_passwords(&self, caller: &Caller, object: &mut Object) -> Result<(), Refusal> {
        for root in &mut object.roots {
            let Root::Local(realm) = root else { continue };
            for initial in &mut realm.initial {
                let Some(Secret::Clear(clear)) = &initial.password else { continue };
                let hash = self.hash(caller, clear.clone()).await?;
                initial.password = Some(Secret::Hash(hash));
            }
        }
        Ok(())
    }

    /// What a password hashes to, as it is kept.
    pub(super) async fn hash(&self, caller: &Caller, clear: impl Into<Zeroizing<String>>) -> Result<String, Refusal> {
        let password = Password::new(clear)
            .map_err(|bad| Refusal::invalid("the password cannot be used", bad.to_string(), bad.next()))?;
        let stored = self.passwords.hash(caller.source, password).await;
        stored.map(|stored| stored.to_string()).map_err(|bad| {
            let kind = if bad == BadHash::Resources { Kind::Unavailable } else { Kind::Failed };
            Refusal::new(kind, "the password cannot be kept", bad.to_string(), bad.next())
        })
    }
}

/// Notes the types of realms that a version of before has put in force, which noted those of local ones only. What is in
/// force now comes first, where a name was had by two of them.
pub(super) fn note_types(store: &mut Store) -> Result<(), stockade_store::Error> {
    let mut objects = store.objects()?;
    objects.retain(|object| object.activated_ms.is_some());
    objects.sort_by_key(|object| !object.active);
    let read = objects.iter().filter_map(|object| force::read(&object.text).ok());
    let of = |root: &Root| Some((whole::realm_name(root)?.to_owned(), root.key().to_owned()));
    let types: Vec<_> = read.flat_map(|object| object.roots.iter().filter_map(of).collect::<Vec<_>>()).collect();
    store.note_realms(&types)
}

/// Those of realms that begin, as they would be from now on.
pub(super) fn people_of(begins: &[Beginning]) -> Vec<Principal> {
    let of_realm = |begin: &Beginning| {
        let realm = begin.realm.clone();
        let person = move |new: NewPrincipal| Principal {
            realm: realm.clone(),
            user: new.user,
            password: new.password,
            roles: new.roles,
            locked: new.locked,
            password_days: new.password_days,
            password_ms: now_ms(),
        };
        begin.principals.clone().into_iter().map(person)
    };
    begins.iter().flat_map(of_realm).collect()
}
