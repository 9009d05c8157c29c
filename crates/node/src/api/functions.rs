//! Data functions: runs whose description and files are sent, and whose results are outputs.

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;

use super::create::{self, Assembled, Sent};
use super::problem::Problem;
use super::types::{FunctionForm, FunctionRequest, ProblemTypes, RunDocument};
use super::{Asker, Shared};
use crate::order::{FUNCTION, Order, limits};
use crate::refusal::Refusal;
use crate::service::Node;

/// Run a data function
///
/// As `stockade run --data-function` does. Its description names inputs by the names of files that are sent with it.
/// Answers as a run does; results are its outputs `NAME.FORMAT`.
#[utoipa::path(
    post, path = "/v1/data-functions", operation_id = "run_data_function", tag = "runs",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "Of two requests with one key only one is run; the second is answered with the same run"),
        ("Prefer" = Option<String>, Header, description = "`respond-async` does not wait for the end"),
    ),
    request_body(content((FunctionRequest = "application/json"), (FunctionForm = "multipart/form-data"))),
    responses(
        (status = 200, description = "It has ended", body = RunDocument),
        (status = 202, description = "It is accepted", body = RunDocument),
        ProblemTypes,
    )
)]
pub(super) async fn run(
    State(shared): State<Shared>,
    Extension(principal): Asker,
    request: Request,
) -> Result<Response, Problem> {
    create::accept(&shared, &principal, request, |asked: FunctionRequest, script, sent| {
        if script.is_some() {
            let why = "`request` has its description as `function`";
            return Err(Refusal::invalid("a data function has no part `script`", why, "leave it out"));
        }
        assemble(asked, sent, &shared.node)
    })
    .await
}

fn assemble(asked: FunctionRequest, sent: Vec<Sent>, node: &Node) -> Result<Assembled, Refusal> {
    if !asked.function.is_object() {
        return Err(Refusal::invalid("nothing to run", "there is no `function`", "send its description"));
    }
    let (names, files) = create::files(asked.function.to_string().into(), asked.inputs, sent)?;
    let order = Order {
        script: FUNCTION.to_owned(),
        arguments: Vec::new(),
        inputs: names,
        with: asked.with,
        environment: asked.environment,
        limits: limits(&asked.limits, &node.bounds)?,
        tables: Vec::new(),
        data_function: true,
        only_built: false,
    };
    order.check(&node.bounds)?;
    Ok(Assembled { order, files, tables: Vec::new() })
}
