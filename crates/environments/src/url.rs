//! The one form of URL this crate accepts: `https://host[:443]/path`, plain ASCII, no credentials.
//! Strict on purpose: two programs must never read different hosts out of the same text.

/// A URL that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HttpsUrl {
    text: String,
    host: String,
}

impl HttpsUrl {
    /// The URL, or why it is refused.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        if !text.bytes().all(|b| b.is_ascii_graphic() && !b"\\\"'<>`{}|^".contains(&b)) {
            return Err("it holds characters that do not belong in a URL");
        }
        let rest = text.strip_prefix("https://").ok_or("it does not begin with `https://`")?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        if authority.contains('@') {
            return Err("it holds a user name or password, which are not supported yet");
        }
        let host = authority.strip_suffix(":443").unwrap_or(authority).to_ascii_lowercase();
        if host.contains(':') {
            return Err("its port is not 443");
        }
        if !is_host(&host) {
            return Err("its host name is not a plain one");
        }
        Ok(Self { text: text.to_owned(), host })
    }

    /// The host name, in lower case.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The URL as it was written.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// The last segment of the path, percent signs undone; `None` if it is not a plain file name.
    pub(crate) fn file_name(&self) -> Option<String> {
        let path = self.text.split(['?', '#']).next()?;
        let name = path.rsplit('/').next()?.replace("%2B", "+").replace("%2b", "+").replace("%21", "!");
        (!name.is_empty() && !name.contains('%')).then_some(name)
    }
}

/// Whether `name` is a host name of letters, digits, hyphens and dots.
pub(crate) fn is_host(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_https_urls_are_accepted() {
        let url = HttpsUrl::parse("https://Files.invalid:443/a/torch-2%2Bcpu.whl#x").unwrap();
        assert_eq!((url.host(), url.file_name().as_deref()), ("files.invalid", Some("torch-2+cpu.whl")));
        for text in [
            "http://a.invalid/",
            "https://user:pass@a.invalid/",
            "https://a.invalid@b.invalid/",
            "https://a.invalid:8443/",
            "https://a.invalid\\@b.invalid/",
            "https://a..invalid/",
            "https:///x",
            "https://a.invalid /",
            "https://[::1]/",
            "file:///etc/passwd",
            "https://a.invalid\r\nX: y",
            "",
        ] {
            assert!(HttpsUrl::parse(text).is_err(), "{text}");
        }
    }
}
