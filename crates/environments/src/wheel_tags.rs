//! Which wheels run on an interpreter, and which of several fits best, by the tags in their names: only that
//! one is fetched, locked and shown to uv, which holds it against the interpreter once more.

use std::cmp::Reverse;

use crate::interpreter::Interpreter;

/// How well a wheel fits; of several, installers take the least. The order is that of `packaging.tags`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Fit {
    python: (u8, u32),
    platform: Platform,
    /// Of two builds of one wheel the later one counts.
    build: Reverse<(u64, String)>,
}

/// What a platform tag asks for, the most particular first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Platform {
    /// The GNU C library of this version or a newer one.
    Glibc(Reverse<(u32, u32)>),
    Musl(Reverse<(u32, u32)>),
    Own,
    Any,
}

/// Whether one of the tags of the file is one of the interpreter's.
pub(crate) fn may_run(file: &str, interpreter: &Interpreter) -> bool {
    fit(file, interpreter).is_some()
}

/// The file that fits best, by its place among `files`; `None` where that cannot be told.
pub(crate) fn best<'a>(files: impl Iterator<Item = &'a str>, interpreter: &Interpreter) -> Option<usize> {
    // Without it nobody knows which of these the machine's library can load.
    let glibc = interpreter.glibc?;
    let loads = |fit: &Fit| match fit.platform {
        Platform::Glibc(Reverse(least)) => least <= glibc,
        Platform::Musl(_) => false,
        Platform::Own | Platform::Any => true,
    };
    let fits = files.enumerate().filter_map(|(at, file)| Some((fits(file, interpreter).filter(loads).min()?, at)));
    fits.min().map(|(_, at)| at)
}

fn fit(file: &str, interpreter: &Interpreter) -> Option<Fit> {
    fits(file, interpreter).min()
}

/// A name has sets of tags, each of which may fit in its own way.
fn fits(file: &str, interpreter: &Interpreter) -> impl Iterator<Item = Fit> {
    let mut parts = file.strip_suffix(".whl").unwrap_or(file).rsplitn(4, '-');
    let (platforms, abis, pythons) = (parts.next(), parts.next(), parts.next());
    let build = Reverse(build(parts.next().unwrap_or_default()));
    let mut fits = Vec::new();
    // Without all three there is no wheel.
    for python in pythons.unwrap_or_default().split('.') {
        for abi in abis.unwrap_or_default().split('.') {
            for tag in platforms.unwrap_or_default().split('.') {
                let Some(platform) = platform(tag, &interpreter.platform) else { continue };
                if let Some(python) = self::python(python, abi, platform, &interpreter.abi) {
                    fits.push(Fit { python, platform, build: build.clone() });
                }
            }
        }
    }
    fits.into_iter()
}

/// The build tag of `name-version-build`: a number and what follows it.
fn build(stem: &str) -> (u64, String) {
    let tag = stem.split('-').nth(2).unwrap_or_default();
    let digits = tag.find(|c: char| !c.is_ascii_digit()).unwrap_or(tag.len());
    let (number, rest) = tag.split_at(digits);
    (number.parse().unwrap_or(0), rest.to_owned())
}

/// `any`, `linux_x86_64`, `manylinux_2_17_x86_64`, `musllinux_1_2_x86_64` for `linux_x86_64`.
fn platform(tag: &str, own: &str) -> Option<Platform> {
    if tag == "any" {
        return Some(Platform::Any);
    }
    if tag == own {
        return Some(Platform::Own);
    }
    let family = tag.strip_suffix(own.strip_prefix("linux").unwrap_or(own))?;
    let version = |text: &str| {
        let (major, minor) = text.split_once('_')?;
        Some(Reverse((major.parse().ok()?, minor.parse().ok()?)))
    };
    match family {
        "manylinux1" => Some(Platform::Glibc(Reverse((2, 5)))),
        "manylinux2010" => Some(Platform::Glibc(Reverse((2, 12)))),
        "manylinux2014" => Some(Platform::Glibc(Reverse((2, 17)))),
        _ => family
            .strip_prefix("manylinux_")
            .and_then(version)
            .map(Platform::Glibc)
            .or_else(|| family.strip_prefix("musllinux_").and_then(version).map(Platform::Musl)),
    }
}

/// `cp311-cp311`, `cp38-abi3`, `py3-none`, `py311-none`, `cp311-none` for `cp311`: which kind it is, and how
/// far from this version.
fn python(python: &str, abi: &str, platform: Platform, own: &str) -> Option<(u8, u32)> {
    let number = |tag: &str, family: &str| {
        let digits = tag.strip_prefix(family)?;
        let (major, minor) = digits.split_at_checked(1)?;
        Some((major.parse::<u32>().ok()?, if minor.is_empty() { None } else { Some(minor.parse::<u32>().ok()?) }))
    };
    let (own_major, Some(own_minor)) = number(own, "cp")? else { return None };
    let below = |found: Option<(u32, Option<u32>)>| {
        let (major, minor) = found?;
        if major != own_major {
            return None;
        }
        // `py3` comes right after this very version.
        minor.map_or(Some(1), |minor| match own_minor.checked_sub(minor)? {
            0 => Some(0),
            distance => Some(distance.saturating_add(1)),
        })
    };
    // Whatever the processor, wheels for it come before those for all.
    let general = if platform == Platform::Any { 4 } else { 3 };
    match abi {
        "none" if python == own => Some(if platform == Platform::Any { (4, 0) } else { (2, 0) }),
        "none" => Some((general, below(number(python, "py"))?.saturating_add(1))),
        // That of this version comes before `cp311-none`, those of older ones after it.
        "abi3" => below(number(python, "cp")).map(|distance| if distance == 0 { (1, 0) } else { (2, distance) }),
        abi => (abi == own && python == own).then_some((0, 0)),
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
            ("a-1-cp3-abi3-manylinux2014_x86_64.whl", true),
            ("a-1-cp311-cp311-manylinux_2_x86_64.whl", false),
            ("a.whl", false),
        ] {
            assert_eq!(may_run(file, &interpreter()), fits, "{file}");
        }
    }

    #[test]
    fn of_several_wheels_the_one_that_installers_take_is_the_best() {
        // In the order of `packaging.tags` on a machine with the GNU C library 2.36.
        let ordered = [
            "a-1-2b-cp311-cp311-manylinux_2_36_x86_64.whl",
            "a-1-2a-cp311-cp311-manylinux_2_36_x86_64.whl",
            "a-1-cp311-cp311-manylinux_2_36_x86_64.whl",
            "a-1-cp311-cp311-manylinux_2_28_x86_64.manylinux_2_17_x86_64.whl",
            "a-1-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
            "a-1-cp311-cp311-manylinux2010_x86_64.whl",
            "a-1-cp311-cp311-linux_x86_64.whl",
            "a-1-cp311-abi3-manylinux1_x86_64.whl",
            "a-1-cp311-none-manylinux1_x86_64.whl",
            "a-1-cp310-abi3-manylinux_2_28_x86_64.whl",
            "a-1-cp38-abi3-manylinux_2_28_x86_64.whl",
            "a-1-py311-none-manylinux_2_28_x86_64.whl",
            "a-1-py3-none-manylinux_2_28_x86_64.whl",
            "a-1-py310-none-manylinux_2_28_x86_64.whl",
            "a-1-cp311-none-any.whl",
            "a-1-py311-none-any.whl",
            "a-1-py2.py3-none-any.whl",
            "a-1-py310-none-any.whl",
        ];
        for (at, file) in ordered.iter().enumerate() {
            let rest = ordered.iter().skip(at).rev().copied();
            let found = best(rest.clone(), &interpreter()).and_then(|best| rest.clone().nth(best));
            assert_eq!(found, Some(*file));
        }
    }

    #[test]
    fn what_the_c_library_cannot_load_is_not_the_best() {
        let files = ["a-1-cp311-cp311-musllinux_1_2_x86_64.whl", "a-1-cp311-cp311-manylinux_2_39_x86_64.whl"];
        assert_eq!(best(files.into_iter(), &interpreter()), None);
        assert_eq!(best(files.into_iter().chain(["a-1-py3-none-any.whl"]), &interpreter()), Some(2));
        let of_another = Interpreter { glibc: None, ..interpreter() };
        assert_eq!(best(files.into_iter().chain(["a-1-py3-none-any.whl"]), &of_another), None);
    }
}
