//! What there is to know before something is run: the rules that hold for the caller, the environments, and what would
//! be decided about a run.

use std::collections::BTreeMap;

use axum::extract::{Path, Request, State};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use stockade_core::limits::Limit;
use stockade_identity::privilege::Privilege;
use utoipa::ToSchema;

use super::create::{self, Assembled};
use super::problem::Problem;
use super::types::{ProblemTypes, RunForm, RunRequest};
use super::{Asker, Shared, rights};
use crate::look::Look;
use crate::order::Bounds;
use crate::refusal::{Kind, Refusal};
use crate::security::Caller;

/// An environment that runs can name.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct EnvironmentDocument {
    /// Its names
    names: Vec<String>,
    /// Its digest, which names it too and never means another one
    digest: String,
    /// The version of Python that it is for
    python: Option<String>,
    /// The version of R that it is for
    r: Option<String>,
    /// What it is for besides
    platform: String,
    /// How many packages it has
    packages: usize,
    /// Its size
    bytes: u64,
    /// When it was built, seconds since 1970
    created_s: Option<u64>,
}

impl EnvironmentDocument {
    /// All that it can be asked for by.
    fn all_names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().chain([&self.digest]).map(String::as_str)
    }

    /// Names that a caller may not use are not told, and none of what is denied to him by any of them.
    fn leave_names_of(&mut self, caller: &Caller) {
        if caller.forbidden(Privilege::EnvironmentUse, self.all_names()).is_some() {
            self.names.clear();
        }
        self.names.retain(|name| caller.decide(Privilege::EnvironmentUse, Some(name)).is_permitted());
    }
}

/// Environments, in the order of their names.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct EnvironmentList {
    /// Those that have names
    environments: Vec<EnvironmentDocument>,
}

/// An environment, with what is in it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct WholeEnvironment {
    #[serde(flatten)]
    about: EnvironmentDocument,
    /// Its packages
    contents: Vec<Package>,
    /// Whether it came in an archive: its files fit its digest; that they are those of its packages, its exporter says
    imported: bool,
    /// How much its build asked for and was denied
    denied: usize,
    /// Whether the machine's trust list vouches for all of its libraries
    trusted: bool,
    /// What speaks against that
    doubts: Vec<DoubtDocument>,
}

/// A package of an environment.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct Package {
    /// Its name
    name: String,
    /// Its version
    version: String,
    /// Whether it was built from source
    from_source: bool,
}

/// What speaks against trust in a library.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct DoubtDocument {
    /// The library
    library: String,
    /// What it is
    why: String,
}

/// The rules that hold for the caller's runs.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct PolicyDocument {
    #[serde(flatten)]
    said: PoliciesSaid,
    /// Every limit by name, as the policies and the node permit it together
    limits: BTreeMap<String, LimitDocument>,
}

/// What the policies say.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct PoliciesSaid {
    /// Policies, by name and version; each of them must permit a run
    policies: Vec<String>,
    /// Languages that are permitted
    languages: Vec<String>,
    /// What each lets a run ask for of the network; runs of a node ask for nothing of it yet
    network: Vec<SaidDocument>,
    /// Layers that each requires besides those of every run
    required: Vec<SaidDocument>,
    /// What each keeps for libraries that somebody vouches for
    trust: Vec<SaidDocument>,
}

/// What one policy says.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct SaidDocument {
    /// Which
    policy: String,
    /// What
    says: Vec<String>,
}

/// A limit of runs. A number as the limit counts: milliseconds, bytes, hundredths of a CPU, or pieces.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct LimitDocument {
    /// What who asks for none gets
    usual: u64,
    /// The most that may be asked for
    most: u64,
    /// The most, as people read it
    shown: String,
    /// The policy that bounds it, where that gives less than the node
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
}

/// The same of the policies alone, as the command tells it.
#[derive(Debug, Deserialize)]
struct Rules {
    #[serde(flatten)]
    said: PoliciesSaid,
    limits: Vec<LimitRule>,
}

#[derive(Debug, Deserialize)]
struct LimitRule {
    limit: String,
    most: u64,
    policy: Option<String>,
}

/// What would be decided about a run.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct DecisionDocument {
    /// `permitted`, `refused`, or `unknown` where its environment is to be built first
    decision: String,
    /// The policies that permit it, by name and version
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
    /// The digest of its environment, or `none`
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<String>,
    /// The limits that it would have
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<BTreeMap<String, u64>>,
    /// Layers without which it does not start
    #[serde(skip_serializing_if = "Option::is_none")]
    required: Option<String>,
    /// What is to be known besides
    #[serde(skip_serializing_if = "Option::is_none")]
    remarks: Option<Vec<String>>,
    /// What the refusal says, as the run's outcome would
    #[serde(skip_serializing_if = "Option::is_none")]
    what: Option<String>,
    /// Why
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// What to do about it
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// List the environments that have names
#[utoipa::path(get, path = "/v1/environments", operation_id = "list_environments", tag = "environments",
    responses((status = 200, description = "Environments", body = EnvironmentList), ProblemTypes)
)]
pub(super) async fn environments(
    State(shared): State<Shared>,
    Extension(principal): Asker,
    Extension(caller): Extension<Caller>,
) -> Result<Json<EnvironmentList>, Problem> {
    let mut environments: Vec<EnvironmentDocument> =
        shared.node.look(&principal.0, Look::Environments {}, Vec::new()).await?;
    for environment in &mut environments {
        environment.leave_names_of(&caller);
    }
    environments.retain(|environment| !environment.names.is_empty());
    Ok(Json(EnvironmentList { environments }))
}

/// Show an environment, with its packages and whether they are trusted
#[utoipa::path(get, path = "/v1/environments/{name}", operation_id = "show_environment", tag = "environments",
    params(("name" = String, Path, description = "Its name, or its digest, of which twelve digits do", pattern = "^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}$")),
    responses((status = 200, description = "The environment", body = WholeEnvironment), ProblemTypes)
)]
pub(super) async fn environment(
    State(shared): State<Shared>,
    Extension(principal): Asker,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Json<WholeEnvironment>, Problem> {
    rights::check_reference(&shared, &caller, &name).await?;
    let look = Look::Environment { reference: name.clone() };
    // What can be no name is no name of any.
    look.check(&shared.node.bounds).map_err(|refusal| Refusal::new(Kind::Missing, refusal.what, refusal.why, LIST))?;
    let mut found: WholeEnvironment = shared.node.look(&principal.0, look, Vec::new()).await?;
    rights::check_found(&shared, &caller, &name, found.about.all_names()).await?;
    found.about.leave_names_of(&caller);
    Ok(Json(found))
}

const LIST: &str = "list those that have names with GET /v1/environments";

/// Tell which rules hold for your runs
///
/// What the policies and the node's own bounds come to together. What you may have besides is told by `/v1/me`.
#[utoipa::path(get, path = "/v1/policies", operation_id = "policies", tag = "policies",
    responses((status = 200, description = "The rules", body = PolicyDocument), ProblemTypes)
)]
pub(super) async fn policies(
    State(shared): State<Shared>,
    Extension(principal): Asker,
) -> Result<Json<PolicyDocument>, Problem> {
    let rules: Rules = shared.node.look(&principal.0, Look::Policies {}, Vec::new()).await?;
    let limits = Limit::ALL.into_iter().map(|limit| {
        let rule = rules.limits.iter().find(|rule| rule.limit == limit.name());
        (limit.name().to_owned(), together(limit, rule, &shared.node.bounds))
    });
    Ok(Json(PolicyDocument { limits: limits.collect(), said: rules.said }))
}

/// A run of the node names every limit: the usual one of the node, if the caller names none.
fn together(limit: Limit, rule: Option<&LimitRule>, bounds: &Bounds) -> LimitDocument {
    let (usual, node) = (bounds.usual.of(limit), bounds.most.of(limit));
    let most = rule.map_or(node, |rule| rule.most.min(node));
    let policy = rule.filter(|rule| rule.most < node).and_then(|rule| rule.policy.clone());
    LimitDocument { usual, most, shown: limit.show(most), policy }
}

/// Tell what would be decided about a run, and run nothing
///
/// Asked as `POST /v1/runs` is. What the node itself would not accept is refused with the same problem; what it would
/// accept is decided as the run would be, by the same process in the same way, without a record. It holds for this
/// moment.
#[utoipa::path(post, path = "/v1/policies/check", operation_id = "check", tag = "policies",
    request_body(content((RunRequest = "application/json"), (RunForm = "multipart/form-data"))),
    responses((status = 200, description = "The decision", body = DecisionDocument), ProblemTypes)
)]
pub(super) async fn check(
    State(shared): State<Shared>,
    Extension(principal): Asker,
    request: Request,
) -> Result<Json<DecisionDocument>, Problem> {
    // Its files stay in memory while it waits for its turn.
    let (assembled, _room) = create::order_of(&shared, &principal, request, |asked: RunRequest, script, sent| {
        if !asked.tables.is_empty() {
            let why = "a token is good for one request, and this one runs nothing";
            return Err(Refusal::invalid("tables are not checked", why, "leave `tables` out: they change no decision"));
        }
        create::assemble(asked, script, sent, &shared.node, &principal)
    })
    .await?;
    let Assembled { order, files, .. } = assembled;
    shared.node.check_run(&principal.0, &order).await?;
    Ok(Json(shared.node.look(&principal.0, Look::Run { order }, files).await?))
}
