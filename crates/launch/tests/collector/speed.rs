//! How long a file takes.

use crate::support::open;
use std::fs;
use std::os::fd::AsFd;
use std::time::Duration;
use std::time::Instant;
use stockade_launch::collect::{Area, Bounds, Destination, Existing, Leavings, collect};

#[test]
#[ignore = "a measurement: cargo test --release -- --ignored --nocapture speed"]
fn speed_of_ten_thousand_small_files() {
    for base in ["/dev/shm", "/tmp"] {
        let dir = tempfile::tempdir_in(base).unwrap();
        let job = dir.path().join("job");
        for folder in 0..100 {
            fs::create_dir_all(job.join(folder.to_string())).unwrap();
            for file in 0..100 {
                fs::write(job.join(format!("{folder}/{file}")), [3; 1_000]).unwrap();
            }
        }
        let bounds = Bounds { files_max: 20_000, ..Bounds::default() };
        let job = open(&job);
        let areas = [Area { prefix: String::new(), changed: job.as_fd(), original: None }];
        let leavings = Leavings { areas: &areas, staged: &[], folders_given: &[], bounds };
        for round in 0..3 {
            let out = dir.path().join(format!("out{round}"));
            fs::create_dir(&out).unwrap();
            let out = open(&out);
            let destination = Destination::Folder { folder: out.as_fd(), existing: Existing::Keep, allow: &[] };
            let started = Instant::now();
            let collected = collect(&leavings, &destination).unwrap();
            let copied = started.elapsed();
            let started = Instant::now();
            let listed = collect(&leavings, &Destination::List).unwrap();
            let list = started.elapsed();
            assert_eq!((collected.files.len(), &listed), (10_000, &collected));
            eprintln!("{base}: {:.1} µs a file copied, {:.1} listed", per(copied), per(list));
        }
    }
}

fn per(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6 / 10_000.0
}
