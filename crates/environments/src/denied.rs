//! What the steps of a build asked for and did not get: told while it is built, and kept with what was built.

use serde::{Deserialize, Serialize};

use crate::quote::neutral;

/// Of one step; a build that asks for a thousand names is no more remarkable.
const KEPT: usize = 20;
const CHARS_MAX: usize = 300;

/// Something a step of a build asked for and did not get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denied {
    /// Who asked, such as `the build of six 1.17.0`.
    pub by: String,
    /// What for, and why it was denied.
    pub what: String,
}

/// What one step was denied, bounded and harmless to show.
pub(crate) fn of(by: &str, all: &[String]) -> Vec<Denied> {
    let one = |what: &String| {
        let what: String = neutral(what).chars().take(CHARS_MAX).collect();
        Denied { by: by.to_owned(), what: what.replace('\n', " ") }
    };
    let more = all.len().saturating_sub(KEPT);
    let rest =
        (more > 0).then(|| Denied { by: by.to_owned(), what: format!("{more} more (the audit trail has them)") });
    all.iter().take(KEPT).map(one).chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_denied_is_bounded_and_acts_on_no_terminal() {
        let all: Vec<String> = (0..1000).map(|n| format!("name {n}\n\x1b[31m{}", "x".repeat(1000))).collect();
        let kept = of("the build of evil 1.0", &all);
        assert_eq!(kept.len(), KEPT + 1);
        assert!(kept.iter().all(|one| one.what.len() <= CHARS_MAX && !one.what.contains(['\n', '\x1b'])));
        assert_eq!(kept.last().unwrap().what, "980 more (the audit trail has them)");
        assert_eq!(of("x", &[]), []);
    }
}
