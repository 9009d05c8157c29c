//! Takes secrets out of answers, wherever they are cut into pieces.
//!
//! Code may have a server answer with text of its choice, so it must not learn from what becomes of that text how
//! much of a secret it has guessed. Only the beginning of a secret is compared, all of it at once; what is taken out
//! after it, what is held back and where pieces end depends on the text and on lengths alone.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use memchr::memmem::Finder;

/// How much of a secret is compared. Less would be guessed or met by chance; more would let longer parts of a
/// secret come back that a server has cut off.
const BEGINNING: usize = 8;

/// Replaces secrets in a stream of pieces: each text that begins as one does, to the length of the secret.
pub(crate) struct Scrubber {
    secrets: Vec<Sought>,
    held: BytesMut,
    cover: Cover,
}

/// The secrets that begin in one way.
struct Sought {
    beginning: Finder<'static>,
    /// Of the longest one.
    length: usize,
    /// Whether all consist of characters that are usual in tokens.
    word: bool,
    instead: String,
}

/// What of the text to come belongs to a secret that has begun.
#[derive(Clone, Copy, Debug)]
struct Cover {
    left: usize,
    /// Whether it ends where a word does.
    word: bool,
}

impl Cover {
    const NONE: Self = Self { left: 0, word: true };

    /// Writes `text` without its covered beginning.
    fn pass(&mut self, text: &[u8], clean: &mut BytesMut) {
        let goes_on = |byte: &&u8| if self.word { is_of_word(**byte) } else { is_visible(**byte) };
        let covered = text.iter().take(self.left).take_while(goes_on).count();
        let rest = text.get(covered..).unwrap_or_default();
        self.left = if rest.is_empty() { self.left.saturating_sub(covered) } else { 0 };
        clean.extend_from_slice(rest);
    }

    /// Covers what `secret` may cover from here on, too. Secrets may begin within each other: whoever knows how
    /// one begins could else put its beginning in front of it, and have only the end of it left over.
    fn extend(&mut self, secret: &Sought) {
        let word = secret.word && (self.left == 0 || self.word);
        *self = Self { left: self.left.max(secret.length), word };
    }
}

/// What a secret may hold.
pub(super) const fn is_visible(byte: u8) -> bool {
    byte.is_ascii_graphic() || byte == b' '
}

/// What tokens are made of, and what escapes in them are.
fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/=%\\".contains(&byte)
}

impl std::fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scrubber").field("secrets", &self.secrets.len()).finish_non_exhaustive()
    }
}

impl Scrubber {
    /// Each secret with what takes its place. Of secrets that begin alike, the first one's place is taken: to tell
    /// them apart would tell how they go on.
    pub(crate) fn new(secrets: impl Iterator<Item = (Vec<u8>, String)>) -> Self {
        let mut sought: Vec<Sought> = Vec::new();
        for (value, instead) in secrets {
            let beginning = value.get(..BEGINNING).unwrap_or(&value);
            let (length, word) = (value.len(), value.iter().all(|byte| is_of_word(*byte)));
            if let Some(known) = sought.iter_mut().find(|known| known.beginning.needle() == beginning) {
                known.length = known.length.max(length);
                known.word &= word;
            } else {
                let beginning = Finder::new(beginning).into_owned();
                sought.push(Sought { beginning, length, word, instead });
            }
        }
        Self { secrets: sought, held: BytesMut::new(), cover: Cover::NONE }
    }

    /// What can be said of the stream after one more piece. What no secret holds ends every beginning, so lines
    /// that trickle are not delayed.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Bytes {
        self.held.extend_from_slice(piece);
        let kept = self.held.iter().rev().take(BEGINNING - 1).take_while(|byte| is_visible(**byte)).count();
        self.release(self.held.len().saturating_sub(kept))
    }

    /// What was held back, when nothing follows.
    pub(crate) fn finish(&mut self) -> Bytes {
        let clean = self.release(self.held.len());
        self.cover = Cover::NONE;
        clean
    }

    /// One whole text.
    pub(crate) fn whole(&mut self, text: &[u8]) -> Bytes {
        self.held = BytesMut::from(text);
        self.finish()
    }

    /// Takes the first `length` bytes out of `held`, without the secrets.
    fn release(&mut self, length: usize) -> Bytes {
        let beginnings = beginnings(&self.secrets, &self.held, length);
        let text = self.held.split_to(length);
        let (mut clean, mut done) = (BytesMut::with_capacity(length), 0);
        for (at, secret) in beginnings {
            self.cover.pass(text.get(done..at).unwrap_or_default(), &mut clean);
            if self.cover.left == 0 {
                clean.extend_from_slice(secret.instead.as_bytes());
            }
            self.cover.extend(secret);
            done = at;
        }
        self.cover.pass(text.get(done..).unwrap_or_default(), &mut clean);
        clean.freeze()
    }
}

/// Where secrets begin in the first `length` bytes of `text`, within each other too.
fn beginnings<'s>(secrets: &'s [Sought], text: &[u8], length: usize) -> Vec<(usize, &'s Sought)> {
    let mut all = Vec::new();
    for secret in secrets {
        let mut from = 0;
        while let Some(found) = text.get(from..).and_then(|rest| secret.beginning.find(rest)) {
            let at = from + found;
            if at >= length {
                break;
            }
            all.push((at, secret));
            from = at + 1;
        }
    }
    all.sort_by_key(|(at, _)| *at);
    all
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

    const VALUE: &str = "sk-0123456789abcdefXYZ";

    fn first(length: usize) -> &'static str {
        VALUE.split_at(length).0
    }

    fn scrubber(secrets: &[&str]) -> Scrubber {
        Scrubber::new(secrets.iter().map(|secret| (secret.as_bytes().to_vec(), "***".to_owned())))
    }

    /// What comes out after each piece, and at the end.
    fn pieces(secrets: &[&str], pieces: &[&[u8]]) -> Vec<Bytes> {
        let mut scrubber = scrubber(secrets);
        let mut out: Vec<Bytes> = pieces.iter().map(|piece| scrubber.push(piece)).collect();
        out.push(scrubber.finish());
        out
    }

    fn scrubbed(secrets: &[&str], text: &[&[u8]]) -> Vec<u8> {
        pieces(secrets, text).concat()
    }

    #[test]
    fn a_secret_is_found_across_pieces() {
        assert_eq!(scrubbed(&["secret-value"], &[b"a sec", b"ret-", b"value b"]), b"a *** b");
        assert_eq!(scrubbed(&["secret-value"], &[b"sesecret-valuesecret-value"]), b"se******");
    }

    #[test]
    fn what_a_server_has_cut_off_is_taken_out_to_its_end() {
        for length in BEGINNING..VALUE.len() {
            let text = format!("bad token \"{}\", try again", first(length));
            assert_eq!(scrubbed(&[VALUE], &[text.as_bytes()]), b"bad token \"***\", try again");
        }
        assert_eq!(scrubbed(&["correct horse battery"], &[b"it was: correct horse batt\n"]), b"it was: ***\n");
    }

    #[test]
    fn of_two_secrets_that_begin_alike_the_longer_one_is_taken_whole() {
        for cut in 0..12 {
            let (one, two) = b"abcdefghijkl".split_at(cut);
            assert_eq!(scrubbed(&["abcdefgh", "abcdefghijkl"], &[one, two]), b"***");
        }
    }

    #[test]
    fn the_beginning_of_a_secret_in_front_of_it_shows_no_more_of_it() {
        for padding in 0..VALUE.len() {
            let text = format!("{}{}{VALUE} end", first(BEGINNING), "x".repeat(padding));
            let clean = String::from_utf8(scrubbed(&[VALUE], &[text.as_bytes()])).unwrap();
            assert_eq!(clean.replace(['*', 'x'], ""), " end", "{padding}: {clean}");
        }
    }

    #[test]
    fn a_guess_is_told_from_no_other_by_what_comes_when() {
        // A server answers with a guess, in one piece or two, and then with more.
        for length in 1..=VALUE.len() {
            let right = first(length);
            let wrong = format!("{}Q", first(length - 1));
            for cut in 0..=length {
                let came = |guess: &str| {
                    let (one, two) = guess.split_at(cut);
                    let text = [format!("404: no {one}").into_bytes(), two.into(), b" here".to_vec(), b"\n".to_vec()];
                    pieces(&[VALUE], &text.iter().map(Vec::as_slice).collect::<Vec<_>>())
                };
                let (right, wrong) = (came(right), came(&wrong));
                let lengths = |came: &[Bytes]| came.iter().map(Bytes::len).collect::<Vec<_>>();
                match length {
                    // Only who knows the whole beginning knows that it is one.
                    BEGINNING => assert_ne!(right, wrong),
                    1..BEGINNING => assert_eq!(lengths(&right), lengths(&wrong), "{length} {cut}"),
                    _ => assert_eq!(right, wrong, "{length} {cut}"),
                }
            }
        }
    }

    #[test]
    fn lines_are_not_held_back_and_little_else_is() {
        let mut scrubber = scrubber(&["secret-value"]);
        assert_eq!(scrubber.push(b"event: one\n"), b"event: one\n"[..]);
        assert_eq!(scrubber.push(b"0123456789"), b"012"[..]);
        assert_eq!(scrubber.push(b"abc"), b"345"[..]);
        assert_eq!(scrubber.push(b"\n"), b"6789abc\n"[..]);
    }

    proptest! {
        #[test]
        fn no_cut_changes_what_comes_out(
            text in "(x| |ab|abac|abacabac|abacabacaba){0,20}",
            cuts in proptest::collection::vec(0_usize..60, 0..8),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.sort_unstable();
            cuts.push(text.len());
            let mut from = 0;
            let mut pieces = Vec::new();
            for cut in cuts {
                pieces.push(&text.as_bytes()[from..cut]);
                from = cut;
            }
            let out = String::from_utf8(scrubbed(&["abacabacaba"], &pieces)).unwrap();
            prop_assert!(!out.contains("abacabac"), "{}", out);
            prop_assert_eq!(out.as_bytes(), scrubbed(&["abacabacaba"], &[text.as_bytes()]));
        }
    }
}
