//! What must stay free on the disk, so that how runs ended can always be kept.

use std::path::PathBuf;

use crate::refusal::{Kind, Refusal};

/// The disk of the node's folder.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    folder: PathBuf,
    reserve_bytes: u64,
}

impl Room {
    pub(crate) const fn new(folder: PathBuf, reserve_bytes: u64) -> Self {
        Self { folder, reserve_bytes }
    }

    /// Makes sure that something large may be written.
    ///
    /// # Errors
    /// [`Refusal`] when only the reserve is left, or nobody knows.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        let status = rustix::fs::statvfs(&self.folder)
            .map_err(|errno| Refusal::failed("the node cannot keep this", crate::system_text(&errno.into())))?;
        if status.f_bavail.saturating_mul(status.f_frsize) > self.reserve_bytes {
            return Ok(());
        }
        Err(Refusal::new(
            Kind::Full,
            "the node cannot keep this",
            "there is hardly any room on its disk",
            "free some space in the node's state folder, or forget runs that are over",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Room::new(folder.path().to_owned(), 0).check().is_ok());
        let refusal = Room::new(folder.path().to_owned(), u64::MAX).check().unwrap_err();
        assert_eq!(refusal.kind, Kind::Full);
        assert!(Room::new(folder.path().join("none"), 0).check().is_err());
    }
}
