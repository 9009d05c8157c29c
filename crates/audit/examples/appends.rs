//! How many records a second count when they are on the disk: with one wait for the disk for each, and with one for all
//! that wait meanwhile. Beside them a file of the same lines without any chain, so that the figures are ratios.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark stops at the first surprise")]

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use stockade_audit::{Expected, Keeping, Place, PublicKey, Trail, Writer, verify};

/// How long each is measured.
const TIME: Duration = Duration::from_secs(3);
/// Callers that wait at the same time.
const CALLERS: [u32; 4] = [1, 16, 64, 256];
/// Records of the trail that is verified.
const MANY: u64 = 1_000_000;

/// Like a decision about a request.
#[derive(Serialize)]
struct Decision {
    record: &'static str,
    time_ms: u64,
    principal: &'static str,
    privilege: &'static str,
    resource: &'static str,
    decision: &'static str,
    rule: &'static str,
}

const DECISION: Decision = Decision {
    record: "authorisation",
    time_ms: 1_790_000_000_000,
    principal: "ann.example@ldap",
    privilege: "AdminRunCommand",
    resource: "configuration.activate",
    decision: "permitted",
    rule: "role administrator",
};

fn main() {
    let folder = std::env::temp_dir().join(format!("stockade-appends-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    println!("in {}, which should be on the disk that counts", folder.display());
    let plain = plain(&folder.join("plain.jsonl"));
    println!("{plain:>10.0} a second   a plain file, one fdatasync for each line    (1 ×)");
    let one = each(&folder.join("each"));
    println!("{one:>10.0} a second   the chain, one fdatasync for each record     ({:.2} ×)", one / plain);
    for callers in CALLERS {
        let all = grouped(&folder.join(format!("group-{callers}")), callers);
        println!(
            "{all:>10.0} a second   the chain, {callers:>3} callers with group commit      ({:.2} ×)",
            all / plain
        );
    }
    let written = written(&folder.join("written"));
    println!("{written:>10.0} a second   the chain, not waited for on the disk (runs)");
    verified(&folder.join("many"));
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Does something as often as there is time for, and returns how often that is a second.
fn rate(mut act: impl FnMut()) -> f64 {
    let begun = Instant::now();
    let mut count = 0_u32;
    while begun.elapsed() < TIME {
        act();
        count += 1;
    }
    f64::from(count) / begun.elapsed().as_secs_f64()
}

fn plain(path: &Path) -> f64 {
    let mut file: File = OpenOptions::new().append(true).create(true).open(path).unwrap();
    let line = serde_json::to_string(&DECISION).unwrap() + &"x".repeat(170) + "\n";
    rate(|| {
        file.write_all(line.as_bytes()).unwrap();
        file.sync_data().unwrap();
    })
}

fn each(folder: &Path) -> f64 {
    let trail = Trail::new(Place::new(folder));
    rate(|| drop(trail.append(&DECISION, Keeping::OnDisk).map_err(|error| error.why()).unwrap().hash_hex()))
}

fn written(folder: &Path) -> f64 {
    let trail = Trail::new(Place::new(folder));
    rate(|| drop(trail.append(&DECISION, Keeping::Written).map_err(|error| error.why()).unwrap().hash_hex()))
}

fn grouped(folder: &Path, callers: u32) -> f64 {
    let writer = Writer::new(Place::new(folder));
    let rates = std::thread::scope(|scope| {
        let append = || rate(|| drop(writer.append(&DECISION).unwrap().hash_hex()));
        let threads: Vec<_> = (0..callers).map(|_| scope.spawn(append)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    writer.close().unwrap();
    rates
}

fn verified(folder: &Path) {
    let trail = Trail::new(Place::new(folder));
    let writer = Writer::new(Place::new(folder));
    let begun = Instant::now();
    // By many at once, so that it is made in reasonable time.
    std::thread::scope(|scope| {
        for _ in 0..256 {
            scope.spawn(|| (0..MANY / 256).for_each(|_| drop(writer.append(&DECISION).unwrap().hash_hex())));
        }
    });
    println!("{:>10.1} s to make {MANY} records", begun.elapsed().as_secs_f64());
    let begun = Instant::now();
    let report = verify(trail.place(), &Expected::key(PublicKey::beside(trail.place()).unwrap())).unwrap();
    assert!(report.bad.is_none(), "{report:?}");
    let seconds = begun.elapsed().as_secs_f64();
    println!("{seconds:>10.1} s to verify {} records in {} files", report.records, report.files);
}
