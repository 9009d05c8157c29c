//! The service's account: who it is, what it could use to go elsewhere, who may change what it starts from.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Finding, Host};
use crate::settings::Doctor;
use crate::user::AS_GOOD_AS_ROOT;

const UNITS: &str = "/etc/systemd/system";
const UNIT: &str = "stockade-node.service";

/// An account of the password file.
struct Account {
    uid: u32,
    gid: u32,
    home: PathBuf,
}

pub(super) fn examine(host: &Host, asked: &Doctor) -> Vec<Finding> {
    let passwords = host.read("/etc/passwd").unwrap_or_default();
    let Some(account) = find(&passwords, &asked.user) else {
        return vec![Finding::bad(
            "account",
            3,
            format!("there is no user `{}`", asked.user),
            "make it with `stockade node install`, or name the service's user with --user",
        )];
    };
    vec![
        of_account(host, &asked.user, &account),
        keys(host, &account),
        rhosts(host, &account),
        files(host, asked, &account),
        egress(host),
    ]
}

fn find(passwords: &str, user: &str) -> Option<Account> {
    passwords.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, ..] = fields.as_slice() else { return None };
        (*name == user).then(|| Some(Account { uid: uid.parse().ok()?, gid: gid.parse().ok()?, home: home.into() }))?
    })
}

fn of_account(host: &Host, user: &str, account: &Account) -> Finding {
    let groups = host.read("/etc/group").unwrap_or_default();
    let mut bad = Vec::new();
    if account.uid == 0 {
        bad.push(format!("`{user}` is root"));
    }
    for line in groups.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, gid, members] = fields.as_slice() else { continue };
        let is_member = gid.parse() == Ok(account.gid) || members.split(',').any(|member| member == user);
        if is_member && AS_GOOD_AS_ROOT.contains(name) {
            bad.push(format!("`{user}` is in the group `{name}`, which is as good as root"));
        }
    }
    Finding::of(
        "account",
        3,
        &bad,
        "the service's user is not root, nor as good as root",
        "give the service a user of its own, in no such group",
    )
}

/// Whoever gets a key without a passphrase goes on to the next server.
fn keys(host: &Host, account: &Account) -> Finding {
    const NEXT: &str = "remove them, or give them a passphrase (ssh-keygen -p); a node needs no key";
    let (mut bad, mut unread) = (Vec::new(), Vec::new());
    for folder in [account.home.join(".ssh"), PathBuf::from("/root/.ssh")] {
        if let Err(error) = std::fs::read_dir(host.path(&folder))
            && error.kind() == std::io::ErrorKind::PermissionDenied
        {
            unread.push(folder.display().to_string());
        }
        for name in host.names(&folder) {
            let path = folder.join(&name);
            if host.read(&path).is_some_and(|text| is_open_key(&text)) {
                bad.push(format!("{} has no passphrase", path.display()));
            }
        }
    }
    if bad.is_empty() && !unread.is_empty() {
        return Finding::unknown("ssh-keys", 2, format!("{} may not be read", unread.join(", ")), "run it as root");
    }
    Finding::of("ssh-keys", 2, &bad, "no private key without a passphrase, of the service's user or root", NEXT)
}

/// A private key that nothing protects.
fn is_open_key(text: &str) -> bool {
    let Some(begin) = text.lines().find(|line| line.starts_with("-----BEGIN ") && line.contains("PRIVATE KEY-----"))
    else {
        return false;
    };
    if begin.contains("OPENSSH") {
        let body: String =
            text.lines().skip_while(|line| *line != begin).skip(1).take_while(|line| !line.starts_with('-')).collect();
        let Ok(bytes) = STANDARD.decode(body.trim()) else { return true };
        // "openssh-key-v1", then the name of the cipher: `none` where there is no passphrase.
        return bytes.strip_prefix(b"openssh-key-v1\0\0\0\0").is_none_or(|rest| rest.starts_with(b"\x04none"));
    }
    !begin.contains("ENCRYPTED") && !text.contains("Proc-Type: 4,ENCRYPTED")
}

fn rhosts(host: &Host, account: &Account) -> Finding {
    let homes = [account.home.clone(), PathBuf::from("/root")];
    let mut files: Vec<PathBuf> = ["/etc/hosts.equiv", "/etc/ssh/shosts.equiv"].map(PathBuf::from).to_vec();
    files.extend(homes.iter().flat_map(|home| [".rhosts", ".shosts"].map(|name| home.join(name))));
    let bad: Vec<String> =
        files.iter().filter(|file| host.exists(file)).map(|file| format!("there is {}", file.display())).collect();
    Finding::of(
        "rhosts",
        2,
        &bad,
        "no .rhosts, no hosts.equiv",
        "remove them: they let people in by the name of a host",
    )
}

/// Keys in a node's folder.
const KEYS: [&str; 3] = ["secret.key", "tls/key.pem", "store/audit/audit.key"];

/// Who may change what the node is started from is the node.
fn files(host: &Host, asked: &Doctor, account: &Account) -> Finding {
    let mut bad = Vec::new();
    if let Ok(status) = std::fs::metadata(host.path(&asked.folder)) {
        if status.mode() & 0o077 != 0 {
            bad.push(format!("others may enter {}", asked.folder.display()));
        }
        if status.uid() != account.uid {
            bad.push(format!("{} is not the service's user's", asked.folder.display()));
        }
    } else {
        bad.push(format!("there is no {}", asked.folder.display()));
    }
    for key in KEYS.map(|name| asked.folder.join(name)) {
        let is_open = |status: &std::fs::Metadata| status.mode() & 0o077 != 0 || status.uid() != account.uid;
        if std::fs::metadata(host.path(&key)).is_ok_and(|status| is_open(&status)) {
            bad.push(format!("others may read {}, or own it", key.display()));
        }
    }
    let units = ["stockade-node.service", "stockade-node.socket"].map(|name| Path::new(UNITS).join(name));
    let configured = host.names("/etc/stockade").into_iter().map(|name| Path::new("/etc/stockade").join(name));
    for path in units.into_iter().chain(["/etc/stockade".into()]).chain(configured) {
        if std::fs::metadata(host.path(&path)).is_ok_and(|status| status.mode() & 0o022 != 0 || status.uid() != 0) {
            bad.push(format!("others than root may write to {}", path.display()));
        }
    }
    Finding::of(
        "files",
        3,
        &bad,
        "the node's folder is its own alone; only root writes its configuration",
        "chmod 700 the node's folder and chown it to its user, its keys too; chown root: and chmod go-w the rest",
    )
}

/// The node and its launcher dial nobody, unless runs are granted something.
fn egress(host: &Host) -> Finding {
    let routes = host.read("/proc/net/route").unwrap_or_default();
    let is_default = |line: &str| line.split_ascii_whitespace().nth(1) == Some("00000000");
    let folder = Path::new(UNITS).join(format!("{UNIT}.d"));
    let drop_ins = host.names(&folder).into_iter().map(|name| folder.join(name));
    let denied = std::iter::once(Path::new(UNITS).join(UNIT))
        .chain(drop_ins)
        .filter_map(|path| host.read(path))
        .any(|text| text.lines().any(|line| line.trim() == "IPAddressDeny=any"));
    if denied || !routes.lines().skip(1).any(is_default) {
        return Finding::good("egress", 1, "the service reaches no network");
    }
    Finding::bad(
        "egress",
        1,
        "nothing but its own walls keeps the service from the network",
        "systemctl edit stockade-node: [Service] IPAddressDeny=any, with IPAddressAllow= for what policies grant, for who asks the node over TLS, and for its directories and providers",
    )
}
