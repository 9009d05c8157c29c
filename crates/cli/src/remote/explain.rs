//! `--node unix:PATH --explain`, and `plan`: what the node would decide about the run. Nothing is run.

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use stockade_core::limits::Limit;
use stockade_core::text;

use super::http::{self, Node};
use super::{form, nonsense};
use crate::args::Run;
use crate::problem::Problem;
use crate::{code, flags, printer};

/// What a node says would be decided.
#[derive(Debug, Deserialize, Serialize)]
struct Decision {
    decision: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    environment: Option<String>,
    #[serde(default)]
    limits: BTreeMap<String, u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    required: Option<String>,
    #[serde(default)]
    remarks: Vec<String>,
    #[serde(default, skip_serializing)]
    what: String,
    #[serde(default, skip_serializing)]
    why: String,
    #[serde(default, skip_serializing)]
    next: String,
}

/// Prints what would be decided; a refusal is one here, too.
pub(crate) fn explain(run: &Run, address: &str) -> Result<ExitCode, Problem> {
    let node = Node::at(address)?;
    let code = code::code(run)?;
    flags::check(run, &code.engine)?;
    let form = form::form(run, &code)?;
    let mut answer = node.post("/v1/policies/check", &form.content_type, &form.body)?;
    let said: Decision = http::document(answer.body_mut()).map_err(nonsense)?;
    let shown = |said: &str| text::shown(said, 1000);
    if said.decision != "permitted" {
        return Err(Problem::new(shown(&said.what), shown(&said.why), shown(&said.next)));
    }
    if run.json {
        printer::page(&(printer::document(&said) + "\n"));
        return Ok(ExitCode::SUCCESS);
    }
    let part = |part: &Option<String>| shown(part.as_deref().unwrap_or("none"));
    let mut lines = format!("policy    {}\nenvironment {}\n", part(&said.policy), part(&said.environment));
    for limit in Limit::ALL {
        if let Some(value) = said.limits.get(limit.name()) {
            lines += &format!("limit     {limit} {}\n", limit.show(*value));
        }
    }
    lines += &format!("required  {}\n", part(&said.required));
    printer::page(&lines);
    for remark in &said.remarks {
        printer::remark(&format!("stockade: {}", shown(remark)));
    }
    Ok(ExitCode::SUCCESS)
}
