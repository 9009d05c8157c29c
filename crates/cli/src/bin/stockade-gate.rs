//! `stockade-gate`: the egress gate as a process of its own, without privilege.
//!
//! Started by `stockade`, never by people: standard input is the control socket, standard output the audit trail.
//! It ends when the socket closes, and cuts every connection of every run then.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::process::ExitCode;

/// Every system call it may make.
const PROFILE: &str = include_str!("../../../../profiles/gate.txt");
/// What a resolver and TLS read, by the layouts of distributions.
const READABLE: [&str; 7] = [
    "/etc",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/usr/share/pki",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
];

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            // Nobody may be there to read it.
            drop(writeln!(std::io::stderr(), "stockade-gate: {why}"));
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), String> {
    stockade_launch::service::confine(PROFILE, &READABLE)
        .map_err(|failure| format!("{failure}: {}; {}", failure.why(), failure.next()))?;
    let control = std::io::stdin().as_fd().try_clone_to_owned().map_err(|error| error.to_string())?;
    let trail = std::io::stdout().as_fd().try_clone_to_owned().map_err(|error| error.to_string())?;
    stockade_egress::control::serve(control, File::from(trail)).map_err(|failure| failure.to_string())
}
