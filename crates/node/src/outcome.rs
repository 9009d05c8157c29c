//! How a run ended, as the node keeps and tells it: the report of its supervisor, or why there is none.

use serde_json::{Value, json};
use stockade_store::NewEvent;

use crate::link::Ending;
use crate::refusal::Refusal;

/// Denials and outputs that become events of their own; the report has them all.
const EVENTS_MAX: usize = 200;

/// What is kept of the end of a run: the document, and the events that tell it.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) document: String,
    pub(crate) events: Vec<NewEvent>,
    /// Whether there is a report, which names its outputs.
    pub(crate) has_report: bool,
    /// Bytes of its outputs.
    pub(crate) outputs: i64,
    /// CPU time by its supervisor's measure, milliseconds; none where nobody measured what may have run.
    pub(crate) cpu_ms: Option<i64>,
    /// For the log and the figures: one word.
    pub(crate) cause: String,
    /// Whether a warm engine had it, if that is known.
    pub(crate) begun: Option<Begun>,
    /// What it was denied.
    pub(crate) denials: usize,
}

/// How a run has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// In an engine that waited for it.
    Warm,
    /// In one that was made for it.
    Cold,
}

/// What the node knows besides.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Known {
    pub(crate) cancelled: bool,
    /// Output could not be kept.
    pub(crate) cut: bool,
    /// It is a session, or was executed in one.
    pub(crate) is_of_session: bool,
    /// Why a session was told to end.
    pub(crate) reason: Option<&'static str>,
}

/// From the launcher's word and the supervisor's report.
pub(crate) fn of(ending: &Ending, report: &[u8], known: Known) -> Outcome {
    match ending {
        Ending::Refused(refusal) => refused(refusal, known),
        Ending::Ended { status, killed } => match serde_json::from_slice::<Value>(report) {
            Ok(report) if report.is_object() && !killed => reported(*status, report, known),
            _ if known.is_of_session && *killed && known.reason.is_none() => {
                let refusal = json!({
                    "what": "it is lost",
                    "why": "its supervisor was killed, and everything of the session with it",
                    "next": "see how the session ended, and open another one",
                });
                without_report("lost", 125, refusal, known)
            }
            _ if known.cancelled || known.reason.is_some() => without_report("cancelled", 130, Value::Null, known),
            _ => {
                let refusal = json!({
                    "what": "the run has no report",
                    "why": "its supervisor was killed or failed",
                    "next": "run it again; the node's log and the audit trail say more",
                });
                without_report("failed", *status, refusal, known)
            }
        },
    }
}

/// A run that was never started.
pub(crate) fn refused(refusal: &Refusal, known: Known) -> Outcome {
    let said = json!({ "what": refusal.what, "why": refusal.why, "next": refusal.next });
    without_report("refused", 125, said, known)
}

/// A run that was cancelled while it waited.
pub(crate) fn unstarted() -> Outcome {
    let outcome = without_report("cancelled", 130, Value::Null, Known { cancelled: true, ..Known::default() });
    Outcome { cpu_ms: Some(0), ..outcome }
}

/// A run that was under way when the node ended.
pub(crate) fn lost() -> (String, NewEvent) {
    let refusal = json!({
        "what": "the run is lost",
        "why": "the node ended while it ran; it was ended too, and is not run again",
        "next": "look at what it did outside, if anything, and run it again",
    });
    let document = document("lost", 125, refusal, Value::Null, Known::default()).to_string();
    let event = NewEvent::new("result", document.clone());
    (document, event)
}

fn without_report(cause: &str, status: i32, refusal: Value, known: Known) -> Outcome {
    let document = document(cause, status, refusal, Value::Null, known).to_string();
    Outcome {
        events: vec![NewEvent::new("result", document.clone())],
        document,
        has_report: false,
        outputs: 0,
        // What was refused, or was cancelled before its turn, did not run.
        cpu_ms: (cause == "refused").then_some(0),
        cause: cause.to_owned(),
        begun: None,
        denials: 0,
    }
}

fn reported(status: i32, mut report: Value, known: Known) -> Outcome {
    // A place on the node; outputs are had by name.
    if let Some(folder) = report.pointer_mut("/outputs/folder") {
        *folder = Value::Null;
    }
    let cause = report.pointer("/cause/kind").and_then(Value::as_str).unwrap_or("unknown").to_owned();
    let outputs = report.pointer("/outputs/bytes").and_then(Value::as_i64).unwrap_or(0).max(0);
    let cpu_ms = match report.pointer("/usage/cpu_ms").and_then(Value::as_u64) {
        Some(measured) => Some(i64::try_from(measured).unwrap_or(i64::MAX)),
        None => (cause == "refused").then_some(0),
    };
    let mut events = listed(&report, "/denials", "denial");
    let denials = events.len();
    let begun = match report.get("begun").and_then(Value::as_str) {
        Some("warm") => Some(Begun::Warm),
        Some("cold") => Some(Begun::Cold),
        _ => None,
    };
    events.extend(listed(&report, "/outputs/files", "output"));
    let (refusal, report) = if report.get("goes_on") == Some(&Value::Bool(false)) {
        (ended_with(&cause, &report), report)
    } else if cause == "refused" || cause == "failed" {
        let said = |key: &str| report.get(key).cloned().unwrap_or_default();
        (json!({ "what": said("what"), "why": said("why"), "next": said("next") }), Value::Null)
    } else {
        (Value::Null, report)
    };
    let has_report = !report.is_null();
    let document = document(&cause, status, refusal, report, known).to_string();
    events.push(NewEvent::new("result", document.clone()));
    Outcome { document, events, has_report, outputs, cpu_ms, cause, begun, denials }
}

/// An execution whose session ended with it.
fn ended_with(cause: &str, report: &Value) -> Value {
    let detail = ["limit", "signal", "status"].iter().find_map(|key| report.get("cause")?.get(key));
    let detail = detail.map_or_else(String::new, |detail| format!(" ({})", detail.to_string().replace('"', "")));
    json!({
        "what": "the session ended while this was executed",
        "why": format!("its engine ended: {cause}{detail}"),
        "next": "open another session; variables are gone, outputs can be fetched as those of a run",
    })
}

fn listed(report: &Value, pointer: &str, kind: &str) -> Vec<NewEvent> {
    let items = report.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    items.take(EVENTS_MAX).map(|item| NewEvent::new(kind, item.to_string())).collect()
}

fn document(cause: &str, status: i32, refusal: Value, report: Value, known: Known) -> Value {
    let mut document = json!({
        "cause": cause,
        "status": status,
        "cancelled": known.cancelled,
        "output_cut": known.cut,
        "refusal": refusal,
        "report": report,
    });
    if let (Some(reason), Some(fields)) = (known.reason, document.as_object_mut()) {
        fields.insert("reason".to_owned(), reason.into());
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(outcome: &Outcome) -> Value {
        serde_json::from_str(&outcome.document).unwrap()
    }

    #[test]
    fn a_report_becomes_the_outcome_and_its_parts_events() {
        let report = br#"{"cause":{"kind":"exited","status":3},"denials":[{"call":"ptrace"}],
            "outputs":{"folder":"../out","files":[{"path":"a","bytes":1}]}}"#;
        let outcome = of(&Ending::Ended { status: 3, killed: false }, report, Known::default());
        let kinds: Vec<&str> = outcome.events.iter().map(|event| event.kind.as_str()).collect();
        assert_eq!(kinds, ["denial", "output", "result"]);
        let document = parsed(&outcome);
        assert_eq!((document["cause"].as_str(), document["status"].as_i64()), (Some("exited"), Some(3)));
        assert!(document["report"]["outputs"]["folder"].is_null(), "the node's folders are its own");
    }

    #[test]
    fn no_report_is_never_taken_for_a_good_end() {
        for report in [&b""[..], b"{", b"null", b"[]", b"\xff"] {
            let outcome = of(&Ending::Ended { status: 0, killed: false }, report, Known::default());
            assert_eq!(outcome.cause, "failed");
        }
        let whole = br#"{"cause":{"kind":"exited","status":0}}"#;
        assert_eq!(of(&Ending::Ended { status: 137, killed: true }, whole, Known::default()).cause, "failed");
        let cancelled = Known { cancelled: true, ..Known::default() };
        assert_eq!(of(&Ending::Ended { status: 137, killed: true }, b"", cancelled).cause, "cancelled");
    }

    #[test]
    fn a_refusal_of_the_supervisor_is_told_in_its_words() {
        let report = br#"{"cause":{"kind":"refused","status":125},"what":"w","why":"y","next":"n"}"#;
        let outcome = of(&Ending::Ended { status: 125, killed: false }, report, Known::default());
        assert_eq!(parsed(&outcome)["refusal"], json!({"what": "w", "why": "y", "next": "n"}));
    }
}
