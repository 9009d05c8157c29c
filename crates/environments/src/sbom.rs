//! What an environment consists of, as a CycloneDX 1.6 document: from its lock, and from what its packages
//! say of themselves. The same environment gives the same bytes: there is no time in it, and its serial
//! number follows from the digest.
//!
//! Licences and dependencies are claims of the packages, bounded and made harmless to show; nothing is
//! decided by them.

mod licences;
pub(crate) mod metadata;
mod r;

use std::collections::{BTreeMap, BTreeSet};

use pep508_rs::ExtraName;
use serde_json::{Value, json};

use crate::attestations;
use crate::ecosystem::Ecosystem;
use crate::environment::Environment;
use crate::error::Error;
use crate::lock::{Lock, Locked};
use crate::markers::Markers;
use crate::store::Store;
use metadata::Metadata;

/// The bill of materials of an environment.
///
/// # Errors
/// When its lock is damaged.
pub fn sbom(store: &Store, environment: &Environment) -> Result<Value, Error> {
    let lock = Lock::read(&environment.folder)?;
    let ecosystem = lock.ecosystem();
    let described = match ecosystem {
        Ecosystem::Pypi => {
            let python = environment.interpreter.folder_name()?;
            metadata::all(&environment.folder.join("lib").join(python).join("site-packages"))
        }
        Ecosystem::Cran => r::all(&environment.folder.join(crate::r::LIBRARY), &lock),
    };
    let attestations = attestations::attestations(store, environment)?;
    let attestation = |package: &Locked| attestations.get(&package.name).copied().unwrap_or("unknown");
    let described_as = |package: &Locked| described.get(&package.name);
    let components: Vec<Value> = lock
        .locked()
        .map(|package| match ecosystem {
            Ecosystem::Pypi => {
                component(ecosystem, package, vec![attested(attestation(package))], described_as(package))
            }
            Ecosystem::Cran => component(ecosystem, package, r::properties(package), described_as(package)),
        })
        .collect();
    let origin = match (environment.imported, ecosystem) {
        (true, _) => "archive",
        (false, Ecosystem::Pypi) => "package index",
        (false, Ecosystem::Cran) => "R repository or library of the machine",
    };
    let language = format!("stockade:{}", ecosystem.language().to_lowercase());
    Ok(json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": serial(&environment.digest),
        "version": 1,
        "metadata": {
            "tools": { "components": [{
                "type": "application", "name": "stockade", "version": env!("CARGO_PKG_VERSION"),
            }] },
            "component": {
                "type": "application",
                "bom-ref": environment.digest,
                "name": "environment",
                "version": environment.digest,
                "properties": [
                    property(&language, &environment.interpreter.version),
                    property("stockade:abi", &environment.interpreter.abi),
                    property("stockade:platform", &environment.interpreter.platform),
                    property("stockade:origin", origin),
                ],
            },
        },
        "components": components,
        "dependencies": dependencies(environment, &lock, &described),
    }))
}

/// A number that is the same for the same environment, in the form of a UUID of version 8.
fn serial(digest: &str) -> String {
    let part = |from: usize, to: usize| digest.get(from..to).unwrap_or_default();
    format!("urn:uuid:{}-{}-8{}-8{}-{}", part(0, 8), part(8, 12), part(12, 15), part(15, 18), part(18, 30))
}

fn property(name: &str, value: &str) -> Value {
    json!({ "name": name, "value": value })
}

/// A package URL, which is also what refers to the component.
fn purl(ecosystem: Ecosystem, package: &Locked) -> String {
    let version = package.version.replace('+', "%2B").replace('!', "%21");
    format!("pkg:{ecosystem}/{}@{version}", package.name)
}

fn attested(attestation: &str) -> Value {
    property("stockade:attestation", attestation)
}

fn component(ecosystem: Ecosystem, package: &Locked, mut properties: Vec<Value>, metadata: Option<&Metadata>) -> Value {
    let hash = |sha256: &str| json!({ "alg": "SHA-256", "content": sha256 });
    let files = package.origins();
    let distribution = |file: &crate::lock::Wheel| json!({ "type": "distribution", "url": file.url, "comment": file.file, "hashes": [hash(&file.sha256)] });
    // What was installed on the machine has no place that it came from.
    let placed = files.iter().filter(|file| !file.url.is_empty());
    let hashes: BTreeSet<&str> = files.iter().map(|file| file.sha256.as_str()).collect();
    if package.source.is_some() {
        properties.push(property("stockade:built-from-source", "true"));
    }
    let mut component = json!({
        "type": "library",
        "bom-ref": purl(ecosystem, package),
        "name": package.name,
        "version": package.version,
        "purl": purl(ecosystem, package),
        "hashes": hashes.into_iter().map(hash).collect::<Vec<Value>>(),
        "externalReferences": placed.map(distribution).collect::<Vec<Value>>(),
        "properties": properties,
    });
    let licences = metadata.map(licences::of).unwrap_or_default();
    if let Some(fields) = component.as_object_mut().filter(|_| !licences.is_empty()) {
        fields.insert("licenses".to_owned(), licences.into());
    }
    component
}

/// Who needs whom: what a package requires on this interpreter and platform, and has here.
fn dependencies(environment: &Environment, lock: &Lock, described: &BTreeMap<String, Metadata>) -> Vec<Value> {
    let ecosystem = lock.ecosystem();
    let packages: BTreeMap<&str, &Locked> = lock.locked().map(|package| (package.name.as_str(), package)).collect();
    let mut edges = vec![json!({
        "ref": environment.digest,
        "dependsOn": packages.values().map(|package| purl(ecosystem, package)).collect::<Vec<_>>(),
    })];
    let needs = match ecosystem {
        Ecosystem::Pypi => needs(&environment.interpreter, described),
        Ecosystem::Cran => r::needs(lock),
    };
    for (name, package) in &packages {
        let needed = needs.get(*name).into_iter().flatten();
        let needed: Vec<String> = needed
            .filter(|other| other != name)
            .filter_map(|other| Some(purl(ecosystem, packages.get(other.as_str())?)))
            .collect();
        edges.push(json!({ "ref": purl(ecosystem, package), "dependsOn": needed }));
    }
    edges
}

/// The names that each package requires, extras included that another package asks for.
fn needs(
    interpreter: &crate::interpreter::Interpreter,
    described: &BTreeMap<String, Metadata>,
) -> BTreeMap<String, BTreeSet<String>> {
    let mut needs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let Some(markers) = Markers::of(interpreter) else { return needs };
    let mut extras: BTreeMap<String, BTreeSet<ExtraName>> = BTreeMap::new();
    // Each round finds an extra that was not asked for before, or is the last one.
    for _ in 0..described.len().saturating_add(1) {
        let mut asked = extras.clone();
        for (name, metadata) in described {
            let own: Vec<ExtraName> = extras.get(name).into_iter().flatten().cloned().collect();
            for requirement in metadata.requires.iter().filter(|one| markers.hold_for(&one.marker, &own)) {
                needs.entry(name.clone()).or_default().insert(requirement.name.to_string());
                let of_other = asked.entry(requirement.name.to_string()).or_default();
                of_other.extend(requirement.extras.iter().cloned());
            }
        }
        if asked == extras {
            break;
        }
        extras = asked;
    }
    needs
}

#[cfg(test)]
mod tests;
