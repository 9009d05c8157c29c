//! Takes out of text what looks like a secret, before it is written where others read it: logs, bundles.
//!
//! A last net. What is known to be secret is not written in the first place: no code, no input, no header, no query.

use std::borrow::Cow;

use regex::Regex;

use crate::refusal::Refusal;

/// What stands in the place of a secret.
pub const REDACTED: &str = "[redacted]";

/// What secrets look like, and what is left of them. Quotes may be escaped, as within JSON.
const PATTERNS: [(&str, &str); 5] = [
    (r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY( BLOCK)?-----.*?(-----END [A-Z ]*PRIVATE KEY( BLOCK)?-----|\z)", REDACTED),
    (r#"(?i)\b([a-z][a-z0-9+.-]*://)[^/\s"'@\\]+@"#, "${1}[redacted]@"),
    (r#"(?i)\b(basic|bearer|negotiate)(\s+)[a-z0-9._~+/=-]{6,}"#, "${1}${2}[redacted]"),
    (
        r#"(?ix)\b ([a-z0-9_.-]*
            (?:password|passwd|passphrase|secret|token|credential|authorization|cookie|api[_-]?key|access[_-]?key
              |private[_-]?key|account[_-]?key|sas[_-]?key|session[_-]?key) [a-z0-9_-]*)
            ( \\?["']? \s* [:=] \s* )
            ( \\"(?:[^"\\]|\\[^"])*\\" | "(?:[^"\\]|\\.)*" | '[^']*' | [^\s"',;&}\\]+ )"#,
        "${1}${2}[redacted]",
    ),
    (
        r"\b(?:AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{16,}|xox[abeprs]-[A-Za-z0-9-]{10,}|glpat-[A-Za-z0-9_-]{16,}|sk-[A-Za-z0-9_-]{16,}|pypi-[A-Za-z0-9_-]{16,}|npm_[A-Za-z0-9]{16,}|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*|AGE-SECRET-KEY-1[0-9A-Z]+)",
        REDACTED,
    ),
];

/// Knows what secrets look like.
#[derive(Clone, Debug)]
pub struct Redactor(Vec<(Regex, &'static str)>);

impl Redactor {
    /// One with all patterns; with fewer there is none.
    ///
    /// # Errors
    /// [`Refusal`] when a pattern is broken.
    pub fn new() -> Result<Self, Refusal> {
        let pattern = |(pattern, left): &(&str, &'static str)| Ok((Regex::new(pattern)?, *left));
        let all: Result<_, regex::Error> = PATTERNS.iter().map(pattern).collect();
        all.map(Self).map_err(|error| Refusal::failed("secrets cannot be told from other text", error))
    }

    /// The text without what looks like a secret.
    #[must_use]
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.0.iter().fold(Cow::Borrowed(text), |text, (pattern, left)| match pattern.replace_all(&text, *left) {
            Cow::Borrowed(_) => text,
            Cow::Owned(changed) => Cow::Owned(changed),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_taken_out() {
        let redactor = Redactor::new().unwrap();
        for text in [
            "password=hunter22",
            "PASSWORD: hunter22",
            r#"{"password": "hunter22 and more"}"#,
            r#"{"message":"got {\"db_password\": \"hunter22 and more\"}"}"#,
            "export DB_PASSWORD='hunter22 x'",
            "api_key=hunter22&b=1",
            "MY_API_KEY_2 = hunter22",
            "Authorization: Bearer hunter22abcdef",
            r#""authorization":"Basic hunter22abcdef==""#,
            "set-cookie: hunter22",
            "https://user:hunter22@index.example.com/simple",
            "postgresql://hunter22@db/x",
            "-----BEGIN RSA PRIVATE KEY-----\nhunter22\n-----END RSA PRIVATE KEY-----",
            "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter22, cut off",
            "AWS_SECRET_ACCESS_KEY=hunter22",
            "Environment=TOKEN=hunter22",
            "--token hunter22abcdefghijklm is given as --token=hunter22",
            "ghp_hunter22abcdefghijklmnop",
            "AKIAHUNTERHUNTER22AA and eyJhbGciOiJub25lIn0.hunter22hunter22.x",
        ] {
            let left = redactor.redact(text);
            assert!(left.contains(REDACTED), "{text}: {left}");
            let gone = !left.replace("--token hunter22abcdefghijklm", "").contains("hunter22");
            assert!(gone, "{text}: {left}");
        }
    }

    #[test]
    fn other_text_stays_as_it_is() {
        let redactor = Redactor::new().unwrap();
        for text in [
            r#"{"level":"INFO","message":"accepted","run":"0123456789abcdef","principal":"uid-1000@local"}"#,
            "https://index.example.com/simple",
            "a tokenizer, 3 secrets, mail to a@b.example",
            "stockade_runs_accepted_total 3",
        ] {
            assert_eq!(redactor.redact(text), text);
        }
    }

    proptest! {
        #[test]
        fn whatever_the_secret_is_it_is_gone(secret in "[A-Za-z0-9!#$%*+./<>?@^_~-]{8,40}") {
            let redactor = Redactor::new().unwrap();
            for text in [format!("password={secret}"), format!("{{\"token\":\"{secret}\"}}"), format!("x_secret: '{secret}'")] {
                prop_assert!(!redactor.redact(&text).contains(&secret), "{}", text);
            }
        }
    }
}
