//! Opens an archive: all that is said about its files, held against the digest, before any of them is
//! looked at. Nothing is written here.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use flate2::bufread::GzDecoder;
use pep508_rs::PackageName;
use pep508_rs::pep440_rs::Version;
use std::str::FromStr;

use super::contents::{self, FILES_MAX, Listed};
use super::records::{self, Records};
use super::tar::{Fault, Member, Reader};
use super::{
    Claims, FILES, FILES_BYTES_MAX, FORMAT, MANIFEST, MANIFEST_BYTES_MAX, RECORDS, RECORDS_BYTES_MAX, TREE, refused,
};
use crate::digest::{self, is_sha256};
use crate::ecosystem::Ecosystem;
use crate::environment::Package;
use crate::error::{self, Detail, Error};
use crate::interpreter::Interpreter;
use crate::lock::{LOCK_BYTES_MAX, Lock, Locked, PACKAGES_MAX, WHEELS_MAX};
use crate::quote::{neutral, quote, quote_path};
use crate::r;
use crate::url::HttpsUrl;
use crate::wheel_name::is_wheel_of;

/// An archive whose list of files fits its digest; the files themselves are still to be read.
#[derive(Debug)]
pub struct Archive {
    pub(super) path: PathBuf,
    pub(super) claims: Claims,
    pub(super) lock: Lock,
    pub(super) files: Vec<Listed>,
    pub(super) records: Records,
    pub(super) reader: Packed,
}

impl Archive {
    /// Opens an archive and checks what it says of itself.
    ///
    /// # Errors
    /// When it cannot be read, or is not what `export` writes.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let no = |why: &str| refused(path, why);
        let mut reader = Reader::new(GzDecoder::new(opened(path)?));
        let claims = text(&mut reader, path, MANIFEST, MANIFEST_BYTES_MAX)?;
        let claims: Claims = serde_json::from_str(&claims)
            .map_err(|cause| no(&format!("its manifest is none: {}", neutral(&cause.to_string()))))?;
        check(&claims).map_err(no)?;
        let lock = text(&mut reader, path, claims.interpreter().ecosystem().lock_file(), LOCK_BYTES_MAX)?;
        let lock = accept(&lock).map_err(|why| no(&why))?;
        if lock.ecosystem() != claims.interpreter().ecosystem() {
            return Err(no("its interpreter is not of the language of its packages"));
        }
        if lock.packages().ne(claims.packages.iter().cloned()) {
            return Err(no("its manifest names other packages than its lock"));
        }
        let list = text(&mut reader, path, FILES, FILES_BYTES_MAX)?;
        // From here on every file, its hash and its mode are those that the digest stands for.
        if digest::of_environment(&lock, &claims.interpreter(), &list) != claims.digest {
            return Err(no("its lock, its list of files and its interpreter are not those of its digest"));
        }
        let files = contents::parse(&list).map_err(|why| no(&why))?;
        if files.len() != claims.files {
            return Err(no("its list has another number of files than its manifest"));
        }
        let records = text(&mut reader, path, RECORDS, RECORDS_BYTES_MAX)?;
        let records: Records = serde_json::from_str(&records).map_err(|_| no("its record of packages is none"))?;
        if !records::fit(&records, &files) {
            return Err(no("its record of packages names files that are not listed"));
        }
        Ok(Self { path: path.to_path_buf(), claims, lock, files, records, reader })
    }

    /// The digest of the environment; what the archive holds either fits it or is refused.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.claims.digest
    }

    /// The interpreter it was built for; the digest does not cover the last part of its version.
    #[must_use]
    pub fn interpreter(&self) -> Interpreter {
        self.claims.interpreter()
    }

    /// What is in it.
    #[must_use]
    pub fn packages(&self) -> &[Package] {
        &self.claims.packages
    }

    /// Refuses an archive that is not the one somebody was told of, by its digest or its first digits.
    ///
    /// # Errors
    /// When it has another digest.
    pub fn expect(&self, digest: &str) -> Result<(), Error> {
        let enough = digest.len() >= 12 && digest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if enough && self.claims.digest.starts_with(digest) {
            return Ok(());
        }
        let why = format!("its digest is {}, and {} was asked for", self.claims.digest, quote(digest));
        Err(refused(&self.path, &why))
    }

    /// Refuses an interpreter that the environment was not built for.
    pub(super) fn fits(&self, interpreter: &Interpreter) -> Result<(), Error> {
        let wanted = self.claims.interpreter();
        let same = (&wanted.inside_executable, &wanted.abi, &wanted.platform)
            == (&interpreter.inside_executable, &interpreter.abi, &interpreter.platform);
        // Of R the whole version is in the ABI.
        if same && (wanted.ecosystem() == Ecosystem::Cran || wanted.folder_name()? == interpreter.folder_name()?) {
            return Ok(());
        }
        let about = |one: &Interpreter| {
            let (version, platform) = (neutral(&one.version), neutral(&one.platform));
            let language = one.ecosystem().language();
            format!("{language} {version} ({}, {platform}) at {}", neutral(&one.abi), quote(&one.inside_executable))
        };
        Err(Error::Python(Detail::new(
            format!(
                "the archive {} cannot be used with this {}",
                quote_path(&self.path),
                interpreter.ecosystem().language()
            ),
            format!("its environment was built for {}, and the one chosen is {}", about(&wanted), about(interpreter)),
            "choose its interpreter with --python, install that one, or export an environment built for this one",
        )))
    }

    /// Makes sure that nothing follows the last file.
    pub(super) fn end(mut self) -> Result<(), Error> {
        let path = &self.path;
        if let Some(more) = next(&mut self.reader, path)? {
            return Err(refused(path, &format!("its file {} is not in its list", quote(&more.path))));
        }
        let rest = self.reader.end().map_err(|fault| said(path, &fault))?;
        let mut rest = rest.into_inner();
        match rest.fill_buf() {
            Ok([]) => Ok(()),
            Ok(_) => Err(refused(path, "something follows its end")),
            Err(cause) => Err(said(path, &Fault::Read(cause))),
        }
    }
}

/// What stopped the reading of a file.
pub(super) enum Stop {
    Fault(Fault),
    Taker(Error),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Stop {
    pub(super) fn into_error(self, path: &Path) -> Error {
        match self {
            Self::Fault(fault) => said(path, &fault),
            Self::Taker(error) => error,
        }
    }
}

fn opened(path: &Path) -> Result<BufReader<File>, Error> {
    let unreadable = |cause: &std::io::Error| {
        Error::Archive(Detail::new(
            format!("cannot read the archive {}", quote_path(path)),
            error::said(cause),
            "check its name and its permissions",
        ))
    };
    // A FIFO shall not let anybody wait.
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let flags = i32::from_ne_bytes(flags.bits().to_ne_bytes());
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|e| unreadable(&e))?;
    if !file.metadata().map_err(|e| unreadable(&e))?.is_file() {
        return Err(refused(path, "it is no regular file"));
    }
    let mut file = BufReader::with_capacity(1 << 20, file);
    // Deflate, and no name, comment, time or other field.
    let head = file.fill_buf().map_err(|e| unreadable(&e))?;
    if head.get(..8) != Some(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0]) {
        return Err(refused(path, "it is no archive of `stockade env export`"));
    }
    Ok(file)
}

pub(super) type Packed = Reader<GzDecoder<BufReader<File>>>;

pub(super) fn next(reader: &mut Packed, path: &Path) -> Result<Option<Member>, Error> {
    reader.next().map_err(|fault| said(path, &fault))
}

fn said(path: &Path, fault: &Fault) -> Error {
    match fault {
        Fault::Shape(why) => refused(path, why),
        Fault::Read(cause) => refused(path, &format!("it is damaged or cut short: {}", error::said(cause))),
    }
}

/// A file that stands before the tree, whole.
fn text(reader: &mut Packed, path: &Path, name: &str, bytes_max: u64) -> Result<String, Error> {
    let member = next(reader, path)?;
    let Some(member) = member.filter(|member| member.path == name && !member.executable) else {
        return Err(refused(path, &format!("`{name}` is not where it has to be")));
    };
    if member.bytes > bytes_max {
        return Err(refused(path, &format!("`{name}` is too large")));
    }
    let mut content = Vec::new();
    let read = reader.content(member.bytes, |piece| {
        content.extend_from_slice(piece);
        Ok::<(), Fault>(())
    });
    read.map_err(|fault| said(path, &fault))?;
    String::from_utf8(content).map_err(|_| refused(path, &format!("`{name}` is no text")))
}

/// Bounds and forms of what an archive says of itself.
fn check(claims: &Claims) -> Result<(), &'static str> {
    if claims.format != FORMAT {
        return Err("it is of another format; import it with the stockade that wrote it");
    }
    let is_tag = |text: &str| {
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        plain && !text.is_empty() && text.len() <= 100
    };
    if !is_sha256(&claims.digest) {
        return Err("its digest is none");
    }
    if ![&claims.python, &claims.abi, &claims.platform].into_iter().all(|text| is_tag(text)) {
        return Err("it names no interpreter");
    }
    let interpreter = claims.interpreter();
    let plain = claims.executable.len() <= 300 && claims.executable.chars().all(|c| c.is_ascii_graphic());
    let of_r = interpreter.ecosystem() == Ecosystem::Cran && r::is_r(&interpreter);
    if !plain || interpreter.inside_home().is_err() || !(of_r || is_python(&interpreter)) {
        return Err("it names no interpreter");
    }
    if claims.files > FILES_MAX {
        return Err("it has more than 500,000 files");
    }
    Ok(())
}

pub(super) fn expect_member(member: &Member, listed: &Listed) -> Result<(), String> {
    if member.path.strip_prefix(TREE) != Some(&listed.path) {
        let (found, wanted) = (quote(&member.path), quote(&listed.path));
        return Err(format!("its file {found} is not in its list, or not in its place: {wanted} comes next"));
    }
    if member.executable != listed.executable {
        return Err(format!("its file {} is executable, or is not, against its list", quote(&listed.path)));
    }
    Ok(())
}

/// A lock that is, to the byte, as we write it, with what every lock of ours was checked for.
fn accept(text: &str) -> Result<Lock, String> {
    let lock = Lock::of_environment(text).map_err(|error| format!("its lock is refused: {}", error.why()))?;
    let packages: Vec<&Locked> = lock.locked().collect();
    let files: usize = packages.iter().map(|package| package.origins().len()).sum();
    if packages.len() > PACKAGES_MAX || files > WHEELS_MAX {
        return Err("its lock names more than 2,000 packages or 10,000 files".to_owned());
    }
    let ordered = packages.iter().zip(packages.iter().skip(1)).all(|(one, next)| one.name < next.name);
    let plain = match lock.ecosystem() {
        Ecosystem::Pypi => packages.iter().all(|package| is_plain(package)),
        Ecosystem::Cran => packages.iter().all(|package| r::is_plain(package)),
    };
    if !ordered || !plain || lock.to_text() != text {
        return Err("its lock is not as stockade writes it".to_owned());
    }
    Ok(lock)
}

fn is_python(interpreter: &Interpreter) -> bool {
    interpreter.ecosystem() == Ecosystem::Pypi && interpreter.folder_name().is_ok()
}

fn is_plain(package: &Locked) -> bool {
    let (Ok(name), Ok(version)) = (PackageName::from_str(&package.name), Version::from_str(&package.version)) else {
        return false;
    };
    let is_source = |file: &str| {
        let plain = file.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.+!".contains(&b));
        plain && !file.starts_with('.') && file.len() <= 240
    };
    !package.origins().is_empty()
        && package.origins().iter().all(|file| {
            let named =
                if package.source.is_some() { is_source(&file.file) } else { is_wheel_of(&file.file, &name, &version) };
            named && HttpsUrl::parse(&file.url).is_ok_and(|url| url.as_str() == file.url)
        })
}
