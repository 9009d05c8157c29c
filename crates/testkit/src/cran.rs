//! A small CRAN-like repository in a network of a test's own, of source packages that the test writes.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::Folder;
use crate::world::World;

/// A source package under way.
#[derive(Clone, Debug)]
pub struct Source {
    name: String,
    version: String,
    fields: String,
    files: Vec<(String, String)>,
}

impl Source {
    /// Version 1.0 of a package that has nothing.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), version: "1.0".to_owned(), fields: String::new(), files: Vec::new() }
    }

    /// Another version.
    #[must_use]
    pub fn version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.version);
        self
    }

    /// A field of its DESCRIPTION, which the index has too.
    #[must_use]
    pub fn field(mut self, name: &str, value: &str) -> Self {
        writeln!(self.fields, "{name}: {value}").unwrap();
        self
    }

    /// A file below its folder; `configure` and `cleanup` are executable.
    #[must_use]
    pub fn file(mut self, path: &str, text: &str) -> Self {
        self.files.push((path.to_owned(), text.to_owned()));
        self
    }

    /// Its code, all of which is exported, and its start of NAMESPACE.
    #[must_use]
    pub fn code(self, namespace: &str, code: &str) -> Self {
        self.file("NAMESPACE", &format!("{namespace}\nexportPattern(\"^[a-z]\")\n")).file("R/code.R", code)
    }

    /// The name of its file.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{}_{}.tar.gz", self.name, self.version)
    }

    /// Its archive; the same package gives the same bytes.
    #[must_use]
    pub fn archive(&self) -> Vec<u8> {
        let folder = Folder::new();
        let Self { name, version, fields, .. } = self;
        let description = format!(
            "Package: {name}\nVersion: {version}\nTitle: A Test\nAuthor: A Test\nMaintainer: A Test <a@test.invalid>\n\
             Description: For tests.\nLicense: MIT + file LICENSE\n{fields}"
        );
        folder.write(&format!("{name}/DESCRIPTION"), description);
        if !self.files.iter().any(|(path, _)| path == "NAMESPACE") {
            folder.write(&format!("{name}/NAMESPACE"), "");
        }
        for (path, text) in &self.files {
            let path = folder.write(&format!("{name}/{path}"), text);
            let is_script = path.ends_with("configure") || path.ends_with("cleanup");
            let mode = std::os::unix::fs::PermissionsExt::from_mode(if is_script { 0o755 } else { 0o644 });
            std::fs::set_permissions(path, mode).unwrap();
        }
        let tar = ["--sort=name", "--owner=0", "--group=0", "--mtime=@315532800", "-c", "-C"];
        let packed = Command::new("tar").args(tar).arg(folder.path()).arg(name).output().unwrap();
        assert!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));
        gzip(&packed.stdout)
    }

    /// What the index has of it.
    fn entry(&self) -> String {
        format!("Package: {}\nVersion: {}\n{}", self.name, self.version, self.fields)
    }
}

/// What `gzip` makes of bytes, without name and time.
#[must_use]
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new("gzip").arg("-n").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let bytes = bytes.to_owned();
    let writer = std::thread::spawn(move || pipe.write_all(&bytes).unwrap());
    let packed = child.wait_with_output().unwrap();
    writer.join().unwrap();
    packed.stdout
}

/// The repository of a world.
#[derive(Debug)]
pub struct Cran<'a> {
    world: &'a World,
    index: String,
}

impl<'a> Cran<'a> {
    /// Where it is.
    pub const URL: &'static str = "https://api.example.com/files/cran";

    /// An empty one.
    #[must_use]
    pub const fn new(world: &'a World) -> Self {
        Self { world, index: String::new() }
    }

    /// Puts a package into it, with the MD5 sum of its file in the index.
    pub fn put(&mut self, source: &Source) -> &mut Self {
        let archive = source.archive();
        let sum = md5_of(&archive);
        self.put_file(source, &archive, &format!("MD5sum: {sum}\n"))
    }

    /// Puts a file into it as that of a package, with more fields in the index.
    pub fn put_file(&mut self, source: &Source, archive: &[u8], fields: &str) -> &mut Self {
        self.world.serve(&format!("cran/src/contrib/{}", source.file_name()), archive);
        writeln!(self.index, "{}{fields}", source.entry()).unwrap();
        self.world.serve("cran/src/contrib/PACKAGES", &self.index);
        self.world.serve("cran/src/contrib/PACKAGES.gz", gzip(self.index.as_bytes()));
        self
    }
}

fn md5_of(bytes: &[u8]) -> String {
    let folder = Folder::new();
    let path = folder.write("file", bytes);
    let output = Command::new("md5sum").arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}
