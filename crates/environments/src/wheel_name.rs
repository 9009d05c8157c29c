//! The name of a wheel file, `name-version(-build)-python-abi-platform.whl`, checked before it
//! becomes a path or an argument.

use std::str::FromStr;

use pep508_rs::PackageName;
use pep508_rs::pep440_rs::Version;

/// Whether `file` is a wheel of exactly this package and version.
pub(crate) fn is_wheel_of(file: &str, name: &PackageName, version: &Version) -> bool {
    let plain = file.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.+!".contains(&b));
    let Some(stem) = file.strip_suffix(".whl").filter(|_| plain && file.len() <= 240) else {
        return false;
    };
    let parts: Vec<&str> = stem.split('-').collect();
    let (Some(found_name), Some(found_version)) = (parts.first(), parts.get(1)) else {
        return false;
    };
    matches!(parts.len(), 5 | 6)
        && parts.iter().all(|part| !part.is_empty() && !part.starts_with('.'))
        && PackageName::from_str(found_name).is_ok_and(|found| found == *name)
        && Version::from_str(&found_version.replace('_', "-")).is_ok_and(|found| found == *version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wheel_is_of_the_package_that_was_locked() {
        let name = PackageName::from_str("zope-interface").unwrap();
        let version = Version::from_str("5.1").unwrap();
        for (file, fits) in [
            ("zope.interface-5.1-cp311-cp311-manylinux2014_x86_64.whl", true),
            ("Zope_Interface-5.1.0-1-py3-none-any.whl", true),
            ("zope.interface-5.2-py3-none-any.whl", false),
            ("evil-5.1-py3-none-any.whl", false),
            ("zope.interface-5.1.tar.gz", false),
            ("../zope.interface-5.1-py3-none-any.whl", false),
            ("zope.interface-5.1-py3-none-any-x-y-z.whl", false),
            ("zope.interface-5.1-py3-none-a ny.whl", false),
            (".whl", false),
            ("-5.1-py3-none-any.whl", false),
        ] {
            assert_eq!(is_wheel_of(file, &name, &version), fits, "{file}");
        }
    }
}
