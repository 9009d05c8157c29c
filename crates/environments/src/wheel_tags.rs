//! Whether a wheel may run on an interpreter, by the tags in its name: enough to leave the files of other
//! platforms in a lock alone. Which of those that remain fits best, and the version of the C library,
//! is decided by uv when it installs.

use crate::interpreter::Interpreter;

/// Whether one of the tags of the file is one of the interpreter's.
pub(crate) fn may_run(file: &str, interpreter: &Interpreter) -> bool {
    let mut parts = file.strip_suffix(".whl").unwrap_or(file).rsplitn(4, '-');
    let (Some(platforms), Some(abis), Some(pythons)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    platforms.split('.').any(|platform| is_platform(platform, &interpreter.platform))
        && pythons.split('.').any(|python| abis.split('.').any(|abi| is_python(python, abi, &interpreter.abi)))
}

/// `any`, `linux_x86_64`, `manylinux_2_17_x86_64`, `musllinux_1_2_x86_64` for `linux_x86_64`.
fn is_platform(tag: &str, own: &str) -> bool {
    let machine = own.strip_prefix("linux").unwrap_or(own);
    let family = tag.strip_suffix(machine);
    tag == "any"
        || tag == own
        || family.is_some_and(|family| family.starts_with("manylinux") || family.starts_with("musllinux"))
}

/// `cp311-cp311`, `cp38-abi3`, `py3-none`, `py311-none`, `cp311-none` for `cp311`.
fn is_python(python: &str, abi: &str, own: &str) -> bool {
    let number = |tag: &str, family: &str| {
        let digits = tag.strip_prefix(family)?;
        let (major, minor) = digits.split_at_checked(1)?;
        Some((major.parse::<u32>().ok()?, if minor.is_empty() { 0 } else { minor.parse::<u32>().ok()? }))
    };
    let Some(own_number) = number(own, "cp") else { return false };
    let up_to = |found: Option<(u32, u32)>| found.is_some_and(|found| found.0 == own_number.0 && found <= own_number);
    match abi {
        "none" => up_to(number(python, "py")) || python == own,
        "abi3" => up_to(number(python, "cp")),
        abi => abi == own && python == own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interpreter::fixture::interpreter;

    #[test]
    fn wheels_of_other_platforms_and_pythons_are_left_alone() {
        for (file, fits) in [
            ("six-1.17.0-py2.py3-none-any.whl", true),
            ("a-1-py3-none-any.whl", true),
            ("a-1-py311-none-any.whl", true),
            ("a-1-py312-none-any.whl", false),
            ("a-1-py2-none-any.whl", false),
            ("a-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", true),
            ("a-1-1-cp311-cp311-linux_x86_64.whl", true),
            ("a-1-cp38-abi3-musllinux_1_2_x86_64.whl", true),
            ("a-1-cp312-abi3-manylinux2014_x86_64.whl", false),
            ("a-1-cp312-cp312-manylinux2014_x86_64.whl", false),
            ("a-1-cp311-cp311t-manylinux2014_x86_64.whl", false),
            ("a-1-cp311-cp311-manylinux2014_aarch64.whl", false),
            ("a-1-cp311-cp311-macosx_11_0_arm64.whl", false),
            ("a-1-cp311-cp311-win_amd64.whl", false),
            ("a-1-pp310-pypy310_pp73-manylinux2014_x86_64.whl", false),
            ("a.whl", false),
        ] {
            assert_eq!(may_run(file, &interpreter()), fits, "{file}");
        }
    }
}
