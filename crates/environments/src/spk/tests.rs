//! Spotfire packages, honest and hostile. They are made by hand: the usual writers refuse most of these.

use std::io::Write;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use proptest::prelude::*;
use rawzip::{CompressionMethod, ZipArchiveWriter};

use super::*;

const SITE: &str = "root/python/lib/python3.11/site-packages";

fn zip(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = ZipArchiveWriter::new(&mut bytes);
    for (name, contents) in members {
        let (mut entry, config) = writer
            .new_file(rawzip::path::EntryPath::verbatim(name.as_bytes()))
            .compression_method(CompressionMethod::DEFLATE)
            .start()
            .unwrap();
        let mut packed = config.wrap(DeflateEncoder::new(&mut entry, Compression::fast()));
        packed.write_all(contents).unwrap();
        let (encoder, descriptor) = packed.finish().unwrap();
        encoder.finish().unwrap();
        entry.finish(descriptor).unwrap();
    }
    writer.finish().unwrap();
    bytes
}

fn installed(name: &str, version: &str) -> (String, Vec<u8>) {
    let text =
        format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nLicense: x\n\nVersion: of its description\n");
    (format!("{SITE}/{name}-{version}.dist-info/METADATA"), text.into_bytes())
}

/// A package with this content.
fn spk_of(payload: Vec<u8>) -> Vec<u8> {
    zip(&[
        ("module.xml", b"<module/>".to_vec()),
        ("Metadata.xml", b"<Package/>".to_vec()),
        ("Contents/Python Packages Linux.zip", payload),
    ])
}

fn spk(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    spk_of(zip(members))
}

fn read_bytes(bytes: &[u8]) -> Result<Library, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("library.spk");
    std::fs::write(&path, bytes).unwrap();
    read(&path, "3.11.7")
}

fn texts(library: &Library) -> Vec<&str> {
    library.lines.iter().map(|line| line.requirement.text.as_str()).collect()
}

#[track_caller]
fn refusal(bytes: &[u8], why: &str) -> Error {
    let error = read_bytes(bytes).unwrap_err();
    assert!(error.why().contains(why), "{why}: {}", error.why());
    assert!(!error.next().is_empty() && !error.to_string().contains('\x1b') && !error.why().contains('\x1b'));
    error
}

#[test]
fn what_is_installed_and_what_was_asked_for_is_read() {
    let (six, idna) = (installed("six", "1.17.0"), installed("Idna", "3.10"));
    let members = [
        (&*six.0, six.1),
        (&*idna.0, idna.1),
        ("root/python/lib/python3.11/site-packages/six.py", b"evil = 1".to_vec()),
        // Of a copy that a package carries within it.
        (
            "root/python/lib/python3.11/site-packages/six/_vendor/old-1.dist-info/METADATA",
            b"Name: old\nVersion: 1".to_vec(),
        ),
        (
            "root/requirements-Python Packages Linux.txt",
            b"six\npandas>=2  # brought by Spotfire itself\n## spotfire.spk: {\"BrandVersion\":2,\"Server\":{}}\n"
                .to_vec(),
        ),
        ("root/constraints-Python Packages Linux.txt", b"nothing==1".to_vec()),
        ("root/Tools/Update/packages_chmod.sh", b"#!/bin/sh\nrm -rf /".to_vec()),
    ];
    let library = read_bytes(&spk(&members)).unwrap();
    assert_eq!(texts(&library), ["six==1.17.0", "idna==3.10", "six", "pandas>=2"]);
    assert!(library.remark.contains("names 2 packages by version"), "{}", library.remark);
    assert!(!library.remark.contains("made for"), "{}", library.remark);
}

#[test]
fn another_python_is_said_and_windows_is_read() {
    let about = || b"Name: six\nVersion: 1.17.0\n".to_vec();
    let old = "root/python/lib/python3.1/site-packages/six-1.17.0.dist-info/METADATA";
    assert!(read_bytes(&spk(&[(old, about())])).unwrap().remark.ends_with("it was made for Python 3.1"));
    let windows = "root\\python\\Lib\\site-packages\\six-1.17.0.dist-info\\METADATA";
    assert_eq!(texts(&read_bytes(&spk(&[(windows, about())])).unwrap()), ["six==1.17.0"]);
}

#[test]
fn what_is_no_spotfire_package_of_libraries_is_refused() {
    refusal(b"", "no zip that can be read");
    refusal(&[b'x'; 100_000], "no zip that can be read");
    refusal(&zip(&[]), "it is no Spotfire package");
    refusal(&zip(&[("module.xml", Vec::new())]), "it is no Spotfire package");
    refusal(&zip(&[("Contents/x.zip", zip(&[]))]), "it is no Spotfire package");
    let two = [("module.xml", Vec::new()), ("Contents/a.zip", zip(&[])), ("Contents/b.zip", zip(&[]))];
    refusal(&zip(&two), "it is no Spotfire package");
    refusal(&zip(&[("module.xml", Vec::new()), ("Contents/x.cab", b"MSCF".to_vec())]), "a cabinet, which is not read");
    refusal(&spk_of(b"no zip".to_vec()), "no zip that can be read");
    refusal(&spk(&[("root/python/bin/python3", Vec::new())]), "it names no package");
}

#[test]
fn members_that_lead_elsewhere_are_refused_in_either_zip() {
    for (name, why) in [
        ("/etc/passwd", "leads out"),
        ("root/../../x", "leads out"),
        ("root\\..\\x", "leads out"),
        ("C:\\x", "leads out"),
        ("..", "leads out"),
        ("a\0b", "a name that no file has"),
    ] {
        refusal(&spk(&[(name, Vec::new())]), why);
        refusal(&zip(&[("module.xml", Vec::new()), (name, Vec::new()), ("Contents/x.zip", zip(&[]))]), why);
    }
    assert!(refusal(&spk(&[("../\x1b[31m\u{202e}", Vec::new())]), "leads out").why().contains("\\u{1b}"));
    // A link, as the writer of Info-ZIP marks it.
    let mut bytes = Vec::new();
    let mut writer = ZipArchiveWriter::new(&mut bytes);
    let (mut entry, config) = writer
        .new_file("root/link")
        .compression_method(CompressionMethod::STORE)
        .unix_permissions(0o120_777)
        .start()
        .unwrap();
    let mut plain = config.wrap(&mut entry);
    plain.write_all(b"/etc/passwd").unwrap();
    let (_, descriptor) = plain.finish().unwrap();
    entry.finish(descriptor).unwrap();
    writer.finish().unwrap();
    refusal(&spk_of(bytes), "is a symbolic link");
}

#[test]
fn what_unpacks_to_far_more_than_it_is_is_refused() {
    // The inner zip: 80 MiB of zeros in less than half a MiB.
    refusal(&spk_of(vec![0; 80 << 20]), "Linux.zip` is larger than");
    let (metadata, _) = installed("six", "1");
    refusal(&spk(&[(&metadata, vec![b'x'; 2 << 20])]), "is larger than 1048576 bytes");
    let large = |n: usize| {
        (format!("{SITE}/p{n}-1.dist-info/METADATA"), {
            let mut text = format!("Name: p{n}\nVersion: 1\n\n").into_bytes();
            text.resize(1_000_000, b'x');
            text
        })
    };
    let many: Vec<(String, Vec<u8>)> = (0..80).map(large).collect();
    let many: Vec<(&str, Vec<u8>)> = many.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    refusal(&spk(&many), "is larger than");
    let names: Vec<String> = (0..1_001).map(|n| format!("x{n}")).collect();
    let mut outer: Vec<(&str, Vec<u8>)> = names.iter().map(|name| (name.as_str(), Vec::new())).collect();
    outer.push(("module.xml", Vec::new()));
    refusal(&zip(&outer), "more than 1000 members");
    let names: Vec<String> = (0..3_001).map(|n| format!("{SITE}/p{n}-1.dist-info/METADATA")).collect();
    let inner: Vec<(&str, Vec<u8>)> = names.iter().map(|name| (name.as_str(), Vec::new())).collect();
    refusal(&spk(&inner), "more than 3000 of its members");
}

#[test]
fn what_a_package_says_of_itself_is_held_to_the_rules_of_requirements() {
    let (path, _) = installed("six", "1");
    let with = |text: &str| spk(&[(&path, text.as_bytes().to_vec())]);
    refusal(&with("Summary: nothing\n"), "names no package and version");
    refusal(&with("Name: six\nVersion:\n"), "names no package and version");
    for (name, version) in [
        ("evil @ https://files.invalid/x.whl", "1"),
        ("--index-url https://index.invalid", "1"),
        ("../evil", "1"),
        ("six", "1; python_version > '3'\n --pre"),
        ("six", "no version"),
        ("six\x1b[2J", "1"),
    ] {
        let error = read_bytes(&with(&format!("Name: {name}\nVersion: {version}\n"))).unwrap_err();
        assert!(error.to_string().contains("METADATA` in `"), "{error}");
        assert!(!error.to_string().contains('\x1b'));
    }
    for line in ["--index-url https://index.invalid/simple", "-r ../other.txt", "x @ file:///etc/passwd", "-e ."] {
        let error = read_bytes(&spk(&[("root/requirements.txt", format!("six\n{line}\n").into_bytes())])).unwrap_err();
        assert!(error.to_string().contains("requirements.txt` in `"), "{error}");
        assert!(error.to_string().contains("line 2"), "{error}");
    }
    // What was not installed from an index: there it may be somebody else's.
    let direct = path.replace("METADATA", "direct_url.json");
    let members =
        [(&*path, b"Name: six\nVersion: 1\n".to_vec()), (&*direct, b"{\"url\": \"file:///home/me/six\"}".to_vec())];
    let error = read_bytes(&spk(&members)).unwrap_err();
    assert!(error.why().contains("installed from a URL or folder"), "{}", error.why());
}

#[test]
fn what_is_no_regular_file_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.spk");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    assert_eq!(read(&path, "3.11.7").unwrap_err().why(), "it is no regular file");
    assert_eq!(read(&folder.path().join("y.spk"), "3.11.7").unwrap_err().why(), "no such file or directory");
}

#[test]
fn a_damaged_member_is_not_believed() {
    let (six, text) = installed("six", "1.17.0");
    let mut payload = zip(&[(&six, text)]);
    // A checksum of the list, which lies behind the data.
    let at = payload.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap() + 16;
    payload[at] ^= 1;
    refusal(&spk_of(payload), "cannot be read");
}

proptest! {
    /// Whatever is changed, cut or put in: an answer, in time, and no panic.
    #[test]
    fn no_damage_is_more_than_a_refusal(at in 0_usize..2_000, byte: u8, cut in 0_usize..2_000) {
        let (six, text) = installed("six", "1.17.0");
        let mut bytes = spk(&[(&six, text)]);
        let length = bytes.len();
        bytes[at % length] = byte;
        bytes.truncate(length - cut % (length / 2) * usize::from(byte % 2 == 0));
        match read_bytes(&bytes) {
            Ok(library) => prop_assert!(library.lines.len() <= 1),
            Err(error) => prop_assert!(!error.why().is_empty()),
        }
    }
}

#[test]
fn a_size_that_a_package_only_claims_lets_no_more_be_unpacked() {
    let mut bytes = spk_of(vec![0; 100 << 20]);
    // The packed size, in the last entry of the directory (APPNOTE 4.3.12).
    let entry = bytes.windows(4).rposition(|four| four == b"PK\x01\x02").unwrap();
    bytes[entry + 20..entry + 24].copy_from_slice(&(200_u32 << 20).to_le_bytes());
    refusal(&bytes, "larger than");
}
