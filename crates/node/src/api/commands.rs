//! `POST /v1/admin/commands/{target}/{command}`: what `stockade admin` asks for.

use std::fmt;
use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::{Extension, Json};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::create;
use super::problem::Problem;
use super::types::ProblemTypes;
use super::{Asker, Shared};
use crate::refusal::Refusal;
use crate::security::{self, Caller, Values};

/// What is said with a command
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CommandRequest {
    /// The parameters by name, as `stockade admin help TARGET` lists them
    #[serde(default, deserialize_with = "each_once")]
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    parameters: Values,
    /// The node that is meant, as `NODE.CLUSTER`, or a cluster; any other node does nothing
    service: Option<String>,
}

/// Each parameter once: whoever reads a request on its way, and whoever records it, must mean the same by it.
fn each_once<'de, D: Deserializer<'de>>(parameters: D) -> Result<Values, D::Error> {
    struct Each;
    impl<'de> Visitor<'de> for Each {
        type Value = Values;

        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str("parameters by name, each a text")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Values, A::Error> {
            let mut values = Values::new();
            while let Some((name, value)) = map.next_entry()? {
                if values.insert(name, value).is_some() {
                    return Err(A::Error::custom("a parameter is given twice"));
                }
            }
            Ok(values)
        }
    }
    parameters.deserialize_map(Each)
}

/// What is said in a body, if it can be understood.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn parameters_of(body: &[u8]) -> Option<Values> {
    serde_json::from_slice::<CommandRequest>(body).ok().map(|request| request.parameters)
}

/// What a command answers
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct CommandAnswer {
    /// The name of the node, `NODE.CLUSTER`
    service: String,
    /// The names of the columns
    columns: Vec<String>,
    /// One list of cells for each row
    rows: Vec<Vec<String>>,
    /// What else is to be known
    notes: Vec<String>,
}

/// Look after the node
///
/// Needs the privilege `AdminRunCommand` on `target.command`. The intent and the outcome are records of the audit
/// trail; a command that cannot be put on record is not done.
#[utoipa::path(post, path = "/v1/admin/commands/{target}/{command}", operation_id = "command", tag = "admin",
    params(
        ("target" = String, Path, description = "What it is done to, such as `configuration`", max_length = 40),
        ("command" = String, Path, description = "What is done, such as `display`", max_length = 40)
    ),
    request_body = CommandRequest,
    responses((status = 200, description = "The answer", body = CommandAnswer), ProblemTypes)
)]
pub(super) async fn command(
    State(shared): State<Shared>,
    Extension(principal): Asker,
    Extension(caller): Extension<Caller>,
    Path((target, command)): Path<(String, String)>,
    request: Request,
) -> Result<Json<CommandAnswer>, Problem> {
    let asked: CommandRequest = create::json_of(&shared, &principal, request).await?;
    let node = Arc::clone(&shared.node);
    // To its end and on record, also when the caller hangs up meanwhile: what is kept is what counts for requests.
    let done = tokio::spawn(async move {
        let CommandRequest { service, parameters } = asked;
        security::command(&node, &caller, (&target, &command), service.as_deref(), parameters).await
    });
    let table = done.await.map_err(|error| Refusal::failed("the command may not have been carried out", error))??;
    let service = shared.node.security.service().to_owned();
    Ok(Json(CommandAnswer { service, columns: table.columns, rows: table.rows, notes: table.notes }))
}
