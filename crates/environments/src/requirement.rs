//! One requirement: a name, extras, versions and a marker. Everything else a requirement may be
//! elsewhere (option, URL, path) is refused here, with a reason, before uv sees it.

use std::str::FromStr;

use pep508_rs::{Requirement as Pep508, VerbatimUrl, VersionOrUrl};

use crate::error::{Detail, Error};
use crate::quote::quote;

/// Longer than any honest requirement.
const REQUIREMENT_BYTES_MAX: usize = 1000;
/// More than any honest marker has. Each pair of alternatives doubles what the parser does: 48 of
/// them take it seconds, and a file may hold a thousand such requirements.
const JOINTS_MAX: usize = 24;

/// A requirement that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Requirement {
    /// The normalised name.
    pub(crate) name: String,
    /// The canonical text; this, and nothing the stranger wrote, is what uv reads.
    pub(crate) text: String,
}

/// Parses one requirement; `origin` says where it stands, such as `requirements.txt, line 3`.
pub(crate) fn parse(text: &str, origin: &str) -> Result<Requirement, Error> {
    let text = text.trim();
    if let Some((why, next)) = objection(text) {
        return Err(refused(text, origin, why, next));
    }
    let parsed = Pep508::<VerbatimUrl>::from_str(text).map_err(|cause| {
        let why = cause.message.to_string();
        let why = crate::quote::neutral(why.lines().next().unwrap_or("it does not parse"));
        refused(text, origin, &why, "write it as `name`, `name>=1,<2` or `name[extra]; marker`")
    })?;
    if matches!(parsed.version_or_url, Some(VersionOrUrl::Url(_))) {
        return Err(refused(text, origin, DIRECT_URL.0, DIRECT_URL.1));
    }
    Ok(Requirement { name: parsed.name.to_string(), text: parsed.to_string() })
}

/// A refusal that names the requirement, where it stands, and why.
pub(crate) fn refused(text: &str, origin: &str, why: &str, next: &str) -> Error {
    Error::Requirement(Detail::new(format!("{origin}: requirement {} is refused", quote(text)), why, next))
}

const DIRECT_URL: (&str, &str) = (
    "packages come from the package index of this machine only, never from a URL of a requirement",
    "name the package and a version instead, such as `name==1.2`",
);

/// What is wrong with the shape of a requirement, and what to do about it.
fn objection(text: &str) -> Option<(&'static str, &'static str)> {
    let (subject, marker) = text.split_once(';').unwrap_or((text, ""));
    if text.is_empty() {
        return Some(("it is empty", "name a package"));
    }
    if text.len() > REQUIREMENT_BYTES_MAX {
        return Some(("it is longer than 1,000 bytes", "shorten its versions or marker"));
    }
    if !text.chars().all(|c| c == '\t' || c == ' ' || c.is_ascii_graphic()) {
        return Some(("it holds control or non-ASCII characters", "write names, versions and markers in plain ASCII"));
    }
    if has_too_many_joints(marker) {
        return Some(("its marker has more than 24 times `and` or `or`", "write a shorter marker"));
    }
    if text.starts_with('-') {
        return Some(option_objection(text));
    }
    let lower = subject.to_ascii_lowercase();
    if subject.contains("://") || lower.trim_start().starts_with("file:") || lower.starts_with("git+") {
        return Some(DIRECT_URL);
    }
    if looks_like_path(subject, &lower) {
        return Some((
            "packages come from the package index of this machine only, never from a local path",
            "name the package and a version; give local modules to the run as files instead",
        ));
    }
    None
}

/// Whether parsing a marker could take forever.
pub(crate) fn has_too_many_joints(marker: &str) -> bool {
    let words = marker.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| matches!(*word, "and" | "or")).count() > JOINTS_MAX
}

fn looks_like_path(subject: &str, lower: &str) -> bool {
    let archive = [".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"];
    // A URL's slashes are met by the parser, which finds the `@`.
    !subject.contains('@')
        && (subject.starts_with(['.', '~', '/'])
            || subject.contains(['/', '\\'])
            || archive.iter().any(|end| lower.trim_end().ends_with(end)))
}

/// Why an option line is refused; the common ones have a next step of their own.
pub(crate) fn option_objection(text: &str) -> (&'static str, &'static str) {
    let name = text.split(['=', ' ', '\t']).next().unwrap_or(text);
    match name {
        "-i" | "--index-url" | "--extra-index-url" | "--index" | "--default-index" | "--no-index" | "-f"
        | "--find-links" | "--trusted-host" => (
            "a requirement file may not choose where packages come from",
            "remove the line; the administrator sets the index for this machine, for example with UV_DEFAULT_INDEX",
        ),
        "-e" | "--editable" => (
            "an editable install runs code of the project while it builds",
            "remove the line; give the project's folder to the run as files instead",
        ),
        "-c" | "--constraint" => {
            ("constraint files are not supported", "write the versions into the requirements themselves")
        }
        "--pre" => (
            "pre-releases are chosen for one package, not for all",
            "remove the line; ask for the pre-release by version, such as `name>=2.0rc1`",
        ),
        "-r" | "--requirement" => {
            ("another requirement file can be named only inside a requirement file", "give each file with its own `-r`")
        }
        _ => ("options are not accepted here", "remove the option; only requirements are read"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_requirements_become_canonical() {
        for (text, canonical) in [
            ("Six", "six"),
            ("pandas>=2,<3", "pandas>=2,<3"),
            (" Zope.Interface [Test] == 5.* ", "zope-interface[test]==5.*"),
            ("typing_extensions ; python_version<'3.13'", "typing-extensions ; python_full_version < '3.13'"),
            ("numpy (>=1.20)", "numpy>=1.20"),
            ("x; platform_version == 'a/b'", "x ; platform_version == 'a/b'"),
        ] {
            let parsed = parse(text, "test").map(|r| r.text);
            assert_eq!(parsed.ok().as_deref(), Some(canonical), "{text}");
        }
    }

    #[test]
    fn hostile_requirements_are_refused_with_a_reason_and_a_next_step() {
        for (text, part) in [
            ("", "empty"),
            ("--index-url https://index.invalid/simple", "where packages come from"),
            ("-ihttps://index.invalid", "options"),
            ("--extra-index-url=https://index.invalid", "where packages come from"),
            ("-f ./wheels", "where packages come from"),
            ("--find-links=/tmp", "where packages come from"),
            ("-e .", "editable"),
            ("-c constraints.txt", "constraint"),
            ("--pre", "pre-releases"),
            ("--no-binary :all:", "options"),
            ("--config-settings x=y", "options"),
            ("evil @ https://files.invalid/evil.whl", "URL"),
            ("evil@https://files.invalid/evil.whl", "URL"),
            ("evil @ file:///etc/passwd", "URL"),
            ("evil @ git+ssh://git@host.invalid/repo", "URL"),
            ("evil @ ./here", "URL"),
            ("https://files.invalid/evil.whl", "URL"),
            ("git+https://host.invalid/evil", "URL"),
            ("file:evil.whl", "URL"),
            ("FILE:///evil", "URL"),
            ("./evil", "path"),
            ("../evil", "path"),
            ("/evil", "path"),
            ("~/evil", "path"),
            ("evil/thing", "path"),
            ("evil\\thing", "path"),
            ("evil-1.0-py3-none-any.whl", "path"),
            ("evil.tar.gz", "path"),
            ("six\x1b[2J", "control"),
            ("six\0", "control"),
            ("ѕix", "non-ASCII"),
            ("six\u{202e}", "non-ASCII"),
            ("six\nidna", "control"),
        ] {
            let error = parse(text, "here, line 7").unwrap_err();
            assert!(error.why().contains(part), "{text:?}: {}", error.why());
            assert!(error.to_string().starts_with("here, line 7: requirement `"), "{error}");
            assert!(!error.next().is_empty());
            assert!(!error.to_string().contains(['\x1b', '\0', '\u{202e}']));
        }
        for text in ["six idna", "six==", "six>=1,", "[x]", "six[", "${HOME}", "$(id)", "six;os", "a|b", "six@"] {
            assert!(parse(text, "test").is_err(), "{text}");
        }
        assert!(parse(&"x".repeat(1001), "test").is_err());
    }

    #[test]
    fn a_marker_made_to_explode_does_not() {
        let started = std::time::Instant::now();
        let parse = |text: &str| parse(text, "test");
        let variables = ["os_name", "sys_platform", "platform_machine", "platform_system", "extra"];
        let marker = |clauses: usize| {
            let clause = |n: usize| format!("({}!='{n}' or {}=='{n}')", variables[n % 5], variables[(n + 2) % 5]);
            format!("x;{}", (0..clauses).map(clause).collect::<Vec<_>>().join(" and "))
        };
        assert!(parse(&marker(12)).is_ok());
        assert!(parse(&marker(22)).unwrap_err().why().contains("more than 24"));
        let nested = format!("x;{}os_name=='a'{}", "(".repeat(480), ")".repeat(480));
        assert!(parse(&nested).is_ok());
        assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
    }
}
