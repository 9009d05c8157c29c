//! What an engine said on its result descriptor: claims of the code, parsed within bounds.

use serde::Deserialize;

/// Lines read of one run.
const LINES_MAX: usize = 1_000;
/// Longest line.
const LINE_BYTES_MAX: usize = 4_096;

/// One claim.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Said {
    /// The code ended with an exception that nobody caught.
    Exception {
        /// Its class.
        #[serde(rename = "type", default)]
        class: String,
        /// The module that was not found.
        #[serde(default)]
        name: Option<String>,
        /// The file that was not found.
        #[serde(default)]
        path: Option<String>,
    },
    /// The modules of the environment that were imported.
    Imported {
        /// Their names, separated by spaces.
        names: String,
    },
    /// A library reached for the network or another program.
    Attempt {
        /// The audit event (PEP 578).
        #[serde(rename = "type")]
        event: String,
        /// The libraries among the callers, the nearest first, separated by blanks.
        #[serde(rename = "name")]
        libraries: String,
        /// What it reached for.
        #[serde(rename = "path")]
        target: String,
    },
    /// A figure was shown and saved.
    Figure {
        /// Its file.
        name: String,
    },
}

/// The claims in what was said; what is no claim is passed over.
#[must_use]
pub fn said(bytes: &[u8]) -> Vec<Said> {
    bytes
        .split(|byte| *byte == b'\n')
        .take(LINES_MAX)
        .filter(|line| line.len() <= LINE_BYTES_MAX)
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_read_and_noise_is_passed_over() {
        let text = b"{\"kind\":\"figure\",\"name\":\"figure-1.png\"}\nnoise\n{\"kind\":\"other\"}\n{\"kind\":\"attempt\",\"type\":\"os.system\"}\n{\"kind\":\"attempt\",\"type\":\"os.system\",\"name\":\"pad\",\"path\":\"ls\"}\n{\"kind\":\"exception\",\"type\":\"ModuleNotFoundError\",\"message\":\"m\",\"name\":\"utils\"}\n";
        assert_eq!(
            said(text),
            [
                Said::Figure { name: "figure-1.png".to_owned() },
                Said::Attempt { event: "os.system".to_owned(), libraries: "pad".to_owned(), target: "ls".to_owned() },
                Said::Exception { class: "ModuleNotFoundError".to_owned(), name: Some("utils".to_owned()), path: None },
            ]
        );
    }
}
