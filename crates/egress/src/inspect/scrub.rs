//! Takes secrets out of answers, wherever they are cut into pieces.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use memchr::memmem::Finder;

/// Replaces literal occurrences of secrets in a stream of pieces.
///
/// It holds back only what may be the beginning of a secret, so an answer that trickles is not delayed.
pub(crate) struct Scrubber {
    secrets: Vec<(Finder<'static>, String)>,
    held: BytesMut,
}

impl std::fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scrubber").field("secrets", &self.secrets.len()).finish_non_exhaustive()
    }
}

impl Scrubber {
    /// Each secret with what takes its place.
    pub(crate) fn new(secrets: impl Iterator<Item = (Vec<u8>, String)>) -> Self {
        let mut secrets: Vec<_> = secrets.map(|(value, instead)| (Finder::new(&value).into_owned(), instead)).collect();
        // Where one secret begins another, the longer one is meant.
        secrets.sort_by_key(|(finder, _)| std::cmp::Reverse(finder.needle().len()));
        Self { secrets, held: BytesMut::new() }
    }

    /// What can be said of the stream after one more piece.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Bytes {
        self.held.extend_from_slice(piece);
        let mut clean = self.clean();
        let kept = self.may_be_beginning();
        clean.extend_from_slice(&self.held.split_to(self.held.len().saturating_sub(kept)));
        clean.freeze()
    }

    /// What was held back, when nothing follows.
    pub(crate) fn finish(&mut self) -> Bytes {
        let mut clean = self.clean();
        clean.extend_from_slice(&std::mem::take(&mut self.held));
        clean.freeze()
    }

    /// One whole text.
    pub(crate) fn whole(&mut self, text: &[u8]) -> Bytes {
        self.held = BytesMut::from(text);
        self.finish()
    }

    /// Takes everything up to the end of the last whole secret out of `held`, without the secrets.
    fn clean(&mut self) -> BytesMut {
        let mut clean = BytesMut::new();
        while let Some((at, length, instead)) = self.first() {
            let instead = instead.to_owned();
            clean.extend_from_slice(&self.held.split_to(at));
            clean.extend_from_slice(instead.as_bytes());
            drop(self.held.split_to(length));
        }
        clean
    }

    /// The first secret in `held`; of two that begin together, the longer one.
    fn first(&self) -> Option<(usize, usize, &str)> {
        self.secrets
            .iter()
            .filter_map(|(finder, instead)| Some((finder.find(&self.held)?, finder.needle().len(), instead.as_str())))
            .min_by_key(|(at, length, _)| (*at, std::cmp::Reverse(*length)))
    }

    /// The length of the longest end of `held` that a secret begins with.
    fn may_be_beginning(&self) -> usize {
        let longest = self.secrets.iter().map(|(finder, _)| finder.needle().len()).max().unwrap_or_default();
        let most = longest.saturating_sub(1).min(self.held.len());
        (1..=most)
            .rev()
            .find(|length| {
                let end = self.held.get(self.held.len() - length..).unwrap_or_default();
                self.secrets.iter().any(|(finder, _)| finder.needle().starts_with(end))
            })
            .unwrap_or_default()
    }
}

/// A body without its secrets. Trailers are dropped: nobody needs them, and they would be one more place.
#[derive(Debug)]
pub(crate) struct Scrubbed<B> {
    body: B,
    scrubber: Option<Scrubber>,
}

impl<B> Scrubbed<B> {
    pub(crate) const fn new(body: B, scrubber: Scrubber) -> Self {
        Self { body, scrubber: Some(scrubber) }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Scrubbed<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        loop {
            let Some(scrubber) = &mut this.scrubber else { return Poll::Ready(None) };
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => {
                    let clean = frame.data_ref().map(|piece| scrubber.push(piece)).unwrap_or_default();
                    if !clean.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(clean))));
                    }
                }
                None => {
                    let rest = scrubber.finish();
                    this.scrubber = None;
                    let rest = (!rest.is_empty()).then(|| Ok(Frame::data(rest)));
                    return Poll::Ready(rest);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scrubber(secrets: &[&str]) -> Scrubber {
        Scrubber::new(secrets.iter().map(|secret| (secret.as_bytes().to_vec(), "***".to_owned())))
    }

    fn scrubbed(secrets: &[&str], pieces: &[&[u8]]) -> Vec<u8> {
        let mut scrubber = scrubber(secrets);
        let mut out: Vec<u8> = pieces.iter().flat_map(|piece| scrubber.push(piece)).collect();
        out.extend_from_slice(&scrubber.finish());
        out
    }

    #[test]
    fn a_secret_is_found_across_pieces() {
        assert_eq!(scrubbed(&["secret-value"], &[b"a sec", b"ret-", b"value b"]), b"a *** b");
        assert_eq!(scrubbed(&["secret-value"], &[b"sesecret-valuesecret-value"]), b"se******");
        assert_eq!(scrubbed(&["secret-value"], &[b"secret-valu"]), b"secret-valu");
    }

    #[test]
    fn of_two_secrets_the_longer_one_is_taken_whole() {
        assert_eq!(scrubbed(&["abcdefgh", "abcdefghijkl"], &[b"abcdefghijkl"]), b"***");
    }

    #[test]
    fn what_cannot_be_a_secret_is_not_held_back() {
        let mut scrubber = scrubber(&["secret-value"]);
        assert_eq!(scrubber.push(b"event: one\n"), b"event: one\n"[..]);
        assert_eq!(scrubber.push(b"abc s"), b"abc "[..]);
    }

    proptest! {
        #[test]
        fn no_cut_lets_a_secret_through(text in "(x|ab|abac|abacaba){0,20}", cuts in proptest::collection::vec(0_usize..60, 0..8)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.sort_unstable();
            cuts.push(text.len());
            let mut from = 0;
            let mut pieces = Vec::new();
            for cut in cuts {
                pieces.push(&text.as_bytes()[from..cut]);
                from = cut;
            }
            let out = scrubbed(&["abacaba"], &pieces);
            prop_assert_eq!(String::from_utf8(out).unwrap(), text.replace("abacaba", "***"));
        }
    }
}
