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
        let text = b"{\"kind\":\"figure\",\"name\":\"figure-1.png\"}\nnoise\n{\"kind\":\"other\"}\n{\"kind\":\"exception\",\"type\":\"ModuleNotFoundError\",\"message\":\"m\",\"name\":\"utils\"}\n";
        assert_eq!(
            said(text),
            [
                Said::Figure { name: "figure-1.png".to_owned() },
                Said::Exception { class: "ModuleNotFoundError".to_owned(), name: Some("utils".to_owned()), path: None },
            ]
        );
    }
}
