//! From `--net`, `--net-budget` and `--secret` to what a run asks of the network.

use stockade_core::grant::{Effect, Grant, Protocol};
use stockade_core::name::{Host, Name};
use stockade_core::network::{Egress, Network, SecretUse};
use stockade_core::text;
use stockade_egress::control::SecretValue;

use crate::args::Run;
use crate::problem::Problem;

/// The header of a secret when none is named.
const HEADER: &str = "authorization";

/// What is asked, and the values of secrets, which are in no plan.
pub(crate) fn asked(run: &Run) -> Result<(Network, Vec<SecretValue>), Problem> {
    if run.net.is_empty() {
        return Ok((Network::None, Vec::new()));
    }
    let grants: Vec<Grant> = run.net.iter().map(|text| grant(text)).collect::<Result<_, _>>()?;
    if grants.iter().all(|grant| grant.effect() == Effect::Deny) {
        return Err(Problem::new(
            "the network grants permit nothing",
            "a denial only takes away from what another grant permits",
            "add what may be reached: --net HOST[:PORT]",
        ));
    }
    let secrets = run.secrets.iter().map(|text| secret(text, &grants)).collect::<Result<Vec<_>, _>>()?;
    let (uses, values) = secrets.into_iter().unzip();
    let mut egress = Egress { layers: vec![grants], secrets: uses, ..Egress::default() };
    for text in &run.net_budget {
        set_budget(&mut egress, text)?;
    }
    Ok((Network::Gate(Box::new(egress)), values))
}

fn grant(text: &str) -> Result<Grant, Problem> {
    text.parse().map_err(|bad: stockade_core::grant::BadGrant| {
        Problem::new(format!("`{}` is no network grant", text::shown(text, 200)), bad.to_string(), bad.next())
    })
}

fn set_budget(egress: &mut Egress, text: &str) -> Result<(), Problem> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    let number: u64 = value.parse().map_err(|_| {
        Problem::new(
            format!("`{}` is no value of a network budget", text::shown(value, 60)),
            "it is a number: of bytes, milliseconds, connections or names",
            "--net-budget KEY=NUMBER",
        )
    })?;
    if egress.budget.set(key, number) {
        return Ok(());
    }
    let keys: Vec<&str> = egress.budget.entries().into_iter().map(|(key, _)| key).collect();
    Err(Problem::new(
        format!("there is no network budget `{}`", text::shown(key, 60)),
        format!("the budgets are {}", keys.join(", ")),
        "use one of them",
    ))
}

/// `NAME=HOST[:HEADER]`: the value is the caller's variable NAME, so that it stands on no command line.
fn secret(text: &str, grants: &[Grant]) -> Result<(SecretUse, SecretValue), Problem> {
    const NEXT: &str = "write --secret NAME=HOST or --secret NAME=HOST:HEADER";
    let shown = text::shown(text, 200);
    let bad = |why: String| Problem::new(format!("`{shown}` is no secret"), why, NEXT);
    let (variable, place) = text.split_once('=').ok_or_else(|| bad("it names no host".to_owned()))?;
    let (host, header) = place.split_once(':').unwrap_or((place, HEADER));
    let Ok(Host::Name(host)) = Host::parse(host) else {
        return Err(bad("a secret goes to a host that is given by its name".to_owned()));
    };
    if !is_granted(&host, grants) {
        return Err(Problem::new(
            format!("the secret `{}` would go nowhere", text::shown(variable, 60)),
            format!("no grant permits TLS to {host}, and over anything else a secret would be read on the way"),
            format!("--net {host}"),
        ));
    }
    let value = std::env::var(variable).map_err(|_| {
        Problem::new(
            format!("variable `{}` is not set here", text::shown(variable, 60)),
            "the value of a secret is taken from the caller's variable of that name",
            format!("set {} for this command", text::shown(variable, 60)),
        )
    })?;
    let placeholder = format!("stockade-secret-{}", crate::pipeline::random_hexadecimal()?);
    let used = SecretUse {
        variable: variable.to_owned(),
        host: host.clone(),
        header: header.to_lowercase(),
        placeholder: placeholder.clone(),
    };
    let value = SecretValue { host, header: header.to_lowercase(), placeholder, value: value.into() };
    // The gate makes it again from its parts; here it is looked at before anything starts.
    let SecretValue { host, header, placeholder, value: real } = value.clone();
    stockade_egress::Secret::new(host, &header, placeholder, real).map_err(|wrong| bad(wrong.to_string()))?;
    Ok((used, value))
}

/// Whether the host may be spoken to by TLS.
fn is_granted(host: &Name, grants: &[Grant]) -> bool {
    let host = Host::Name(host.clone());
    grants.iter().any(|grant| {
        grant.effect() == Effect::Allow
            && grant.target().matches(&host)
            && grant.ports().iter().any(|port| grant.protocol_at(*port) == Protocol::Tls)
    })
}
