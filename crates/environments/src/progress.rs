//! How a build tells its caller where it is.

use crate::denied::Denied;

/// Told about each stage of a build, from the thread that builds.
pub trait Progress {
    /// A stage begins; `what` is a short phrase such as `resolving 3 requirements`.
    fn step(&mut self, what: &str);
    /// So many bytes of the packages have arrived.
    fn bytes(&mut self, done: u64, total: u64);
    /// A step asked for something and did not get it.
    fn denied(&mut self, denied: &Denied);
}

/// Says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn step(&mut self, _what: &str) {}
    fn bytes(&mut self, _done: u64, _total: u64) {}
    fn denied(&mut self, _denied: &Denied) {}
}

/// `1 package`, `2 packages`.
pub(crate) fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn one_is_not_many() {
        assert_eq!(
            [0, 1, 2].map(|count| counted(count, "package file")),
            ["0 package files", "1 package file", "2 package files"]
        );
    }
}
