//! Splits the list of `--with`, where a comma separates requirements only when the next piece
//! starts a new one: `pandas>=2,<3,six` holds two. The rule is that of `uv run --with`.

/// The requirements of a list, in order, without empty ones.
pub(crate) fn split(list: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let (mut rest, mut at) = (list, 0);
    while let Some(offset) = rest.get(at..).and_then(|tail| tail.find(',')).map(|found| at + found) {
        let (head, tail) = rest.split_at(offset);
        let tail = tail.strip_prefix(',').unwrap_or(tail);
        if separates(head, tail) {
            pieces.push(head.trim());
            (rest, at) = (tail, 0);
        } else {
            at = offset + 1;
        }
    }
    pieces.push(rest.trim());
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// Whether the comma between `head` and `tail` is outside brackets and quotes, and no version follows.
fn separates(head: &str, tail: &str) -> bool {
    let (mut depth, mut quoted) = (0_i32, None);
    for c in head.chars() {
        match (quoted, c) {
            (None, '\'' | '"') => quoted = Some(c),
            (Some(open), c) if open == c => quoted = None,
            (None, '[' | '(') => depth += 1,
            (None, ']' | ')') => depth -= 1,
            (_, _) => {}
        }
    }
    let version_follows = tail.trim_start().starts_with(['<', '>', '=', '!', '~']);
    depth <= 0 && quoted.is_none() && !version_follows
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn a_comma_separates_only_before_a_new_name() {
        for (list, pieces) in [
            ("pandas>=2,matplotlib", &["pandas>=2", "matplotlib"][..]),
            ("pandas>=2,<3", &["pandas>=2,<3"]),
            ("pandas>=2, <3 , six", &["pandas>=2, <3", "six"]),
            ("a[x,y]>1,!=2,b", &["a[x,y]>1,!=2", "b"]),
            ("a (>=1,<2),b", &["a (>=1,<2)", "b"]),
            ("a; os_name in 'x,y',b", &["a; os_name in 'x,y'", "b"]),
            (",six,,idna,", &["six", "idna"]),
            ("", &[]),
            ("a[x,b", &["a[x,b"]),
        ] {
            assert_eq!(split(list), pieces, "{list}");
        }
    }
}
