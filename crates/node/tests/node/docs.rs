//! The commands of the pages about the node, in order, as an ordinary user: what is shown is what they print.
//!
//! A block ```` ```LANGUAGE file=NAME ```` is a file, made in the page's folder, where `examples` and the client lie
//! too. The README has blocks ```` ```console node ````, since its others need no node.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use stockade_testkit::oidc::Provider;
use stockade_testkit::slapd::{ROOT, Slapd};
use stockade_testkit::{Folder, ports, skipped};

use crate::support::{alive, command, signal, until};

const ORDINARY: u32 = 61_234;

/// Whether a line is what a page shows, where `...` stands for any text.
fn fits(line: &str, shown: &str) -> bool {
    let Some((first, others)) = shown.split_once("...") else { return line == shown };
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = others.split("...").collect();
    let last = parts.pop().unwrap();
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Processes of the nodes that have their folders here.
fn left(home: &Path) -> Vec<u32> {
    std::fs::read_dir(home).unwrap().flatten().flat_map(|folder| alive(&folder.path())).collect()
}

/// Ends the page's node, should the page not come so far: without its launcher it does.
struct Ended<'a>(&'a Path);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        for id in left(self.0) {
            signal(id, rustix::process::Signal::KILL);
        }
    }
}

/// Copies what pages use of the repository, for a user who may not read it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(&from, &to).unwrap();
        }
    }
}

/// Runs the blocks of a page that are called so; says how many commands they have.
fn run_page(page: &str, console: &str) -> usize {
    run_page_with(page, console, |_| Vec::new())
}

/// The same of a page that speaks of another machine: what it says, and what is there instead.
fn run_page_with(page: &str, console: &str, here: impl Fn(&Folder) -> Vec<(&'static str, String)>) -> usize {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = std::fs::read_to_string(top.join(page)).unwrap();
    let folder = Folder::new();
    let page = here(&folder).iter().fold(page, |page, (there, here)| page.replace(there, here));
    let programs = command().parent().unwrap().to_owned();
    let home = folder.path().to_owned();
    copy(&top.join("examples"), &home.join("examples"));
    copy(&top.join("clients/python/src"), &home.join("clients/python/src"));
    let run = |line: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).current_dir(&home).stdin(Stdio::null()).env_clear();
        shell.env("HOME", &home).env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", programs.display()));
        if rustix::process::geteuid().is_root() {
            shell.uid(ORDINARY).gid(ORDINARY);
        }
        shell.output().unwrap()
    };
    let _ended = Ended(&home);
    let mut lines = page.lines().peekable();
    let mut count = 0;
    while let Some(line) = lines.next() {
        if let Some((_, name)) = line.strip_prefix("```").and_then(|about| about.split_once(" file=")) {
            let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            folder.write(name, text.join("\n") + "\n");
        }
        if line != console {
            continue;
        }
        while let Some(command) = lines.next_if(|line| *line != "```") {
            let command = command.strip_prefix("$ ").unwrap_or_else(|| panic!("no command: {command}"));
            let (command, status) = command.split_once(" # exits ").unwrap_or((command, "0"));
            let output = run(command);
            let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            let mut said = said.lines();
            while let Some(shown) = lines.next_if(|line| *line != "```" && !line.starts_with("$ ")) {
                if shown == "..." {
                    let next = lines.peek().filter(|line| **line != "```" && !line.starts_with("$ ")).copied();
                    let mut rest = said.clone();
                    while next.is_none_or(|next| !rest.clone().next().is_some_and(|line| fits(line, next))) {
                        if rest.next().is_none() {
                            break;
                        }
                    }
                    said = rest;
                    continue;
                }
                let line = said.next().unwrap_or_default();
                assert!(fits(line, shown), "{command}\n{line}\nis not\n{shown}\n{output:?}");
            }
            assert_eq!(said.next(), None, "{command} prints more");
            assert_eq!(output.status.code(), Some(status.parse().unwrap()), "{command}: {output:?}");
            if command.contains(" & echo $! >") {
                until("the node serves", || home.join("node.sock").exists());
            }
            count += 1;
        }
    }
    until("the page ends its node", || left(&home).is_empty());
    count
}

#[test]
fn the_page_of_the_operator_shows_what_its_commands_do() {
    assert!(run_page("docs/operate/node.md", "```console") >= 5);
}

#[test]
fn the_page_of_properties_shows_what_its_commands_do() {
    assert!(run_page("docs/operate/custom-properties.md", "```console") >= 4);
}

#[test]
fn the_page_of_installation_shows_what_its_commands_do() {
    assert!(run_page("docs/operate/install.md", "```console") >= 8);
}

#[test]
fn a_copy_that_was_made_while_the_node_ran_is_a_node() {
    assert!(run_page("docs/operate/upkeep.md", "```console") >= 8);
}

#[test]
fn the_page_of_security_shows_what_its_commands_do() {
    assert!(run_page("docs/operate/security.md", "```console") >= 70);
}

#[test]
fn the_page_of_directories_shows_what_its_commands_do() {
    let entry = format!(
        "dn: uid=ada,{ROOT}\nobjectClass: inetOrgPerson\nobjectClass: extensibleObject\nuid: ada\ncn: ada\nsn: ada\n\
         userPassword: of ada\nmemberOf: cn=user,ou=groups,{ROOT}\n\n"
    );
    let Some(slapd) = Slapd::with(&entry) else { return };
    let free = ports::free();
    let here = |folder: &Folder| {
        folder.write("authority.pem", slapd.authority());
        vec![
            ("ldap.acme.com", "localhost".to_owned()),
            ("/etc/stockade", folder.path().to_str().unwrap().to_owned()),
            (" 636", format!(" {}", slapd.tls_port())),
            (":8443", format!(":{free}")),
        ]
    };
    assert!(run_page_with("docs/operate/directories.md", "```console", here) >= 10);
}

#[test]
fn the_page_of_providers_shows_what_its_commands_do() {
    let Some(provider) = Provider::start() else { return };
    let port = provider.issuer().rsplit_once(':').unwrap().1.to_owned();
    let free = ports::free();
    let here = |folder: &Folder| {
        folder.write("authority.pem", provider.authority());
        folder.write("provider.token", provider.access_token("ES256", "node", 600));
        vec![
            ("https://login.acme.com", provider.issuer()),
            ("/etc/stockade", folder.path().to_str().unwrap().to_owned()),
            ("--connect-port 443", format!("--connect-port {port}")),
            (":8443", format!(":{free}")),
        ]
    };
    assert!(run_page_with("docs/operate/providers.md", "```console", here) >= 8);
}

#[test]
fn the_page_of_the_network_shows_what_its_commands_do() {
    assert!(run_page("docs/operate/network.md", "```console") >= 14);
}

#[test]
fn the_page_of_certificates_shows_what_its_commands_do() {
    assert!(run_page("docs/operate/certificates.md", "```console") >= 14);
}

#[test]
fn the_guide_of_sessions_shows_what_its_commands_do() {
    if !Path::new("/usr/bin/Rscript").is_file() {
        skipped("the guide of sessions", "there is no R on this machine");
        return;
    }
    assert!(run_page("docs/guides/sessions.md", "```console") >= 5);
}

#[test]
fn the_guide_of_tables_shows_what_its_commands_do() {
    assert!(run_page("docs/guides/tables.md", "```console") >= 7);
}

#[test]
fn the_example_of_the_readme_that_needs_a_node_shows_what_it_does() {
    assert!(run_page("README.md", "```console node") >= 4);
}
