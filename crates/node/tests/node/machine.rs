//! A machine of a test's own, as its administrator knows it: files of `/etc` that may be written to, programs where
//! they are installed, a name server, and as much of a service manager as the node's units need.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use stockade_testkit::{Folder, Ran};

use crate::networks::Network;
use crate::support::{command, until};

const PATH: &str = "/usr/local/bin:/usr/sbin:/usr/bin:/bin";

/// Copies of the machine's folders that nobody else sees. `$1` has the programs, `$2` the administrator's files.
const MOUNTS: &str = r#"
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs -o mode=755 none /mnt
mkdir /mnt/upper /mnt/work /mnt/bin
mount -t overlay -o lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work none /etc
cp "$1/stockade" "$1/stockade-gate" "$1/stockade-node" /mnt/bin
chmod 755 /mnt/bin/*
mount --bind /mnt/bin /usr/local/bin
for folder in /var/lib /run /home /root; do mount -t tmpfs -o mode=755 none "$folder"; done
mount --bind "$2" /srv
rm -f /etc/resolv.conf
echo nameserver 127.0.0.1 > /etc/resolv.conf
"#;

/// What systemd makes of the two units before it starts the node: sockets by the one, the command line of the other.
const STARTED: &str = r#"
import fcntl, os, shlex, socket

def said(unit):
    lines = open('/etc/systemd/system/stockade-node.' + unit).read().splitlines()
    return dict(line.split('=', 1) for line in lines if '=' in line and not line.startswith('#'))

unit, service = said('socket'), said('service')
os.makedirs('/run/' + service['RuntimeDirectory'], int(service['RuntimeDirectoryMode'], 8), exist_ok=True)
listening = []
for name, kind in [('ListenStream', socket.SOCK_STREAM), ('ListenSequentialPacket', socket.SOCK_SEQPACKET)]:
    path = unit[name]
    os.makedirs(os.path.dirname(path), int(unit['DirectoryMode'], 8), exist_ok=True)
    if os.path.exists(path):
        os.unlink(path)
    one = socket.socket(socket.AF_UNIX, kind)
    one.bind(path)
    os.chmod(path, int(unit['SocketMode'], 8))
    one.listen()
    listening.append(fcntl.fcntl(one.detach(), fcntl.F_DUPFD, 100))
for number, one in enumerate(listening, 3):
    os.dup2(one, number)
os.closerange(3 + len(listening), 200)
os.umask(int(service['UMask'], 8))
open('/run/pid', 'w').write(str(os.getpid()))
words = shlex.split(service['ExecStart'])
given = {'LISTEN_PID': str(os.getpid()), 'LISTEN_FDS': str(len(listening)), 'PATH': '/usr/local/bin:/usr/bin:/bin'}
os.execve(words[0], words, given)
"#;

/// The machine.
pub(crate) struct Machine {
    pub(crate) network: Network,
    pub(crate) names: Names,
    files: Folder,
    service: Option<Child>,
}

impl Machine {
    /// A machine with these users; the caller's thread is in its network then.
    pub(crate) fn new(users: &[&str]) -> Self {
        let (files, programs) = (Folder::new(), command());
        let words = [programs.parent().unwrap(), files.path()].map(|path| path.to_str().unwrap().to_owned());
        let network = Network::with_mounts(MOUNTS, &words.each_ref().map(String::as_str));
        network.enter();
        let machine = Self { network, names: Names::serving(), files, service: None };
        for user in users {
            drop(machine.types(&format!("/usr/sbin/useradd --create-home {user}")).expect(0));
        }
        machine
    }

    /// A file of its administrator's.
    pub(crate) fn writes(&self, name: &str, text: impl AsRef<[u8]>) {
        self.files.write(name, text);
    }

    /// What root types in the folder of such files.
    pub(crate) fn types(&self, line: &str) -> Ran {
        typed(self.network.command("/usr/bin/env"), "/srv", &[("PATH", PATH), ("HOME", "/root")], line)
    }

    /// What another user types.
    pub(crate) fn types_as(&self, user: &str, line: &str) -> Ran {
        let mut command = self.network.command("/usr/sbin/runuser");
        command.args(["-u", user, "--", "/usr/bin/env"]);
        typed(command, "/srv", &[("PATH", PATH), ("HOME", &format!("/home/{user}"))], line)
    }

    /// As `systemctl start`: the unit's node, when it serves.
    pub(crate) fn starts(&mut self) {
        let mut command = self.network.command("/usr/bin/python3");
        self.service = Some(command.args(["-c", STARTED]).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
        until("the node serves", || {
            assert!(self.service.as_mut().unwrap().try_wait().unwrap().is_none(), "the node ended");
            self.types("stockade node status --socket /run/stockade/node.sock").status == 0
        });
    }

    /// As `systemctl stop`.
    pub(crate) fn stops(&mut self) {
        drop(self.types("kill -TERM $(cat /run/pid)").expect(0));
        assert!(self.service.take().unwrap().wait().unwrap().success());
    }
}

/// A host that is no node, at the other end of a wire.
pub(crate) struct Host {
    network: Network,
    home: Folder,
    node: String,
}

impl Host {
    /// One that asks the node at this address.
    pub(crate) fn new(network: Network, node: String) -> Self {
        Self { network, home: Folder::new(), node }
    }

    pub(crate) fn writes(&self, name: &str, text: impl AsRef<[u8]>) {
        self.home.write(name, text);
    }

    pub(crate) fn reads(&self, name: &str) -> String {
        self.home.read(name)
    }

    /// What is typed there; `$NODE` is the node's address.
    pub(crate) fn types(&self, line: &str) -> Ran {
        let (home, programs) = (self.home.path().to_str().unwrap(), command());
        let path = format!("{}:{PATH}", programs.parent().unwrap().display());
        let vars = [("PATH", path.as_str()), ("HOME", home), ("NODE", &self.node)];
        typed(self.network.command("/usr/bin/env"), home, &vars, line)
    }
}

/// Completes a command that ends in `env`.
fn typed(mut command: Command, folder: &str, vars: &[(&str, &str)], line: &str) -> Ran {
    command.arg("--ignore-environment").args(vars.iter().map(|(name, value)| format!("{name}={value}")));
    command.args(["sh", "-c", r#"cd "$0" && eval "$1""#, folder, line]);
    Ran::from(command.stdin(Stdio::null()).output().unwrap())
}

/// What the name server of a machine knows; it is asked at port 53 of its loopback.
#[derive(Clone, Default)]
pub(crate) struct Names(Arc<Mutex<BTreeMap<String, Said>>>);

/// What a name leads to.
#[derive(Clone)]
enum Said {
    Address(Ipv4Addr),
    Name(String),
}

impl Names {
    /// Serves until the test ends, in the network of the caller's thread.
    fn serving() -> Self {
        let (names, socket) = (Self::default(), UdpSocket::bind((Ipv4Addr::LOCALHOST, 53)).unwrap());
        let known = names.clone();
        std::thread::spawn(move || {
            let mut question = [0; 512];
            while let Ok((length, asker)) = socket.recv_from(&mut question) {
                if let Some(answer) = known.answer(&question[..length]) {
                    drop(socket.send_to(&answer, asker));
                }
            }
        });
        names
    }

    pub(crate) fn leads(&self, name: &str, address: &str) {
        self.0.lock().unwrap().insert(name.to_owned(), Said::Address(address.parse().unwrap()));
    }

    /// Whoever has the address says that this is its name.
    pub(crate) fn claims(&self, address: &str, name: &str) {
        let IpAddr::V4(address) = address.parse().unwrap() else { panic!("{address}") };
        let [a, b, c, d] = address.octets();
        self.0.lock().unwrap().insert(format!("{d}.{c}.{b}.{a}.in-addr.arpa"), Said::Name(name.to_owned()));
    }

    /// The answer to a question of one name, as RFC 1035 has it.
    fn answer(&self, question: &[u8]) -> Option<Vec<u8>> {
        let (mut at, mut labels) = (12, Vec::new());
        while let length @ 1.. = usize::from(*question.get(at)?) {
            labels.push(String::from_utf8_lossy(question.get(at + 1..at + 1 + length)?).to_lowercase());
            at += 1 + length;
        }
        let kind = question.get(at + 1..at + 3)?;
        let found = self.0.lock().unwrap().get(&labels.join(".")).cloned();
        let data = match (&found, kind) {
            (Some(Said::Address(address)), [0, 1]) => Some(address.octets().to_vec()),
            (Some(Said::Name(name)), [0, 12]) => Some(encoded(name)),
            _ => None,
        };
        let (code, count) = (if found.is_some() { 0 } else { 3 }, u8::from(data.is_some()));
        let mut answer = [&question[..2], &[0x85, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0]].concat();
        answer.extend(&question[12..at + 5]);
        if let Some(data) = data {
            // The name of the question, its kind, a minute.
            answer.extend([&[0xc0, 12], kind, &[0, 1, 0, 0, 0, 60]].concat());
            answer.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            answer.extend(data);
        }
        Some(answer)
    }
}

fn encoded(name: &str) -> Vec<u8> {
    let labels = name.split('.').flat_map(|label| {
        let length = u8::try_from(label.len()).unwrap();
        [&[length], label.as_bytes()].concat()
    });
    labels.chain([0]).collect()
}
