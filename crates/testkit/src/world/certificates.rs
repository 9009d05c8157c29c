//! An authority and a certificate for the names of a world, by `openssl`.

use std::path::Path;
use std::process::Command;

pub(crate) const AUTHORITY: &str = "ca.pem";
pub(crate) const CERTIFICATE: &str = "server.pem";
pub(crate) const KEY: &str = "server.key";

/// Makes both in `folder`. They are apart: a strict client takes no authority for a server.
pub(crate) fn make(folder: &Path, names: &[String]) {
    let ours = [
        "-keyout",
        "ca.key",
        "-out",
        AUTHORITY,
        "-subj",
        "/CN=authority of a test",
        "-addext",
        "keyUsage=critical,keyCertSign,cRLSign",
    ];
    openssl(folder, &ours);
    let mut alternatives: Vec<String> = names.iter().map(|name| format!("DNS:{name}")).collect();
    alternatives.extend(["IP:203.0.113.80", "IP:203.0.113.81", "IP:10.77.0.5"].map(ToOwned::to_owned));
    let alternatives = format!("subjectAltName={}", alternatives.join(","));
    let servers = ["-CA", AUTHORITY, "-CAkey", "ca.key", "-keyout", KEY, "-out", CERTIFICATE, "-subj", "/CN=server"];
    let extensions = ["basicConstraints=critical,CA:FALSE", "extendedKeyUsage=serverAuth", &alternatives];
    let extensions = extensions.into_iter().flat_map(|extension| ["-addext", extension]);
    openssl(folder, &servers.into_iter().chain(extensions).collect::<Vec<_>>());
}

/// Where Debian has the machine's authorities: one file for each, links to them by their hashes, and all in one.
pub(super) const STORE: &str = "/etc/ssl/certs";

/// Makes a copy of the machine's store that has our authority too.
pub(super) fn extend_store(folder: &Path) {
    const EXTEND: &str = r#"
set -e
cp -a "$0/." certs
hash=$(openssl x509 -noout -hash -in ca.pem)
cp ca.pem "certs/$hash.0"
cat ca.pem >> certs/ca-certificates.crt
chmod -R a+rX certs
"#;
    std::fs::create_dir(folder.join("certs")).unwrap();
    let done = Command::new("sh").args(["-c", EXTEND, STORE]).current_dir(folder).status().unwrap();
    assert!(done.success(), "the machine's authorities cannot be copied");
}

fn openssl(folder: &Path, words: &[&str]) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(words)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}
