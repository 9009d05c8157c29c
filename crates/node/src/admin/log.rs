//! `stockade node log`: how much of what a node logs, told and changed while it runs.

use std::io::Write;

use crate::refusal::Refusal;
use crate::settings::Log;
use crate::status;

const PATH: &str = "/v1/admin/log";

/// Prints the levels, after changing them if some are named.
///
/// # Errors
/// [`Refusal`] when no node answers, or it refuses.
pub fn log(asked: &Log) -> Result<(), Refusal> {
    let socket = status::socket(asked.socket.as_ref(), asked.folder.as_ref())?;
    let answer = match &asked.levels {
        None => status::ask(&socket, "GET", PATH, None),
        Some(levels) => {
            let body = serde_json::json!({ "levels": levels }).to_string();
            status::ask(&socket, "PUT", PATH, Some(&body))
        }
    };
    let (code, body) = answer.map_err(|error| status::nobody(&socket, &error))?;
    if code != 200 {
        return Err(status::problem(&body));
    }
    let answer: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
    let levels = answer.get("levels").and_then(serde_json::Value::as_str).unwrap_or_default();
    // A reader that went away is no error.
    drop(writeln!(std::io::stdout(), "{}", stockade_core::text::shown(levels, 1_000)));
    Ok(())
}
