//! Files that Python runs or reads by itself at start-up: `.pth`, `.start`, `sitecustomize`.
//!
//! Code in them would run before the code somebody asked for, in every run. So executable ones
//! are taken out and listed; of a `.pth` file only paths of folders inside survive, and these
//! folders are cleaned as well.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::error::{self, Error};
use crate::tree;

const FILE_BYTES_MAX: u64 = 64 << 10;

/// What becomes of a `.pth` file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// With only these paths below its folder.
    Keep(BTreeSet<String>),
    Drop,
}

/// Takes start-up code out of one `site-packages` folder; the names of what went, sorted.
pub(crate) fn clean(site: &Path, names: &[&str]) -> Result<Vec<String>, Error> {
    let (mut dropped, mut added) = (Vec::new(), BTreeSet::new());
    let is_folder = |path: &String| fs::symlink_metadata(site.join(path)).is_ok_and(|about| about.is_dir());
    for name in names {
        let verdict = if is_startup_code(name) {
            Verdict::Drop
        } else if name.ends_with(".pth") {
            read(&site.join(name))
        } else {
            continue;
        };
        match verdict {
            Verdict::Keep(mut paths) => {
                // Python would also import from archives, which nobody cleans.
                paths.retain(is_folder);
                let lines: String = paths.iter().flat_map(|path| [path.as_str(), "\n"]).collect();
                tree::write(&site.join(name), &lines)?;
                added.extend(paths);
            }
            Verdict::Drop => {
                tree::remove(&site.join(name))?;
                dropped.push((*name).to_owned());
            }
        }
    }
    // One may be, or lie below, a module that went.
    while let Some(folder) = added.pop_first() {
        if is_folder(&folder) {
            dropped.extend(drop_modules(site, &folder)?);
        }
    }
    dropped.sort();
    Ok(dropped)
}

/// Takes the start-up modules out of a folder that a `.pth` file adds to the path.
fn drop_modules(site: &Path, folder: &str) -> Result<Vec<String>, Error> {
    let path = site.join(folder);
    let mut dropped = Vec::new();
    for item in fs::read_dir(&path).map_err(|e| error::store("read the folder", &path, &e))? {
        let item = item.map_err(|e| error::store("read the folder", &path, &e))?;
        let name = item.file_name().to_string_lossy().into_owned();
        if is_startup_code(&name) {
            tree::remove(&item.path())?;
            dropped.push(format!("{folder}/{name}"));
        }
    }
    Ok(dropped)
}

/// A file that cannot be read as text cannot be judged, so it goes.
fn read(path: &Path) -> Verdict {
    tree::read_bounded(path, FILE_BYTES_MAX).map_or(Verdict::Drop, |text| judge(&text))
}

fn is_startup_code(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name);
    matches!(stem, "sitecustomize" | "usercustomize") || name.ends_with(".start")
}

fn judge(text: &str) -> Verdict {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // Python splits lines at more characters than `\n`; behind one of these an `import` could hide.
    let hidden = |c: char| (c.is_control() && !matches!(c, '\n' | '\r' | '\t')) || matches!(c, '\u{2028}' | '\u{2029}');
    if text.contains(hidden) {
        return Verdict::Drop;
    }
    let lines: Vec<&str> = text.split(['\n', '\r']).map(str::trim).collect();
    if lines.iter().any(|line| line.starts_with("import")) {
        return Verdict::Drop;
    }
    Verdict::Keep(lines.into_iter().filter_map(inside).collect())
}

/// The relative path of a line, in one spelling, if it stays below its folder.
fn inside(line: &str) -> Option<String> {
    let stays = !line.starts_with(['#', '/', '\\', '~'])
        && line.split(['/', '\\']).all(|part| part != ".." && !part.contains(':'));
    let parts: Vec<&str> = line.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    (stays && !parts.is_empty()).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executable_lines_never_survive() {
        for text in [
            "import os; os.system('id')",
            "import\tos",
            "ok\nimport os\n",
            "ok\rimport os",
            "ok\x0bimport os",
            "ok\x0cimport os",
            "ok\x1cimport os",
            "ok\u{85}import os",
            "ok\u{2028}import os",
            "\u{feff}import os",
            "  import os",
            "import_hooks",
        ] {
            assert_eq!(judge(text), Verdict::Drop, "{text:?}");
        }
    }

    #[test]
    fn only_relative_paths_that_stay_inside_are_kept() {
        let text = "# note\n\nlibs\n./more/x\n/etc\n../up\na/../../b\n~/x\nC:\\x\n";
        assert_eq!(judge(text), Verdict::Keep(BTreeSet::from(["libs".into(), "more/x".into()])));
    }

    #[test]
    fn a_folder_that_is_added_to_the_path_brings_no_start_up_modules() {
        let site = tempfile::tempdir().unwrap();
        for file in ["more/sitecustomize.py", "more/kept.py", "deep/er/usercustomize/__init__.py", "packed.zip"] {
            let path = site.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        // An archive on the path is a folder to Python, and nobody looks into it here.
        std::fs::write(
            site.path().join("a.pth"),
            "./more/\ndeep//er\ndeep/er/usercustomize\npacked.zip\npacked.zip/x\nmissing\n.\n",
        )
        .unwrap();
        let dropped = clean(site.path(), &["a.pth", "more", "deep", "packed.zip"]).unwrap();
        assert_eq!(dropped, ["deep/er/usercustomize", "more/sitecustomize.py"]);
        assert_eq!(
            std::fs::read_to_string(site.path().join("a.pth")).unwrap(),
            "deep/er\ndeep/er/usercustomize\nmore\n"
        );
        assert!(site.path().join("more/kept.py").exists());
    }

    #[test]
    fn start_up_modules_go_and_are_listed() {
        let site = tempfile::tempdir().unwrap();
        let names =
            ["a.pth", "evil.pth", "sitecustomize.py", "usercustomize.cpython-311.so", "x.start", "ok.py", "bad.pth"];
        for name in names {
            std::fs::write(site.path().join(name), "inside\n").unwrap();
        }
        std::fs::write(site.path().join("evil.pth"), "import os").unwrap();
        std::fs::write(site.path().join("bad.pth"), b"\xff").unwrap();
        let dropped = clean(site.path(), &names).unwrap();
        assert_eq!(dropped, ["bad.pth", "evil.pth", "sitecustomize.py", "usercustomize.cpython-311.so", "x.start"]);
        assert!(site.path().join("a.pth").exists() && site.path().join("ok.py").exists());
    }
}
