//! Makes the library that R loads in sessions: a few kilobytes of system calls, taken into the program.
//!
//! By the compiler itself and from one file without dependencies, since the workspace is linked statically and a
//! shared library is not.

use std::path::PathBuf;
use std::process::Command;

const SOURCE: &str = "native/sys.rs";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed={SOURCE}");
    let made = PathBuf::from(std::env::var("OUT_DIR")?).join("libstockade_r.so");
    let mut compiler = Command::new(std::env::var("RUSTC")?);
    compiler.args(["--edition", "2024", "--crate-type", "cdylib", "--crate-name", "stockade_r", "--target"]);
    compiler.arg(std::env::var("TARGET")?).arg("-o").arg(&made).arg(SOURCE);
    let options = ["panic=abort", "opt-level=s", "strip=symbols", "target-feature=-crt-static"];
    // What it calls of the C library is there already, whichever R was linked with.
    let linked = ["link-arg=-nostdlib", "link-arg=-nostartfiles"];
    compiler.args(options.into_iter().chain(linked).flat_map(|option| ["-C", option]));
    if let Ok(linker) = std::env::var("RUSTC_LINKER") {
        compiler.arg("-C").arg(format!("linker={linker}"));
    }
    if compiler.status()?.success() { Ok(()) } else { Err("the library of R's sessions cannot be made".into()) }
}
