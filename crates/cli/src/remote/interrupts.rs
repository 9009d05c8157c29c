//! An interrupt is the run's: the node is asked to end it, and what it made until then is kept.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::http::Node;
use crate::printer;
use crate::problem::Problem;

/// From now on the first interrupt cancels the run; a second one ends this command and leaves the rest to the node.
pub(super) fn cancel(node: &Node, run: &str) -> Result<(), Problem> {
    let failed = |error: std::io::Error| {
        Problem::new("interrupts cannot be caught", error.to_string(), "run it again, or without --node")
    };
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(failed)?;
    let (node, run) = (node.again(), run.to_owned());
    std::thread::Builder::new()
        .name("interrupts".to_owned())
        .spawn(move || {
            let mut asked = false;
            for signal in signals.forever() {
                if asked {
                    printer::remark("stockade: the node was asked to end the run; nobody waits for it any more");
                    // Ends this process as the signal would have.
                    drop(signal_hook::low_level::emulate_default_handler(signal));
                }
                asked = true;
                if let Err(problem) = node.delete(&format!("/v1/runs/{run}")) {
                    printer::remark(&problem.to_string());
                }
            }
        })
        .map(drop)
        .map_err(failed)
}
