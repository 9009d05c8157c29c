//! A directory of a test's own: OpenLDAP's server on loopback, with entries that the test writes.
//!
//! It has a configuration, a base and certificates below a scratch folder, and ends with the value.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::world::certificates;
use crate::{Folder, ports, skipped};

/// Debian keeps it out of the `PATH` of ordinary users.
const PROGRAM: &str = "/usr/sbin/slapd";
const FILL: &str = "/usr/sbin/slapadd";
const SCHEMAS: &str = "/etc/ldap/schema";
const MODULES: &str = "/usr/lib/ldap";

/// Below which entries are. Five wrong passwords lock one of them.
pub const ROOT: &str = "dc=acme,dc=com";
/// Who may read everything but passwords, and the password.
pub const SYSTEM: (&str, &str) = ("cn=system,dc=acme,dc=com", "the system's");

/// What Debian's schemas lack: `memberOf` as others have it, without an overlay that writes it by itself; a name of a
/// team; the classes are there already.
const SETTINGS: &str = "\
attributetype ( 1.3.6.1.4.1.55555.1 NAME 'memberOf' EQUALITY distinguishedNameMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.12 )
attributetype ( 1.3.6.1.4.1.55555.2 NAME 'team' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
moduleload back_mdb
moduleload ppolicy
database mdb
suffix dc=acme,dc=com
rootdn cn=root,dc=acme,dc=com
directory base
maxsize 67108864
overlay ppolicy
ppolicy_default cn=policy,dc=acme,dc=com
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact=cn=system,dc=acme,dc=com read by * none
";

const FIRST_ENTRIES: &str = "\
dn: dc=acme,dc=com
objectClass: dcObject
objectClass: organization
dc: acme
o: Acme

dn: cn=system,dc=acme,dc=com
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: system
userPassword: the system's

dn: cn=policy,dc=acme,dc=com
objectClass: organizationalRole
objectClass: pwdPolicy
cn: policy
pwdAttribute: userPassword
pwdLockout: TRUE
pwdMaxFailure: 5

";

/// A running server.
#[derive(Debug)]
pub struct Slapd {
    _server: Server,
    folder: Folder,
    plain: u16,
    tls: u16,
}

/// Its process, which ends with the value.
#[derive(Debug)]
struct Server(Child);

/// A server under way.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// What is below [`ROOT`], as LDIF.
    pub entries: &'a str,
    /// Whom its certificate names.
    pub name: &'a str,
    /// Whether it talks only with who has a certificate of its authority.
    pub asks_for_certificate: bool,
}

impl Slapd {
    /// A server whose certificate is for `localhost`; `None`, and a word about it, where there is none.
    #[must_use]
    pub fn with(entries: &str) -> Option<Self> {
        Self::new(Setup { entries, name: "localhost", asks_for_certificate: false })
    }

    /// The same as it is set up.
    #[must_use]
    pub fn new(setup: Setup<'_>) -> Option<Self> {
        if ![PROGRAM, FILL, SCHEMAS].iter().all(|path| Path::new(path).exists()) {
            skipped("a directory", "slapd is not installed");
            return None;
        }
        let folder = Folder::new();
        certificates::make(folder.path(), &[setup.name.to_owned()]);
        folder.write("slapd.conf", settings(setup.asks_for_certificate));
        std::fs::create_dir(folder.path().join("base")).unwrap();
        let entries = folder.write("entries.ldif", format!("{FIRST_ENTRIES}{}", setup.entries));
        let filled = Command::new(FILL)
            .args(["-q", "-f", "slapd.conf", "-l"])
            .arg(entries)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(filled.status.success(), "{}", String::from_utf8_lossy(&filled.stderr));
        // Somebody else may take a port that was free.
        (0..5).find_map(|_| started(&folder)).map(|(server, plain, tls)| Self { _server: server, folder, plain, tls })
    }

    /// Its port for LDAP, with StartTLS or without.
    #[must_use]
    pub const fn plain_port(&self) -> u16 {
        self.plain
    }

    /// Its port for ldaps.
    #[must_use]
    pub const fn tls_port(&self) -> u16 {
        self.tls
    }

    /// The authority of its certificate, PEM.
    #[must_use]
    pub fn authority(&self) -> Vec<u8> {
        self.file(certificates::AUTHORITY)
    }

    /// A certificate of the same authority and its key, PEM.
    #[must_use]
    pub fn certificate(&self) -> (Vec<u8>, Vec<u8>) {
        (self.file(certificates::CERTIFICATE), self.file(certificates::KEY))
    }

    fn file(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.folder.path().join(name)).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn settings(asks_for_certificate: bool) -> String {
    let mut text = String::new();
    for schema in ["core", "cosine", "inetorgperson"] {
        writeln!(text, "include {SCHEMAS}/{schema}.schema").unwrap();
    }
    writeln!(text, "modulepath {MODULES}").unwrap();
    writeln!(text, "TLSCACertificateFile {}", certificates::AUTHORITY).unwrap();
    writeln!(text, "TLSCertificateFile {}", certificates::CERTIFICATE).unwrap();
    writeln!(text, "TLSCertificateKeyFile {}", certificates::KEY).unwrap();
    writeln!(text, "TLSVerifyClient {}", if asks_for_certificate { "demand" } else { "never" }).unwrap();
    text + SETTINGS
}

fn started(folder: &Folder) -> Option<(Server, u16, u16)> {
    let (plain, tls) = (ports::free(), ports::free());
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", PROGRAM, "-f", "slapd.conf", "-d", "0", "-h"])
        .arg(format!("ldap://127.0.0.1:{plain} ldaps://127.0.0.1:{tls}"))
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stderr(std::fs::File::create(folder.path().join("log")).unwrap());
    let mut server = Server(command.spawn().unwrap());
    let until = Instant::now() + Duration::from_secs(20);
    while Instant::now() < until {
        let is_there = |port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        if server.0.try_wait().unwrap().is_some() {
            return None;
        }
        if is_there(plain) && is_there(tls) {
            return Some((server, plain, tls));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("slapd does not listen:\n{}", folder.read("log"));
}
