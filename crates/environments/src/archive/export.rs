//! Writes the archive of an environment.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};

use super::contents::{self, Listed};
use super::tar::{Member, Writer};
use super::{Claims, FILES, FORMAT, MANIFEST, RECORDS, TREE, records};
use crate::digest::{self, hex};
use crate::environment::Environment;
use crate::error::{self, Detail, Error};
use crate::lock::{self, Lock};
use crate::progress::{Progress, counted};
use crate::quote::{quote, quote_path};
use crate::record;

/// Half of what the best level saves, in a third of the time.
const LEVEL: Compression = Compression::new(4);

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// How many files of the environment.
    pub files: usize,
    /// What they take.
    pub bytes: u64,
    /// What the archive takes.
    pub archive_bytes: u64,
}

/// Writes an environment as one file, which appears when it is complete.
///
/// # Errors
/// When the environment is damaged, or the file is there or cannot be written.
pub fn export(environment: &Environment, to: &Path, progress: &mut dyn Progress) -> Result<Exported, Error> {
    if fs::symlink_metadata(to).is_ok() {
        return Err(not_written(to, "something is there already", "choose another name, or remove it first"));
    }
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let unwritable = |cause: &io::Error| {
        not_written(to, &error::said(cause), "choose a folder that you can write to, on a disk with free space")
    };
    let (_, list) = record::read(&environment.folder, record::FILES)?;
    let text = lock::text_of(&environment.folder)?;
    let lock = Lock::of_environment(&text)?;
    let of_one_kind = lock.ecosystem() == environment.interpreter.ecosystem();
    if !of_one_kind || digest::of_environment(&lock, &environment.interpreter, &list) != environment.digest {
        return Err(no_archive(environment, "its lock, its list of files or its interpreter changed"));
    }
    let files = contents::parse(&list).map_err(|why| no_archive(environment, &why))?;
    progress.step(&format!("writing {}", counted(files.len(), "file")));
    let mut part = tempfile::Builder::new().prefix(".part-").tempfile_in(folder).map_err(|e| unwritable(&e))?;
    let mut exporting = Exporting { environment, progress, done: 0, bytes: 0 };
    for file in &files {
        exporting.bytes = exporting.bytes.saturating_add(exporting.size_of(file)?);
    }
    exporting.write(part.as_file_mut(), (&text, &list), &files, &unwritable)?;
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    let bytes = exporting.bytes;
    let kept = part.as_file().set_permissions(open).and_then(|()| part.as_file().sync_all());
    let archive_bytes = kept.and_then(|()| part.as_file().metadata()).map_err(|e| unwritable(&e))?.len();
    part.persist_noclobber(to).map_err(|e| unwritable(&e.error))?;
    Ok(Exported { files: files.len(), bytes, archive_bytes })
}

struct Exporting<'a> {
    environment: &'a Environment,
    progress: &'a mut dyn Progress,
    done: u64,
    bytes: u64,
}

impl Exporting<'_> {
    fn size_of(&self, file: &Listed) -> Result<u64, Error> {
        let path = self.environment.folder.join(&file.path);
        let about = fs::symlink_metadata(&path).map_err(|e| error::store("look at", &path, &e))?;
        if about.is_file() { Ok(about.len()) } else { Err(error::damaged(&path, "it is no regular file")) }
    }

    fn write(
        &mut self,
        sink: &mut File,
        (lock, list): (&str, &str),
        files: &[Listed],
        unwritable: &dyn Fn(&io::Error) -> Error,
    ) -> Result<(), Error> {
        let root = self.environment.folder.as_path();
        let records = serde_json::to_vec(&records::of_environment(root, files)).unwrap_or_default();
        let interpreter = &self.environment.interpreter;
        let claims = Claims {
            format: FORMAT,
            digest: self.environment.digest.clone(),
            python: interpreter.version.clone(),
            abi: interpreter.abi.clone(),
            platform: interpreter.platform.clone(),
            executable: interpreter.inside_executable.clone(),
            packages: self.environment.packages.clone(),
            files: files.len(),
            bytes: self.bytes,
        };
        let claims = serde_json::to_vec(&claims).unwrap_or_default();
        // No name, no time: the header has neither unless it is asked for.
        let packed = GzBuilder::new().write(BufWriter::with_capacity(1 << 20, sink), LEVEL);
        let mut writer = Writer::new(packed);
        for (name, content) in [
            (MANIFEST, &*claims),
            (interpreter.ecosystem().lock_file(), lock.as_bytes()),
            (FILES, list.as_bytes()),
            (RECORDS, &*records),
        ] {
            writer.whole(name, content).map_err(|e| unwritable(&e))?;
        }
        for file in files {
            self.write_file(&mut writer, file, unwritable)?;
        }
        let finished = writer.finish().and_then(flate2::write::GzEncoder::finish);
        finished.and_then(|mut sink| sink.flush()).map_err(|e| unwritable(&e))
    }

    fn write_file(
        &mut self,
        writer: &mut Writer<impl Write>,
        file: &Listed,
        unwritable: &dyn Fn(&io::Error) -> Error,
    ) -> Result<(), Error> {
        let path = self.environment.folder.join(&file.path);
        let bytes = self.size_of(file)?;
        let member = Member { path: format!("{TREE}{}", file.path), executable: file.executable, bytes };
        writer.begin(&member).map_err(|e| unwritable(&e))?;
        let mut source = File::open(&path).map_err(|e| error::store("read", &path, &e))?.take(bytes);
        let (mut hash, mut piece, mut left) = (Sha256::new(), vec![0_u8; 128 << 10], bytes);
        loop {
            let count = source.read(&mut piece).map_err(|e| error::store("read", &path, &e))?;
            let read = piece.get(..count).unwrap_or_default();
            if read.is_empty() {
                break;
            }
            hash.update(read);
            writer.content(read).map_err(|e| unwritable(&e))?;
            left = left.saturating_sub(count as u64);
            self.done = self.done.saturating_add(count as u64);
            self.progress.bytes(self.done, self.bytes);
        }
        if left > 0 || hex(&hash.finalize()) != file.sha256 {
            return Err(error::damaged(&path, "it is not the file that was built"));
        }
        writer.end(bytes).map_err(|e| unwritable(&e))
    }
}

fn not_written(to: &Path, why: &str, next: &str) -> Error {
    Error::Archive(Detail::new(format!("cannot write the archive {}", quote_path(to)), why, next))
}

fn no_archive(environment: &Environment, why: &str) -> Error {
    Error::Archive(Detail::new(
        format!("the environment {} cannot be exported", quote(&environment.digest)),
        why,
        "`stockade env verify` names what changed; or leave out the package that the file belongs to",
    ))
}
