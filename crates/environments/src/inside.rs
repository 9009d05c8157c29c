//! Every path and address a step sees, and the scripts it runs.

/// Where the finished environment is mounted in a run.
pub const ENVIRONMENT: &str = "/opt/stockade/env";
/// The way to the hosts of a step, as the step sees it.
pub const PROXY: &str = "http://127.0.0.1:3128";

/// Compiling stops after this long; what is left is compiled by nobody, and works.
pub(crate) const COMPILE_SECONDS: &str = "120";

pub(crate) const JOB: &str = "/job";
pub(crate) const UV: &str = "/opt/stockade/tools/uv";
pub(crate) const UV_CACHE: &str = "/tmp/uv-cache";
/// What uv unpacks wheels into, beside the prefix: hard links do not cross mounts.
pub(crate) const UNPACKED: &str = "/job/unpacked";
pub(crate) const WHEELS: &str = "/opt/stockade/wheels";
/// Wheels that were built from source distributions.
pub(crate) const BUILT: &str = "/opt/stockade/built";
pub(crate) const HOST_WHEELS: &str = "/opt/stockade/host-wheels";
pub(crate) const CERTIFICATES: &str = "/opt/stockade/build/certificates.pem";

/// The inside path of an input file of a step.
pub(crate) fn input(name: &str) -> String {
    format!("/opt/stockade/build/{name}")
}

pub(crate) const DEFAULT_INDEX_SCRIPT: &str = include_str!("jail_scripts/default_index.py");
pub(crate) const FILE_HOSTS_SCRIPT: &str = include_str!("jail_scripts/file_hosts.py");
pub(crate) const FETCH_SCRIPT: &str = include_str!("jail_scripts/fetch.py");
pub(crate) const EXTRACT_UV_SCRIPT: &str = include_str!("jail_scripts/extract_uv.py");
pub(crate) const BUILD_SYSTEM_SCRIPT: &str = include_str!("jail_scripts/build_system.py");
pub(crate) const SIZES_SCRIPT: &str = include_str!("jail_scripts/sizes.py");
pub(crate) const INSTALL_SCRIPT: &str =
    concat!(include_str!("jail_scripts/modules.py"), include_str!("jail_scripts/install.py"));
pub(crate) const COMPILE_SCRIPT: &str =
    concat!(include_str!("jail_scripts/modules.py"), include_str!("jail_scripts/compile.py"));
pub(crate) const R_RESOLVE_SCRIPT: &str = include_str!("jail_scripts/r_resolve.R");
pub(crate) const R_FETCH_SCRIPT: &str = include_str!("jail_scripts/r_fetch.R");
pub(crate) const R_INSTALL_SCRIPT: &str = include_str!("jail_scripts/r_install.R");
pub(crate) const R_LIBRARY_SCRIPT: &str = include_str!("jail_scripts/r_library.R");
pub(crate) const UV_VERSION_SCRIPT: &str = include_str!("jail_scripts/uv_version.py");
