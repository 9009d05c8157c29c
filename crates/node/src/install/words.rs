//! What an administrator names, before it becomes words of a unit and of a command.

use std::path::Path;

use super::unit::{self, Facts};
use crate::refusal::Refusal;
use crate::settings;

/// As the password file takes it; it becomes a word of a unit and of a command.
pub(super) fn check_user_name(name: &str) -> Result<(), Refusal> {
    let plain = |one: char| one.is_ascii_lowercase() || one.is_ascii_digit() || "_-".contains(one);
    let begins = name.starts_with(|one: char| one.is_ascii_lowercase() || one == '_');
    if !begins || name.len() > 32 || !name.chars().all(plain) || name == "root" {
        return Err(Refusal::invalid(
            format!("`{}` is no name for the service's user", stockade_core::text::shown(name, 60)),
            "it has up to 32 small letters, digits, `_` and `-`, begins with a letter, and is not root",
            "leave --user out, for `stockade`",
        ));
    }
    Ok(())
}

/// What would make the node refuse to start is refused now; and one flag is one word of one line.
pub(super) fn read_flags(facts: &Facts<'_>) -> Result<settings::Start, Refusal> {
    use clap::Parser;
    let next = "see `stockade node start --help`";
    if facts.flags.iter().any(|flag| flag.chars().any(char::is_control)) {
        return Err(Refusal::invalid("a flag cannot be written into a unit", "it has control characters", next));
    }
    let refused = |why: &str| {
        let why = stockade_core::text::shown(why, 300);
        Refusal::invalid("the node would not start with these flags", why, next)
    };
    let words = std::iter::once("stockade-node".to_owned()).chain(unit::words(facts));
    let parsed = crate::settings::Arguments::try_parse_from(words).map_err(|error| {
        let said = error.to_string();
        refused(said.lines().next().unwrap_or_default().trim_start_matches("error: "))
    })?;
    let settings::Command::Start(start) = parsed.command else { return Err(refused("they start no node")) };
    if start.socket.is_some() {
        return Err(refused("systemd makes its socket: name it before `--`"));
    }
    if start.log_dir.as_ref().is_some_and(|logs| !logs.starts_with(facts.folder)) {
        return Err(refused("the unit lets it write to its own folder only: --log-dir is one below that"));
    }
    Ok(*start)
}

pub(super) fn check_path(path: &Path) -> Result<(), Refusal> {
    let up = path.components().any(|part| part == std::path::Component::ParentDir);
    if up || !unit::is_plain(path) {
        return Err(Refusal::invalid(
            format!("`{}` cannot be written into a unit", stockade_core::text::shown(&path.to_string_lossy(), 300)),
            "not every line of a unit takes it as it is",
            "name it from / on, with letters, digits and `._-+@`, and without `..`",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_that_would_be_more_than_one_word_are_refused() {
        for name in ["root", "", "a b", "-x", "a\nb", "Aa", "x;id"] {
            assert!(check_user_name(name).is_err(), "{name}");
        }
        check_user_name("stockade-2").unwrap();
        for path in ["relative", "", "/a/../b", "/a\nExecStart=/bin/sh", "/a b", "/%h", "/$HOME", "/a\"", "/a\\", "/ä"]
        {
            assert!(check_path(Path::new(path)).is_err(), "{path}");
        }
    }
}
