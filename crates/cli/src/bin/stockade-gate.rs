//! `stockade-gate`: the egress gate as a process of its own, without privilege.
//!
//! Started by `stockade`, never by people, perhaps with the user that it is to become: standard input is the control
//! socket, standard output the audit trail. It ends when the socket closes, and cuts every connection of every run then.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::process::ExitCode;

/// Every system call it may make.
const PROFILE: &str = include_str!("../../../../profiles/gate.txt");
/// What a resolver and TLS read, by the layouts of distributions, and where random numbers are from in a program
/// that is linked statically.
const READABLE: [&str; 15] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/usr/share/pki",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
    "/proc/sys/kernel/hostname",
    "/dev/random",
    "/dev/urandom",
];
/// The same, by the caller's word (OpenSSL's variables).
const READABLE_VARS: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

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
    let named: Vec<String> = READABLE_VARS.iter().filter_map(|name| std::env::var(name).ok()).collect();
    let readable: Vec<&str> = READABLE.into_iter().chain(named.iter().map(String::as_str)).collect();
    let user = std::env::args().nth(1).map(|user| user.parse::<u32>().map_err(|_| "no number of a user".to_owned()));
    stockade_launch::service::confine(PROFILE, &readable, user.transpose()?)
        .map_err(|failure| format!("{failure}: {}; {}", failure.why(), failure.next()))?;
    let control = std::io::stdin().as_fd().try_clone_to_owned().map_err(|error| error.to_string())?;
    // Duplicated, for standard output is not this program's to close; the description is its own.
    let trail = std::io::stdout().as_fd().try_clone_to_owned().map_err(|error| error.to_string())?;
    stockade_egress::control::serve(control, File::from(trail)).map_err(|failure| failure.to_string())
}
