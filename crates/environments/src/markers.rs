//! Markers of a lock, evaluated for one interpreter on Linux. Untrusted text.

use std::str::FromStr;

use pep508_rs::{MarkerEnvironment, MarkerEnvironmentBuilder, MarkerTree};

use crate::interpreter::Interpreter;
use crate::requirement::has_too_many_joints;

/// What the markers of a lock are evaluated against.
#[derive(Debug)]
pub(crate) struct Markers(MarkerEnvironment);

impl Markers {
    /// Those of an interpreter; `None` if its version is not one.
    pub(crate) fn of(interpreter: &Interpreter) -> Option<Self> {
        let version = interpreter.version.as_str();
        let minor: Vec<&str> = version.splitn(3, '.').take(2).collect();
        MarkerEnvironment::try_from(MarkerEnvironmentBuilder {
            implementation_name: "cpython",
            implementation_version: version,
            os_name: "posix",
            platform_machine: interpreter.platform.strip_prefix("linux_").unwrap_or(&interpreter.platform),
            platform_python_implementation: "CPython",
            // The kernel's release and version are those of a machine, and a lock is for many.
            platform_release: "",
            platform_system: "Linux",
            platform_version: "",
            python_full_version: version,
            python_version: &minor.join("."),
            sys_platform: "linux",
        })
        .ok()
        .map(Self)
    }

    /// Whether a marker holds, or why it cannot be said.
    pub(crate) fn hold(&self, marker: &str) -> Result<bool, &'static str> {
        if marker.len() > 4_000 || has_too_many_joints(marker) {
            return Err("its marker has more than 24 times `and` or `or`, or is longer than 4,000 bytes");
        }
        let tree = MarkerTree::from_str(marker).map_err(|_| "its marker cannot be parsed")?;
        Ok(tree.evaluate(&self.0, &[]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interpreter::fixture::interpreter;

    #[test]
    fn markers_are_those_of_the_interpreter() {
        let markers = Markers::of(&interpreter()).unwrap();
        for (marker, holds) in [
            ("sys_platform == 'win32'", Ok(false)),
            ("python_full_version >= '3.11' and platform_machine == 'x86_64'", Ok(true)),
            ("python_version < '3.10' or os_name == 'posix'", Ok(true)),
            ("extra == 'x'", Ok(false)),
        ] {
            assert_eq!(markers.hold(marker), holds, "{marker}");
        }
        assert!(markers.hold("'x' in").is_err() && markers.hold(&"os_name == 'a' or ".repeat(30)).is_err());
    }
}
