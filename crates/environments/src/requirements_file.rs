//! Reads requirement files: untrusted text, bounded, walked by descriptor so that `-r other.txt`
//! cannot leave the folder of the first file, by `..` or by a link.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::error::Error;
use crate::quote::{quote, quote_path};
use crate::requirement;
use crate::text_file::{open_plain, text_of, unreadable};

/// The largest requirement file or script that is read.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 20;
const FILES_MAX: usize = 32;

/// One line of a requirement file: the requirement, and the hashes its package must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) requirement: requirement::Requirement,
    pub(crate) hashes: Vec<String>,
    pub(crate) origin: String,
}

/// The requirements of `path` and of the files it names inside its folder.
pub(crate) fn read(path: &Path) -> Result<Vec<Line>, Error> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let folder = parent.unwrap_or(Path::new("."));
    let root = rustix::fs::open(folder, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|cause| unreadable(path, &cause.into()))?;
    let name = path.file_name().map(PathBuf::from).unwrap_or_default();
    let mut reader = Reader { root, shown_root: folder.to_path_buf(), files: 0, lines: Vec::new() };
    // The user named this file, so a link is followed; only names inside files are confined.
    let text = text_of(open_plain(path), path, FILE_BYTES_MAX)?;
    reader.files = 1;
    reader.take(&name, &text)?;
    Ok(reader.lines)
}

/// The requirements of a text that is no file of its own, so that it can name no other; `shown` says where it
/// stands.
pub(crate) fn lines_of(text: &str, shown: &str) -> Result<Vec<Line>, Error> {
    let lines = logical_lines(text).into_iter();
    lines.map(|(number, line)| parse_line(&line, format!("{shown}, line {number}"))).collect()
}

struct Reader {
    root: OwnedFd,
    shown_root: PathBuf,
    files: usize,
    lines: Vec<Line>,
}

impl Reader {
    fn take(&mut self, file: &Path, text: &str) -> Result<(), Error> {
        let shown = self.shown_root.join(file);
        for (number, line) in logical_lines(text) {
            let origin = format!("{}, line {number}", quote_path(&shown));
            if let Some(other) = nested_file(&line) {
                self.nested(file, other, &line, &origin)?;
            } else {
                self.lines.push(parse_line(&line, origin)?);
            }
        }
        Ok(())
    }

    fn nested(&mut self, file: &Path, other: &str, line: &str, origin: &str) -> Result<(), Error> {
        self.files += 1;
        if self.files > FILES_MAX {
            let why = "more than 32 requirement files are named, or they name each other";
            return Err(requirement::refused(line, origin, why, "put the requirements into one file"));
        }
        let path = file.parent().unwrap_or(Path::new("")).join(other);
        let opened = rustix::fs::openat2(
            &self.root,
            &path,
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
        );
        let opened = match opened {
            Err(rustix::io::Errno::XDEV) => {
                let why = "the file is outside the folder of the first requirement file";
                return Err(requirement::refused(line, origin, why, "give that file with its own `-r`"));
            }
            Err(cause) => Err(cause.into()),
            Ok(descriptor) => Ok(File::from(descriptor)),
        };
        let text = text_of(opened, &self.shown_root.join(&path), FILE_BYTES_MAX)?;
        self.take(&path, &text)
    }
}

/// Lines with continuations joined and comments removed, with the number each starts at.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in text.split('\n').enumerate() {
        let line = line.strip_suffix('\r').unwrap_or(line);
        let comment = line.trim_start().starts_with('#');
        let (start, mut joined) = open.take().unwrap_or((index + 1, String::new()));
        match line.strip_suffix('\\') {
            Some(head) if !comment => {
                joined.push_str(head);
                open = Some((start, joined));
            }
            Some(_) | None => {
                joined.push_str(if comment { "" } else { line });
                lines.push((start, without_comment(&joined)));
            }
        }
    }
    lines.extend(open.map(|(start, joined)| (start, without_comment(&joined))));
    lines.retain(|(_, line)| !line.is_empty());
    lines
}

fn without_comment(line: &str) -> String {
    let end = line
        .char_indices()
        .find(|(at, c)| *c == '#' && line.get(..*at).is_some_and(|head| head.is_empty() || head.ends_with([' ', '\t'])))
        .map_or(line.len(), |(at, _)| at);
    line.get(..end).unwrap_or(line).trim_matches([' ', '\t']).to_owned()
}

/// The file a `-r` line names.
fn nested_file(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("--requirement").or_else(|| line.strip_prefix("-r"))?;
    let name = rest.strip_prefix(['=', ' ', '\t'])?.trim();
    (!name.is_empty()).then_some(name)
}

fn parse_line(line: &str, origin: String) -> Result<Line, Error> {
    let (text, options) = match line.find(" --").or_else(|| line.find("\t--")) {
        Some(at) => line.split_at(at),
        None => (line, ""),
    };
    let requirement = requirement::parse(text, &origin)?;
    let mut hashes = Vec::new();
    let mut words = options.split_whitespace();
    while let Some(word) = words.next() {
        let value = match word.split_once('=') {
            Some(("--hash", value)) => value,
            None if word == "--hash" => words.next().unwrap_or(""),
            Some(_) | None => {
                let why = format!("only `--hash` may follow a requirement, not {}", quote(word));
                return Err(requirement::refused(line, &origin, &why, "remove the option"));
            }
        };
        hashes.push(sha256_of(value).ok_or_else(|| {
            let why = "its hash is not of the form `sha256:` and 64 hexadecimal digits";
            requirement::refused(
                line,
                &origin,
                why,
                "give sha256 hashes, as `uv pip compile --generate-hashes` writes them",
            )
        })?);
    }
    Ok(Line { requirement, hashes, origin })
}

fn sha256_of(value: &str) -> Option<String> {
    let digits = value.strip_prefix("sha256:")?;
    (digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit())).then(|| digits.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    fn texts(folder: &tempfile::TempDir) -> Result<Vec<String>, Error> {
        let lines = read(&folder.path().join("requirements.txt"))?;
        Ok(lines.into_iter().map(|line| line.requirement.text).collect())
    }

    #[test]
    fn comments_continuations_hashes_and_nested_files_are_read() {
        let hash = "a".repeat(64);
        let main = format!(
            "\u{feff}# head\r\nsix==1.17 \\\n  --hash=sha256:{hash} \\\n --hash sha256:{hash} # tail\n\n-r more/b.txt\nidna#x>1\n"
        );
        let main = main.replace("idna#x>1", "idna>1 #x");
        let folder =
            folder(&[("requirements.txt", &main), ("more/b.txt", "-r ../c.txt\npandas>=2,<3"), ("c.txt", "numpy")]);
        let lines = read(&folder.path().join("requirements.txt")).unwrap();
        assert_eq!(lines[0].hashes.len(), 2);
        assert!(lines[0].origin.ends_with("line 2"), "{}", lines[0].origin);
        assert_eq!(texts(&folder).unwrap(), ["six==1.17", "numpy", "pandas>=2,<3", "idna>1"]);
    }

    #[test]
    fn hostile_lines_are_refused_by_line() {
        for (text, part) in [
            ("six\n--index-url https://index.invalid", "where packages come from"),
            ("six\nsix --index-url https://index.invalid", "only `--hash`"),
            ("six\nsix --hash=md5:00", "sha256"),
            ("six\nsix \\\n--extra-index-url https://index.invalid", "only `--hash`"),
            ("six\n-r ../outside.txt", "outside the folder"),
            ("six\n-r /etc/passwd", "outside the folder"),
            ("six\n-r link.txt", "outside the folder"),
            ("six\n-r requirements.txt", "more than 32"),
            ("six\n-e .", "editable"),
            ("six\n-c c.txt", "constraint"),
            ("six\nidna\x0b--pre", "control"),
            ("six\nx @ file:///etc/passwd", "URL"),
        ] {
            let folder = folder(&[("requirements.txt", text)]);
            std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link.txt")).unwrap();
            let error = texts(&folder).unwrap_err();
            assert!(error.why().contains(part), "{text}: {}", error.why());
            assert!(error.to_string().contains("line 2"), "{text}: {error}");
        }
    }

    #[test]
    fn files_that_are_not_plain_text_are_refused() {
        let folder = folder(&[("requirements.txt", &"#".repeat(2 << 20))]);
        assert!(texts(&folder).unwrap_err().why().contains("1 MiB"));
        let path = folder.path().join("requirements.txt");
        std::fs::write(&path, b"six\xff").unwrap();
        assert!(texts(&folder).unwrap_err().why().contains("UTF-8"));
        std::fs::remove_file(&path).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(texts(&folder).unwrap_err().why().contains("regular"));
        std::fs::remove_file(&path).unwrap();
        assert!(texts(&folder).unwrap_err().why() == "no such file or directory");
    }
}
