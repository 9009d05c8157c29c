//! Makes the library that R loads in sessions: a few kilobytes of system calls, taken into the program.
//!
//! By the compiler itself and from one file without dependencies, since the workspace is linked statically and a
//! shared library is not.

use std::path::PathBuf;
use std::process::Command;

const SOURCE: &str = "native/sys.rs";

fn main() {
    println!("cargo:rerun-if-changed={SOURCE}");
    let var = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("cargo says {name} to build scripts"));
    let made = PathBuf::from(var("OUT_DIR")).join("libstockade_r.so");
    let mut compiler = Command::new(var("RUSTC"));
    compiler.args(["--edition", "2024", "--crate-type", "cdylib", "--crate-name", "stockade_r", "--target"]);
    compiler.arg(var("TARGET")).arg("-o").arg(&made).arg(SOURCE).args(["-D", "warnings"]);
    let options = ["panic=abort", "opt-level=s", "strip=symbols", "target-feature=-crt-static"];
    // What it calls of the C library is there already, whichever R was linked with.
    let linked = ["link-arg=-nostdlib", "link-arg=-nostartfiles"];
    compiler.args(options.into_iter().chain(linked).flat_map(|option| ["-C", option]));
    if let Ok(linker) = std::env::var("RUSTC_LINKER") {
        compiler.arg("-C").arg(format!("linker={linker}"));
    }
    let status = compiler.status().expect("the compiler is there");
    assert!(status.success(), "the library of R's sessions cannot be made");
}
