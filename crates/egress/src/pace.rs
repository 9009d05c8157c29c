//! How fast what comes from inside is taken: a flood costs the run that makes it its answers, and others little.

use std::time::Duration;

use tokio::time::Instant;

/// So many in one window, then a pause until it is over. What does not fit the socket meanwhile waits, or
/// the kernel drops it.
const AT_ONCE: u32 = 64;
const WINDOW: Duration = Duration::from_millis(10);

/// The pace of one socket.
#[derive(Debug)]
pub(crate) struct Pace {
    begun: Instant,
    count: u32,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self { begun: Instant::now(), count: 0 }
    }

    /// Counts one datagram or connection, and waits if there were too many.
    pub(crate) async fn step(&mut self) {
        self.count += 1;
        if self.count < AT_ONCE {
            return;
        }
        tokio::time::sleep_until(self.begun + WINDOW).await;
        *self = Self::new();
    }
}
