//! What commands show of what the node does, whosever it is, and how they end it. Code, output and data are in none of
//! it: who is allowed to look after a node is not allowed to read what others compute.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use stockade_store::{Kind as Of, Run};

use super::Caller;
use super::show::time;
use crate::admin::table::Table;
use crate::look::Look;
use crate::refusal::{Kind, Refusal};
use crate::service::{Node, state_name};
use crate::users::Engines;

/// How long a node that is told to end still answers.
const MOMENT: Duration = Duration::from_millis(200);

/// Runs or sessions, the youngest first.
pub(super) async fn runs(
    node: &Node,
    of: Of,
    (id, principal): (Option<&str>, Option<&str>),
    most: u32,
) -> Result<Table, Refusal> {
    let (id, principal) = (id.map(str::to_owned), principal.map(str::to_owned));
    let found = node.keeper.with(move |store| store.runs_of_all(of, id.as_deref(), principal.as_deref(), most)).await?;
    Ok(listed(of, found))
}

/// Ends them: one, or all of a principal.
pub(super) async fn cancel(
    node: &Arc<Node>,
    of: Of,
    (id, principal): (Option<&str>, Option<&str>),
) -> Result<Table, Refusal> {
    if id.is_none() && principal.is_none() {
        let next = format!("write --{}=NAME, or --principal=NAME@REALM for all of somebody's", of.name());
        return Err(Refusal::invalid("what shall be ended?", "neither one nor a principal is named", next));
    }
    let (id, principal) = (id.map(str::to_owned), principal.map(str::to_owned));
    let found = node.keeper.with(move |store| store.unfinished_of_all(of, id.as_deref(), principal.as_deref())).await?;
    let mut ending = tokio::task::JoinSet::new();
    for run in found {
        let node = Arc::clone(node);
        ending.spawn(async move { node.cancel(&run.principal, &run.id).await });
    }
    let mut ended = Vec::new();
    for one in ending.join_all().await {
        ended.push(one?);
    }
    ended.sort_by_key(|run| std::cmp::Reverse(run.number));
    Ok(listed(of, ended))
}

fn listed(of: Of, runs: Vec<Run>) -> Table {
    let name = if of == Of::Session { "Session" } else { "Run" };
    let mut table = Table::new(&[name, "Principal", "State", "Cause", "Accepted", "Started", "Ended"]);
    for run in runs {
        let cause = cause(&run);
        let [started, ended] = [run.started_ms, run.ended_ms].map(|at| at.map_or_else(String::new, time));
        let state = state_name(run.state).to_owned();
        table.push([run.id, run.principal, state, cause, time(run.accepted_ms), started, ended]);
    }
    table
}

/// How a run has ended, in a word.
fn cause(run: &Run) -> String {
    let outcome: Value = run.outcome.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let said = outcome.get("cause").and_then(Value::as_str).unwrap_or_default();
    stockade_core::text::shown(said, 100)
}

/// What has an engine process now, and whom those are on the host.
pub(super) async fn engines(node: &Node, most: u32) -> Result<Table, Refusal> {
    let users = match node.engines() {
        Engines::Own(range) => format!("one of {}-{}", range.first(), range.last()),
        Engines::Shared => "the node's own".to_owned(),
    };
    let mut table = Table::new(&["Of", "Name", "Principal", "Since", "Host User"]);
    for of in [Of::Session, Of::Run] {
        let running = node.keeper.with(move |store| store.running_of_all(of, most)).await?;
        for run in running {
            let since = run.started_ms.map_or_else(String::new, time);
            table.push([of.name().to_owned(), run.id, run.principal, since, users.clone()]);
        }
    }
    Ok(table)
}

/// The environments that have names.
pub(super) async fn environments(node: &Arc<Node>, caller: &Caller, only: Option<&str>) -> Result<Table, Refusal> {
    let found: Vec<Value> = node.look(&caller.principal.0, Look::Environments {}, Vec::new()).await?;
    let mut table = Table::new(&["Names", "Digest", "Python", "R", "Packages", "Size", "Created"]);
    for one in found {
        let names = list(&one, "names");
        if only.is_some_and(|only| !names.iter().any(|name| name == only)) {
            continue;
        }
        let text = |key: &str| one.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let number = |key: &str| one.get(key).and_then(Value::as_u64);
        let created = number("created_s").map_or_else(String::new, stockade_core::text::utc);
        let size = number("bytes").map_or_else(String::new, stockade_core::text::bytes);
        let packages = number("packages").unwrap_or_default().to_string();
        table.push([names.join(","), text("digest"), text("python"), text("r"), packages, size, created]);
    }
    Ok(table)
}

/// The policies of the node, and what they permit together.
pub(super) async fn policies(node: &Arc<Node>, caller: &Caller) -> Result<Table, Refusal> {
    let rules: Value = node.look(&caller.principal.0, Look::Policies {}, Vec::new()).await?;
    let mut table = Table::new(&["Topic", "Policy", "Says"]);
    for policy in list(&rules, "policies") {
        table.push(["policy".to_owned(), policy, "every run must be permitted by it".to_owned()]);
    }
    for language in list(&rules, "languages") {
        table.push(["language".to_owned(), String::new(), language]);
    }
    for topic in ["network", "required", "trust"] {
        for said in rules.get(topic).and_then(Value::as_array).into_iter().flatten() {
            let policy = said.get("policy").and_then(Value::as_str).unwrap_or_default().to_owned();
            table.push([topic.to_owned(), policy, list(said, "says").join("; ")]);
        }
    }
    for limit in rules.get("limits").and_then(Value::as_array).into_iter().flatten() {
        let text = |key: &str| limit.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let most = limit.get("most").and_then(Value::as_u64).unwrap_or_default();
        table.push(["limit".to_owned(), text("policy"), format!("{} at most {most}", text("limit"))]);
    }
    Ok(table)
}

fn list(value: &Value, key: &str) -> Vec<String> {
    let items = value.get(key).and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The discovery record: all that is told to everybody.
pub(super) fn services(node: &Node) -> Table {
    Table::of([
        ("Service Name", node.security.service().to_owned()),
        ("Service Type", "node".to_owned()),
        ("Address", addresses(node)),
        ("State", state(node).to_owned()),
    ])
}

/// The nodes of the cluster that this one knows: itself.
pub(super) fn cluster(node: &Node) -> Table {
    let service = node.security.service();
    let cluster = service.split_once('.').map_or(service, |(_, cluster)| cluster);
    Table::of([
        ("Cluster", cluster.to_owned()),
        ("Service Name", service.to_owned()),
        ("State", state(node).to_owned()),
        ("Version", env!("CARGO_PKG_VERSION").to_owned()),
        ("Address", addresses(node)),
    ])
}

fn state(node: &Node) -> &'static str {
    if node.is_draining() { "draining" } else { "running" }
}

fn addresses(node: &Node) -> String {
    let names = node.security.names();
    let all = names.map(|names| names.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
    all.unwrap_or_else(|| "local".to_owned())
}

/// Takes no new runs; those that are under way go on.
pub(super) fn drain(node: &Arc<Node>) -> Table {
    if !node.is_draining() {
        let draining = Arc::clone(node);
        tokio::spawn(async move { draining.drain().await });
    }
    state_of(node, "draining")
}

/// Ends the node in good order, as a signal does.
pub(super) fn stop(node: &Arc<Node>) -> Result<Table, Refusal> {
    let own = rustix::process::getpid();
    // It must be possible before it is promised.
    rustix::process::test_kill_process(own).map_err(|errno| {
        Refusal::new(Kind::Failed, "the node cannot be stopped", errno.to_string(), "end its service")
    })?;
    tokio::spawn(async move {
        tokio::time::sleep(MOMENT).await;
        if let Err(errno) = rustix::process::kill_process(own, rustix::process::Signal::TERM) {
            tracing::error!(%errno, "the node cannot be stopped");
        }
    });
    Ok(state_of(node, "stopping"))
}

fn state_of(node: &Node, state: &str) -> Table {
    Table::of([("Service Name", node.security.service().to_owned()), ("State", state.to_owned())])
}
