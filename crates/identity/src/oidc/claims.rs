//! What verified claims mean: until when, for whom, who, and which roles.

use std::collections::BTreeSet;

use serde_json::Value;
use stockade_config::security::is_role;

use super::refusal::OidcRefusal;
use super::token::{self, Claims, missing};
use super::{Identified, Limits};
use crate::name::is_principal;

/// The claim with an address of mail, which at many providers its user writes himself.
const MAIL: &str = "email";
const MAIL_VERIFIED: &str = "email_verified";

/// What a realm says about a provider's tokens.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) client_id: String,
    /// What a token that is shown must be made for.
    pub(super) audience: String,
    pub(super) identity_attribute: String,
    pub(super) roles_attribute: Option<String>,
}

impl Expected {
    /// Who it is, by claims that were verified. `is_for_client`: whether the audience is the client.
    pub(super) fn identify(
        &self,
        claims: &Claims,
        is_for_client: bool,
        limits: &Limits,
        now_ms: u64,
    ) -> Result<Identified, OidcRefusal> {
        let expires_s = times(claims, limits, now_ms / 1_000)?;
        if claims.contains_key("cnf") {
            return Err(OidcRefusal::Bound);
        }
        if is_for_client {
            self.party(claims)?;
        }
        for attribute in [Some(&self.identity_attribute), self.roles_attribute.as_ref()].into_iter().flatten() {
            here(claims, attribute)?;
        }
        Ok(Identified {
            user: self.user(claims)?,
            roles: self.roles(claims, limits.roles_max)?,
            expires_ms: expires_s.saturating_mul(1_000),
            issuer: claims.get("iss").and_then(Value::as_str).unwrap_or_default().to_owned(),
        })
    }

    /// Who asked for it (OpenID Connect Core, 3.1.3.7): where there are several audiences, it has to say.
    fn party(&self, claims: &Claims) -> Result<(), OidcRefusal> {
        match claims.get("azp") {
            Some(Value::String(party)) if *party == self.client_id => Ok(()),
            Some(Value::String(party)) => Err(OidcRefusal::Party(party.clone())),
            Some(_) => Err(missing("azp")),
            None if token::audience(claims).is_some_and(|audience| audience.len() == 1) => Ok(()),
            None => Err(missing("azp")),
        }
    }

    fn user(&self, claims: &Claims) -> Result<String, OidcRefusal> {
        let attribute = self.identity_attribute.as_str();
        let name = claims.get(attribute).and_then(Value::as_str).filter(|name| is_principal(name));
        let name = name.ok_or_else(|| OidcRefusal::Nameless { attribute: attribute.to_owned() })?;
        // Some providers write it as a text.
        let is_verified = || match claims.get(MAIL_VERIFIED) {
            Some(Value::Bool(is_verified)) => *is_verified,
            Some(Value::String(word)) => word == "true",
            _ => false,
        };
        if attribute == MAIL && !is_verified() {
            return Err(OidcRefusal::Unverified);
        }
        Ok(name.to_owned())
    }

    /// One role, or a list of them. More than there may be is a refusal and not a shorter list, as with directories; what
    /// no role can be called is none: no mapping could name it.
    fn roles(&self, claims: &Claims, roles_max: usize) -> Result<Vec<String>, OidcRefusal> {
        let Some(attribute) = &self.roles_attribute else { return Ok(Vec::new()) };
        let values = match claims.get(attribute) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::String(one)) => vec![one.as_str()],
            Some(Value::Array(all)) => {
                all.iter().map(Value::as_str).collect::<Option<_>>().ok_or_else(|| missing(attribute))?
            }
            Some(_) => return Err(missing(attribute)),
        };
        let roles: BTreeSet<&str> = values.into_iter().collect();
        if roles.len() > roles_max {
            return Err(OidcRefusal::TooManyRoles { roles_max });
        }
        Ok(roles.into_iter().filter(|role| is_role(role)).map(ToOwned::to_owned).collect())
    }
}

/// A provider with too many groups for a token says where they are instead (Core, 5.6.2).
fn here(claims: &Claims, attribute: &str) -> Result<(), OidcRefusal> {
    let is_elsewhere = match claims.get("_claim_names") {
        None => false,
        Some(names) => names.as_object().is_none_or(|names| names.contains_key(attribute)),
    };
    if is_elsewhere { Err(OidcRefusal::Elsewhere(attribute.to_owned())) } else { Ok(()) }
}

/// Until when it is good. It has to say when it was made and when it ends.
fn times(claims: &Claims, limits: &Limits, now_s: u64) -> Result<u64, OidcRefusal> {
    let time = |claim| claims.get(claim).map(|value| seconds(value).ok_or_else(|| missing(claim))).transpose();
    let expires = time("exp")?.ok_or_else(|| missing("exp"))?;
    let made = time("iat")?.ok_or_else(|| missing("iat"))?;
    let begins = time("nbf")?.unwrap_or(made).max(made);
    let skew_s = limits.skew_ms / 1_000;
    if now_s >= expires.saturating_add(skew_s) {
        return Err(OidcRefusal::Over { since_s: now_s - expires });
    }
    if begins > now_s.saturating_add(skew_s) {
        return Err(OidcRefusal::Early { in_s: begins - now_s });
    }
    let (span_s, max_s) = (expires.saturating_sub(made), limits.lifetime_ms_max / 1_000);
    if span_s > max_s {
        return Err(OidcRefusal::Lasting { span_s, max_s });
    }
    Ok(expires)
}

/// Seconds since 1970; what is behind the point is dropped.
fn seconds(value: &Value) -> Option<u64> {
    let Value::Number(number) = value else { return None };
    let text = number.to_string();
    let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
    rest.bytes().all(|byte| byte.is_ascii_digit()).then(|| whole.parse().ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const NOW_S: u64 = 1_800_000_000;

    fn expected() -> Expected {
        Expected {
            client_id: "node".to_owned(),
            audience: "node".to_owned(),
            identity_attribute: "name".to_owned(),
            roles_attribute: Some("groups".to_owned()),
        }
    }

    /// Good claims, but for these.
    fn claims(other: &Value) -> Claims {
        let mut claims = json!({
            "iss": "https://a", "aud": "node", "iat": NOW_S, "exp": NOW_S + 300, "name": "ada", "groups": ["b", "a"]
        });
        let all = claims.as_object_mut().unwrap();
        for (claim, value) in other.as_object().unwrap() {
            if value == "gone" { drop(all.remove(claim)) } else { drop(all.insert(claim.clone(), value.clone())) }
        }
        all.clone()
    }

    fn identify(other: &Value) -> Result<Identified, OidcRefusal> {
        expected().identify(&claims(other), true, &Limits::default(), NOW_S * 1_000)
    }

    #[test]
    fn claims_tell_who_it_is_and_until_when() {
        let identified = Identified {
            user: "ada".to_owned(),
            roles: vec!["a".to_owned(), "b".to_owned()],
            expires_ms: (NOW_S + 300) * 1_000,
            issuer: "https://a".to_owned(),
        };
        assert_eq!(identify(&json!({})), Ok(identified));
    }

    #[test]
    fn a_token_is_good_for_its_time_give_or_take_a_minute() {
        let taken = |iat: u64, nbf: u64, exp: u64| identify(&json!({"iat": iat, "nbf": nbf, "exp": exp})).map(drop);
        assert_eq!(taken(NOW_S, NOW_S, NOW_S - 59), Ok(()));
        assert_eq!(taken(NOW_S - 100, NOW_S - 100, NOW_S - 60), Err(OidcRefusal::Over { since_s: 60 }));
        assert_eq!(taken(NOW_S, NOW_S + 60, NOW_S + 99), Ok(()));
        assert_eq!(taken(NOW_S, NOW_S + 61, NOW_S + 99), Err(OidcRefusal::Early { in_s: 61 }));
        assert_eq!(taken(NOW_S + 60, NOW_S, NOW_S + 99), Ok(()));
        assert_eq!(taken(NOW_S + 61, NOW_S, NOW_S + 99), Err(OidcRefusal::Early { in_s: 61 }));
        assert_eq!(taken(NOW_S, NOW_S, NOW_S + 86_400), Ok(()));
        let lasting = OidcRefusal::Lasting { span_s: 86_401, max_s: 86_400 };
        assert_eq!(taken(NOW_S, NOW_S, NOW_S + 86_401), Err(lasting));
    }

    #[test]
    fn times_that_are_missing_or_no_numbers_are_a_refusal() {
        for claim in ["exp", "iat", "nbf"] {
            for value in [json!("gone"), json!("1800000000"), json!(-1), json!(null), json!(1e300), json!([1])] {
                if (claim, &value) != ("nbf", &json!("gone")) {
                    assert_eq!(identify(&json!({claim: value})), Err(missing(claim)), "{claim} {value}");
                }
            }
        }
        assert!(identify(&json!({"nbf": "gone"})).is_ok());
        assert_eq!(identify(&json!({"exp": 1_800_000_100.5})).unwrap().expires_ms, 1_800_000_100_000);
        assert!(matches!(identify(&json!({"exp": u64::MAX})), Err(OidcRefusal::Lasting { .. })));
        assert!(matches!(identify(&json!({"iat": u64::MAX})), Err(OidcRefusal::Early { .. })));
    }

    #[test]
    fn a_token_for_several_says_who_asked_for_it() {
        let party = |other: &Value| identify(other).map(drop);
        assert_eq!(party(&json!({"azp": "node"})), Ok(()));
        assert_eq!(party(&json!({"azp": "other"})), Err(OidcRefusal::Party("other".to_owned())));
        assert_eq!(party(&json!({"azp": 1})), Err(missing("azp")));
        assert_eq!(party(&json!({"aud": ["node", "other"]})), Err(missing("azp")));
        assert_eq!(party(&json!({"aud": ["node", "other"], "azp": "node"})), Ok(()));
        // An access token for this service was asked for by whichever client.
        let as_access =
            expected().identify(&claims(&json!({"azp": "other"})), false, &Limits::default(), NOW_S * 1_000);
        assert!(as_access.is_ok());
    }

    #[test]
    fn a_name_can_be_told_from_others_or_nobody_has_it() {
        let nameless = Err(OidcRefusal::Nameless { attribute: "name".to_owned() });
        for bad in [
            json!("gone"),
            json!(""),
            json!(" ada"),
            json!("a\nb"),
            json!("a\u{202e}b"),
            json!("x".repeat(129)),
            json!(["ada"]),
            json!(1),
            json!(null),
        ] {
            assert_eq!(identify(&json!({"name": bad})), nameless, "{bad}");
        }
        assert_eq!(identify(&json!({"name": "Ada@acme.com"})).unwrap().user, "Ada@acme.com");
    }

    #[test]
    fn an_address_of_mail_is_a_name_only_if_the_provider_looked() {
        let by_mail = Expected { identity_attribute: "email".to_owned(), ..expected() };
        for (verified, is_taken) in [
            (json!(true), true),
            (json!("true"), true),
            (json!(false), false),
            (json!("false"), false),
            (json!("gone"), false),
            (json!(1), false),
        ] {
            let claims = claims(&json!({"email": "ada@acme.com", "email_verified": verified}));
            let identified = by_mail.identify(&claims, true, &Limits::default(), NOW_S * 1_000);
            assert_eq!(identified.is_ok(), is_taken, "{verified}");
        }
    }

    #[test]
    fn roles_are_one_or_a_list_and_never_a_part_of_it() {
        let roles = |groups: Value| identify(&json!({"groups": groups})).map(|identified| identified.roles);
        assert_eq!(roles(json!("gone")), Ok(vec![]));
        assert_eq!(roles(json!(null)), Ok(vec![]));
        assert_eq!(roles(json!("data scientists")), Ok(vec!["data scientists".to_owned()]));
        assert_eq!(roles(json!(["a", "a", "no\nrole", "", "x;y"])), Ok(vec!["a".to_owned()]));
        for bad in [json!(["a", 1]), json!({"a": true}), json!(1), json!([["a"]])] {
            assert_eq!(roles(bad), Err(missing("groups")));
        }
        let many = |count: usize| json!((0..count).map(|number| number.to_string()).collect::<Vec<_>>());
        assert_eq!(roles(many(256)).unwrap().len(), 256);
        assert_eq!(roles(many(257)), Err(OidcRefusal::TooManyRoles { roles_max: 256 }));
    }

    #[test]
    fn claims_that_are_elsewhere_are_not_taken_for_none() {
        let elsewhere = |names: Value| identify(&json!({"groups": "gone", "_claim_names": names})).map(drop);
        assert_eq!(elsewhere(json!({"groups": "src1"})), Err(OidcRefusal::Elsewhere("groups".to_owned())));
        assert_eq!(elsewhere(json!({"name": "src1"})), Err(OidcRefusal::Elsewhere("name".to_owned())));
        assert!(elsewhere(json!("src1")).is_err());
        assert_eq!(elsewhere(json!({"phone": "src1"})), Ok(()));
    }

    #[test]
    fn a_token_that_needs_a_key_of_its_holder_is_refused() {
        assert_eq!(identify(&json!({"cnf": {"jkt": "x"}})), Err(OidcRefusal::Bound));
    }

    proptest! {
        #[test]
        fn no_name_ends_it(name in r"(?s).{0,140}", group in r"(?s).{0,140}") {
            if let Ok(identified) = identify(&json!({"name": name, "groups": [group]})) {
                prop_assert!(is_principal(&identified.user));
            }
        }
    }
}
