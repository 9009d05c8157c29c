//! `stockade node install`: a user, a folder and two units, so that a machine's service manager keeps a node.
//!
//! Does as little as it can, says all it did, and writes over nothing that it did not write itself.

pub mod unit;

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Gid, Uid};

use crate::refusal::Refusal;
use crate::settings::Install;
use crate::user;
use unit::{Facts, MARK};

/// Where units of an administrator lie.
const UNITS: &str = "etc/systemd/system";
/// What lies beside each other.
const PROGRAMS: [&str; 3] = ["stockade", "stockade-gate", "stockade-node"];
const USERADD: &str = "/usr/sbin/useradd";

/// Installs a node, or says what it would do.
///
/// # Errors
/// [`Refusal`] when it cannot be done whole; what was done so far is said before.
pub fn install(asked: &Install) -> Result<(), Refusal> {
    let plan = Plan::make(asked)?;
    if asked.dry_run {
        say(&plan.preview());
        return Ok(());
    }
    if asked.prefix.is_none() && !rustix::process::geteuid().is_root() {
        return Err(Refusal::invalid(
            "the node cannot be installed",
            "only root makes users and units",
            "run it as root; `--dry-run` shows what it would do, `--prefix DIR` writes below a folder",
        ));
    }
    plan.check_programs()?;
    plan.check_units()?;
    plan.carry_out()
}

/// What will be on the machine.
struct Plan<'a> {
    asked: &'a Install,
    programs: PathBuf,
    units: [(&'static str, String); 2],
}

impl<'a> Plan<'a> {
    fn make(asked: &'a Install) -> Result<Self, Refusal> {
        check_user_name(&asked.user)?;
        for path in [&asked.folder, &asked.socket] {
            check_path(path)?;
        }
        let programs = match &asked.programs {
            Some(folder) => folder.clone(),
            None => std::env::current_exe()
                .ok()
                .and_then(|program| program.parent().map(ToOwned::to_owned))
                .ok_or_else(|| Refusal::failed("the node cannot be installed", "its own program is not found"))?,
        };
        check_path(&programs)?;
        check_flags(&asked.flags)?;
        let facts = Facts {
            programs: &programs,
            user: &asked.user,
            folder: &asked.folder,
            socket: &asked.socket,
            socket_mode: &asked.socket_mode,
            flags: &asked.flags,
        };
        let units = [("stockade-node.socket", unit::socket(&facts)), ("stockade-node.service", unit::service(&facts))];
        Ok(Self { asked, programs, units })
    }

    /// A path of the machine, below the prefix if there is one.
    fn place(&self, path: &Path) -> PathBuf {
        let relative = path.strip_prefix("/").unwrap_or(path);
        self.asked.prefix.as_deref().unwrap_or(Path::new("/")).join(relative)
    }

    fn unit(&self, name: &str) -> PathBuf {
        self.place(&Path::new(UNITS).join(name))
    }

    fn preview(&self) -> String {
        let user = &self.asked.user;
        let folder = self.place(&self.asked.folder);
        let mut text = format!(
            "# would make the user {user}, unless there is one: {}\n# would make the folder {}, of {user}, mode 700\n",
            useradd_line(user),
            folder.display()
        );
        for (name, unit) in &self.units {
            text += &format!("# would write {}\n\n{unit}\n", self.unit(name).display());
        }
        text
    }

    /// Who may write to a program that root starts is root.
    fn check_programs(&self) -> Result<(), Refusal> {
        for name in PROGRAMS {
            let program = self.place(&self.programs.join(name));
            let program = if self.asked.prefix.is_some() { self.programs.join(name) } else { program };
            if !program.is_file() {
                return Err(Refusal::invalid(
                    format!("there is no `{name}` in {}", self.programs.display()),
                    "the node needs its three programs in one folder",
                    "copy stockade, stockade-gate and stockade-node there, or name their folder with --programs DIR",
                ));
            }
            let Some(loose) = self.asked.prefix.is_none().then(|| writable_by_others(&program)).flatten() else {
                continue;
            };
            return Err(Refusal::invalid(
                format!("root shall not start {}", program.display()),
                format!("others than root may write to {}", loose.display()),
                "install -o root -g root -m 755 stockade stockade-gate stockade-node /usr/local/bin, then use that",
            ));
        }
        Ok(())
    }

    /// Writes over nothing that is not its own.
    fn check_units(&self) -> Result<(), Refusal> {
        for (name, _) in &self.units {
            let path = self.unit(name);
            let Ok(there) = std::fs::read_to_string(&path) else { continue };
            if !there.starts_with(MARK) {
                return Err(Refusal::invalid(
                    format!("{} is somebody else's", path.display()),
                    "it does not begin with the line that `stockade node install` writes",
                    "move it away, and put what it changes into a drop-in: systemctl edit stockade-node",
                ));
            }
        }
        Ok(())
    }

    fn carry_out(&self) -> Result<(), Refusal> {
        let owner = self.make_user()?;
        self.make_folder(owner)?;
        for (name, unit) in &self.units {
            let path = self.unit(name);
            let state = match std::fs::read_to_string(&path) {
                Ok(there) if there == *unit => "is there already:",
                _ => {
                    write_unit(&path, unit).map_err(|error| failed(&path, &error))?;
                    "wrote"
                }
            };
            say(&format!("{state} {}\n", path.display()));
        }
        say(&match &self.asked.prefix {
            None => {
                "next: systemctl daemon-reload && systemctl enable --now stockade-node\n\
                     then: stockade doctor --node; stockade node status --socket "
                    .to_owned()
                    + &format!("{}\n", self.asked.socket.display())
            }
            Some(_) => format!(
                "next: on the machine itself: {}; chown {user}: {}; then systemctl enable --now stockade-node\n",
                useradd_line(&self.asked.user),
                self.asked.folder.display(),
                user = self.asked.user
            ),
        });
        Ok(())
    }

    /// None below a prefix: that is another machine's.
    fn make_user(&self) -> Result<Option<(Uid, Gid)>, Refusal> {
        if self.asked.prefix.is_some() {
            return Ok(None);
        }
        let name = &self.asked.user;
        let listed = || std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        if let Ok(found) = user::look_up(name, &listed()) {
            say(&format!("the user {name} is there already\n"));
            return Ok(Some(found));
        }
        let made = Command::new(USERADD).args(useradd(name)).env_clear().stdin(Stdio::null()).output();
        match made {
            Ok(output) if output.status.success() => say(&format!("made the user {name}\n")),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                return Err(no_user(name, &stockade_core::text::shown(said.trim(), 300)));
            }
            Err(error) => return Err(no_user(name, &crate::system_text(&error))),
        }
        user::look_up(name, &listed()).map(Some)
    }

    fn make_folder(&self, owner: Option<(Uid, Gid)>) -> Result<(), Refusal> {
        let folder = self.place(&self.asked.folder);
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(&folder);
        made.map_err(|error| failed(&folder, &error))?;
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700))
            .map_err(|error| failed(&folder, &error))?;
        if let Some((uid, gid)) = owner {
            rustix::fs::chown(&folder, Some(uid), Some(gid)).map_err(|errno| failed(&folder, &errno.into()))?;
        }
        say(&format!("made the folder {}\n", folder.display()));
        Ok(())
    }
}

fn useradd(name: &str) -> [&str; 6] {
    ["--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", name]
}

fn useradd_line(name: &str) -> String {
    format!("useradd {}", useradd(name).join(" "))
}

fn no_user(name: &str, why: &str) -> Refusal {
    Refusal::invalid(
        format!("the user {name} cannot be made"),
        why,
        format!("make it by hand: {}; then run this again", useradd_line(name)),
    )
}

fn failed(path: &Path, error: &std::io::Error) -> Refusal {
    Refusal::invalid(
        format!("{} cannot be written", path.display()),
        crate::system_text(error),
        "run it as root, or name a folder with --prefix DIR",
    )
}

/// As the password file takes it; it becomes a word of a unit and of a command.
fn check_user_name(name: &str) -> Result<(), Refusal> {
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
fn check_flags(flags: &[String]) -> Result<(), Refusal> {
    use clap::Parser;
    let next = "see `stockade node start --help`";
    if flags.iter().any(|flag| flag.chars().any(char::is_control)) {
        return Err(Refusal::invalid("a flag cannot be written into a unit", "it has control characters", next));
    }
    let words = ["stockade-node", "start"].into_iter().chain(flags.iter().map(String::as_str));
    crate::settings::Arguments::try_parse_from(words).map(drop).map_err(|refused| {
        let said = refused.to_string();
        let first = said.lines().next().unwrap_or_default().trim_start_matches("error: ");
        Refusal::invalid("the node would not start with these flags", stockade_core::text::shown(first, 300), next)
    })
}

fn check_path(path: &Path) -> Result<(), Refusal> {
    let text = path.to_str().unwrap_or_default();
    let up = path.components().any(|part| part == std::path::Component::ParentDir);
    if !text.starts_with('/') || up || text.chars().any(char::is_control) {
        return Err(Refusal::invalid(
            format!("`{}` cannot be written into a unit", stockade_core::text::shown(&path.to_string_lossy(), 300)),
            "it is no plain path from / on",
            "name it from / on, without `..` and without control characters",
        ));
    }
    Ok(())
}

/// The first of a file and the folders above it that others than root may change. A folder where only owners may
/// rename is safe for what is root's.
fn writable_by_others(program: &Path) -> Option<&Path> {
    program.ancestors().find(|path| {
        std::fs::metadata(path).map_or(true, |status| {
            let sticky = status.is_dir() && status.mode() & 0o1000 != 0;
            status.uid() != 0 || (status.mode() & 0o022 != 0 && !sticky)
        })
    })
}

/// Whole or not at all.
fn write_unit(path: &Path, text: &str) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(folder)?;
    let new = path.with_extension("new");
    drop(std::fs::remove_file(&new));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(&new)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}

fn say(text: &str) {
    // A reader that went away is no error.
    drop(std::io::stdout().write_all(text.as_bytes()));
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
        for path in ["relative", "/a/../b", "/a\nExecStart=/bin/sh"] {
            assert!(check_path(Path::new(path)).is_err(), "{path}");
        }
    }

    #[test]
    fn a_program_that_others_may_write_to_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("stockade");
        std::fs::write(&program, "x").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(writable_by_others(&program).is_some());
        assert_eq!(writable_by_others(Path::new("/usr/bin/env")), None);
    }
}
