//! Warm engines beside bare forks.
#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a benchmark may stop at the first surprise")]

#[path = "../tests/warm/scene.rs"]
#[expect(dead_code, reason = "tests use the rest")]
mod scene;

use std::path::PathBuf;
use scene::Scene;
use stockade_core::request::CgroupMode;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let environment = words.first().filter(|word| *word != "-").map(PathBuf::from);
    let modules: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
    let mut scene = Scene::start(environment.as_deref(), &modules, CgroupMode::Off);
    println!("ready");
    let engine = scene.engine();
    match engine {
        Err(failure) => println!("{failure:?} {}", String::from_utf8_lossy(scene.template.complaints())),
        Ok(engine) => {
            println!("layers {}", engine.enforced());
            let claimed = scene.claimed(engine);
            let answer = stockade_engines::warm::run(&claimed, b"print(1)\nimport os\nprint(os.getpid(), os.getuid(), open('/proc/self/status').read())", scene::BOUNDS).unwrap();
            println!("{:?} {} {}", answer.ended, String::from_utf8_lossy(&answer.output), String::from_utf8_lossy(&answer.error));
        }
    }
}
