//! Inside a sandbox, run by `stockade doctor`: tries to break each layer and says what happened.
//!
//! One line a try: layer, `held` or `broken`, what was tried and the answer. Our own code, but it
//! runs where the code would, with nothing more.

use std::io::{Error, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use stockade_core::layer::Layer;

use crate::problem::plain;

/// What the doctor tells the probe of the outside.
#[derive(Debug)]
pub(crate) struct Outside {
    /// A process of the host.
    pub(crate) pid: u32,
    /// A port of the host's loopback on which somebody listens.
    pub(crate) port: u16,
    /// The namespaces of the host: `user:[4026531837]` and so on.
    pub(crate) namespaces: Vec<String>,
}

/// Tries everything; prints one line each.
pub(crate) fn run(outside: &Outside) {
    let mut tried = namespaces(outside);
    tried.extend([
        (
            Layer::PidNamespace,
            "see a process of the host",
            refused(std::fs::metadata(format!("/proc/{}/status", outside.pid))),
        ),
        (Layer::Network, "connect to the host's loopback", refused(connect(&format!("127.0.0.1:{}", outside.port)))),
        (Layer::Network, "connect to an address", refused(connect("192.0.2.1:443"))),
        (Layer::Root, "read /etc/shadow", refused(std::fs::read("/etc/shadow"))),
        (Layer::Root, "list /root", refused(std::fs::read_dir("/root"))),
        (Layer::Root, "write to /usr", refused(std::fs::write("/usr/stockade-probe", "x"))),
        (
            Layer::LockedMounts,
            "mount something",
            refused(rustix::mount::mount_bind("/usr", "/tmp").map_err(Error::from)),
        ),
        (Layer::Proc, "read the kernel's command line", is_empty("/proc/cmdline")),
        (Layer::Proc, "read the init's environment", refused(std::fs::read("/proc/1/environ"))),
        (
            Layer::ThrowAwayUser,
            "become root",
            refused(rustix::thread::set_thread_uid(rustix::fs::Uid::ROOT).map_err(Error::from)),
        ),
        (Layer::NoNewPrivileges, "find no_new_privs unset", status("NoNewPrivs", "1")),
        (Layer::NoCapabilities, "find a capability left", status("CapBnd", "0000000000000000")),
        (
            Layer::NoCapabilities,
            "change the root folder",
            refused(rustix::process::chroot("/tmp").map_err(Error::from)),
        ),
        (Layer::Seccomp, "find no filter", status("Seccomp", "2")),
        (Layer::Seccomp, "open a raw socket", refused(raw_socket())),
        (Layer::Landlock, "rename this process through /proc", refused(std::fs::write("/proc/self/comm", "x"))),
        (Layer::Rlimits, "dump core", core_limit()),
        (Layer::Scratch, "write more than scratch holds", refused(fill())),
    ]);
    tell(tried);
}

/// Tries to get more from the gate than the one name that was granted.
pub(crate) fn ask_gate() {
    tell(vec![
        (Layer::Gate, "have the proxy connect to an address", refused_by_proxy("192.0.2.1:443")),
        (Layer::Gate, "have the proxy connect to the host's loopback", refused_by_proxy("127.0.0.1:443")),
        (Layer::Gate, "reach an address that stands for no name", refused(read_from("198.18.77.77:443"))),
        (Layer::Gate, "reach a port that was not granted", refused(connect("198.18.0.2:80"))),
    ]);
}

fn tell(tried: Vec<Tried>) {
    for (layer, what, answer) in tried {
        let (verdict, detail) = match answer {
            Ok(detail) => ("held", detail),
            Err(detail) => ("broken", detail),
        };
        crate::printer::page(&format!("{layer}\t{verdict}\t{what}: {detail}\n"));
    }
}

/// The gate's own no: it is there, and it decides.
fn refused_by_proxy(target: &str) -> std::result::Result<String, String> {
    let answer = (|| {
        let mut stream = open(&format!("127.0.0.1:{}", stockade_core::network::PROXY_PORT))?;
        write!(stream, "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    })();
    match answer {
        Ok(answer) if answer == "HTTP/1.1 403" => Ok("it said no".to_owned()),
        Ok(answer) => Err(format!("it answered {answer}")),
        Err(error) => Err(plain(&Error::to_string(&error))),
    }
}

/// A byte from there: a connection alone proves nothing, since the sandbox's own kernel accepts it.
fn read_from(address: &str) -> Result<()> {
    open(address)?.read_exact(&mut [0])
}

type Tried = (Layer, &'static str, std::result::Result<String, String>);

/// A refusal is what should be; success breaks the layer.
fn refused<T>(result: Result<T>) -> std::result::Result<String, String> {
    match result {
        Ok(_) => Err("it could".to_owned()),
        Err(error) => Ok(plain(&error.to_string())),
    }
}

fn namespaces(outside: &Outside) -> Vec<Tried> {
    [
        (Layer::UserNamespace, "user"),
        (Layer::MountNamespace, "mnt"),
        (Layer::PidNamespace, "pid"),
        (Layer::Network, "net"),
        (Layer::IpcNamespace, "ipc"),
        (Layer::UtsNamespace, "uts"),
        (Layer::CgroupNamespace, "cgroup"),
        (Layer::TimeNamespace, "time"),
    ]
    .map(|(layer, name)| (layer, "be in a namespace of the host", is_own(name, outside)))
    .into()
}

fn is_own(name: &str, outside: &Outside) -> std::result::Result<String, String> {
    let own = std::fs::read_link(format!("/proc/self/ns/{name}"))
        .map_err(|error| error.to_string())?
        .to_string_lossy()
        .into_owned();
    if outside.namespaces.contains(&own) {
        Err(format!("{own} is the host's"))
    } else {
        Ok("it has its own".to_owned())
    }
}

fn connect(address: &str) -> Result<()> {
    open(address).map(drop)
}

fn open(address: &str) -> Result<TcpStream> {
    let address: SocketAddr = address.parse().map_err(|_| Error::from(std::io::ErrorKind::InvalidInput))?;
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    Ok(stream)
}

fn raw_socket() -> Result<()> {
    use rustix::net::{AddressFamily, SocketType, socket};
    socket(AddressFamily::INET, SocketType::RAW, None).map(drop).map_err(Error::from)
}

fn is_empty(path: &str) -> std::result::Result<String, String> {
    match std::fs::read(path) {
        Ok(bytes) if bytes.is_empty() => Ok("it is empty".to_owned()),
        Ok(_) => Err("it could".to_owned()),
        Err(error) => Ok(plain(&error.to_string())),
    }
}

fn status(field: &str, wanted: &str) -> std::result::Result<String, String> {
    let text = std::fs::read_to_string("/proc/self/status").map_err(|error| error.to_string())?;
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).map_or("", str::trim);
    if value == wanted { Ok(format!("{field} is {value}")) } else { Err(format!("{field} is {value}")) }
}

fn core_limit() -> std::result::Result<String, String> {
    match rustix::process::getrlimit(rustix::process::Resource::Core).maximum {
        Some(0 | 1) => Ok("not a page of it".to_owned()),
        other => Err(format!("the limit is {other:?}")),
    }
}

/// Writes until it is refused; the doctor gives 4 MiB of scratch.
fn fill() -> Result<()> {
    for number in 0..64 {
        std::fs::write(format!("/tmp/fill-{number}"), vec![0_u8; 1 << 20])?;
    }
    Ok(())
}

/// Takes more memory than the doctor permits; returns only when nothing stopped it.
pub(crate) fn take_memory() {
    let mut taken: Vec<Vec<u8>> = Vec::new();
    for _ in 0..256 {
        taken.push(vec![1; 1 << 20]);
    }
    crate::printer::page(&format!("{} MiB taken\n", taken.len()));
}
