//! Warm engines: what they share with nobody, what holds them, and what is left of them.
//!
//! Without a harness: its threads would make the launcher refuse. Each test has a process of its own where a test
//! runner gives it one; all run one after the other where none does.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    unreachable_pub,
    reason = "tests may stop at the first surprise"
)]

mod alone;
mod ends;
mod lies;
mod namespace;
mod scene;
mod walls;
mod works;

type Test = (&'static str, fn());

/// Begins the name of a test that runs where the launcher is root of a user namespace only.
const IN_A_NAMESPACE: &str = "in_a_namespace::";
/// Those that do so besides.
const ALSO_IN_A_NAMESPACE: [&str; 8] = [
    "an_engine_serves_one_run_once",
    "threads_and_processes_of_the_code_work",
    "engines_that_live_at_the_same_time_do_not_reach_each_other",
    "every_engine_has_a_user_of_its_own",
    "the_memory_of_an_engine_is_bounded_by_its_cgroup",
    "a_template_that_passes_itself_off_as_an_engine_is_not_believed",
    "nothing_is_left_when_the_launcher_is_killed",
    "engines_end_with_their_template",
];

macro_rules! tests {
    ($($module:ident: $($name:ident),* $(,)?);* $(;)?) => {
        [$($((stringify!($name), $module::$name as fn())),*),*]
    };
}

fn main() {
    let tests: Vec<Test> = tests! {
        works: an_engine_with_pandas_answers, code_ends_as_a_script_does, long_code_is_carried_too,
            an_engine_that_dies_is_known_to_have, what_code_says_is_bounded, an_engine_serves_one_run_once,
            threads_and_processes_of_the_code_work;
        alone: no_two_engines_share_a_stream_of_random_numbers, nothing_of_an_engine_is_there_in_the_next,
            engines_that_live_at_the_same_time_do_not_reach_each_other, an_engine_does_not_reach_its_template,
            every_engine_has_a_user_of_its_own;
        walls: an_engine_has_every_layer_of_a_run, the_memory_of_an_engine_is_bounded_by_its_cgroup,
            attacks_end_in_an_engine_as_in_a_run,
            a_template_is_walled_in_before_it_imports;
        lies: a_template_that_says_an_engine_is_sealed_is_not_believed,
            a_template_that_passes_itself_off_as_an_engine_is_not_believed, a_template_that_raves_is_not_believed,
            a_template_that_does_not_start_says_why;
        ends: nothing_is_left_of_an_engine_that_was_dropped, nothing_is_left_when_the_launcher_is_killed,
            engines_end_with_their_template, engines_end_with_what_made_their_walls_or_are_served_on,
            who_makes_walls_is_not_waited_for_without_end,
            an_engine_killed_from_outside_harms_no_other;
    }
    .to_vec();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| words.iter().any(|other| other == word);
    if let Some(place) = words.iter().position(|word| word == ends::LAUNCHER) {
        ends::launch(words.get(place + 1).map(String::as_str));
        return;
    }
    if let Some(place) = words.iter().position(|word| word == namespace::WITHIN) {
        namespace::inside(words.get(place + 1).unwrap());
        return;
    }
    match (has("--list"), has("--ignored")) {
        (true, true) => return,
        (true, false) => {
            tests.iter().for_each(|(name, _)| println!("{name}: test"));
            ALSO_IN_A_NAMESPACE.iter().for_each(|name| println!("{IN_A_NAMESPACE}{name}: test"));
            return;
        }
        (false, _) => {}
    }
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: warm engines need ids of their own: the tests are run by an ordinary user");
        return;
    }
    let wanted: Vec<&String> = words.iter().filter(|word| !word.starts_with('-')).collect();
    let is_wanted = |name: &str| {
        let mut named = wanted.iter();
        wanted.is_empty() || named.any(|word| if has("--exact") { *word == name } else { name.contains(word.as_str()) })
    };
    for (name, test) in tests {
        if is_wanted(name) {
            println!("{name}");
            test();
        }
    }
    for name in ALSO_IN_A_NAMESPACE {
        let whole = format!("{IN_A_NAMESPACE}{name}");
        if is_wanted(&whole) {
            println!("{whole}");
            namespace::outside(name);
        }
    }
}
