//! What names mean: which cannot be taken, which are caches, which are guarded.
//!
//! Parent, outside; pure. Every name here was chosen by untrusted code.
//! Must never let a name through that could end a line, steer a terminal or
//! read differently from what it is.

use std::ffi::CStr;
use std::fmt;

/// Folders that are caches wherever they lie; they are no outputs.
pub const CACHE_FOLDERS: &[&str] =
    &["__pycache__", ".ipynb_checkpoints", ".pytest_cache", ".mypy_cache", ".ruff_cache"];

/// Endings of files that are caches.
pub const CACHE_ENDINGS: &[&str] = &[".pyc"];

/// Names that tools obey as soon as they see them: version control, editors,
/// CI, shells. Compared without regard to case, as some file systems do.
const GUARDED: &[&str] = &[
    ".git",
    "git~1",
    ".gitmodules",
    ".gitattributes",
    ".gitconfig",
    ".githooks",
    ".husky",
    ".hg",
    ".hgrc",
    ".svn",
    ".jj",
    ".bzr",
    ".github",
    ".gitlab",
    ".gitlab-ci.yml",
    ".gitea",
    ".forgejo",
    ".circleci",
    ".travis.yml",
    ".buildkite",
    ".drone.yml",
    ".woodpecker",
    ".woodpecker.yml",
    ".appveyor.yml",
    ".azure-pipelines",
    ".cirrus.yml",
    ".pre-commit-config.yaml",
    ".lefthook.yml",
    ".vscode",
    ".idea",
    ".vs",
    ".fleet",
    ".zed",
    ".cursor",
    ".claude",
    ".devcontainer",
    ".devcontainer.json",
    ".vim",
    ".vimrc",
    ".nvimrc",
    ".nvim.lua",
    ".exrc",
    ".emacs",
    ".emacs.d",
    ".dir-locals.el",
    ".envrc",
    ".direnv",
    ".mise.toml",
    ".tool-versions",
    ".env",
    ".ssh",
    ".netrc",
    ".gnupg",
    ".bashrc",
    ".bash_profile",
    ".bash_login",
    ".bash_logout",
    ".profile",
    ".zshrc",
    ".zshenv",
    ".zprofile",
    ".zlogin",
    ".inputrc",
    ".pypirc",
    ".pip",
    ".npmrc",
    ".yarnrc",
    ".yarnrc.yml",
    ".cargo",
    ".rprofile",
    ".renviron",
    ".gdbinit",
    ".lldbinit",
    ".local",
    ".config",
    "jenkinsfile",
    "azure-pipelines.yml",
    "azure-pipelines.yaml",
    "appveyor.yml",
    "bitbucket-pipelines.yml",
    "lefthook.yml",
    "buildspec.yml",
    "cloudbuild.yaml",
];

/// Names of the hooks that git and its like run from a folder called `hooks`.
const HOOKS: &[&str] = &[
    "applypatch-msg",
    "pre-applypatch",
    "post-applypatch",
    "pre-commit",
    "pre-merge-commit",
    "prepare-commit-msg",
    "commit-msg",
    "post-commit",
    "pre-rebase",
    "post-checkout",
    "post-merge",
    "pre-push",
    "pre-receive",
    "update",
    "proc-receive",
    "post-receive",
    "post-update",
    "reference-transaction",
    "push-to-checkout",
    "pre-auto-gc",
    "post-rewrite",
    "sendemail-validate",
    "fsmonitor-watchman",
    "post-index-change",
];

/// Files that build and test tools run or load from a project unasked.
const RUN_BY_TOOLS: &[&str] = &[
    "conftest.py",
    "setup.py",
    "setup.cfg",
    "pyproject.toml",
    "noxfile.py",
    "tox.ini",
    "pytest.ini",
    "tasks.py",
    "fabfile.py",
    "dodo.py",
    "manage.py",
    "sitecustomize.py",
    "usercustomize.py",
    "package.json",
    "gruntfile.js",
    "gulpfile.js",
    "binding.gyp",
    "makefile",
    "gnumakefile",
    "bsdmakefile",
    "cmakelists.txt",
    "meson.build",
    "sconstruct",
    "wscript",
    "configure",
    "configure.ac",
    "build.rs",
    "cargo.toml",
    "build.gradle",
    "build.gradle.kts",
    "settings.gradle",
    "gradlew",
    "pom.xml",
    "mvnw",
    "build.xml",
    "rakefile",
    "gemfile",
    "vagrantfile",
    "dockerfile",
    "containerfile",
    "docker-compose.yml",
    "docker-compose.yaml",
    "compose.yml",
    "compose.yaml",
    "justfile",
    "taskfile.yml",
    "taskfile.yaml",
    "magefile.go",
    "flake.nix",
    "shell.nix",
    "default.nix",
    "mise.toml",
    "procfile",
    "workspace",
    "build.bazel",
    "module.bazel",
    "cleanup",
    "renv.lock",
];

/// Why a name cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameFault {
    /// Longer than allowed, by itself or with its folders.
    TooLong,
    /// Not UTF-8.
    NotUtf8,
    /// Holds a control character, or one that turns the direction of text.
    Control,
    /// A name that Stockade keeps for its own temporary files.
    Reserved,
}

impl fmt::Display for NameFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the name is too long",
            Self::NotUtf8 => "the name is not UTF-8",
            Self::Control => "the name holds control characters",
            Self::Reserved => "the name is reserved for temporary files",
        })
    }
}

/// Which guarded names count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guard {
    /// Only names known to be obeyed by tools.
    Known,
    /// These, and whatever begins with a dot.
    KnownAndDotted,
}

/// Takes a name as text if it can be taken at all.
pub(super) fn parse(name: &CStr, bytes_max: usize) -> Result<&str, NameFault> {
    let bytes = name.to_bytes();
    if bytes.len() > bytes_max.min(255) {
        return Err(NameFault::TooLong);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| NameFault::NotUtf8)?;
    if text.is_empty() || text.contains('/') || text.chars().any(misleads) {
        return Err(NameFault::Control);
    }
    if is_temporary(text) { Err(NameFault::Reserved) } else { Ok(text) }
}

/// Control characters, line and paragraph ends, and what reorders text.
fn misleads(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a name is one of our temporary files'.
pub(super) fn is_temporary(name: &str) -> bool {
    name.strip_prefix(super::place::TEMPORARY_START)
        .and_then(|rest| rest.strip_suffix(super::place::TEMPORARY_END))
        .is_some_and(|middle| middle.len() == super::place::TEMPORARY_RANDOM)
}

/// Whether a folder is a cache.
pub(super) fn is_cache_folder(name: &str) -> bool {
    CACHE_FOLDERS.contains(&name)
}

/// Whether a file is a cache.
pub(super) fn is_cache_file(name: &str) -> bool {
    CACHE_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// Text of outside origin made fit for display, at most 200 characters.
pub fn shown(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 200;
    let mut text = String::new();
    let mut length = 0;
    for chunk in bytes.utf8_chunks() {
        let valid = chunk.valid().chars().map(piece);
        let invalid = chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}"));
        for piece in valid.chain(invalid) {
            let more = piece.chars().count();
            if length + more >= SHOWN_MAX {
                text.push('…');
                return text;
            }
            length += more;
            text.push_str(&piece);
        }
    }
    text
}

fn piece(c: char) -> String {
    if c == '\\' || misleads(c) { c.escape_default().collect() } else { c.to_string() }
}

/// The part of a path below a prefix; an empty prefix has all below it.
pub(super) fn below<'a>(prefix: &str, path: &'a str) -> Option<&'a str> {
    if prefix.is_empty() {
        return Some(path);
    }
    path.strip_prefix(prefix)?.strip_prefix('/')
}

/// Whether tools act upon a path as soon as it exists, so that it is written
/// only if it was named: a list of names, and hooks of version control.
pub fn is_guarded(path: &str) -> bool {
    guarded_depth(path, Guard::Known).is_some()
}

/// Whether build and test tools run or load a file of this name unasked.
pub fn is_run_by_tools(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    RUN_BY_TOOLS.contains(&name.as_str()) || name.ends_with(".pth") || path.ends_with("renv/activate.R")
}

/// How many components of a path reach to the last guarded one.
fn guarded_depth(path: &str, guard: Guard) -> Option<usize> {
    let mut deepest = None;
    let mut parent_is_hooks = false;
    for (index, component) in path.split('/').enumerate() {
        let name = component.to_ascii_lowercase();
        let dotted = guard == Guard::KnownAndDotted && name.starts_with('.');
        let hook = parent_is_hooks && HOOKS.contains(&name.as_str());
        if dotted || hook || GUARDED.contains(&name.as_str()) {
            deepest = Some(index + 1);
        }
        parent_is_hooks = name == "hooks";
    }
    deepest
}

/// Whether a path is guarded and not named. To name it, an allowed path must
/// be it or a folder of it, and must itself reach to the last guarded part:
/// `vendor` does not allow `vendor/.git/config`.
pub(super) fn refuses(path: &str, guard: Guard, allow: &[String]) -> bool {
    guarded_depth(path, guard).is_some_and(|depth| {
        !allow.iter().any(|named| (named == path || below(named, path).is_some()) && named.split('/').count() >= depth)
    })
}

/// Whether a folder need not be entered: guarded, and nothing in it is named.
pub(super) fn refuses_folder(path: &str, guard: Guard, allow: &[String]) -> bool {
    refuses(path, guard, allow) && !allow.iter().any(|named| below(path, named).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_an_escape_sequence_is_shown_harmless() {
        assert_eq!(shown(b"a\x1b[2J\n\xff\\"), "a\\u{1b}[2J\\n\\xff\\\\");
        assert_eq!(shown("x\u{202e}y".as_bytes()), "x\\u{202e}y");
    }

    #[test]
    fn a_shown_name_is_at_most_two_hundred_characters() {
        assert_eq!(shown(&[b'a'; 5_000]).chars().count(), 200);
        assert!(shown(&[0xff; 5_000]).chars().count() <= 200);
        assert!(shown("é".repeat(900).as_bytes()).chars().count() <= 200);
    }

    #[test]
    fn names_that_mislead_are_refused_and_other_alphabets_are_not() {
        for bad in [c"a\nb", c"\x1b[0m", c"a\x7f", c"\xc2\x9b", c"x\xe2\x80\xae"] {
            assert_eq!(parse(bad, 255), Err(NameFault::Control), "{bad:?}");
        }
        assert_eq!(parse(c"\xff", 255), Err(NameFault::NotUtf8));
        assert_eq!(parse(c"abcd", 3), Err(NameFault::TooLong));
        assert_eq!(parse(c".stockade-abcdefgh.part", 255), Err(NameFault::Reserved));
        assert_eq!(parse(c"\xd0\xb4\xd0\xb0 \xd7\xa9.csv", 255).ok(), Some("да ש.csv"));
    }

    #[test]
    fn guarded_names_are_found_at_every_depth_and_in_every_case() {
        for path in [".git/config", "a/.GIT/x", "x/hooks/pre-commit", "Jenkinsfile", ".vscode/tasks.json"] {
            assert!(is_guarded(path), "{path}");
        }
        for path in ["src/hooks/use.ts", "git", "a.git", ".hidden", "results/plot.png"] {
            assert!(!is_guarded(path), "{path}");
        }
        assert!(refuses(".hidden", Guard::KnownAndDotted, &[]));
    }

    #[test]
    fn naming_a_folder_allows_no_guarded_name_deeper_in_it() {
        let allow = ["vendor".to_owned(), ".github".to_owned()];
        assert!(refuses("vendor/.git/config", Guard::Known, &allow));
        assert!(!refuses(".github/workflows/ci.yml", Guard::Known, &allow));
        assert!(refuses(".github/.git/config", Guard::Known, &allow));
        assert!(refuses(".githubx/.git", Guard::Known, &allow));
        assert!(!refuses_folder(".vscode", Guard::Known, &[".vscode/tasks.json".to_owned()]));
    }

    #[test]
    fn files_that_tools_run_are_known() {
        assert!(is_run_by_tools("a/conftest.py") && is_run_by_tools("Makefile"));
        assert!(!is_run_by_tools("a/results.py"));
    }
}
