//! One step of a build that is a script of ours for R.

use std::collections::BTreeSet;

use crate::inside;
use crate::interpreter::Interpreter;
use crate::step::Step;

/// A script, started without any profile or setting of users and machine.
pub(super) fn of_script(
    name: &'static str,
    script: (&'static str, &'static str),
    arguments: &[&str],
    interpreter: &Interpreter,
) -> Step {
    let (file, text) = script;
    let head = [interpreter.inside_executable.as_str(), "--vanilla"].map(str::to_owned);
    let argv = head.into_iter().chain([inside::input(file)]).chain(arguments.iter().map(|&a| a.to_owned()));
    Step {
        argv: argv.collect(),
        inputs: vec![(file, text.to_owned())],
        hosts: BTreeSet::new(),
        ..Step::of_script(name, script, &[], interpreter)
    }
}
