//! Archives that come back as they went, and archives that no export writes. Without a jail: what a jail
//! compiles is made up here, and tests of the command do it for real.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use super::tar::{BLOCK, Member, Reader, Writer};
use super::*;
use crate::build::Limits;
use crate::digest;
use crate::environment::Environment;
use crate::install::Installed;
use crate::interpreter::fixture::interpreter;
use crate::jail::{Ended, Jail, JailFailure, JailOutcome, JailStep};
use crate::layout;
use crate::lock::tests::lock_of_six;
use crate::machine::Machine;
use crate::progress::Silent;
use crate::publish::Building;
use crate::publish::tests::store;
use crate::store::Store;
use crate::tree;
use crate::verify;

pub(crate) const SITE: &str = "lib/python3.11/site-packages";

/// An environment of `six` as a build leaves it, with more files.
pub(crate) fn built(store: &Store, more: &[(&str, &str)]) -> Environment {
    let building = Building::begin(store).unwrap();
    let prefix = building.folder().join("prefix");
    let about = format!("{SITE}/six-1.17.0.dist-info");
    let record = "six.py,sha256=x,1\n__pycache__/six.cpython-311.pyc,,\n../../../bin/tool,,\n../../../etc/passwd,,\n\
                  six-1.17.0.dist-info/METADATA,,\nsix-1.17.0.dist-info/RECORD,,\n";
    for (path, text) in [
        (&*format!("{SITE}/six.py"), "x = 1\n"),
        (&*format!("{SITE}/__pycache__/six.cpython-311.pyc"), "of the build"),
        (&*format!("{about}/METADATA"), "Name: six\nVersion: 1.17.0\n"),
        (&*format!("{about}/entry_points.txt"), "[console_scripts]\ntool = six:main\n"),
        (&*format!("{about}/RECORD"), record),
        ("bin/tool", "#!/opt/stockade/python/bin/python3.11\n# by the installer\n"),
        ("bin/program", "#!/bin/sh\n"),
    ]
    .iter()
    .chain(more)
    {
        let place = prefix.join(path);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(&place, text).unwrap();
        if path.starts_with("bin/") {
            tree::set_mode(&place, 0o755).unwrap();
        }
    }
    let installed = Installed { prefix, standard: BTreeSet::new(), denied: Vec::new(), imported: false };
    let (tree, digest) = layout::assemble(&installed, &lock_of_six("files.invalid"), &interpreter()).unwrap();
    building.publish(store, &tree, &digest).unwrap()
}

/// What the compile step of a jail would leave: this, below `cache`.
struct Compiled(Vec<(String, &'static str)>);

impl Default for Compiled {
    fn default() -> Self {
        Self(vec![(format!("{SITE}/__pycache__/six.cpython-311.pyc"), "of the import")])
    }
}

impl Jail for Compiled {
    fn run(&mut self, step: JailStep<'_>) -> Result<JailOutcome, JailFailure> {
        assert_eq!((step.name, step.hosts.len()), ("compile", 0));
        for (path, text) in &self.0 {
            let place = step.outputs.join("cache").join(path);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(place, text).unwrap();
        }
        fs::write(step.outputs.join("stdlib"), "six\n").unwrap();
        Ok(JailOutcome { ended: Ended::Exited(0), denied: Vec::new() })
    }
}

/// A file of an archive, and the blocks before its content if they are not those that we write.
type Part = (Member, Vec<u8>, Option<Vec<u8>>);

/// A place to try archives at.
struct Desk {
    root: tempfile::TempDir,
    limits: Limits,
    parts: Vec<Part>,
    trailer: Vec<u8>,
}

impl Desk {
    /// With a good archive taken apart.
    fn new() -> Self {
        Self::of(&[])
    }

    fn of(more: &[(&str, &str)]) -> Self {
        let (_root, store) = store();
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("good");
        export(&built(&store, more), &path, &mut Silent).unwrap();
        let mut reader = Reader::new(GzDecoder::new(fs::File::open(path).unwrap()));
        let mut parts = Vec::new();
        while let Some(member) = reader.next().unwrap() {
            let mut content = Vec::new();
            reader
                .content(member.bytes, |piece| -> Result<(), tar::Fault> {
                    content.extend_from_slice(piece);
                    Ok(())
                })
                .unwrap();
            parts.push((member, content, None));
        }
        Self { root, limits: Limits::default(), parts, trailer: Vec::new() }
    }

    fn at(&self, name: &str) -> usize {
        self.parts.iter().position(|(member, ..)| member.path == name).unwrap()
    }

    fn edit(&mut self, name: &str, edit: impl Fn(&str) -> String) {
        let at = self.at(name);
        let text = edit(std::str::from_utf8(&self.parts[at].1).unwrap());
        self.set(at, text.into_bytes());
    }

    fn set(&mut self, at: usize, content: Vec<u8>) {
        self.parts[at].0.bytes = content.len() as u64;
        self.parts[at].1 = content;
    }

    /// A file that no list knows of.
    fn smuggle(&mut self, path: &str, change: impl Fn(&mut [u8])) {
        let member = Member { path: path.to_owned(), executable: false, bytes: 0 };
        let mut header = Writer::new(Vec::new());
        header.begin(&member).unwrap();
        let mut header = header.finish().unwrap()[..BLOCK].to_vec();
        change(&mut header);
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.parts.push((member, Vec::new(), Some(header)));
    }

    /// Makes the lists say what the files are, as an attacker would who makes a whole archive.
    fn consistent(&mut self, more: &[(&str, &str)]) {
        for (path, text) in more {
            let member = Member { path: format!("{TREE}{path}"), executable: false, bytes: text.len() as u64 };
            self.parts.push((member, text.as_bytes().to_vec(), None));
        }
        let (head, tree): (Vec<Part>, Vec<Part>) =
            std::mem::take(&mut self.parts).into_iter().partition(|(member, ..)| !member.path.starts_with(TREE));
        let mut tree = tree;
        tree.sort_by(|a, b| a.0.path.cmp(&b.0.path));
        let line = |(member, content, _): &Part| {
            let hash = digest::of_text(&String::from_utf8_lossy(content));
            format!("{} {hash} {}\n", if member.executable { 'x' } else { '-' }, &member.path[TREE.len()..])
        };
        let list: String = tree.iter().map(line).collect();
        let (count, bytes) = (tree.len(), tree.iter().map(|part| part.1.len()).sum::<usize>());
        self.parts = head.into_iter().chain(tree).collect();
        let lock = lock_of_six("files.invalid");
        let digest = digest::of_environment(&lock, &interpreter(), &list);
        self.edit(FILES, |_| list.clone());
        self.claim("digest", digest.into());
        self.claim("files", count.into());
        self.claim("bytes", bytes.into());
    }

    fn claim(&mut self, field: &str, value: serde_json::Value) {
        self.edit(MANIFEST, |text| {
            let mut claims: serde_json::Value = serde_json::from_str(text).unwrap();
            claims[field] = value.clone();
            claims.to_string()
        });
    }

    fn bytes(&self) -> Vec<u8> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        for (member, content, header) in &self.parts {
            let mut writer = Writer::new(Vec::new());
            match header {
                Some(header) => packed.write_all(header).unwrap(),
                None => {
                    writer.begin(member).unwrap();
                    let whole = writer.finish().unwrap();
                    packed.write_all(&whole[..whole.len() - 2 * BLOCK]).unwrap();
                }
            }
            packed.write_all(content).unwrap();
            packed.write_all(&vec![0; content.len().next_multiple_of(BLOCK) - content.len()]).unwrap();
        }
        packed.write_all(&[0; 2 * BLOCK]).unwrap();
        packed.write_all(&self.trailer).unwrap();
        packed.finish().unwrap()
    }

    fn path(&self) -> PathBuf {
        self.root.path().join("archive")
    }

    fn import(&self, store: &Store) -> Result<Environment, Error> {
        fs::write(self.path(), self.bytes()).unwrap();
        self.import_file(store)
    }

    fn import_file(&self, store: &Store) -> Result<Environment, Error> {
        let mut silent = Silent;
        let mut importer = Importer { store, machine: &Machine::default(), limits: self.limits, progress: &mut silent };
        // Whoever only looks comes to the same answer.
        let checked = Archive::open(&self.path()).and_then(|archive| importer.check(archive));
        let archive = Archive::open(&self.path());
        let imported = archive.and_then(|archive| importer.import(archive, &interpreter(), &mut Compiled::default()));
        // The space that a disk has left differs from one moment to the next.
        let why = |error: &Error| error.why().replace(|c: char| c.is_ascii_digit(), "");
        let same = [checked.as_ref().err(), imported.as_ref().err()].map(|error| error.map(why));
        assert_eq!(same[0], same[1]);
        imported
    }

    /// Why it is refused; and nothing of it is anywhere.
    #[track_caller]
    fn refused(&self) -> String {
        fs::write(self.path(), self.bytes()).unwrap();
        self.refused_file()
    }

    #[track_caller]
    fn refused_file(&self) -> String {
        let (_root, store) = store();
        let error = self.import_file(&store).map(|environment| environment.digest).unwrap_err();
        assert!(store.digests().is_empty());
        assert_eq!(fs::read_dir(store.root().join("building")).unwrap().count(), 0);
        error.why().to_owned()
    }
}

fn paths(root: &std::path::Path) -> Vec<String> {
    crate::record::paths(root).unwrap()
}

#[test]
fn an_environment_comes_back_with_the_same_digest_and_the_same_files() {
    let ((_from, one), (_to, other)) = (store(), store());
    let environment = built(&one, &[(&format!("{SITE}/package/ä b,c.txt"), "data"), ("share/x", "")]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let exported = export(&environment, &path, &mut Silent).unwrap();
    assert_eq!((exported.files, exported.archive_bytes), (6, fs::metadata(&path).unwrap().len()));
    // The bytes follow from the environment alone.
    export(&environment, &folder.path().join("b"), &mut Silent).unwrap();
    assert_eq!(fs::read(&path).unwrap(), fs::read(folder.path().join("b")).unwrap());
    assert!(export(&environment, &path, &mut Silent).unwrap_err().why().contains("already"));

    let desk = Desk { root: folder, limits: Limits::default(), parts: Vec::new(), trailer: Vec::new() };
    fs::rename(&path, desk.path()).unwrap();
    let imported = desk.import_file(&other).unwrap();
    assert_eq!(imported.digest, environment.digest);
    assert!(imported.imported && !environment.imported);
    assert_eq!(imported.packages, environment.packages);
    assert_eq!(paths(&imported.folder), paths(&environment.folder));
    assert_eq!(imported.shadowed, ["six.py"]);
    let verified = verify::verify(&other, &imported.digest).unwrap();
    assert_eq!(verified.wrong, []);

    // What the digest does not cover was made here.
    let read = |path: &str| fs::read_to_string(imported.folder.join(path)).unwrap();
    assert_eq!(read(&format!("{SITE}/__pycache__/six.cpython-311.pyc")), "of the import");
    assert!(read("bin/tool").starts_with("#!/opt/stockade/env/bin/python\nimport sys\nfrom six import main\n"));
    let record = read(&format!("{SITE}/six-1.17.0.dist-info/RECORD"));
    let line = format!("six.py,sha256={},6\n", "e-q6q6FP4V2PZ_9R0xjE5v7UyhXf2WyDlyKHlHpqZxQ");
    assert_eq!(record.lines().count(), 3, "{record}");
    assert!(record.starts_with("six-1.17.0.dist-info/METADATA,sha256=") || record.contains(&line), "{record}");
    assert!(record.ends_with("six-1.17.0.dist-info/RECORD,,\n") && !record.contains("passwd"), "{record}");

    // A second time nothing is done: the jail is not asked.
    let mut silent = Silent;
    let mut importer =
        Importer { store: &other, machine: &Machine::default(), limits: Limits::default(), progress: &mut silent };
    struct Never;
    impl Jail for Never {
        fn run(&mut self, _: JailStep<'_>) -> Result<JailOutcome, JailFailure> {
            panic!("nothing is to be done");
        }
    }
    let again = importer.import(Archive::open(&desk.path()).unwrap(), &interpreter(), &mut Never).unwrap();
    assert_eq!(again, imported);
    // And what was imported exports as what was built.
    export(&imported, &desk.root.path().join("c"), &mut Silent).unwrap();
    assert_eq!(fs::read(desk.root.path().join("c")).unwrap(), fs::read(desk.path()).unwrap());
}

#[test]
fn an_archive_that_was_taken_apart_and_put_together_is_good() {
    let (_root, store) = store();
    assert!(Desk::new().import(&store).is_ok());
}

#[test]
fn a_path_that_leads_out_is_refused() {
    for path in ["../evil", "/tmp/evil", "lib/../../../evil", "a/./b"] {
        // Beside the list, and in a list that was made for it.
        let mut desk = Desk::new();
        desk.smuggle(&format!("{TREE}{path}"), |_| {});
        assert!(desk.refused().contains("not in its list"));
        let mut desk = Desk::new();
        desk.smuggle(path, |_| {});
        assert!(desk.refused().contains("not in its list"));
        let mut desk = Desk::new();
        desk.consistent(&[(path, "evil")]);
        assert!(desk.refused().contains("no plain relative path"), "{path}");
    }
}

#[test]
fn links_devices_fifos_and_folders_are_refused() {
    for (kind, why) in [
        (b'1', "hard link"),
        (b'2', "symbolic link"),
        (b'3', "device"),
        (b'4', "device"),
        (b'5', "no regular file"),
        (b'6', "FIFO"),
        (b'7', "no regular file"),
        (b'S', "sparse"),
        (b'L', "no regular file"),
        (b'g', "no regular file"),
        (0, "no regular file"),
    ] {
        let mut desk = Desk::new();
        desk.smuggle("tree/zz", |header| {
            header[156] = kind;
            header[157..168].copy_from_slice(b"/etc/passwd");
        });
        let said = desk.refused();
        assert!(said.contains(why), "{kind}: {said}");
        // In the place of a file that has to come, too.
        let at = desk.at("tree/bin/program");
        desk.parts[at] = desk.parts.pop().unwrap();
        assert!(desk.refused().contains(why));
    }
    // A link's target in the header of a regular file, and every other field that is not as we write it.
    for at in [108, 116, 136, 157, 265, 297, 329, 500] {
        let mut desk = Desk::new();
        desk.smuggle("tree/zz", |header| header[at] = b'1');
        assert!(desk.refused().contains("not as `stockade env export` writes it"), "{at}");
    }
}

#[test]
fn mode_bits_that_give_rights_are_refused() {
    for mode in ["0004755", "0002755", "0001644", "0007777"] {
        let mut desk = Desk::new();
        desk.smuggle("tree/zz", |header| header[100..107].copy_from_slice(mode.as_bytes()));
        assert!(desk.refused().contains("set-uid"));
    }
    for mode in ["0000777", "0000600", "0100644"] {
        let mut desk = Desk::new();
        desk.smuggle("tree/zz", |header| header[100..107].copy_from_slice(mode.as_bytes()));
        assert!(desk.refused().contains("not as `stockade"));
    }
    let mut desk = Desk::new();
    let at = desk.at(&format!("{TREE}{SITE}/six.py"));
    desk.parts[at].0.executable = true;
    assert!(desk.refused().contains("executable"));
}

#[test]
fn names_that_come_twice_are_refused() {
    let mut desk = Desk::new();
    let at = desk.at("tree/bin/program");
    desk.parts.insert(at, desk.parts[at].clone());
    assert!(desk.refused().contains("not in its place"));
    desk.parts.swap(at + 1, at + 2);
    assert!(desk.refused().contains("not in its place"));
    let mut desk = Desk::new();
    desk.consistent(&[("lib/Python3.11/x", "")]);
    assert!(desk.refused().contains("small and capital letters"));
    let mut desk = Desk::new();
    desk.consistent(&[(&format!("{SITE}/SIX.py"), "evil")]);
    assert!(desk.refused().contains("small and capital letters"));
    let mut desk = Desk::new();
    desk.consistent(&[("bin/program/x", "")]);
    assert!(desk.refused().contains("folder of other files"));
}

#[test]
fn bombs_are_refused_before_they_are_unpacked() {
    // By size: what the manifest owns up to …
    let mut desk = Desk::new();
    desk.limits.environment_bytes_max = 10;
    fs::write(desk.path(), desk.bytes()).unwrap();
    let (_root, store) = store();
    assert!(desk.import_file(&store).unwrap_err().to_string().contains("too large"));
    desk.limits = Limits::default();
    desk.claim("bytes", u64::MAX.into());
    desk.limits.environment_bytes_max = u64::MAX;
    assert!(desk.refused().contains("the disk of the store has"));
    // … and what it does not.
    let mut desk = Desk::new();
    let at = desk.at("tree/bin/program");
    desk.set(at, vec![0; 8 << 20]);
    assert!(desk.refused().contains("larger than its manifest says"));
    let mut desk = Desk::new();
    desk.smuggle("tree/zz", |header| header[124..135].copy_from_slice(b"77777777777"));
    assert!(desk.refused().contains("not in its list"));
    // By the sizes of what is held in memory.
    for name in [MANIFEST, LOCK, FILES, RECORDS] {
        let mut desk = Desk::new();
        let at = desk.at(name);
        let (mut member, content, _) = desk.parts[at].clone();
        member.bytes = 1 << 30;
        let mut header = Writer::new(Vec::new());
        header.begin(&member).unwrap();
        let header = header.finish().unwrap()[..BLOCK].to_vec();
        desk.parts[at] = (member, content, Some(header));
        let said = desk.refused();
        assert!(said.contains("too large"), "{name}: {said}");
    }
    // By count and by depth.
    let mut desk = Desk::new();
    desk.claim("files", 500_001.into());
    assert!(desk.refused().contains("500,000"));
    let mut desk = Desk::new();
    desk.consistent(&[(&format!("{}x", "a/".repeat(64)), "")]);
    assert!(desk.refused().contains("deeper than 64"));
    let mut desk = Desk::new();
    desk.consistent(&[(&vec!["a".repeat(210); 5].join("/"), "")].map(|(path, text)| (path.as_str(), text)));
    assert!(desk.refused().contains("1,024"));
}

#[test]
fn files_that_are_not_those_of_the_list_are_refused() {
    let six = format!("{TREE}{SITE}/six.py");
    let mut desk = Desk::new();
    desk.edit(&six, |_| "x = 2\n".to_owned());
    assert!(desk.refused().contains("other contents"));
    let mut desk = Desk::new();
    desk.parts.remove(desk.at("tree/bin/program"));
    assert!(desk.refused().contains("comes next"));
    let mut desk = Desk::new();
    assert_eq!(desk.parts.pop().unwrap().0.path, six);
    assert!(desk.refused().contains("missing"));
    let mut desk = Desk::new();
    desk.smuggle("tree/zz", |_| {});
    assert!(desk.refused().contains("not in its list"));
    let mut desk = Desk::new();
    desk.edit(FILES, |text| text.lines().skip(1).map(|line| format!("{line}\n")).collect());
    assert!(desk.refused().contains("those of its digest"));
    let mut desk = Desk::new();
    desk.edit(FILES, |text| text.replacen('a', "b", 1));
    assert!(desk.refused().contains("those of its digest"));
}

#[test]
fn bytecode_and_launchers_are_never_taken() {
    // Beside the list …
    let mut desk = Desk::new();
    desk.smuggle(&format!("{TREE}{SITE}/__pycache__/six.cpython-311.pyc"), |_| {});
    assert!(desk.refused().contains("not in its list"));
    // … and in a list that was made for it.
    for path in [&*format!("{SITE}/__pycache__/six.cpython-311.pyc"), &*format!("{SITE}/six-1.17.0.dist-info/RECORD")] {
        let mut desk = Desk::new();
        desk.consistent(&[(path, "evil")]);
        assert!(desk.refused().contains("made anew"));
    }
    // A launcher is one that starts the interpreter: what the digest would not cover is no file of a list.
    let mut desk = Desk::new();
    desk.consistent(&[("bin/evil", "#!/opt/stockade/python/bin/python3.11\nimport evil\n")]);
    assert!(desk.refused().contains("another digest"));
    // What a compile step leaves is believed no more.
    let (_root, store) = store();
    let desk = Desk::new();
    fs::write(desk.path(), desk.bytes()).unwrap();
    for path in ["x/__pycache__/y.cpython-311.pyc", "bin/python3", "sitecustomize.py", "__pycache__/a.b.c.pyc"] {
        let mut silent = Silent;
        let mut importer =
            Importer { store: &store, machine: &Machine::default(), limits: Limits::default(), progress: &mut silent };
        let mut jail = Compiled(vec![(path.to_owned(), "evil")]);
        let refused = importer.import(Archive::open(&desk.path()).unwrap(), &interpreter(), &mut jail).unwrap_err();
        assert!(refused.why().contains("bytecode of no module"), "{}", refused.why());
        assert!(store.digests().is_empty());
    }
}

#[test]
fn start_up_code_and_what_makes_an_environment_are_not_taken() {
    for (path, text) in [
        (&*format!("{SITE}/evil.pth"), "import os\n"),
        (&*format!("{SITE}/sitecustomize.py"), "import os\n"),
        (&*format!("{SITE}/paths.pth"), "/tmp\n"),
    ] {
        let mut desk = Desk::new();
        desk.consistent(&[(path, text)]);
        assert!(desk.refused().contains("start-up code"), "{path}");
    }
    for path in
        ["pyvenv.cfg", "bin/python", "bin/python3.11", "bin/python._pth", "complete", "recorded.txt", "manifest.json"]
    {
        let mut desk = Desk::new();
        desk.consistent(&[(path, "home = /evil\n")]);
        assert!(desk.refused().contains("only stockade makes"), "{path}");
    }
}

#[test]
fn a_changed_lock_is_refused() {
    for (from, to) in [
        ("1.17.0", "1.18.0"),
        ("4721f391", "00000000"),
        ("name = \"six\"", "name = \"evil\""),
        ("https://files.invalid", "http://files.invalid"),
        ("https://files.invalid", "https://user:pass@files.invalid"),
        ("created-by = \"stockade\"", "created-by = \"\\u001b[31m\""),
        ("/six-1.17.0-py2", "/../six-1.17.0-py2\\u0022"),
        ("lock-version = \"1.0\"", "lock-version = \"9\""),
        ("lock-version", "# hidden\nlock-version"),
        ("lock-version", "\u{0}"),
    ] {
        let mut desk = Desk::new();
        desk.edit(LOCK, |text| text.replace(from, to));
        let said = desk.refused();
        assert!(said.contains("lock"), "{to}: {said}");
    }
}

#[test]
fn a_changed_manifest_is_refused() {
    let no_array = serde_json::json!([]);
    let other = serde_json::json!([{"name": "six", "version": "9"}]);
    for (field, value, why) in [
        ("digest", "0".repeat(64).into(), "those of its digest"),
        ("digest", "../../x".into(), "its digest is none"),
        ("abi", "cp312".into(), "those of its digest"),
        ("platform", "linux_aarch64".into(), "those of its digest"),
        ("executable", "/tmp/evil/python3.11".into(), "those of its digest"),
        ("executable", "bin/python".into(), "names no interpreter"),
        ("executable", "/a b/python".into(), "names no interpreter"),
        ("python", "3.11.7\nhome = /evil".into(), "names no interpreter"),
        ("python", "x".into(), "names no interpreter"),
        ("packages", no_array, "other packages"),
        ("packages", other, "other packages"),
        ("files", 1.into(), "another number"),
        ("bytes", 1.into(), "larger than its manifest"),
        ("bytes", 1_000_000.into(), "smaller than its manifest"),
        ("format", 2.into(), "another format"),
        ("surprise", 1.into(), "manifest is none"),
    ] {
        let mut desk = Desk::new();
        desk.claim(field, value);
        let said = desk.refused();
        assert!(said.contains(why), "{field}: {said}");
    }
    for records in [r#"{"lib":[0]}"#, r#"{"../../etc.dist-info":[0]}"#, "[]"] {
        let mut desk = Desk::new();
        desk.edit(RECORDS, |_| records.to_owned());
        assert!(desk.refused().contains("record of packages"), "{records}");
    }
    let mut desk = Desk::new();
    desk.edit(RECORDS, |text| text.replace('[', "[99999,"));
    assert!(desk.refused().contains("record of packages"));
}

#[test]
fn an_archive_that_is_cut_short_is_refused() {
    let desk = Desk::of(&[("share/noise", &(0..20_000).map(|n| format!("{n}")).collect::<String>())]);
    let whole = desk.bytes();
    for length in [0, 1, 9, 10, 500, whole.len() / 2, whole.len() - 9, whole.len() - 8, whole.len() - 1] {
        fs::write(desk.path(), &whole[..length]).unwrap();
        desk.refused_file();
    }
    for at in [3, 4, whole.len() / 2, whole.len() - 6, whole.len() - 2] {
        let mut bad = whole.clone();
        bad[at] ^= 0x40;
        fs::write(desk.path(), &bad).unwrap();
        desk.refused_file();
    }
}

#[test]
fn nothing_may_follow_an_archive() {
    let mut desk = Desk::new();
    desk.trailer = vec![0; 512];
    assert!(desk.refused().contains("follows its end"));
    desk.trailer = Vec::new();
    let whole = desk.bytes();
    for more in [&[0][..], b"PK\x05\x06", &whole] {
        fs::write(desk.path(), [&whole, more].concat()).unwrap();
        assert!(desk.refused_file().contains("follows its end"));
    }
    // One zero block instead of two, with a file behind it.
    let mut packed = GzDecoder::new(whole.as_slice());
    let mut plain = Vec::new();
    packed.read_to_end(&mut plain).unwrap();
    plain.splice(plain.len() - BLOCK.., *b"x");
    let mut again = GzEncoder::new(Vec::new(), Compression::fast());
    again.write_all(&plain).unwrap();
    fs::write(desk.path(), again.finish().unwrap()).unwrap();
    desk.refused_file();
}

#[test]
fn another_interpreter_is_refused_by_name() {
    let desk = Desk::new();
    fs::write(desk.path(), desk.bytes()).unwrap();
    let (_root, store) = store();
    let mut silent = Silent;
    let mut importer =
        Importer { store: &store, machine: &Machine::default(), limits: Limits::default(), progress: &mut silent };
    let (mut newer, mut other) = (interpreter(), interpreter());
    newer.version = "3.11.99".into();
    other.abi = "cp312".into();
    let error = importer.import(Archive::open(&desk.path()).unwrap(), &other, &mut Compiled::default()).unwrap_err();
    assert!(error.why().contains("Python 3.11.7 (cp311, linux_x86_64)") && error.why().contains("cp312"));
    // The last part of a version is another matter, and the environment then says what it runs with.
    let imported = importer.import(Archive::open(&desk.path()).unwrap(), &newer, &mut Compiled::default()).unwrap();
    assert_eq!(imported.interpreter.version, "3.11.99");
    assert_eq!(verify::verify(&store, &imported.digest).unwrap().wrong, []);
}

#[test]
fn an_archive_that_was_told_of_is_held_against_it() {
    let desk = Desk::new();
    fs::write(desk.path(), desk.bytes()).unwrap();
    let archive = Archive::open(&desk.path()).unwrap();
    assert!(archive.expect(&archive.digest()[..12]).is_ok() && archive.expect(archive.digest()).is_ok());
    for bad in ["", "abc", &"0".repeat(64), "../../../../..", &archive.digest()[..11]] {
        assert!(archive.expect(bad).is_err(), "{bad}");
    }
}

#[test]
fn what_is_no_regular_file_is_not_waited_for() {
    let desk = Desk::new();
    assert!(std::process::Command::new("mkfifo").arg(desk.path()).status().unwrap().success());
    assert!(Archive::open(&desk.path()).unwrap_err().why().contains("no regular file"));
    assert!(Archive::open(std::path::Path::new("/dev/zero")).unwrap_err().why().contains("no regular file"));
}
