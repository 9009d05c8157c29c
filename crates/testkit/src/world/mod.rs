//! A network world of a test's own: names, servers that write down what they hear, and nothing else.
//!
//! Two network namespaces, joined by one wire and by nothing to the machine's network. On `home` the
//! command under test is started, with a file of hosts and a resolver of this world's own; on `server`
//! are real servers for public, private, metadata and IPv6 addresses. `home` has servers as well, on
//! every address of its own: what must never be reached has somebody who would notice.
//!
//! Whatever happens to the test, nothing stays: each side's first process ends when its standard input
//! does, and the kernel ends everything else in its namespaces with it.

pub(crate) mod certificates;
mod shelf;
mod side;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::{Call, Folder, User, prepared, skipped};
pub use shelf::Manner;
use side::Side;

/// Names that lead to the addresses of `server`, and what stands for the machine's own.
const HOSTS: &[(&str, &str)] = &[
    ("127.0.0.1", "localhost loop.example.com"),
    ("203.0.113.80", "api.example.com www.example.com evil.example.com a.api.example.com index.example.com"),
    ("203.0.113.81", "db.example.com other.example.com"),
    ("10.77.0.5", "private.example.com"),
    ("169.254.169.254", "metadata.example.com"),
    ("198.51.100.2", "own.example.com"),
    ("2001:db8::80", "six.example.com"),
    ("::1", "loop6.example.com"),
    ("0.0.0.0", "any.example.com"),
];

/// How many names `run0.example.com` and so on there are, one for each of many runs.
pub const RUNS: usize = 30;

/// The user, the password and the base of the PostgreSQL server at `db.example.com`.
pub const DATABASE: (&str, &str, &str) = ("analyst", "correct horse", "postgres");

/// What a world needs of the machine, besides root.
const PROGRAMS: [&str; 6] = ["ip", "openssl", "nsenter", "unshare", "setpriv", "python3"];

/// The wire, and the addresses of `server`. No address is looked for twice on a wire with two ends.
const SERVER_WIRE: &str = "\
link set lo up
link add to-home type veth peer name to-server netns {home}
addr add 198.51.100.1/24 dev to-home
addr add 203.0.113.80/24 dev to-home
addr add 203.0.113.81/24 dev to-home
addr add 10.77.0.5/24 dev to-home
addr add 169.254.169.254/32 dev to-home
link set to-home up
";
const SERVER_WIRE_SIX: &str = "\
addr add 2001:db8:1::1/64 dev to-home nodad
addr add 2001:db8::80/64 dev to-home nodad
";
const HOME_WIRE: &str = "\
link set lo up
addr add 198.51.100.2/24 dev to-server
link set to-server up
route add default via 198.51.100.1
";
const HOME_WIRE_SIX: &str = "\
addr add 2001:db8:1::2/64 dev to-server nodad
route add 2001:db8::/32 via 2001:db8:1::1
";

/// Something a server heard.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// `tls`, `https`, `http`, `echo`, `datagrams`, `ping`, `names` or `postgres`.
    pub service: String,
    /// The address it was sent to, if the server knows.
    pub at: String,
    /// `connection`, a line of a request, a question, or the bytes that came.
    pub what: String,
    /// All of it.
    pub line: Value,
}

/// The two sides of a world.
#[derive(Debug)]
pub struct World {
    // Before the folder: what is on a side has files there.
    home: Side,
    server: Side,
    folder: Folder,
}

impl World {
    /// A world with web servers, an echo and a resolver; `None`, and a word about it, where it cannot be made.
    #[must_use]
    pub fn new() -> Option<Self> {
        Self::made(None, false)
    }

    /// A world with a database whose servers the machine trusts, as far as `home` can tell: no program has to be
    /// told of an authority.
    #[must_use]
    pub fn trusted() -> Option<Self> {
        if !Path::new(certificates::STORE).is_dir() {
            skipped(
                "a network of a test's own that is trusted",
                "the machine's authorities are not where Debian has them",
            );
            return None;
        }
        Self::database(true)
    }

    /// The same, with a PostgreSQL server at `db.example.com`.
    #[must_use]
    pub fn with_database() -> Option<Self> {
        Self::database(false)
    }

    fn database(trusted: bool) -> Option<Self> {
        let Some(programs) = postgres() else {
            skipped("a database in a network of a test's own", "postgres is not installed");
            return None;
        };
        Self::made(Some(&programs), trusted)
    }

    fn made(postgres: Option<&Path>, trusted: bool) -> Option<Self> {
        if let Err(why) = possible() {
            skipped("a network of a test's own", &why);
            return None;
        }
        let folder = Folder::new();
        certificates::make(folder.path(), &names());
        if trusted {
            certificates::extend_store(folder.path());
        }
        folder.write("hosts", hosts());
        folder.write("resolv.conf", "nameserver 203.0.113.80\noptions timeout:2 attempts:2\n");
        let mut server = Side::new("server", folder.path(), postgres);
        let mut home = Side::new("home", folder.path(), None);
        let (mut of_server, mut of_home) =
            (SERVER_WIRE.replace("{home}", &home.id().to_string()), HOME_WIRE.to_owned());
        if has_ipv6() {
            of_server.push_str(SERVER_WIRE_SIX);
            of_home.push_str(HOME_WIRE_SIX);
        }
        server.wire(&of_server);
        home.wire(&of_home);
        server.begin();
        home.begin();
        server.wait_until_ready();
        home.wait_until_ready();
        Some(Self { home, server, folder })
    }

    /// [`crate::call`] on `home`, with the names of this world.
    #[must_use]
    pub fn call(&self, binary: &str, user: User) -> Call {
        let mut command = self.home.enter();
        if user.is_lowered() {
            let id = crate::ORDINARY_USER.to_string();
            command.args(["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups", "--"]);
        }
        command.arg(binary);
        prepared(command, user)
    }

    /// Puts a wheel of a package on the shelf of this world's package index; members are paths and texts.
    pub fn put_wheel(&self, name: &str, version: &str, members: &[(&str, &str)]) {
        self.put_wheel_for("py3-none-any", name, version, members);
    }

    /// The same of a wheel for other machines or Pythons.
    pub fn put_wheel_for(&self, tag: &str, name: &str, version: &str, members: &[(&str, &str)]) {
        shelf::put(self.folder.path(), tag, (name, version), members);
    }

    /// The same of a source distribution, which has no member that is not named.
    pub fn put_source(&self, name: &str, version: &str, members: &[(&str, &str)]) {
        shelf::put(self.folder.path(), "source", (name, version), members);
    }

    /// The certificate of the authority that vouches for every name of this world.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join(certificates::AUTHORITY)
    }

    /// Lets every web server of this world serve a file as `/files/NAME`.
    pub fn serve(&self, name: &str, contents: impl AsRef<[u8]>) {
        self.folder.write(&format!("files/{name}"), contents);
    }

    /// Takes such a file away.
    pub fn withdraw(&self, name: &str) {
        std::fs::remove_file(self.folder.path().join("files").join(name)).unwrap();
    }

    /// Everything that was heard so far, on both sides; what is under way is waited for.
    #[must_use]
    pub fn heard(&self) -> Vec<Heard> {
        let mut heard = self.server.heard();
        heard.extend(self.home.heard());
        heard
    }

    /// Of that, what a server of this kind heard, besides that there was a connection.
    #[must_use]
    pub fn requests(&self, service: &str) -> Vec<String> {
        let heard = self.heard().into_iter().filter(|one| one.service == service && one.what != "connection");
        heard.map(|one| one.what).collect()
    }

    /// Stops the test if anybody heard anything.
    #[track_caller]
    pub fn assert_silent(&self) {
        let heard = self.heard();
        assert!(heard.is_empty(), "something arrived: {heard:#?}");
    }

    /// Stops the test if anybody but the resolver heard anything: the gate may ask for a granted name, and
    /// not like what it is told.
    #[track_caller]
    pub fn assert_unreached(&self) {
        let heard: Vec<Heard> = self.heard().into_iter().filter(|one| one.service != "names").collect();
        assert!(heard.is_empty(), "something arrived: {heard:#?}");
    }

    /// Forgets what was heard.
    pub fn forget(&self) {
        drop(self.heard());
        self.server.forget();
        self.home.forget();
    }

    /// Processes in the network of either side that are not the world's own: their ids and command lines.
    #[must_use]
    pub fn strangers(&self) -> BTreeMap<u32, String> {
        let mut found = self.home.strangers();
        found.extend(self.server.strangers());
        found
    }

    /// Waits until there is none; stops the test if there is one for long.
    #[track_caller]
    pub fn assert_no_strangers(&self) {
        self.assert_no_strangers_but(&[]);
    }

    /// Waits until there is none but these.
    #[track_caller]
    pub fn assert_no_strangers_but(&self, known: &[u32]) {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while self.strangers().keys().any(|id| !known.contains(id)) {
            assert!(std::time::Instant::now() < until, "processes are left: {:#?}", self.strangers());
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

/// Whether a world has IPv6.
#[must_use]
pub fn has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6").exists()
}

fn possible() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("the tests are run by an ordinary user".to_owned());
    }
    let missing: Vec<&str> = PROGRAMS.into_iter().filter(|program| find(program).is_none()).collect();
    if !missing.is_empty() {
        return Err(format!("missing: {}", missing.join(", ")));
    }
    let tried = Command::new("unshare").args(side::NAMESPACES).arg("true").output().unwrap();
    if tried.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&tried.stderr).into_owned()) }
}

/// Where a program is.
fn find(program: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// The folder of PostgreSQL's programs; Debian keeps those of the server apart, by version.
fn postgres() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let apart = versions.map(|version| version.path().join("bin")).filter(|folder| folder.join("initdb").is_file());
    apart.max().or_else(|| find("initdb").and_then(|path| Some(path.parent()?.to_path_buf())))
}

fn names() -> Vec<String> {
    let mut names: Vec<String> = HOSTS.iter().flat_map(|(_, names)| names.split(' ')).map(ToOwned::to_owned).collect();
    names.push("*.example.com".to_owned());
    names
}

fn hosts() -> String {
    let mut text = String::new();
    for (address, names) in HOSTS {
        writeln!(text, "{address} {names}").unwrap();
    }
    for number in 0..RUNS {
        writeln!(text, "203.0.113.{} run{number}.example.com", 80 + number % 2).unwrap();
    }
    text
}
