//! Who the node is: never root, and in no group that is as good as root.

use crate::refusal::Refusal;
use rustix::process::{Gid, Uid};

/// Groups whose members can become root, or read what is root's.
pub(crate) const AS_GOOD_AS_ROOT: [&str; 10] =
    ["root", "docker", "disk", "lxd", "incus-admin", "libvirt", "kmem", "shadow", "sudo", "wheel"];

/// Whom the node is, or is about to become.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) uid: Uid,
    pub(crate) gid: Gid,
    /// In the password file, if it is there.
    pub(crate) name: Option<String>,
}

impl Service {
    /// Whether a file of the host means it by this name or number.
    pub(crate) fn is(&self, who: &str) -> bool {
        self.name.as_deref() == Some(who) || who.parse() == Ok(self.uid.as_raw())
    }

    /// For people.
    pub(crate) fn shown(&self) -> String {
        match &self.name {
            Some(name) => format!("`{}`", stockade_core::text::shown(name, 60)),
            None => format!("user {}", self.uid.as_raw()),
        }
    }
}

/// Finds out whom the node is to be: nobody that it must not be. Root is not given up yet.
///
/// # Errors
/// [`Refusal`], which says what to do.
pub(crate) fn find(run_as: Option<&str>) -> Result<Service, Refusal> {
    let passwords = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let (uid, gid) = match (rustix::process::geteuid().is_root(), run_as) {
        (true, None) => {
            return Err(Refusal::invalid(
                "the node does not run as root",
                "who takes over a process that speaks with strangers must not own the machine",
                "start it as a user of its own, or with --run-as USER",
            ));
        }
        (true, Some(user)) => {
            let (uid, gid) = look_up(user, &passwords)?;
            if uid.is_root() || gid.is_root() {
                return Err(Refusal::invalid(
                    "the node does not run as root",
                    "--run-as names root, or a user of root's group",
                    "name another user",
                ));
            }
            (uid, gid)
        }
        (false, Some(user)) => {
            let own = rustix::process::geteuid().as_raw();
            if look_up(user, &passwords)?.0.as_raw() != own {
                return Err(Refusal::invalid(
                    format!("the node cannot become `{}`", stockade_core::text::shown(user, 60)),
                    "only root becomes another user",
                    "leave --run-as out, or start it as root",
                ));
            }
            (rustix::process::geteuid(), rustix::process::getegid())
        }
        (false, None) => (rustix::process::geteuid(), rustix::process::getegid()),
    };
    Ok(Service { uid, gid, name: listed(uid, &passwords) })
}

/// Becomes that user for good, if this process is root, and makes sure that it is in no group that it must not be in.
///
/// # Errors
/// [`Refusal`], which says what to do; the process must not go on then.
pub(crate) fn settle(service: &Service) -> Result<(), Refusal> {
    if rustix::process::geteuid().is_root() {
        become_user(service)?;
    }
    check_groups(&std::fs::read_to_string("/etc/group").unwrap_or_default())
}

/// For good: user, group, and no other group.
pub(crate) fn become_user(service: &Service) -> Result<(), Refusal> {
    let Service { uid, gid, .. } = *service;
    let failed = |errno: rustix::io::Errno| Refusal::failed("the node cannot become that user", errno);
    // This process has one thread, so that these count for all of it.
    rustix::thread::set_thread_groups(&[]).map_err(failed)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(failed)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(failed)?;
    let is_back = rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).is_ok();
    if is_back || rustix::process::geteuid() != uid || rustix::process::getuid() != uid {
        return Err(Refusal::failed("the node cannot become that user", "it can become root again"));
    }
    let left = rustix::thread::capabilities(None).map_err(failed)?;
    if !(left.permitted.is_empty() && left.effective.is_empty()) {
        return Err(Refusal::failed("the node cannot become that user", "it keeps capabilities"));
    }
    Ok(())
}

/// The name of a user of this machine.
pub(crate) fn name_of(uid: u32) -> Option<String> {
    listed(Uid::from_raw(uid), &std::fs::read_to_string("/etc/passwd").unwrap_or_default())
}

fn listed(uid: Uid, passwords: &str) -> Option<String> {
    let uid = uid.as_raw().to_string();
    passwords.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    })
}

/// A user of this text of a password file, or a number.
pub(crate) fn look_up(user: &str, passwords: &str) -> Result<(Uid, Gid), Refusal> {
    found(user, passwords).ok_or_else(|| {
        Refusal::invalid(
            format!("there is no user `{}`", stockade_core::text::shown(user, 60)),
            "it is neither in /etc/passwd nor a number",
            "make one: useradd --system --no-create-home --shell /usr/sbin/nologin stockade",
        )
    })
}

/// A user of the password file, or any number, whose group is the same number then.
fn found(user: &str, passwords: &str) -> Option<(Uid, Gid)> {
    let listed = passwords.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let (uid, gid) = (fields.nth(1)?, fields.next()?);
        (name == user || uid == user).then(|| Some((uid.parse().ok()?, gid.parse().ok()?)))?
    });
    let number = user.parse().ok().map(|number| (number, number));
    listed
        .or(number)
        .filter(|(uid, gid)| *uid != u32::MAX && *gid != u32::MAX)
        .map(|(uid, gid)| (Uid::from_raw(uid), Gid::from_raw(gid)))
}

fn check_groups(groups: &str) -> Result<(), Refusal> {
    let own = rustix::process::getgroups().map_err(|errno| Refusal::failed("the node's groups are unknown", errno))?;
    let own: Vec<u32> = own.into_iter().chain([rustix::process::getegid()]).map(Gid::as_raw).collect();
    match powerful(&own, groups) {
        None => Ok(()),
        Some(name) => Err(Refusal::invalid(
            format!("the node does not run in the group `{name}`"),
            "its members can become root, or read what is root's",
            "start it as a user of its own, in no such group",
        )),
    }
}

fn powerful(own: &[u32], groups: &str) -> Option<String> {
    if own.contains(&0) {
        return Some("root".to_owned());
    }
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let gid: u32 = fields.nth(1)?.parse().ok()?;
        (AS_GOOD_AS_ROOT.contains(&name) && own.contains(&gid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_number() {
        let passwords = "root:x:0:0::/root:/bin/sh\nstockade:x:990:991::/:/bin/false\nbroken\n";
        let raw = |user| found(user, passwords).map(|(uid, gid)| (uid.as_raw(), gid.as_raw()));
        assert_eq!(raw("stockade"), Some((990, 991)));
        assert_eq!(raw("990"), Some((990, 991)));
        assert_eq!(raw("61234"), Some((61_234, 61_234)));
        assert_eq!(raw("nobody-here"), None);
        assert_eq!(raw("4294967295"), None, "it means `unchanged` to the kernel");
    }

    #[test]
    fn groups_that_are_as_good_as_root_are_known() {
        let groups = "root:x:0:\ndocker:x:998:a\nstaff:x:50:\n";
        assert_eq!(powerful(&[998], groups).as_deref(), Some("docker"));
        assert_eq!(powerful(&[0], "").as_deref(), Some("root"));
        assert_eq!(powerful(&[50, 990], groups), None);
    }
}
