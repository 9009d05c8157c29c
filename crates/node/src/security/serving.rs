//! The server profile that is offered over TLS: made with what is in force, where the node was started for one.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use stockade_config::security::{Object, Root, ServerProfile};
use stockade_core::audit::{Authentication, Decision};
use stockade_identity::entry::{Credential, Proof};
use stockade_identity::ldap::certificates;

use super::claim::Claim;
use super::force::{InForce, Name};
use super::login::Now;
use super::outward::Outward;
use super::{Security, Terms};
use crate::tls::{Asked, Client, Clients, Offer};

const METHOD: &str = "certificate";

/// A profile, with all that it names.
#[derive(Debug)]
pub(super) struct Serving {
    text: ServerProfile,
    /// Or why it cannot be offered.
    pub(super) offer: Result<Arc<Offer>, String>,
}

impl Serving {
    /// The profile of this name. What was there before stays where it is the same, with who is connected.
    pub(super) fn of(objects: &[Object], terms: &Terms, before: Option<&Arc<Self>>) -> Option<Arc<Self>> {
        let name = terms.profile.as_ref()?;
        let text = profiles(objects).find(|profile| profile.name == *name)?;
        let kept = before.filter(|before| before.text == *text && before.offer.is_ok()).cloned();
        Some(kept.unwrap_or_else(|| {
            let of = |why| format!("the server profile `{name}` cannot be offered: {why}");
            let offer = made(text, &terms.outward).map(Arc::new).map_err(of);
            Arc::new(Self { text: text.clone(), offer })
        }))
    }
}

/// Whether callers find the same over TLS by both.
pub(super) fn is_offered_alike(before: &InForce, after: &InForce) -> bool {
    match (&before.serving, &after.serving) {
        (Some(before), Some(after)) => Arc::ptr_eq(before, after) || (before.offer.is_err() && after.offer.is_err()),
        (before, after) => before.is_none() && after.is_none(),
    }
}

/// What is in no use: profiles of nodes that were started without them.
pub(super) fn unserved(objects: &[Object], terms: &Terms) -> Vec<String> {
    profiles(objects)
        .filter(|profile| terms.profile.as_ref() != Some(&profile.name))
        .map(|profile| {
            let name = &profile.name;
            format!("the server profile `{name}` is not offered: the node was started without --tls-profile {name}")
        })
        .collect()
}

fn profiles(objects: &[Object]) -> impl Iterator<Item = &ServerProfile> {
    let roots = objects.iter().flat_map(|object| &object.roots);
    roots.filter_map(|root| if let Root::Server(profile) = root { Some(profile) } else { None })
}

impl InForce {
    /// What is to be offered over TLS where the node was started for this profile.
    pub(super) fn offer(&self, profile: &str) -> Result<Arc<Offer>, String> {
        match &self.serving {
            Some(serving) => serving.offer.clone(),
            None => Err(format!("the server profile `{profile}` is not in force")),
        }
    }
}

fn made(profile: &ServerProfile, outward: &Outward) -> Result<Offer, String> {
    let authorities = |file: &String| {
        let pem = outward.file(file)?.as_bytes();
        certificates(pem).map_err(|bad| format!("{bad}; {}", bad.next()))
    };
    let authorities = profile.trust_file.as_ref().map(authorities).transpose()?;
    let clients = authorities.map(|authorities| Clients { authorities, are_required: profile.require_client });
    Offer::of(Asked {
        certificate: outward.file(&profile.certificate_file)?.as_bytes(),
        key: outward.secret_file(&profile.key_file)?.as_bytes(),
        clients,
        allow_tls12: profile.allow_tls12,
    })
}

impl Security {
    /// Puts on record that a hand-shake came to nothing because of what was shown at it, or was not.
    pub(crate) async fn record_hand_shake(&self, from: IpAddr, why: &str) {
        let now = self.now();
        let Some(reason) = self.of_flood(from, now, why.to_owned()) else { return };
        let record = Authentication {
            time_ms: u64::try_from(now.wall_ms).unwrap_or_default(),
            principal: "",
            realm: "",
            source: &from.to_string(),
            method: METHOD,
            decision: Decision::Refused,
            reason: &reason,
        };
        // It is refused already.
        if let Err(refusal) = self.record_authentication(record).await {
            tracing::error!(why = refusal.why, "a refused certificate is not on record");
        }
    }
}

/// Who a certificate says its owner is. It says no more: he is of a local realm, or nobody.
pub(super) fn by_certificate(in_force: &InForce, client: Arc<Client>, now: Now) -> Claim {
    let nobody = |detail: String, next: &'static str| Claim {
        detail,
        next: Some(next),
        ..Claim::of(Name::default(), Credential::Certificate(Proof::Wrong), METHOD)
    };
    let named = match &client.named {
        Ok(named) => named,
        Err(unnamed) => return nobody(unnamed.to_string(), unnamed.next()),
    };
    if !u64::try_from(now.wall_ms.div_euclid(1_000)).is_ok_and(|now_s| now_s <= named.good_until_s) {
        return nobody("the certificate is not good any more".to_owned(), "have a new one made, and connect again");
    }
    let is_on_record = client.is_on_record.load(Ordering::Relaxed);
    let claim = Claim::of(in_force.name(&named.name), Credential::Certificate(Proof::Right), METHOD);
    Claim { client: Some(client), is_on_record, ..claim }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use stockade_identity::certificate::{Named, Unnamed};
    use stockade_identity::hosts::Hosts;

    use super::*;

    #[tokio::test]
    async fn a_certificate_is_good_until_its_end_however_old_its_connection_is() {
        let hosts = Hosts::activate(&[], Arc::clone(Terms::of_test().resolver()), 0).await.unwrap();
        let in_force = InForce::compile(Vec::new(), Vec::new(), Arc::new(hosts)).unwrap();
        let claim = |named: Result<Named, Unnamed>, now_s: i64| {
            let client = Arc::new(Client { named, is_on_record: AtomicBool::new(false) });
            by_certificate(&in_force, client, Now { ms: 0, wall_ms: now_s * 1_000 })
        };
        let ann = || Ok(Named { name: "ann@acme".to_owned(), good_until_s: 1_000 });
        let good = claim(ann(), 1_000);
        assert_eq!(
            (good.credential, good.name.to_string().as_str()),
            (Credential::Certificate(Proof::Right), "ann@acme")
        );
        for nobody in [claim(ann(), 1_001), claim(ann(), -1), claim(Err(Unnamed::Ambiguous), 0)] {
            assert_eq!(nobody.credential, Credential::Certificate(Proof::Wrong));
            assert!(nobody.name == Name::default() && !nobody.detail.is_empty() && nobody.next.is_some());
        }
    }
}
