//! Console scripts: uv writes the build interpreter into their first lines; the finished ones
//! start the environment's own.

use std::fs;
use std::path::Path;

use crate::error::{self, Error};
use crate::inside;
use crate::tree::{self, Entry, Kind};

/// Larger than any launcher; what packages bring is not read into memory whole.
const LAUNCHER_BYTES_MAX: u64 = 1 << 20;
/// Lines in which a launcher can name its interpreter: `#!…`, or `#!/bin/sh` and `'''exec' …`.
const HEAD_LINES: usize = 3;

/// Rewrites the launchers among `entries`, and gives back their paths.
pub(crate) fn rewrite(root: &Path, entries: &[Entry], executable: &str) -> Result<Vec<String>, Error> {
    let mut launchers = Vec::new();
    for entry in entries {
        let in_bin = entry.path.strip_prefix("bin/").is_some_and(|name| !name.contains('/'));
        if !in_bin || entry.kind == Kind::Folder {
            continue;
        }
        let path = root.join(&entry.path);
        let about = fs::symlink_metadata(&path).map_err(|e| error::store("look at", &path, &e))?;
        if about.len() > LAUNCHER_BYTES_MAX {
            continue;
        }
        let bytes = fs::read(&path).map_err(|e| error::store("read", &path, &e))?;
        // Programs in machine code are left as they are.
        let Some(text) = String::from_utf8(bytes).ok().filter(|text| text.starts_with("#!")) else {
            continue;
        };
        if let Some(text) = relaunched(&text, executable) {
            tree::write(&path, &text)?;
            launchers.push(entry.path.clone());
        }
    }
    Ok(launchers)
}

/// The text with the environment's interpreter in its head; `None` if it names no interpreter.
fn relaunched(text: &str, executable: &str) -> Option<String> {
    let end = text.match_indices('\n').nth(HEAD_LINES - 1).map_or(text.len(), |(at, _)| at);
    let (head, body) = text.split_at(end);
    head.contains(executable).then(|| {
        let own = format!("{}/bin/python", inside::ENVIRONMENT);
        format!("{}{body}", head.replace(executable, &own))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn a_huge_program_is_not_read_whole() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("bin")).unwrap();
        // Larger than any memory, and nearly all hole.
        File::create(root.path().join("bin/huge")).unwrap().set_len(8 << 40).unwrap();
        let entries = tree::walk(root.path()).unwrap();
        assert_eq!(rewrite(root.path(), &entries, "/p/x").unwrap(), [""; 0]);
    }

    #[test]
    fn launchers_start_the_interpreter_of_the_environment() {
        let text = "#!/p/bin/python3.11\nimport sys\n";
        assert_eq!(relaunched(text, "/p/bin/python3.11").unwrap(), "#!/opt/stockade/env/bin/python\nimport sys\n");
        let long = "#!/bin/sh\n'''exec' '/p/x' \"$0\" \"$@\"\n' '''\nimport sys\n";
        assert!(relaunched(long, "/p/x").unwrap().contains("'''exec' '/opt/stockade/env/bin/python'"));
        assert_eq!(relaunched("#!/bin/sh\necho\n", "/p/x"), None);
    }
}
