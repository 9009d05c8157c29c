//! The units as text. Each line has its reason beside it, for whoever reads or changes them.

use std::path::Path;

/// The first line of what we wrote, and may therefore write again.
pub const MARK: &str = "# Made by `stockade node install`. Put changes into a drop-in: systemctl edit";

/// What the units say about this machine.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The folder of the programs.
    pub programs: &'a Path,
    /// The service's user.
    pub user: &'a str,
    /// The node's folder.
    pub folder: &'a Path,
    /// The socket.
    pub socket: &'a Path,
    /// Who may connect.
    pub socket_mode: &'a str,
    /// More flags of `start`.
    pub flags: &'a [String],
}

/// The unit of the socket.
#[must_use]
pub fn socket(facts: &Facts<'_>) -> String {
    let Facts { socket, socket_mode, .. } = facts;
    format!(
        "{MARK} stockade-node.socket
[Unit]
Description=Socket of the Stockade node

[Socket]
ListenStream={socket}
# Where tables are handed over as descriptors.
ListenSequentialPacket={socket}{ending}
# Who may connect; the kernel tells the node who it is.
SocketMode=0{socket_mode}
DirectoryMode=0755
# It stays while the node is restarted: callers wait instead of being refused.
RemoveOnStop=yes

[Install]
WantedBy=sockets.target
",
        socket = socket.display(),
        ending = crate::handover::ENDING,
    )
}

/// The unit of the node.
#[must_use]
pub fn service(facts: &Facts<'_>) -> String {
    let program = facts.programs.join("stockade-node");
    let words: String = words(facts).iter().map(|one| format!(" {}", word(one))).collect();
    format!(
        "{MARK} stockade-node.service
[Unit]
Description=Stockade node: runs code for many people, behind walls
Requires=stockade-node.socket
After=stockade-node.socket

[Service]
# The node says when a tiny job ran, not merely that it was started.
Type=notify
NotifyAccess=main
# As root only until it has given engines users and a cgroup of their own; then it is this user, for good.
ExecStart={program}{words}
# It ends when its launcher does; what waited is run by the next one.
Restart=on-failure
RestartSec=2
TimeoutStartSec=120
# Longer than --drain.
TimeoutStopSec=90
# SIGTERM to the node alone, so that runs under way are finished; what is left after that is killed.
KillMode=mixed
# Runs are bounded by cgroups below the service's own.
Delegate=yes
# A run that took too much memory ends by itself, not the service.
OOMPolicy=continue
TasksMax=16384
LimitNOFILE=65536
# No image of memory that holds other people's data.
LimitCORE=0
UMask=0077

# What root may do until it is gone: become the user, give files and cgroups away, map users of engines.
# Engines have none of it: their user namespaces start anew.
CapabilityBoundingSet=CAP_SETUID CAP_SETGID CAP_CHOWN CAP_FOWNER CAP_DAC_OVERRIDE CAP_SYS_ADMIN CAP_SYS_PTRACE
# No program gives more rights than it was started with. Users are mapped without newuidmap, which would need that.
NoNewPrivileges=yes
# The system is read-only but for the node's own folder, and the one where nodes of this machine tell each other which
# users they give to engines; it stays, for others may hold locks in it.
ProtectSystem=strict
ReadWritePaths={folder}
RuntimeDirectory=stockade-users
RuntimeDirectoryMode=0700
RuntimeDirectoryPreserve=yes
ProtectHome=yes
PrivateTmp=yes
# /dev/null and its like, and no disk.
DevicePolicy=closed
ProtectKernelModules=yes
# Neither engines nor the node need them; a filter of calls is passed on to all of them.
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
KeyringMode=private
# Callers and supervisors; a gate, where network is granted; the loopback of a run.
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK

# Not set, because walls could not be made with them:
# RestrictNamespaces=        they are namespaces.
# ProtectKernelTunables=, ProtectKernelLogs=, ProtectProc=, ProcSubset=
#                            the kernel gives a run its own /proc only where the one outside is whole.
# ProtectControlGroups=      runs are bounded by cgroups.
# ProtectHostname=           a run has a name of its own in its own namespace.
# SystemCallFilter=          engines have a narrower one; their walls need mount, clone3 and the like first.
# MemoryDenyWriteExecute=    compilers within libraries (numba, R) need such memory; runs inherit the filter.
# PrivateUsers=              the node would have no users to give to engines.

[Install]
WantedBy=multi-user.target
Also=stockade-node.socket
",
        program = program.display(),
        folder = facts.folder.display(),
    )
}

/// What the node is started with.
pub(super) fn words(facts: &Facts<'_>) -> Vec<String> {
    let folder = facts.folder.to_string_lossy();
    let own = ["start", "--run-as", facts.user, "--folder", &folder, "--drain", "60"];
    own.into_iter().map(ToOwned::to_owned).chain(facts.flags.iter().cloned()).collect()
}

/// Whether every line of a unit takes the path as it is. Not all of them know quotes, and `%` means something in each.
pub(super) fn is_plain(path: &Path) -> bool {
    let plain = |one: char| one.is_ascii_alphanumeric() || "/._-+@".contains(one);
    path.to_str().is_some_and(|text| text.starts_with('/') && text.chars().all(plain))
}

/// One word of the line that starts the node: `%` stands for itself, and so does everything else.
fn word(text: &str) -> String {
    let text = text.replace('%', "%%");
    let plain = |one: char| one.is_ascii_alphanumeric() || "/._-=,:@%+".contains(one);
    if !text.is_empty() && text.chars().all(plain) {
        return text;
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "$$"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_mean_something_to_systemd_mean_themselves() {
        assert_eq!(word("/var/lib/stockade"), "/var/lib/stockade");
        assert_eq!(word("/a b/%h"), "\"/a b/%%h\"");
        assert_eq!(word("$HOME\"\\"), "\"$$HOME\\\"\\\\\"");
        assert_eq!(word(""), "\"\"");
    }
}
