//! What realms need of the world outside the node's process, had while it still can: certificates and keys that client
//! profiles name, and the ports that it may connect to. Once the process is confined it reads no file of them and dials
//! nothing else. Secrets are in `crate::secrets`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use zeroize::Zeroizing;

use crate::refusal::Refusal;
use crate::settings::Start;
use crate::tls;

/// Files by their paths, and ports.
#[derive(Clone, Default)]
pub(crate) struct Outward {
    files: BTreeMap<String, Contents>,
    pub(crate) ports: BTreeSet<u16>,
}

/// What is in a file.
#[derive(Clone)]
struct Contents {
    text: Zeroizing<String>,
    /// Whether others on the machine can read it.
    is_open: bool,
}

impl Outward {
    /// As the flags say it.
    ///
    /// # Errors
    /// [`Refusal`] for a file that cannot be read, or that others may write to.
    pub(crate) fn of(asked: &Start) -> Result<Self, Refusal> {
        let files = asked.security_file.iter().map(|path| read(path)).collect::<Result<_, _>>()?;
        Ok(Self { files, ports: asked.connect_port.iter().copied().collect() })
    }

    /// What is in a file that the configuration names.
    ///
    /// # Errors
    /// Why there is nothing, in a line.
    pub(super) fn file(&self, path: &str) -> Result<&str, String> {
        self.contents(path).map(|contents| contents.text.as_str())
    }

    /// A file that nobody else may read.
    ///
    /// # Errors
    /// Why there is none, in a line.
    pub(super) fn secret_file(&self, path: &str) -> Result<&str, String> {
        let Contents { text, is_open } = self.contents(path)?;
        if *is_open { Err(format!("others on the machine can read `{}`", shown(path))) } else { Ok(text) }
    }

    fn contents(&self, path: &str) -> Result<&Contents, String> {
        self.files.get(path).ok_or_else(|| {
            format!("`{}` was not read: the node opens files at its start only, those of --security-file", shown(path))
        })
    }
}

impl fmt::Debug for Outward {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files: Vec<&String> = self.files.keys().collect();
        out.debug_struct("Outward").field("files", &files).field("ports", &self.ports).finish()
    }
}

fn read(path: &Path) -> Result<(String, Contents), Refusal> {
    let what = "file of the configuration";
    let read = |is_secret| tls::contents(path, what, is_secret);
    let contents = match read(true) {
        Ok(text) => Contents { text, is_open: false },
        Err(_) => Contents { text: read(false).map_err(with_next)?, is_open: true },
    };
    Ok((absolute(path)?, contents))
}

/// As the configuration names it, which has no other paths.
fn absolute(path: &Path) -> Result<String, Refusal> {
    let whole = std::path::absolute(path).ok().and_then(|path| path.to_str().map(str::to_owned));
    whole.ok_or_else(|| Refusal::invalid("a file of the configuration cannot be used", "its path is no text", NEXT))
}

const NEXT: &str = "name a file that the node's user may read and nobody else may change, with --security-file FILE";

fn with_next(refusal: Refusal) -> Refusal {
    Refusal { next: NEXT.to_owned(), ..refusal }
}

fn shown(path: &str) -> String {
    stockade_core::text::shown(path, 300)
}
