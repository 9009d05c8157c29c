//! An OpenID provider of a test's own: `oidc-provider` on loopback with TLS, and a browser for its pages.
//!
//! npm installs it once, below the target folder; it ends with the value.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::world::certificates;
use crate::{Folder, ports, skipped};

const PACKAGE: &str = include_str!("../oidc/package.json");
const SCRIPT: &str = include_str!("../oidc/provider.mjs");

/// The client of device log-ins; it has no secret.
pub const DEVICE_CLIENT: &str = "stockade-cli";
/// The client of browsers, and its secret.
pub const CODE_CLIENT: (&str, &str) = ("stockade console", "of the console: 100 % & more");
/// Where browsers come back to.
pub const REDIRECT: &str = "https://node.test/console/logged-in";

/// What its pages say to who said no.
const INTERRUPTED: &str = "request was interrupted";

/// A running provider.
#[derive(Debug)]
pub struct Provider {
    server: Server,
    folder: Folder,
    port: u16,
}

/// Its process, which ends with the value.
#[derive(Debug)]
struct Server(Child);

/// What a user does with the pages of a provider.
#[derive(Clone, Copy, Debug)]
pub enum Visitor<'a> {
    /// Logs in by this name, and agrees to everything.
    Agrees(&'a str),
    /// Says no to a device.
    Refuses,
}

impl Provider {
    /// A provider with a certificate for `localhost`; `None`, and a word about it, where there is no Node.js.
    #[must_use]
    pub fn start() -> Option<Self> {
        let has = |program: &str| Command::new(program).arg("--version").output().is_ok();
        if !has("node") || !has("npm") {
            skipped("an OpenID provider", "node and npm are not installed");
            return None;
        }
        let folder = Folder::new();
        certificates::make(folder.path(), &["localhost".to_owned()]);
        folder.write("provider.mjs", SCRIPT);
        std::os::unix::fs::symlink(modules(), folder.path().join("node_modules")).unwrap();
        // Somebody else may take a port that was free.
        let started = (0..5).find_map(|_| {
            let port = ports::free();
            started(&folder, port).map(|server| (server, port))
        });
        let (server, port) = started.unwrap_or_else(|| panic!("the provider does not listen:\n{}", folder.read("log")));
        Some(Self { server, folder, port })
    }

    /// The same provider with other keys, which does not know the old ones.
    pub fn restart(&mut self) {
        drop(self.server.0.kill());
        drop(self.server.0.wait());
        self.server = started(&self.folder, self.port).unwrap_or_else(|| panic!("{}", self.folder.read("log")));
    }

    /// Stops it; who connects is refused.
    pub fn stop(&mut self) {
        drop(self.server.0.kill());
        drop(self.server.0.wait());
    }

    /// Its name.
    #[must_use]
    pub fn issuer(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// Where it says what it is.
    #[must_use]
    pub fn document(&self) -> String {
        format!("{}/.well-known/openid-configuration", self.issuer())
    }

    /// The authority of its certificate, PEM.
    #[must_use]
    pub fn authority(&self) -> Vec<u8> {
        std::fs::read(self.folder.path().join(certificates::AUTHORITY)).unwrap()
    }

    /// An access token for `ada`, signed by this algorithm and made for this audience.
    #[must_use]
    pub fn access_token(&self, algorithm: &str, audience: &str, ttl_s: u64) -> String {
        let resource = format!("resource=https://of.test/?alg={algorithm}&aud={audience}&ttl={ttl_s}");
        let form =
            ["-u", "machine:of the machine", "-d", "grant_type=client_credentials", "--data-urlencode", &resource];
        let said = self.curl(&[form.as_slice(), &[&format!("{}/token", self.issuer())]].concat());
        let said: Value = serde_json::from_str(&said).unwrap();
        said["access_token"].as_str().unwrap_or_else(|| panic!("{said}")).to_owned()
    }

    /// Its keys.
    #[must_use]
    pub fn keys(&self) -> Value {
        serde_json::from_str(&self.curl(&[&format!("{}/jwks", self.issuer())])).unwrap()
    }

    /// Goes to an address and through whatever pages come; the address outside of the provider where that ends, or the
    /// last page.
    #[must_use]
    pub fn browse(&self, address: &str, visitor: Visitor<'_>) -> String {
        let issuer = self.issuer();
        let mut next = vec![address.to_owned()];
        for _ in 0..24 {
            let words = ["-c", "cookies", "-b", "cookies", "-w", "\n%{redirect_url}"];
            let words = words.into_iter().chain(next.iter().map(String::as_str)).collect::<Vec<_>>();
            let page = self.curl(&words);
            let (page, redirect) = page.rsplit_once('\n').unwrap();
            next = if !redirect.is_empty() && !redirect.starts_with(&issuer) {
                return redirect.to_owned();
            } else if !redirect.is_empty() {
                vec![redirect.to_owned()]
            } else if let Some(form) = filled(page, &issuer, visitor).filter(|_| !page.contains(INTERRUPTED)) {
                form
            } else {
                return page.to_owned();
            };
        }
        panic!("the provider's pages have no end");
    }

    fn curl(&self, words: &[&str]) -> String {
        let ran = Command::new("curl")
            .args(["-sS", "--cacert", certificates::AUTHORITY])
            .args(words)
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        assert!(ran.status.success(), "{}\n{}", String::from_utf8_lossy(&ran.stderr), self.folder.read("log"));
        String::from_utf8(ran.stdout).unwrap()
    }
}

/// The form of a page as words of curl.
fn filled(page: &str, issuer: &str, visitor: Visitor<'_>) -> Option<Vec<String>> {
    let (_, form) = page.split_once("<form")?;
    let action = attribute(form, "action")?;
    let mut words = Vec::new();
    let mut field = |name: &str, value: &str| {
        words.extend(["--data-urlencode".to_owned(), format!("{name}={value}")]);
    };
    for input in form.split("<input").skip(1).filter(|input| input.contains("type=\"hidden\"")) {
        field(&attribute(input, "name")?, &attribute(input, "value")?);
    }
    match visitor {
        Visitor::Refuses if form.contains("name=\"confirm\"") => field("abort", "yes"),
        Visitor::Agrees(user) if form.contains("name=\"login\"") => {
            field("login", user);
            field("password", "of a test");
        }
        Visitor::Agrees(_) | Visitor::Refuses => {}
    }
    words.push(if action.starts_with('/') { format!("{issuer}{action}") } else { action });
    Some(words)
}

fn attribute(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("{name}=\""))?;
    let (value, _) = rest.split_once('"')?;
    Some(value.replace("&amp;", "&"))
}

/// The installed modules. One test installs, the others wait for it.
fn modules() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    // Below the target folder, a profile's, `deps`.
    let target = program.ancestors().nth(3).unwrap();
    let version: Value = serde_json::from_str(PACKAGE).unwrap();
    let version = version["dependencies"]["oidc-provider"].as_str().unwrap();
    let folder = target.join("testkit-npm").join(version);
    std::fs::create_dir_all(&folder).unwrap();
    let lock = std::fs::File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    if !folder.join("installed").exists() {
        install(&folder);
        std::fs::write(folder.join("installed"), "").unwrap();
    }
    folder.join("node_modules")
}

/// No script of a package is run, and no file with addresses is written.
fn install(folder: &Path) {
    std::fs::write(folder.join("package.json"), PACKAGE).unwrap();
    let words = ["install", "--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund", "--omit=dev"];
    let ran = Command::new("npm").args(words).current_dir(folder).output().unwrap();
    assert!(ran.status.success(), "npm: {}", String::from_utf8_lossy(&ran.stderr));
}

fn started(folder: &Folder, port: u16) -> Option<Server> {
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "node", "provider.mjs", &port.to_string()])
        .args([certificates::CERTIFICATE, certificates::KEY])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(folder.path().join("log")).unwrap())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stdout.take().unwrap());
    let server = Server(child);
    said.lines().any(|line| line.unwrap() == "ready").then_some(server)
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
