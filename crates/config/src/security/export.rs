//! The canonical text of an object: every key written out, so that defaults that change later change nothing.

use super::Secret;
use super::object::Object;
use super::tree::Tree;

/// What becomes of secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// They are written; the text means the same as the object, and is as secret as they are.
    Kept,
    /// Clear texts and hashes are left out, so that the text can be shown. It cannot be loaded again: a principal
    /// would be without a password, and a null in its place is refused.
    Hidden,
}

/// The text of an object.
#[must_use]
pub fn export(object: &Object, secrets: Secrets) -> String {
    let identity = &object.identity;
    let mut text = Text { out: String::new(), secrets };
    for (key, value) in [("name", &*identity.name), ("version", &*identity.version), ("type", identity.kind.name())] {
        text.out.push_str(&format!("{key} = {}\n", quoted(value)));
    }
    text.out.push_str("configuration = {\n");
    for root in &object.roots {
        text.field(root.key(), &root.tree(), 1);
    }
    text.out.push_str("}\n");
    text.out
}

#[derive(Debug)]
struct Text {
    out: String,
    secrets: Secrets,
}

impl Text {
    fn field(&mut self, key: &str, value: &Tree, depth: usize) {
        self.indent(depth);
        self.out.push_str(&plain_or_quoted(key));
        self.out.push_str(" = ");
        self.value(value, depth);
        self.out.push('\n');
    }

    fn value(&mut self, value: &Tree, depth: usize) {
        match value {
            Tree::Text(text) => self.out.push_str(&quoted(text)),
            Tree::Number(number) => self.out.push_str(&number.to_string()),
            Tree::Flag(flag) => self.out.push_str(&flag.to_string()),
            Tree::Secret(secret) => self.secret(secret),
            Tree::Fields(fields) => self.object(fields, depth),
            Tree::Texts(texts) => {
                self.out.push('[');
                for text in texts {
                    self.line(depth + 1);
                    self.out.push_str(&quoted(text));
                }
                self.close(']', texts.is_empty(), depth);
            }
            Tree::Items(items) => {
                self.out.push('[');
                for (_, item) in items {
                    self.line(depth + 1);
                    self.value(item, depth + 1);
                }
                self.close(']', items.is_empty(), depth);
            }
        }
    }

    fn object(&mut self, fields: &[(String, Tree)], depth: usize) {
        self.out.push_str("{\n");
        for (key, value) in fields {
            self.field(key, value, depth + 1);
        }
        self.indent(depth);
        self.out.push('}');
    }

    fn secret(&mut self, secret: &Secret) {
        match (secret, self.secrets) {
            (Secret::Clear(_) | Secret::Hash(_) | Secret::Encrypted(_), Secrets::Hidden) => {
                self.out.push_str("null # not shown")
            }
            (Secret::Clear(text) | Secret::Hash(text), Secrets::Kept) => self.out.push_str(&quoted(text)),
            (Secret::Encrypted(text), Secrets::Kept) => self.out.push_str(&quoted(&format!("encrypted:{text}"))),
            (Secret::File(path), _) => self.out.push_str(&quoted(&format!("file:{path}"))),
            (Secret::Variable(name), _) => self.out.push_str(&quoted(&format!("env:{name}"))),
        }
    }

    fn line(&mut self, depth: usize) {
        self.out.push('\n');
        self.indent(depth);
    }

    fn indent(&mut self, depth: usize) {
        self.out.push_str(&"  ".repeat(depth));
    }

    fn close(&mut self, bracket: char, is_empty: bool, depth: usize) {
        if !is_empty {
            self.line(depth);
        }
        self.out.push(bracket);
    }
}

/// A key as it is written in a path or before `=`.
pub(super) fn plain_or_quoted(key: &str) -> String {
    if key.bytes().all(|byte| byte.is_ascii_alphanumeric()) && !key.is_empty() { key.to_owned() } else { quoted(key) }
}

/// A text as a quoted string that means it, whatever variables there are.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    // `${:-$}` is a `$` that begins no variable.
    for character in text.replace("${", "${:-$}{").chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            _ if character.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}
