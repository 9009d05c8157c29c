//! What is said over HTTP, both ways.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoResponses, ToSchema};

use super::problem::ProblemDocument;

/// Something to run.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RunRequest {
    /// The code. Left out in a form that has the part `script`
    pub(super) code: Option<String>,
    /// What runs it, unless `name` tells
    pub(super) language: Option<Language>,
    /// The script's name, whose ending (.py, .ipynb, .R, .sql) tells what runs it; `main.py` and the like if left out
    pub(super) name: Option<String>,
    /// What the script is given
    pub(super) arguments: Vec<String>,
    /// Small files beside the script; larger ones are parts `input` of a form
    pub(super) inputs: Vec<InlineInput>,
    /// Tables that were written to memory of the node's, got at the socket beside this one
    pub(super) tables: Vec<TableInput>,
    /// Packages, as `stockade run --with` takes them: names and versions
    pub(super) with: Vec<String>,
    /// An environment of the node, by name or digest, instead of packages
    pub(super) environment: Option<String>,
    /// Limits by name, as `stockade run --limit` takes them: `{"time": "10s", "memory": "512MiB"}`
    pub(super) limits: BTreeMap<String, String>,
}

/// A data function to run.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FunctionRequest {
    /// Its description, as the guide of data functions has it; each `file` is the name of an input that is sent
    #[schema(value_type = Object)]
    pub(super) function: Value,
    /// Small files; larger ones are parts `input` of a form
    pub(super) inputs: Vec<InlineInput>,
    /// Packages besides those of data functions, as `stockade run --with` takes them
    pub(super) with: Vec<String>,
    /// An environment of the node, by name or digest, instead of packages
    pub(super) environment: Option<String>,
    /// Limits by name, as `stockade run --limit` takes them
    pub(super) limits: BTreeMap<String, String>,
}

/// The parts of a form.
#[derive(Clone, Debug, ToSchema)]
#[expect(dead_code, reason = "describes what a form holds")]
pub(super) struct FunctionForm {
    /// The request, as JSON
    request: FunctionRequest,
    /// Inputs, each with a file name
    #[schema(value_type = Vec<String>)]
    input: Vec<Vec<u8>>,
}

/// The parts of a form.
#[derive(Clone, Debug, ToSchema)]
#[expect(dead_code, reason = "describes what a form holds")]
pub(super) struct RunForm {
    /// The request, as JSON
    request: Option<RunRequest>,
    /// The script, with a file name
    #[schema(format = Binary, value_type = Option<String>)]
    script: Option<Vec<u8>>,
    /// Inputs, each with a file name
    #[schema(value_type = Vec<String>)]
    input: Vec<Vec<u8>>,
}

/// The refusals that every path may answer with.
#[derive(Debug, IntoResponses)]
#[expect(dead_code, reason = "describes the answers")]
pub(super) enum ProblemTypes {
    /// It makes no sense, or is more than the node gives
    #[response(status = 422, content_type = "application/problem+json")]
    Invalid(ProblemDocument),
    /// It is for others
    #[response(status = 403, content_type = "application/problem+json")]
    Denied(ProblemDocument),
    /// There is none, or it is somebody else's
    #[response(status = 404, content_type = "application/problem+json")]
    Missing(ProblemDocument),
    /// The idempotency key was used for another run, or the run is not over
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(ProblemDocument),
    /// It did not arrive in time
    #[response(status = 408, content_type = "application/problem+json")]
    TooSlow(ProblemDocument),
    /// It is too large
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(ProblemDocument),
    /// Too many runs wait
    #[response(status = 429, content_type = "application/problem+json")]
    TooMany(ProblemDocument),
    /// The node takes nothing at the moment
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(ProblemDocument),
    /// It is meant for another node
    #[response(status = 421, content_type = "application/problem+json")]
    Misdirected(ProblemDocument),
    /// There is no room on the disk
    #[response(status = 507, content_type = "application/problem+json")]
    Full(ProblemDocument),
    /// Something of the node's failed
    #[response(status = 500, content_type = "application/problem+json")]
    Failed(ProblemDocument),
}

/// What runs the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Language {
    /// Python
    Python,
    /// A Jupyter notebook
    Notebook,
    /// R
    R,
    /// SQL over the inputs
    Sql,
}

impl Language {
    pub(super) const fn script(self) -> &'static str {
        match self {
            Self::Python => "main.py",
            Self::Notebook => "main.ipynb",
            Self::R => "main.R",
            Self::Sql => "main.sql",
        }
    }
}

/// A small file.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct InlineInput {
    /// Its name in the working folder
    pub(super) name: String,
    /// Its bytes, in base64
    pub(super) content: String,
}

/// A table that was written.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TableInput {
    /// The name in the working folder that leads to it, such as `flights.arrow`
    pub(super) name: String,
    /// The token of its memory; good for one request
    pub(super) token: String,
}

/// A run.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct RunDocument {
    /// Its name
    pub(super) id: String,
    /// `queued`, `running`, `ended`, or `lost` when the node ended while it ran
    pub(super) state: &'static str,
    /// Runs that are served before it, and itself, while it is queued
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) position: Option<usize>,
    /// Its script's name; `execution` for what is executed in a session, `session` for a session itself
    pub(super) script: String,
    /// The session that it is executed in
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) session: Option<String>,
    /// When it was accepted, milliseconds since 1970
    pub(super) accepted_ms: i64,
    /// When it was started
    pub(super) started_ms: Option<i64>,
    /// When it ended
    pub(super) ended_ms: Option<i64>,
    /// How it ended
    #[schema(value_type = Option<OutcomeDocument>)]
    pub(super) outcome: Option<Value>,
    /// The beginning of its standard output, as text
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stdout: Option<String>,
    /// The beginning of its standard error, as text
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stderr: Option<String>,
    /// Whether there is more of them than is shown here; the events have all
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) truncated: Option<bool>,
}

/// How a run ended.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct OutcomeDocument {
    /// `exited`, `signalled`, `limit`, `cancelled`, `not-found`, `not-executable`, `refused`, `failed` or `lost`
    cause: String,
    /// The exit status that `stockade run` ends with
    status: i32,
    /// Whether somebody cancelled it
    cancelled: bool,
    /// Whether the node could not keep all it said
    output_cut: bool,
    /// What, why and next of a refusal
    refusal: Option<Value>,
    /// The report of `stockade run --json`; of an execution its cause, usage and figures, and whether its session goes on
    report: Option<Value>,
    /// Why a session was told to end
    reason: Option<String>,
}

/// Runs, the youngest first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct RunList {
    /// The runs
    pub(super) runs: Vec<RunDocument>,
    /// What to give as `before` to see older ones; null when there are none
    pub(super) before: Option<i64>,
}

/// Something that happened in a run.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct EventDocument {
    /// Its number, from 1 on, without gaps
    pub(super) seq: i64,
    /// When, milliseconds since 1970
    pub(super) time_ms: i64,
    /// `accepted`, `started`, `stdout`, `stderr`, `denial`, `output` or `result`
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// Of `stdout` and `stderr`: what was written, when it is text
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
    /// The same in base64, when it is not
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) base64: Option<String>,
    /// Of `accepted`: as in the run
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) position: Option<usize>,
    /// The denial, the output, or the outcome
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) data: Option<Value>,
    /// Which run it is of, in the first event of a stream
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) run: Option<String>,
}
