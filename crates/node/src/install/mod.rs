//! `stockade node install`: a user, a folder and two units, so that a machine's service manager keeps a node.
//!
//! Does as little as it can, says all it did, and writes over nothing that it did not write itself.

mod files;
pub mod unit;
mod words;

use std::io::{Read, Write as _};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Gid, Uid};

use crate::refusal::Refusal;
use crate::settings::Install;
use crate::{plain, user};
use unit::{Facts, MARK};

/// Where units of an administrator lie.
const UNITS: &str = "etc/systemd/system";
/// What lies beside each other.
const PROGRAMS: [&str; 3] = ["stockade", "stockade-gate", "stockade-node"];
/// Most that is read of a unit that is there.
const UNIT_BYTES_MAX: u64 = 1 << 20;
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
    plan.check_places()?;
    plan.check_units()?;
    plan.carry_out()
}

/// What will be on the machine.
struct Plan<'a> {
    asked: &'a Install,
    programs: PathBuf,
    units: [(&'static str, String); 2],
    /// Addresses that a certificate is made for.
    listen: Vec<SocketAddr>,
}

impl<'a> Plan<'a> {
    fn make(asked: &'a Install) -> Result<Self, Refusal> {
        words::check_user_name(&asked.user)?;
        words::check_path(&asked.folder)?;
        words::check_path(&asked.socket)?;
        let programs = match &asked.programs {
            Some(folder) => folder.clone(),
            None => std::env::current_exe()
                .ok()
                .and_then(|program| program.parent().map(ToOwned::to_owned))
                .ok_or_else(|| Refusal::failed("the node cannot be installed", "its own program is not found"))?,
        };
        words::check_path(&programs)?;
        let facts = Facts {
            programs: &programs,
            user: &asked.user,
            folder: &asked.folder,
            socket: &asked.socket,
            socket_mode: &asked.socket_mode,
            flags: &asked.flags,
        };
        let start = words::read_flags(&facts)?;
        // What the node is to show, unless its operator has a certificate for it.
        let is_given = start.tls_certificate.is_some() || start.tls_profile.is_some();
        let listen = if is_given { Vec::new() } else { start.listen };
        let units = [("stockade-node.socket", unit::socket(&facts)), ("stockade-node.service", unit::service(&facts))];
        Ok(Self { asked, programs, units, listen })
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
            if self.asked.prefix.is_some() {
                continue;
            }
            // Where a link lies, and where it leads.
            let target = program.canonicalize().map_err(|error| failed(&program, &error))?;
            if let Some(loose) = files::writable_by_others(&program).or_else(|| files::writable_by_others(&target)) {
                return Err(Refusal::invalid(
                    format!("root shall not start {}", program.display()),
                    format!("others than root may write to {}", loose.display()),
                    "install -o root -g root -m 755 stockade stockade-gate stockade-node /usr/local/bin, then use that",
                ));
            }
        }
        Ok(())
    }

    /// Who may change where root writes has root write elsewhere.
    fn check_places(&self) -> Result<(), Refusal> {
        for place in [self.unit("stockade-node.service"), self.place(&self.asked.folder)] {
            files::check_place(self.asked.prefix.as_deref(), &place)?;
        }
        Ok(())
    }

    /// Writes over nothing that is not its own.
    fn check_units(&self) -> Result<(), Refusal> {
        for (name, _) in &self.units {
            let path = self.unit(name);
            let mut there = String::new();
            let file = match plain::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(&path, &error)),
            };
            let read = file.take(UNIT_BYTES_MAX).read_to_string(&mut there);
            if read.is_err() || !there.starts_with(MARK) {
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
        self.make_certificate(owner)?;
        for (name, unit) in &self.units {
            let path = self.unit(name);
            // Ours, or none: `check_units` has looked.
            let state = match std::fs::read_to_string(&path) {
                Ok(there) if there == *unit => "is there already:",
                _ => {
                    files::write(&path, unit).map_err(|error| failed(&path, &error))?;
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
            if found.0.is_root() || found.1.is_root() {
                let why = "it is root by another name, or in root's group";
                return Err(Refusal::invalid(format!("{name} cannot be the service's user"), why, "name another"));
            }
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
        files::own_folder(&folder, owner)?;
        say(&format!("the folder {} is there, mode 700\n", folder.display()));
        Ok(())
    }

    /// By the node's own user: in its folder, root would write wherever that one leads.
    fn make_certificate(&self, owner: Option<(Uid, Gid)>) -> Result<(), Refusal> {
        let (Some((user, group)), false) = (owner, self.listen.is_empty()) else { return Ok(()) };
        let mut command = certificate_of(&self.programs.join(PROGRAMS[2]), &self.asked.folder, &self.listen);
        let made = command.uid(user.as_raw()).gid(group.as_raw()).env_clear().stdin(Stdio::null()).output();
        let refused = |why: String| {
            let next = "look into the node's folder; `stockade node start` makes the certificate, too";
            Refusal::invalid("the node's certificate cannot be made", why, next)
        };
        match made {
            Ok(output) if output.status.success() => {
                say(&format!("its certificate has the SHA-256 {}", String::from_utf8_lossy(&output.stdout)));
                Ok(())
            }
            Ok(output) => Err(refused(stockade_core::text::shown(&String::from_utf8_lossy(&output.stderr), 600))),
            Err(error) => Err(refused(crate::system_text(&error))),
        }
    }
}

fn certificate_of(program: &Path, folder: &Path, listen: &[SocketAddr]) -> Command {
    let mut command = Command::new(program);
    command.arg("certificate").arg("--folder").arg(folder);
    for address in listen {
        command.arg("--listen").arg(address.to_string());
    }
    command
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

fn say(text: &str) {
    // A reader that went away is no error.
    drop(std::io::stdout().write_all(text.as_bytes()));
}
