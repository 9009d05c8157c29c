//! The node against its own description: schemathesis makes requests of the OpenAPI document, good and bad, and holds
//! the answers against it.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::tools::{self, Done, say};

/// To the digit: what it checks changes with it.
const SCHEMATHESIS: &str = "schemathesis==4.32.5";
/// Whom the node runs as when this runs as root.
const USER: &str = "61234";
/// How long a node may take to serve.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts the node that was built last, and tests it.
pub(crate) fn openapi() -> Done {
    let folder = std::env::temp_dir().join(format!("stockade-openapi-{}", std::process::id()));
    let tested = test(&folder);
    std::fs::remove_dir_all(&folder).map_err(|error| error.to_string())?;
    tested
}

fn test(folder: &Path) -> Done {
    let failed = |error: std::io::Error| error.to_string();
    std::fs::create_dir(folder).map_err(failed)?;
    // The node may be somebody else's.
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777)).map_err(failed)?;
    let tool = install()?;
    let socket = folder.join("node.sock");
    let mut node = start(folder, &socket)?;
    let tested = wait(&mut node, &socket).and_then(|()| bridge(socket)).and_then(|port| run(&tool, port, folder));
    let ended = Command::new("kill").arg(node.id().to_string()).status().and_then(|_| node.wait()).map_err(failed)?;
    tested?;
    if ended.success() { Ok(()) } else { Err(format!("the node ended with {ended}")) }
}

/// Into a virtual environment that is kept where cargo builds.
fn install() -> Result<PathBuf, String> {
    let venv = tools::target().join(SCHEMATHESIS);
    let tool = venv.join("bin/schemathesis");
    if !tool.is_file() {
        let place = venv.to_string_lossy();
        tools::run(&["python3", "-m", "venv", &place])?;
        let pip = venv.join("bin/pip");
        tools::run(&[&pip.to_string_lossy(), "install", "--quiet", "--disable-pip-version-check", SCHEMATHESIS])?;
    }
    Ok(tool)
}

fn start(folder: &Path, socket: &Path) -> Result<Child, String> {
    let mut command = Command::new(tools::built("debug/stockade-node"));
    command.args(["start", "--socket-mode", "666", "--folder"]).arg(folder.join("node")).arg("--socket").arg(socket);
    if tools::is_root() {
        command.args(["--run-as", USER]);
    } else {
        command.arg("--shared-user");
    }
    // Its log has a line for every request.
    command.stderr(Stdio::null()).env("PATH", "/usr/local/bin:/usr/bin:/bin");
    command.spawn().map_err(|error| format!("the node cannot be started: {error}"))
}

fn wait(node: &mut Child, socket: &Path) -> Done {
    let until = Instant::now() + PATIENCE;
    while UnixStream::connect(socket).is_err() {
        if node.try_wait().is_ok_and(|ended| ended.is_some()) || Instant::now() > until {
            return Err("the node does not serve: `stockade-node start` says why".to_owned());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The tool speaks TCP only: every connection to a port of the loopback goes on to the socket.
fn bridge(socket: PathBuf) -> Result<u16, String> {
    let failed = |error: std::io::Error| format!("no port can be had: {error}");
    let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let Ok(far) = UnixStream::connect(&socket) else { continue };
            let (Ok(mut asks), Ok(mut asked)) = (near.try_clone(), far.try_clone()) else { continue };
            std::thread::spawn(move || {
                drop(std::io::copy(&mut asks, &mut asked));
                drop(asked.shutdown(std::net::Shutdown::Write));
            });
            std::thread::spawn(move || {
                let (mut near, mut far) = (near, far);
                drop(std::io::copy(&mut far, &mut near));
                drop(near.shutdown(std::net::Shutdown::Both));
            });
        }
    });
    Ok(port)
}

fn run(tool: &Path, port: u16, folder: &Path) -> Done {
    say(&format!("$ {SCHEMATHESIS} against /openapi.json"));
    let status = Command::new(tool)
        .args(["run", &format!("http://127.0.0.1:{port}/openapi.json"), "--checks", "all"])
        // What a schema cannot say, the node refuses all the same: which names, limits and packages there are.
        // What is cancelled stays, so that its output can be read.
        .args(["--exclude-checks", "positive_data_acceptance,use_after_free"])
        .args(["--max-examples", "30", "--seed", "1", "--request-timeout", "60"])
        .args(["--generation-database", "none", "--no-color"])
        .current_dir(folder)
        .status()
        .map_err(|error| format!("schemathesis cannot be run: {error}"))?;
    if status.success() { Ok(()) } else { Err("the node does not do what its OpenAPI document says".to_owned()) }
}
