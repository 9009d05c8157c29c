//! Warm engines beside bare forks of the same imports, in turn, in one run: `warm ENVIRONMENT|- MODULE...`.
//!
//! Machines are shared and noisy: what counts are ratios of what was measured side by side.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a benchmark may stop at the first surprise"
)]

#[path = "../../cli/tests/warm/scene.rs"]
#[expect(dead_code, unreachable_pub, reason = "tests use the rest")]
mod scene;

#[path = "support/bare.rs"]
mod bare;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bare::Bare;
use scene::{BOUNDS, Scene};
use stockade_core::request::CgroupMode;
use stockade_engines::warm;
use stockade_launch::warm::Engine;

const ROUNDS: usize = 150;
const CODE: &[u8] = b"print(1)";

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let environment = words.first().filter(|word| *word != "-").map(PathBuf::from);
    let modules: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
    let mut bare = Bare::start(environment.as_deref(), &modules);
    let mut scene = Scene::start(environment.as_deref(), &modules, CgroupMode::Off);
    for _ in 0..20 {
        bare.run();
        assert_eq!(scene.run("print(1)").output, b"1\n");
    }
    latencies(&mut scene, &mut bare);
    sustained(&mut scene, &mut bare);
    memory(&mut scene);
}

fn latencies(scene: &mut Scene, bare: &mut Bare) {
    let (mut pooled, mut demand, mut forked, mut cells, mut births, mut ends) =
        <(Vec<_>, Vec<_>, Vec<_>, Vec<_>, Vec<_>, Vec<_>)>::default();
    for _ in 0..ROUNDS {
        forked.push(timed(|| bare.run()).0);
        let (time, cell) = timed(|| scene.template.make_cell().unwrap());
        cells.push(time);
        let (time, engine) = timed(|| scene.template.fork(cell).unwrap());
        births.push(time);
        // As one of a pool: it has come to wait for its claim.
        std::thread::sleep(Duration::from_millis(15));
        let claimed = claim(scene, engine, &mut pooled);
        ends.push(timed(|| drop(claimed)).0);
        let cell = scene.template.make_cell().unwrap();
        let began = Instant::now();
        let engine = scene.template.fork(cell).unwrap();
        let claimed = claim(scene, engine, &mut Vec::new());
        demand.push(began.elapsed());
        drop(claimed);
    }
    let base = show("bare fork, to its output", &mut forked, None);
    show("engine on demand, to its answer", &mut demand, Some(base));
    show("claim of a waiting engine, to its answer", &mut pooled, Some(base));
    show("off the path: walls", &mut cells, Some(base));
    show("off the path: fork and seal", &mut births, Some(base));
    show("off the path: end", &mut ends, Some(base));
}

fn claim(scene: &mut Scene, engine: Engine, times: &mut Vec<Duration>) -> stockade_launch::warm::Claimed {
    let claimed = scene.claimed(engine);
    let (time, answer) = timed(|| warm::run(&claimed, CODE, BOUNDS).unwrap());
    assert_eq!(answer.output, b"1\n", "{}", String::from_utf8_lossy(&answer.error));
    times.push(time);
    claimed
}

/// End to end, as many as there is time for: walls rise, engines come and end while others run.
fn sustained(scene: &mut Scene, bare: &mut Bare) {
    let (mut ours, mut theirs, mut namespaces) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    for _ in 0..4 {
        theirs += timed(|| bare.run_many(ROUNDS)).0;
        namespaces += timed(|| bare.run_many_with_namespaces(ROUNDS)).0;
        ours += timed(|| run_many(scene, ROUNDS)).0;
    }
    let each = |time: Duration| time.as_secs_f64() * 1e6 / (4 * ROUNDS) as f64;
    let (theirs, ours, namespaces) = (each(theirs), each(ours), each(namespaces));
    println!(
        "sustained, bare forks with five namespaces each and no other wall: {namespaces:.0} µs each; rate × {:.2}",
        theirs / namespaces
    );
    println!("sustained, bare forks: {theirs:.0} µs each; engines: {ours:.0} µs each; rate × {:.2}", theirs / ours);
}

fn run_many(scene: &mut Scene, count: usize) {
    let ahead = std::env::var("AHEAD").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    let mut coming = VecDeque::new();
    let mut dying = VecDeque::new();
    for _ in 0..ahead {
        scene.template.begin_cell().unwrap();
    }
    for done in 0..count + ahead {
        if done < count {
            let cell = scene.template.finish_cell().unwrap();
            scene.template.begin_cell().unwrap();
            coming.push_back(scene.template.order(cell).unwrap());
        }
        if done >= ahead {
            let engine = scene.template.receive(coming.pop_front().unwrap()).unwrap();
            dying.push_back(claim(scene, engine, &mut Vec::new()).kill().unwrap());
        }
        if dying.len() > ahead {
            dying.pop_front();
        }
    }
    for _ in 0..ahead {
        scene.template.finish_cell().unwrap();
    }
}

fn memory(scene: &mut Scene) {
    const COUNT: usize = 1_000;
    allow_descriptors();
    let before = available();
    let engines: Vec<Engine> = (0..COUNT).map(|_| scene.engine().unwrap()).collect();
    let after = available();
    let mut times: Vec<Duration> = (0..ROUNDS).map(|_| timed(|| scene.run("print(1)")).0).collect();
    show(&format!("engine on demand while {COUNT} wait, to its end"), &mut times, None);
    let own = |pid: rustix::process::Pid| {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", pid.as_raw_nonzero())).unwrap_or_default();
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse::<u64>().ok())
                .unwrap_or(0)
        };
        field("Private_Dirty:") + field("Private_Clean:")
    };
    let processes: u64 = engines.iter().map(|engine| own(engine.process())).sum::<u64>() / COUNT as u64;
    let inits: u64 = engines.iter().map(|engine| own(engine.init())).sum::<u64>() / COUNT as u64;
    println!(
        "a waiting engine of {COUNT}: {processes} KiB of its process, {inits} KiB of its init; the machine has {} KiB less \
         for each",
        before.saturating_sub(after) / COUNT as u64
    );
    used(scene);
    let (time, ()) = timed(|| drop(engines));
    println!("end of {COUNT}: {:.0} µs each", time.as_secs_f64() * 1e6 / COUNT as f64);
}

/// What code that groups a table has of its own then, by the kernel's word to itself.
fn used(scene: &mut Scene) {
    const GROUPS: &str = "
import sys
if 'pandas' in sys.modules:
    import pandas
    table = pandas.DataFrame({'key': ['a', 'b'] * 5000, 'value': range(10000)})
    table.groupby('key').value.sum()
lines = (line.split() for line in open('/proc/self/smaps_rollup'))
print(sum(int(line[1]) for line in lines if line[0].startswith('Private_')))
";
    let answer = scene.run(GROUPS);
    let (said, error) = (String::from_utf8_lossy(&answer.output), String::from_utf8_lossy(&answer.error));
    println!("an engine that has been used (pandas: grouped a table): {} KiB of its process{error}", said.trim());
}

/// Each engine that is held has a dozen.
fn allow_descriptors() {
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let limit = rustix::process::Rlimit { current: most, maximum: most };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
}

fn available() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap();
    text.lines().find_map(|line| line.strip_prefix("MemAvailable:")?.split_whitespace().next()?.parse().ok()).unwrap()
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let began = Instant::now();
    let done = work();
    (began.elapsed(), done)
}

fn show(what: &str, times: &mut [Duration], base: Option<f64>) -> f64 {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)].as_secs_f64() * 1e6;
    let ratio = base.map_or_else(String::new, |base| format!(", × {:.2}", at(50) / base));
    println!("{what}: p50 {:.0} µs, p99 {:.0} µs{ratio}", at(50), at(99));
    at(50)
}
