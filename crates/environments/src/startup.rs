//! Files that Python runs or reads by itself at start-up: `.pth`, `.start`, `sitecustomize`.
//!
//! Code in them would run before the code somebody asked for, in every run. So executable ones
//! are taken out and listed; of a `.pth` file only relative paths that stay inside survive.

use crate::error::Error;
use crate::tree;
use std::path::Path;

const FILE_BYTES_MAX: u64 = 64 << 10;

/// What becomes of a `.pth` file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Keep(String),
    Drop,
}

/// Takes start-up code out of one `site-packages` folder; the names of what went, sorted.
pub(crate) fn clean(site: &Path, names: &[&str]) -> Result<Vec<String>, Error> {
    let mut dropped = Vec::new();
    for name in names {
        let path = site.join(name);
        if is_startup_code(name) {
            tree::remove(&path)?;
            dropped.push((*name).to_owned());
        } else if name.ends_with(".pth") {
            match read(&path) {
                Verdict::Keep(lines) => tree::write(&path, &lines)?,
                Verdict::Drop => {
                    tree::remove(&path)?;
                    dropped.push((*name).to_owned());
                }
            }
        }
    }
    dropped.sort();
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
    let mut kept = String::new();
    for line in text.split(['\n', '\r']).map(str::trim) {
        if line.starts_with("import") {
            return Verdict::Drop;
        }
        if is_inside(line) {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    Verdict::Keep(kept)
}

/// Whether a line is a relative path that stays below its folder.
fn is_inside(line: &str) -> bool {
    !line.is_empty()
        && !line.starts_with(['#', '/', '\\', '~'])
        && line.split(['/', '\\']).all(|part| part != ".." && !part.contains(':'))
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
        assert_eq!(judge(text), Verdict::Keep("libs\n./more/x\n".into()));
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
