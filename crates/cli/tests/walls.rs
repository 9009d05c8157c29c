//! Does a first run hold together: streams, statuses, limits, as both users.

use stockade_testkit::{User, call, users};

const STOCKADE: &str = env!("CARGO_BIN_EXE_stockade");

#[test]
fn a_program_runs_and_its_status_is_passed_on() {
    for user in users() {
        let ran = call(STOCKADE, user).args(["run", "--json", "--", "sh", "-c", "echo hello; exit 3"]).run().expect(3);
        assert_eq!(ran.stdout, "hello\n");
        assert_eq!(ran.report()["cause"]["status"], 3);
    }
}

#[test]
fn standard_input_reaches_the_code() {
    let ran = call(STOCKADE, User::Caller).args(["run", "--", "cat"]).input("one\ntwo\n").run().expect(0);
    assert_eq!(ran.stdout, "one\ntwo\n");
}

/// The init once waited for ever when the code ended before it had begun to listen for that.
#[test]
fn a_program_that_ends_at_once_is_never_missed() {
    for _ in 0..150 {
        let flags = ["run", "--quiet", "--cgroup", "off", "--limit", "time=20s", "--", "/bin/true"];
        let ran = call(STOCKADE, User::Caller).args(flags).run().expect(0);
        assert_eq!(ran.stderr, "");
    }
}
