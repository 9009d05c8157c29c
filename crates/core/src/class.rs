//! Classes of a node's principals: whose runs come first, and how much each may have.

/// The class of everybody whom no other one names.
pub const USUAL: &str = "usual";
/// Highest weight. With many classes of it a turn comes round late, and still does.
pub const WEIGHT_MAX: u32 = 100;
/// Most classes.
pub const CLASSES_MAX: usize = 32;
/// Longest name, bytes.
const NAME_BYTES_MAX: usize = 40;

/// One class, as an administrator writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// How many of its runs begin in a round, in which each class with runs that wait has at least one.
    pub weight: u32,
    /// Users of the machine that are in it, by name or number.
    pub users: Vec<String>,
    /// Groups of the machine whose members are in it, by name or number.
    pub groups: Vec<String>,
    /// CPU time a day of each of its principals, milliseconds; what the node gives if left out.
    pub cpu_day_ms: Option<u64>,
    /// Runs at once of each; what the node gives if left out.
    pub runs: Option<usize>,
    /// Runs of each that may wait.
    pub queue: Option<usize>,
    /// Sessions at once of each.
    pub sessions: Option<usize>,
}

/// Whether a class can be called so: it becomes a label of figures, and a word of answers.
#[must_use]
pub fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}
