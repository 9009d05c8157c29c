//! Whom a realm begins with, and the secrets that objects name: opened when they are put in force, kept as hashes where
//! they are only compared with.

use stockade_config::security::{LdapRealm, Object, OidcRealm, Root, Secret};
use stockade_identity::local::{BadHash, Password, Stored};
use stockade_store::{Beginning, NewPrincipal};

use zeroize::Zeroizing;

use super::people::PEOPLE_MAX;
use super::{Caller, Security};
use crate::refusal::{Kind, Refusal};

impl Security {
    /// Whom the realms of an object begin with, those that were in force before left out.
    pub(super) async fn beginnings(&self, caller: &Caller, object: &Object) -> Result<Vec<Beginning>, Refusal> {
        let mut begins = Vec::new();
        for root in &object.roots {
            if let Root::Ldap(LdapRealm { name, .. }) | Root::Oidc(OidcRealm { name, .. }) = root {
                self.check_is_new(name).await?;
            }
            let Root::Local(realm) = root else { continue };
            let name = realm.name.clone();
            if self.keeper.with(move |store| store.has_realm(&name)).await? {
                continue;
            }
            let mut passwords = Vec::new();
            for initial in &realm.initial {
                passwords.push(match &initial.password {
                    Some(secret) => Some(self.hash_of(caller, &initial.user, secret).await?),
                    None => None,
                });
            }
            let mut passwords = passwords.into_iter();
            let principals = realm.initial.iter().map(|initial| {
                Ok(NewPrincipal {
                    user: initial.user.clone(),
                    password: passwords.next().flatten(),
                    roles: initial.roles.clone(),
                    locked: initial.locked,
                    password_days: initial.password_expiration_days,
                })
            });
            begins
                .push(Beginning { realm: realm.name.clone(), principals: principals.collect::<Result<_, Refusal>>()? });
        }
        self.check_room(&begins).await?;
        Ok(begins)
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

    /// People of elsewhere must not have what belongs to those of a local realm that was called the same.
    async fn check_is_new(&self, realm: &str) -> Result<(), Refusal> {
        let name = realm.to_owned();
        if !self.keeper.with(move |store| store.has_realm(&name)).await? {
            return Ok(());
        }
        Err(Refusal::new(
            Kind::Conflict,
            "the configuration stays as it is",
            format!("`{realm}` was a local realm, and its people's runs would be those of others"),
            "give the new realm another name",
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
