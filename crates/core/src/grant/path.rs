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

/// Refuses what is decoded or folded by some servers only: `//`, `\`, dot segments (also with `;`), and
/// escapes of characters that need none or that separate.
pub fn unambiguous(path: &str) -> Result<(), AmbiguousPath> {
    let folded = path.contains("//") || path.contains('\\') || path.contains(';') || !path.starts_with('/');
    if folded || path.split('/').any(|segment| segment == "." || segment == "..") {
        return Err(AmbiguousPath);
    }
    path.split('%').skip(1).try_for_each(|after| {
        let code = after.get(..2).and_then(|code| u8::from_str_radix(code, 16).ok()).ok_or(AmbiguousPath)?;
        let needs_none = code.is_ascii_alphanumeric() || b"-._~".contains(&code);
        let separates = code.is_ascii_control() || b"/\\%;?#".contains(&code);
        if needs_none || separates { Err(AmbiguousPath) } else { Ok(()) }
    })
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
            "v1",
            "*",
        ] {
            assert_eq!(unambiguous(path), Err(AmbiguousPath), "{path}");
        }
        for path in ["/", "/v1/", "/v1/a.b/..c", "/v1/%20", "/v1/%C3%BC", "/v1/a:b@c"] {
            assert_eq!(unambiguous(path), Ok(()), "{path}");
        }
    }
}
