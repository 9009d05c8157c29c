//! Random hostile trees.

use crate::support::{Place, make_node, open, readable, set_mode};
use proptest::prelude::*;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::{CWD, RenameFlags};
use std::collections::BTreeSet;
use std::fs;
use std::hash::Hash;
use std::hash::Hasher;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use stockade_launch::collect::{Bounds, CACHE_FOLDERS, Collected, Existing, shown};

#[derive(Debug, Clone)]
enum Node {
    File { bytes: usize, mode: u32 },
    Sparse { bytes: u64 },
    Folder { children: Vec<(Vec<u8>, Node)>, mode: u32 },
    Symlink { target: &'static str },
    Fifo,
    Socket,
    Device,
    HardLink,
    Chain { levels: usize },
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let known: &[&[u8]] = &[
        b"a",
        b"b",
        b"data.csv",
        b"__pycache__",
        b"x.pyc",
        b".git",
        b".cache",
        b"hooks",
        b"pre-commit",
        b"new\nline",
        b"esc\x1b[31m",
        b"\xff\xfe\x80",
        b"...",
        b"-rf",
        b"~",
        b"*",
        b"planted",
        b"planted-folder",
        b" ",
        b".stockade-00000000.part",
        b"\xe2\x80\xae",
        b"\xd0\xb4",
        b"$(id)",
        b"back\\slash",
        b"q\"'`",
    ];
    prop_oneof![
        4 => prop::sample::select(known).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(1_u8..=255, 1..40),
        1 => (1_usize..=255).prop_map(|length| vec![b'n'; length]),
    ]
    .prop_map(|mut name| {
        name.iter_mut().filter(|byte| **byte == b'/').for_each(|byte| *byte = b'_');
        if name == b"." || name == b".." {
            name.push(b'x')
        }
        name
    })
}

fn node() -> impl Strategy<Value = Node> {
    let leaf = prop_oneof![
        6 => (0_usize..3_000, 0_u32..=0o7777).prop_map(|(bytes, mode)| Node::File { bytes, mode }),
        1 => (130_000_usize..300_000).prop_map(|bytes| Node::File { bytes, mode: 0o644 }),
        1 => (1_u64..1 << 41).prop_map(|bytes| Node::Sparse { bytes }),
        2 => prop::sample::select(&["/", "..", "../../secret", "/etc/passwd", "a", "../secret/file", "/proc/self/root"][..])
            .prop_map(|target| Node::Symlink { target }),
        1 => Just(Node::Fifo),
        1 => Just(Node::Socket),
        1 => Just(Node::Device),
        1 => Just(Node::HardLink),
        1 => prop::sample::select(&[1_usize, 30, 140][..]).prop_map(|levels| Node::Chain { levels }),
    ];
    leaf.prop_recursive(5, 60, 8, |inner| {
        (prop::collection::vec((name(), inner), 0..8), 0_u32..=0o7777)
            .prop_map(|(children, mode)| Node::Folder { children, mode })
    })
}

fn bounds() -> impl Strategy<Value = Bounds> {
    (0_u64..400_000, 0_u64..40, 0_usize..140, 0_u64..200_000, 1_usize..=300, 0_usize..200).prop_map(
        |(bytes_max, files_max, depth_max, file_bytes_max, name_bytes_max, entries_max)| Bounds {
            bytes_max,
            files_max,
            depth_max,
            file_bytes_max,
            name_bytes_max,
            entries_max,
            caches: stockade_launch::collect::Caches::Skip,
        },
    )
}

fn build(at: &Path, node: &Node, first: &Path) {
    if at.symlink_metadata().is_ok() {
        return;
    }
    match node {
        Node::File { bytes, mode } => {
            if fs::write(at, vec![u8::try_from(bytes % 256).unwrap(); *bytes]).is_ok() {
                set_mode(at, readable(*mode));
            }
        }
        Node::Sparse { bytes } => fs::File::create(at).unwrap().set_len(*bytes).unwrap(),
        Node::Folder { children, mode } => {
            fs::create_dir(at).unwrap();
            for (name, child) in children {
                build(&at.join(std::ffi::OsStr::from_bytes(name)), child, first);
            }
            set_mode(at, readable(*mode));
        }
        Node::Symlink { target } => symlink(target, at).unwrap(),
        Node::Fifo => make_node(at, FileType::Fifo),
        Node::Socket => make_node(at, FileType::Socket),
        Node::Device => make_node(at, FileType::CharacterDevice),
        Node::HardLink => drop(fs::hard_link(first, at)),
        Node::Chain { levels } => {
            fs::create_dir(at).unwrap();
            let mut folder = open(at);
            for _ in 0..*levels {
                rustix::fs::mkdirat(&folder, "c", Mode::from_raw_mode(0o755)).unwrap();
                folder = rustix::fs::openat(&folder, "c", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
            }
            let file = rustix::fs::openat(&folder, "end", OFlags::CREATE | OFlags::WRONLY, Mode::from_raw_mode(0o644));
            rustix::io::write(file.unwrap(), b"end").unwrap();
        }
    }
}

/// One line for each thing below a folder: kind, mode, size, and content if small.
fn snapshot(top: &Path, skip: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut folders = vec![top.to_owned()];
    while let Some(folder) = folders.pop() {
        let mut entries: Vec<PathBuf> =
            fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries.into_iter().filter(|path| path != skip) {
            let facts = path.symlink_metadata().unwrap();
            let small = facts.is_file() && facts.len() < 400_000;
            let content = if small { fs::read(&path).map_or(0, |content| digest(&content)) } else { 0 };
            let target = fs::read_link(&path).ok();
            // What was closed to its owner may have been opened up on scratch.
            let mode = facts.mode() & !0o7000 | 0o500;
            lines.push(format!("{path:?} {mode:o} {} {} {target:?} {content}", facts.len(), facts.ino()));
            if facts.is_dir() {
                folders.push(path);
            }
        }
    }
    lines
}

fn digest(content: &[u8]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}

/// Every regular file below a folder, as the tests see it.
fn regular_files(top: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![top.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let facts = path.symlink_metadata().unwrap();
            if facts.is_dir() {
                folders.push(path.clone());
            }
            if facts.is_file() {
                files.push(path.strip_prefix(top).unwrap().to_owned());
            }
        }
    }
    files
}

/// Whether a path, or a folder it lies in, is a cache or was reported.
fn is_accounted_for(path: &Path, collected: &Collected) -> bool {
    let bytes = path.as_os_str().as_bytes();
    let cache = path.components().any(|part| CACHE_FOLDERS.iter().any(|cache| part.as_os_str() == *cache));
    let reported: BTreeSet<&str> = collected.left_out.iter().map(|left| left.name_shown.as_str()).collect();
    let mut parents = (0..=bytes.len()).filter(|&at| at == 0 || at == bytes.len() || bytes[at] == b'/');
    cache || bytes.ends_with(b".pyc") || parents.any(|at| reported.contains(shown(&bytes[..at]).as_str()))
}

fn check(tree: &[(Vec<u8>, Node)], bounds: Bounds, existing: Existing) {
    let place = Place::new();
    let first = place.write("secret/file", "never to be seen");
    place.write("job/first", "first");
    let planted: [(&str, &str); 3] = [("planted", "secret/file"), ("planted-folder", "secret"), ("a", "secret")];
    for (name, target) in planted {
        symlink(place.at(target), place.at("out").join(name)).unwrap();
    }
    for (name, node) in tree {
        build(&place.at("job").join(std::ffi::OsStr::from_bytes(name)), node, &place.at("job/first"));
    }
    let before = snapshot(place.dir.path(), &place.at("out"));
    let collected = place.collect_with(bounds, existing, &[]).unwrap();
    let after = snapshot(place.dir.path(), &place.at("out"));
    let difference = before.iter().zip(&after).find(|(before, after)| before != after);
    assert_eq!(difference, None, "only the destination changes");
    assert_eq!(before.len(), after.len());
    assert!(first.exists());

    let out = regular_files(&place.at("out"));
    let listed: BTreeSet<PathBuf> = collected.files.iter().map(|file| PathBuf::from(&file.path)).collect();
    assert_eq!(out.iter().cloned().collect::<BTreeSet<_>>(), listed);
    assert_eq!(listed.len(), collected.files.len());
    let mut bytes = 0;
    for path in &out {
        let (from, to) = (place.at("job").join(path), place.at("out").join(path));
        let facts = to.symlink_metadata().unwrap();
        bytes += facts.len();
        assert!(facts.len() <= bounds.file_bytes_max);
        assert_eq!(facts.mode() & !0o111, 0o100_644, "{path:?}");
        assert_eq!(fs::read(from).unwrap(), fs::read(to).unwrap(), "{path:?}");
        assert!(path.components().count() <= bounds.depth_max + 1);
        assert!(path.components().all(|part| part.as_os_str().len() <= bounds.name_bytes_max));
        assert!(!path.to_str().unwrap().chars().any(char::is_control));
    }
    assert_eq!(bytes, collected.bytes);
    assert!(bytes <= bounds.bytes_max);
    let count = u64::try_from(collected.files.len() + collected.folders.len()).unwrap();
    assert!(count <= bounds.files_max);
    for line in snapshot(&place.at("out"), Path::new("")) {
        let is_planted =
            planted.iter().any(|(name, _)| line.starts_with(&format!("{:?} ", place.at("out").join(name))));
        assert!(is_planted || line.contains(" 100") || line.contains(" 40755 "), "{line}");
    }
    assert_eq!(collected.left_out_more, 0);
    for path in regular_files(&place.at("job")) {
        assert!(listed.contains(&path) || is_accounted_for(&path, &collected), "{path:?} vanished: {collected:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_code_left_only_plain_files_within_bounds_come_out(
        tree in prop::collection::vec((name(), node()), 0..10),
        bounds in bounds(),
        overwrite in any::<bool>(),
    ) {
        check(&tree, bounds, if overwrite { Existing::Overwrite } else { Existing::Keep });
    }

    #[test]
    fn within_generous_bounds_only_kinds_and_names_are_left_out(
        tree in prop::collection::vec((name(), node()), 0..10),
    ) {
        check(&tree, Bounds { file_bytes_max: 1 << 20, depth_max: 200, ..Bounds::default() }, Existing::Keep);
    }
}

/// Nothing of a run should live any more; if something did, it gains nothing.
#[test]
fn a_name_that_turns_into_a_symlink_or_fifo_meanwhile_leads_nowhere() {
    let place = Place::new();
    place.write("secret/file", "never to be seen");
    place.write("job/folder/file", "inside");
    place.write("spare/file", "inside");
    symlink(place.at("secret"), place.at("folder-link")).unwrap();
    symlink(place.at("secret/file"), place.at("file-link")).unwrap();
    make_node(&place.at("fifo"), FileType::Fifo);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let swap = |one: &str, other: &str| {
                let (one, other) = (place.at(one), place.at(other));
                rustix::fs::renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).unwrap();
            };
            while !done.load(Ordering::Relaxed) {
                for (inside, outside) in [("job/folder", "folder-link"), ("spare/file", "file-link")] {
                    swap(inside, outside);
                    swap(inside, outside);
                }
                let folder = place.at("job/folder/file");
                rustix::fs::renameat_with(CWD, place.at("fifo"), CWD, &folder, RenameFlags::EXCHANGE).ok();
                rustix::fs::renameat_with(CWD, place.at("file-link"), CWD, &folder, RenameFlags::EXCHANGE).ok();
            }
        });
        for _ in 0..2_000 {
            let collected = place.collect_with(Bounds::default(), Existing::Overwrite, &[]).unwrap();
            for file in &collected.files {
                assert_eq!(place.read(&format!("out/{}", file.path)), "inside");
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}
