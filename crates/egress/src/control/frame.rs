//! A message as a frame: it may hold secrets, so its bytes are wiped.

use std::io;

use serde::Serialize;
use zeroize::Zeroizing;

pub(super) use stockade_frames::{Beside, Frame, is_end, make_room, receive, send};
pub use stockade_frames::{DESCRIPTORS_MAX, FRAME_BYTES_MAX};

/// A message as the bytes of a frame; `None` when it is too large for one. It may hold secrets, so it is measured
/// first and never moved while it grows.
pub(super) fn encode(message: &impl Serialize) -> Option<Zeroizing<Vec<u8>>> {
    let mut length = Length(0);
    serde_json::to_writer(&mut length, message).ok()?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(length.0));
    serde_json::to_writer(&mut *bytes, message).ok()?;
    Some(bytes)
}

/// Counts what is written, up to a frame.
struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len());
        if self.0 > FRAME_BYTES_MAX { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_frame_comes_whole_with_what_lies_beside_it() {
        let (one, two) = super::super::pair().unwrap();
        make_room(&one);
        let large = encode(&"x".repeat(FRAME_BYTES_MAX - 2)).unwrap();
        assert!(encode(&"x".repeat(FRAME_BYTES_MAX - 1)).is_none());
        let null = std::fs::File::open("/dev/null").unwrap();
        send(&one, &large, &vec![null.as_fd(); DESCRIPTORS_MAX]).unwrap();
        let Frame::Whole(bytes, descriptors) = receive(&two, Beside::Descriptors).unwrap() else { panic!("no frame") };
        assert_eq!((bytes.len(), descriptors.len()), (FRAME_BYTES_MAX, DESCRIPTORS_MAX));
        assert_eq!(receive(&two, Beside::Descriptors).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(one);
        assert!(matches!(receive(&two, Beside::Descriptors).unwrap(), Frame::End));
    }

    #[test]
    fn what_is_too_large_is_told_from_what_fits() {
        let (one, two) = super::super::pair().unwrap();
        make_room(&one);
        send(&one, &vec![b'x'; FRAME_BYTES_MAX + 1], &[]).unwrap();
        assert!(matches!(receive(&two, Beside::Descriptors).unwrap(), Frame::Broken));
        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(send(&one, b"x", &vec![null.as_fd(); DESCRIPTORS_MAX + 10]).is_err());
    }
}
