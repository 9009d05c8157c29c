//! Everything that a node shows, as text and as JSON, held against each other.

use serde_json::{Value, json};

use super::{SOCKET, Story, text};

impl Story {
    pub(super) fn displays_everything(&self) {
        let session = format!("curl --silent --unix-socket {SOCKET} http://node/v1/sessions --json '{{}}'");
        assert!(self.machine.types_as("bob", &session).expect(0).stdout.contains("\"id\""));
        let rows = |words: &str| rows_of_both(&self.admin(words), &self.admin(&format!("--format=json {words}")));
        let commands: Value = serde_json::from_str(&self.admin("help targets --format=json")).unwrap();
        let displays = commands.as_array().unwrap().iter().flat_map(displays);
        let (full, empty): (Vec<String>, Vec<String>) = displays.partition(|words| rows(words) > 0);
        assert!(full.len() > 20, "{full:?}");
        assert_eq!(empty, ["display environment"], "there is something of all others");
        for words in [
            "explain authorization --user=bob --privilege=Run --resource=offline",
            "test trusted --address=192.168.2.7",
            "export configuration --type=security --name=people",
        ] {
            assert_eq!(rows(words), 1, "{words}");
        }
    }
}

/// The command lines of a command that shows something of a node that serves.
fn displays(known: &Value) -> Vec<String> {
    let [target, command] = ["target", "command"].map(|key| text(&known[key]));
    if target == "authentication" || !["display", "browse", "list", "history", "getadmin"].contains(&command.as_str()) {
        return Vec::new();
    }
    let words = format!("{command} {target}");
    match target.as_str() {
        "security" => ["hosts", "accesscontrol", "realms"].map(|kind| format!("{words} --type={kind}")).to_vec(),
        "audit" => vec![format!("{words} --most=10000")],
        _ => vec![words],
    }
}

/// How many rows a text has, held against the document of the same command: the same cells in the same rows. A trail
/// has grown until it is asked for again.
#[track_caller]
pub(super) fn rows_of_both(as_text: &str, as_json: &str) -> usize {
    let document: Value = serde_json::from_str(as_json).unwrap_or_else(|error| panic!("{error}: {as_json}"));
    assert_eq!((document.as_array().unwrap().len(), &document[0]["service"]), (1, &json!("A.X")));
    let cells = |row: &Value| {
        let cells = row.as_object().unwrap().iter();
        let lines = cells.flat_map(|(name, cell)| {
            text(cell).split('\n').map(|line| format!("[A.X] {name} = {line}")).collect::<Vec<_>>()
        });
        sorted(lines)
    };
    let rows: Vec<_> = document[0]["rows"].as_array().unwrap().iter().map(cells).collect();
    let shown = as_text.trim_end_matches('\n').split("\n\n").filter(|row| !row.is_empty());
    let shown: Vec<_> = shown.map(|row| sorted(row.lines().map(ToOwned::to_owned))).collect();
    let grown = if as_text.contains("[A.X] Seq = ") { 2 } else { 0 };
    assert_eq!(rows.len(), shown.len() + grown, "{as_text}\nis not\n{as_json}");
    assert_eq!(rows[..shown.len()], shown, "{as_text}\nis not\n{as_json}");
    shown.len()
}

fn sorted(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<_> = lines.collect();
    lines.sort();
    lines
}
