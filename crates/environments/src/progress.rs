//! How a build tells its caller where it is.

/// Told about each stage of a build, from the thread that builds.
pub trait Progress {
    /// A stage begins; `what` is a short phrase such as `resolving 3 requirements`.
    fn step(&mut self, what: &str);
    /// So many bytes of the packages have arrived.
    fn bytes(&mut self, done: u64, total: u64);
}

/// Says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn step(&mut self, _what: &str) {}
    fn bytes(&mut self, _done: u64, _total: u64) {}
}
