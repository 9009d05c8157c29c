//! Reads the PEP 723 block of a script: `# /// script` … `# ///`. The script is untrusted and is
//! only read, as bytes; nothing but the block needs to be UTF-8.

use std::str::FromStr;

use pep508_rs::pep440_rs::VersionSpecifiers;

use crate::error::{Detail, Error};
use crate::quote::quote;
use crate::requirement::{self, Requirement};

/// What a script says it needs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Block {
    pub(crate) requirements: Vec<Requirement>,
    pub(crate) requires_python: Option<VersionSpecifiers>,
}

/// The block of a script, if it has one; `name` is shown in messages.
pub(crate) fn parse(source: &[u8], name: &str) -> Result<Option<Block>, Error> {
    let Some(text) = block_text(source, name)? else {
        return Ok(None);
    };
    let table: toml::Table = toml::from_str(&text).map_err(|cause| {
        let why = crate::quote::neutral(cause.message());
        refused(name, &why, "write the block as PEP 723 describes")
    })?;
    let mut block = Block::default();
    for (key, value) in &table {
        match (key.as_str(), value) {
            ("dependencies", toml::Value::Array(list)) => {
                block.requirements = dependencies(list, name)?;
            }
            ("requires-python", toml::Value::String(text)) => {
                block.requires_python = Some(specifiers(text, name)?);
            }
            ("tool", toml::Value::Table(tools)) if !tools.contains_key("uv") => {}
            ("tool", toml::Value::Table(_)) => {
                let why = "`[tool.uv]` may not choose indexes, sources or other settings of uv";
                return Err(refused(name, why, "remove the table; name versions in `dependencies`"));
            }
            (_, _) => {
                let why = format!("{} is not a key of the block, or not of its type", quote(key));
                return Err(refused(name, &why, "use `dependencies = […]` and `requires-python = \"…\"`"));
            }
        }
    }
    Ok(Some(block))
}

fn dependencies(list: &[toml::Value], name: &str) -> Result<Vec<Requirement>, Error> {
    list.iter()
        .map(|value| match value.as_str() {
            Some(text) => requirement::parse(text, &origin(name)),
            None => Err(refused(name, "a dependency is not a string", "quote each dependency")),
        })
        .collect()
}

fn specifiers(text: &str, name: &str) -> Result<VersionSpecifiers, Error> {
    VersionSpecifiers::from_str(text).map_err(|_| {
        let why = format!("`requires-python` {} is not a version specifier", quote(text));
        refused(name, &why, "write it as `>=3.11` or `>=3.11,<3.14`")
    })
}

fn origin(name: &str) -> String {
    format!("the `# /// script` block of {}", quote(name))
}

fn refused(name: &str, why: &str, next: &str) -> Error {
    Error::Script(Detail::new(format!("{} is refused", origin(name)), why, next))
}

/// The TOML text of the only `script` block, with the comment signs taken off.
fn block_text(source: &[u8], name: &str) -> Result<Option<String>, Error> {
    let source = source.strip_prefix(b"\xef\xbb\xbf").unwrap_or(source);
    let mut lines = source.split(|&b| b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let mut found = None;
    while let Some(line) = lines.next() {
        if line != b"# /// script" {
            continue;
        }
        if found.is_some() {
            return Err(refused(name, "the script has two of them", "keep one"));
        }
        // As in PEP 723: the block runs to the last `# ///` of the comment lines that follow.
        let comment: Vec<&[u8]> = lines.by_ref().take_while(|line| line == b"#" || line.starts_with(b"# ")).collect();
        let end = comment.iter().rposition(|line| *line == b"# ///");
        let Some(end) = end else {
            return Err(refused(name, "it has no end", "close the block with a line `# ///`"));
        };
        found = Some(uncomment(comment.get(..end).unwrap_or_default(), name)?);
    }
    Ok(found)
}

fn uncomment(lines: &[&[u8]], name: &str) -> Result<String, Error> {
    let mut text = String::new();
    for line in lines {
        let line =
            std::str::from_utf8(line).map_err(|_| refused(name, "it is not UTF-8 text", "save the script as UTF-8"))?;
        text.push_str(line.strip_prefix("# ").unwrap_or(""));
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(source: &str) -> Result<Vec<String>, Error> {
        let block = parse(source.as_bytes(), "a.py")?.unwrap_or_default();
        Ok(block.requirements.into_iter().map(|r| r.text).collect())
    }

    #[test]
    fn a_block_is_read_wherever_it_stands() {
        let source = "#!/usr/bin/env python\n\n# /// script\r\n# requires-python = \">=3.11\"\r\n# dependencies = [\r\n#   \"pandas>=2,<3\",\r\n#\r\n#   \"Six\",\r\n# ]\r\n# ///\r\nprint(1)\n";
        assert_eq!(names(source).unwrap(), ["pandas>=2,<3", "six"]);
        let block = parse(source.as_bytes(), "a.py").unwrap().unwrap();
        assert_eq!(block.requires_python.unwrap().to_string(), ">=3.11");
    }

    #[test]
    fn a_script_without_a_block_needs_nothing() {
        assert!(parse(b"print(1)\n# /// other\n# ///\n\xff\xfe", "a.py").unwrap().is_none());
        assert!(parse(b"x = '''\n  # /// script\n'''", "a.py").unwrap().is_none());
    }

    #[test]
    fn the_block_ends_at_the_last_end_line() {
        let source = "# /// script\n# dependencies = ['six']\n# note = '''\n# ///\n# '''\n# ///\n";
        assert!(names(source).unwrap_err().why().contains("`note`"));
    }

    #[test]
    fn hostile_blocks_are_refused() {
        for (body, part) in [
            ("# [tool.uv]\n# index-url = 'https://index.invalid'\n", "tool.uv"),
            ("# [tool.uv.sources]\n# six = { path = '/tmp' }\n", "tool.uv"),
            ("# [[tool.uv.index]]\n# url = 'https://index.invalid'\n", "tool.uv"),
            ("# dependencies = ['x @ https://files.invalid/x.whl']\n", "URL"),
            ("# dependencies = ['--pre']\n", "pre-releases"),
            ("# dependencies = [1]\n", "string"),
            ("# dependencies = 'six'\n", "`dependencies`"),
            ("# dependency = ['six']\n", "`dependency`"),
            ("# requires-python = 'three'\n", "specifier"),
            ("# dependencies = [\n", ""),
        ] {
            let error = names(&format!("# /// script\n{body}# ///\n")).unwrap_err();
            assert!(error.why().contains(part), "{body}: {}", error.why());
        }
        let twice = "# /// script\n# ///\n\n# /// script\n# ///\n";
        assert!(names(twice).unwrap_err().why().contains("two"));
        assert!(names("# /// script\n# dependencies = []\nx").unwrap_err().why().contains("no end"));
    }
}
