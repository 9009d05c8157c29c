//! `type = "stockade.policy"`: what a run may do.

use stockade_core::grant::{BadGrant, Grant, Protocol, Table};
use stockade_core::layer::{Layer, Layers};
use stockade_core::limits::Limit;
use stockade_core::policy::{Parts, Policy, Reach, Trust};
use stockade_core::request::Language;
use stockade_core::trust::Sensitive;

use crate::document::Document;
use crate::refused::{Refused, Wrong};
use crate::value::{Fields, Value};

const TYPE: &str = "stockade.policy";
const FILE_KEYS: &[&str] = &["name", "version", "type", "configuration"];
const OBJECTS: &[&str] = &["StockadePolicy"];
const KEYS: &[&str] =
    &["name", "languages", "limits", "egress", "require", "environments", "trust", "dataSources", "engineSharing"];
/// Keys that belong to what this version does not have: passed over, they would promise what nobody keeps.
const LATER: [&str; 3] = ["environments", "dataSources", "engineSharing"];
const GRANT_KEYS: &[&str] =
    &["host", "port", "ports", "protocol", "methods", "paths", "inspect", "deny", REQUIRES_TRUST];
/// In a grant: only for runs whose libraries are all trusted.
const REQUIRES_TRUST: &str = "requiresTrust";
/// [`Limit::key`] of every limit.
const LIMITS: &[&str] = &[
    "wallTime",
    "cpuTime",
    "memory",
    "pids",
    "openFiles",
    "scratch",
    "scratchFiles",
    "fileSize",
    "output",
    "outputFiles",
    "outputDepth",
    "streams",
    "cpus",
];
/// `egress = "named"`: whatever the caller names.
const NAMED: &str = "named";

/// Parses the text of a policy file.
///
/// # Errors
/// [`Refused`], with the place.
pub fn parse(text: &str) -> Result<Policy, Refused> {
    let document = Document::parse(text)?;
    let mut file = Fields::of_document(&document, FILE_KEYS)?;
    let kind = file.need("type")?;
    let written = kind.text("a text such as \"stockade.policy\"")?;
    if written != TYPE {
        return Err(kind.refuse(Wrong::Word { what: "type", word: written.to_owned(), known: vec![TYPE] }));
    }
    // A file is called by its name and version; runs are called by the policy's.
    file.need("name")?.text("a text")?;
    let version = file.need("version")?.amount("a text such as \"1.0\"")?.to_owned();
    let mut objects = file.need("configuration")?.object("`configuration`", OBJECTS)?;
    policy(&objects.need("StockadePolicy")?, version)
}

fn policy(object: &Value<'_>, version: String) -> Result<Policy, Refused> {
    let mut fields = object.object("`StockadePolicy`", KEYS)?;
    for key in LATER {
        if let Some(value) = fields.take(key) {
            return Err(value.refuse(Wrong::NotYet(key)));
        }
    }
    let (reach, grants) = fields.take("egress").map_or(Ok((Reach::Nothing, Vec::new())), |value| reach(&value))?;
    let required_for = fields.take("trust").map_or(Ok(Sensitive::USUAL.to_vec()), |value| required_for(&value))?;
    let parts = Parts {
        name: fields.need("name")?.text("a text")?.to_owned(),
        version: Some(version),
        languages: fields.take("languages").map_or(Ok(Language::ALL.to_vec()), |value| languages(&value))?,
        reach,
        limits: fields.take("limits").map_or(Ok(Vec::new()), |value| limits(&value))?,
        require: fields.take("require").map_or(Ok(Layers::NONE), |value| layers(&value))?,
        trust: Trust { required_for, grants },
    };
    Policy::from_parts(parts).map_err(|bad| object.refuse(Wrong::Policy(bad)))
}

fn languages(value: &Value<'_>) -> Result<Vec<Language>, Refused> {
    let known = || Language::ALL.map(Language::name).to_vec();
    let words = words(value, "a list of languages such as [\"python\", \"sql\"]")?;
    words
        .into_iter()
        .map(|(word, item)| {
            let found = Language::ALL.into_iter().find(|language| language.name() == word);
            found.ok_or_else(|| item.refuse(Wrong::Word { what: "language", word: word.to_owned(), known: known() }))
        })
        .collect()
}

fn layers(value: &Value<'_>) -> Result<Layers, Refused> {
    let words = words(value, "a list of layers such as [\"namespaces\", \"cgroup\"]")?;
    words.into_iter().try_fold(Layers::NONE, |all, (word, item)| {
        let known = || ["namespaces"].into_iter().chain(Layer::ALL.map(Layer::name)).collect();
        let found = Layers::parse(word).map(|layers| all.and(layers));
        found.ok_or_else(|| item.refuse(Wrong::Word { what: "layer", word: word.to_owned(), known: known() }))
    })
}

/// The texts of a list, each of which may be there once.
fn words<'a>(value: &Value<'a>, expected: &'static str) -> Result<Vec<(&'a str, Value<'a>)>, Refused> {
    let mut found: Vec<(&str, Value<'_>)> = Vec::new();
    for item in value.list(expected)? {
        let word = item.text("a text")?;
        if found.iter().any(|(other, _)| *other == word) {
            return Err(item.refuse(Wrong::Repeated(word.to_owned())));
        }
        found.push((word, item));
    }
    Ok(found)
}

fn limits(value: &Value<'_>) -> Result<Vec<(Limit, u64)>, Refused> {
    let mut fields = value.object("`limits`", LIMITS)?;
    let mut found = Vec::new();
    for limit in Limit::ALL {
        let Some(value) = fields.take(limit.key()) else { continue };
        let text = value.amount("an amount such as 600s, 4GiB or 512")?;
        let amount = limit
            .parse(text)
            .map_err(|bad| value.refuse(Wrong::Amount { value: text.to_owned(), why: bad.to_string() }))?;
        found.push((limit, amount));
    }
    Ok(found)
}

/// What `--net` may ask for, and what of it is for trusted libraries only.
fn reach(value: &Value<'_>) -> Result<(Reach, Vec<Grant>), Refused> {
    const EXPECTED: &str = "a list of grants, or \"named\" for what the caller names";
    if !value.is_list() {
        return match value.text(EXPECTED)? {
            NAMED => Ok((Reach::Named, Vec::new())),
            word => Err(value.refuse(Wrong::Word { what: "egress", word: word.to_owned(), known: vec![NAMED] })),
        };
    }
    let (mut grants, mut kept) = (Vec::new(), Vec::new());
    for item in value.list(EXPECTED)? {
        let grant = grant(&item)?;
        if requires_trust(&item)? {
            kept.push(grant.clone());
        }
        grants.push(grant);
    }
    Ok((if grants.is_empty() { Reach::Nothing } else { Reach::AtMost(grants) }, kept))
}

fn requires_trust(grant: &Value<'_>) -> Result<bool, Refused> {
    if !grant.is_object() {
        return Ok(false);
    }
    let mut fields = grant.object("a grant", GRANT_KEYS)?;
    let Some(value) = fields.take(REQUIRES_TRUST) else { return Ok(false) };
    let kept = value.flag()?;
    if kept && fields.take("deny").map_or(Ok(false), |deny| deny.flag())? {
        return Err(value.refuse(Wrong::KeptDenial));
    }
    Ok(kept)
}

/// What is kept for trusted libraries; an empty list says that nothing is.
fn required_for(value: &Value<'_>) -> Result<Vec<Sensitive>, Refused> {
    let mut fields = value.object("`trust`", &["requiredFor"])?;
    let kinds = words(&fields.need("requiredFor")?, "a list such as [\"secrets\", \"egress\"]")?;
    kinds
        .into_iter()
        .map(|(word, item)| {
            let known = || Sensitive::ALL.map(Sensitive::name).to_vec();
            let found = Sensitive::ALL.into_iter().find(|sensitive| sensitive.name() == word);
            found.ok_or_else(|| item.refuse(Wrong::Word { what: "kind", word: word.to_owned(), known: known() }))
        })
        .collect()
}

/// A grant as the command line writes it, or by its parts.
fn grant(value: &Value<'_>) -> Result<Grant, Refused> {
    let bad = |grant: &str, why: BadGrant| value.refuse(Wrong::Grant { grant: grant.to_owned(), why });
    if !value.is_object() {
        let text = value.text("a grant such as \"api.example.com:443\", or an object with `host`")?;
        return text.parse().map_err(|why| bad(text, why));
    }
    let table = table(value)?;
    let host = table.host.clone();
    Grant::try_from(table).map_err(|why| bad(&host, why))
}

fn table(value: &Value<'_>) -> Result<Table, Refused> {
    let mut table = Table {
        host: value.object("a grant", GRANT_KEYS)?.need("host")?.text("a text")?.to_owned(),
        ..Table::default()
    };
    for (key, value) in value.object("a grant", GRANT_KEYS)?.rest() {
        match key {
            "port" => table.ports.push(port(&value)?),
            "ports" => {
                let ports = some(&value, "a list of ports")?;
                table.ports.extend(ports.iter().map(port).collect::<Result<Vec<_>, _>>()?);
            }
            "protocol" => table.protocol = Some(protocol(&value)?),
            "methods" => table.methods = texts(&value, "a list of methods such as [\"GET\"]")?,
            "paths" => table.paths = texts(&value, "a list of paths such as [\"/v1\"]")?,
            "inspect" => table.inspect = value.flag()?,
            "deny" => table.deny = value.flag()?,
            _ => {}
        }
    }
    Ok(table)
}

fn port(value: &Value<'_>) -> Result<u16, Refused> {
    const EXPECTED: &str = "a port from 1 to 65535";
    let text = value.amount(EXPECTED)?;
    let port = text.parse().ok().filter(|port| *port > 0);
    port.ok_or_else(|| value.refuse(Wrong::Amount { value: text.to_owned(), why: format!("this is not {EXPECTED}") }))
}

fn protocol(value: &Value<'_>) -> Result<Protocol, Refused> {
    let word = value.text("a protocol such as \"tls\"")?;
    let known = || vec!["tls", "http", "postgres", "tcp"];
    let found = Protocol::ALL.into_iter().find(|protocol| protocol.to_string() == word);
    found.ok_or_else(|| value.refuse(Wrong::Word { what: "protocol", word: word.to_owned(), known: known() }))
}

/// The items of a list that means something else when it is empty.
fn some<'a>(value: &Value<'a>, expected: &'static str) -> Result<Vec<Value<'a>>, Refused> {
    let items = value.list(expected)?;
    if items.is_empty() { Err(value.refuse(Wrong::Empty)) } else { Ok(items) }
}

fn texts(value: &Value<'_>, expected: &'static str) -> Result<Vec<String>, Refused> {
    some(value, expected)?;
    Ok(words(value, expected)?.into_iter().map(|(word, _)| word.to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_has_a_key() {
        assert_eq!(LIMITS, Limit::ALL.map(Limit::key));
    }
}
