//! Paths of requests: prefixes that are granted, and the forms that have only one meaning.
//!
//! Servers and frameworks differ in how they decode and fold paths. The gate does not guess which one is
//! behind a name: where paths decide, a path with two readings is refused.

use std::fmt;

use super::BadGrant;

/// A granted path and everything below it, by whole segments: `/v1` is not in front of `/v10`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathPrefix(String);

/// A path that two servers could read in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AmbiguousPath;

impl PathPrefix {
    pub(super) fn parse(text: &str) -> Result<Self, BadGrant> {
        let plain = text.starts_with('/')
            && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"%,?#\"<>`{}|^".contains(&byte))
            && unambiguous(text).is_ok();
        if !plain {
            return Err(BadGrant::Path);
        }
        Ok(Self(text.strip_suffix('/').unwrap_or(text).to_owned()))
    }

    pub(super) const fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn is_front_of(&self, path: &str) -> bool {
        path.strip_prefix(&self.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    pub(super) fn is_front_of_any_case(&self, path: &str) -> bool {
        Self(self.0.to_ascii_lowercase()).is_front_of(&path.to_ascii_lowercase())
    }
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Refuses what is decoded or folded by some servers only: `//`, `\`, dot segments (also with `;`, and with blanks or
/// more dots behind them), blanks at the ends of segments, and escapes of characters that need none or that
/// separate, or of what is not UTF-8.
pub fn unambiguous(path: &str) -> Result<(), AmbiguousPath> {
    let folded = path.contains("//") || path.contains('\\') || path.contains(';');
    let segments = path.strip_prefix('/').ok_or(AmbiguousPath)?;
    if folded || segments.split('/').any(|segment| decoded(segment).is_none_or(|segment| is_folded(&segment))) {
        return Err(AmbiguousPath);
    }
    Ok(())
}

/// Whether a segment is one of dots, or has blanks at its ends, which some servers take away.
fn is_folded(segment: &str) -> bool {
    let of_dots = !segment.is_empty() && segment.chars().all(|letter| letter == '.' || letter.is_whitespace());
    of_dots || segment.trim().len() != segment.len()
}

/// The segment without escapes, if all of them had to be ones.
fn decoded(segment: &str) -> Option<String> {
    let mut pieces = segment.split('%');
    let mut bytes = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        let (code, plain) = piece.split_at_checked(2)?;
        let hexadecimal = code.bytes().all(|digit| digit.is_ascii_hexdigit());
        let code = u8::from_str_radix(code, 16).ok().filter(|_| hexadecimal)?;
        let needs_none = code.is_ascii_alphanumeric() || b"-._~".contains(&code);
        let separates = code.is_ascii_control() || b"/\\%;?#".contains(&code);
        if needs_none || separates {
            return None;
        }
        bytes.push(code);
        bytes.extend_from_slice(plain.as_bytes());
    }
    // Overlong forms, such as `%c0%ae` for a dot, are not UTF-8.
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_of_whole_segments() {
        let prefix = PathPrefix::parse("/v1/").unwrap();
        for (path, inside) in
            [("/v1", true), ("/v1/", true), ("/v1/a/b", true), ("/v10", false), ("/", false), ("/V1/a", false)]
        {
            assert_eq!(prefix.is_front_of(path), inside, "{path}");
        }
        assert!(prefix.is_front_of_any_case("/V1/a"));
    }

    #[test]
    fn a_path_with_two_readings_is_ambiguous() {
        for path in [
            "/v1/../admin",
            "/v1/..",
            "/./v1",
            "/v1/%2e%2e/admin",
            "/v1/.%2E/admin",
            "/v1%2fadmin",
            "/v1%5c..",
            "/v1\\..\\admin",
            "/v1//admin",
            "//admin",
            "/v1/..;/admin",
            "/v1;a=b/x",
            "/%61dmin",
            "/v1/%252e%252e",
            "/v1/%00",
            "/v1/%",
            "/v1/%2",
            "/v1/%zz",
            "/v1/%é",
            "/v1/%+f",
            "/v1/%c0%ae%c0%ae/admin",
            "/v1/%e0%80%ae",
            "/v1/%ff",
            "/v1/%C3",
            "/v1/%C3/%BC",
            "/v1/..%20/admin",
            "/v1/.%20",
            "/v1/.../admin",
            "/v1/..%20./admin",
            "/v1/..%C2%A0/admin",
            "/v1/admin%20",
            "/v1/%20admin",
            "/v1/%20",
            "/v1/admin%E3%80%80/x",
            "v1",
            "*",
        ] {
            assert_eq!(unambiguous(path), Err(AmbiguousPath), "{path}");
        }
        for path in ["/", "/v1/", "/v1/a.b/..c", "/v1/a%20b", "/v1/%C3%BC", "/v1/a:b@c"] {
            assert_eq!(unambiguous(path), Ok(()), "{path}");
        }
    }
}
