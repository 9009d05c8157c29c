//! From the command line to a request: parses, looks at the files that are named, bounds.

use std::collections::BTreeMap;
use std::ffi::OsString;

use stockade_core::limits::Limit;
use stockade_core::layer::Layers;
use stockade_core::request::{CgroupMode, Language, Network, Request, ResultDescriptor, Start, Streams};
use stockade_core::text;

use crate::args::{Cgroup, Run};
use crate::problem::Problem;

/// Makes the request of a command line.
pub(crate) fn request(run: &Run) -> Result<Request, Problem> {
    let argv = words(&run.words)?;
    let start = Start { argv, vars: BTreeMap::new(), trees: vec![], files: vec![], result: ResultDescriptor::None };
    Ok(Request {
        label: start.argv.first().cloned().unwrap_or_default(),
        language: Language::Program,
        start,
        inputs: vec![],
        shares: vec![],
        limits: limits(run)?,
        network: Network::None,
        vars: vars(run)?,
        require: require(run)?,
        cgroup: match run.cgroup {
            Cgroup::Auto => CgroupMode::Auto,
            Cgroup::Require => CgroupMode::Require,
            Cgroup::Off => CgroupMode::Off,
        },
        streams: if is_terminal() { Streams::Terminal } else { Streams::Pipes },
    })
}

/// Whether the code gets a terminal of its own: when the caller sits at one, for input and output.
fn is_terminal() -> bool {
    use std::io::IsTerminal;
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

fn words(words: &[OsString]) -> Result<Vec<String>, Problem> {
    words
        .iter()
        .map(|word| {
            word.to_str().map(ToOwned::to_owned).ok_or_else(|| {
                Problem::new(format!("argument `{}` is not valid UTF-8", text::shown(&word.to_string_lossy(), 100)), "arguments are recorded as text", "use a name in UTF-8")
            })
        })
        .collect()
}

fn limits(run: &Run) -> Result<Vec<(Limit, u64)>, Problem> {
    run.limits
        .iter()
        .map(|one| {
            let (name, value) = one.split_once('=').unwrap_or((one, ""));
            let limit = Limit::ALL.into_iter().find(|limit| limit.name() == name).ok_or_else(|| {
                let names = Limit::ALL.map(Limit::name).join(", ");
                Problem::new(format!("there is no limit `{}`", text::shown(name, 60)), format!("the limits are {names}"), "use one of them")
            })?;
            let value = limit.parse(value).map_err(|bad| Problem::new(format!("`{}` is no value of a limit", text::shown(value, 60)), bad.to_string(), format!("--limit {name}=VALUE")))?;
            Ok((limit, value))
        })
        .collect()
}

fn require(run: &Run) -> Result<Layers, Problem> {
    run.require.iter().try_fold(Layers::NONE, |all, name| {
        Layers::parse(name).map(|layers| all.and(layers)).ok_or_else(|| {
            let names = stockade_core::layer::Layer::ALL.map(stockade_core::layer::Layer::name).join(", ");
            Problem::new(format!("there is no layer `{}`", text::shown(name, 60)), format!("the layers are namespaces, {names}"), "use one of them")
        })
    })
}

fn vars(run: &Run) -> Result<BTreeMap<String, String>, Problem> {
    run.vars
        .iter()
        .map(|one| match one.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => std::env::var(one).map(|value| (one.clone(), value)).map_err(|_| {
                Problem::new(format!("variable `{}` is not set here", text::shown(one, 60)), "--env NAME passes the caller's own value on", format!("--env {}=VALUE", text::shown(one, 60)))
            }),
        })
        .collect()
}
