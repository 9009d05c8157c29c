//! The known word that somebody most likely meant.

/// What to do about an unknown word.
#[must_use]
pub fn next(word: &str, known: &[&str]) -> String {
    let list = known.join(", ");
    match nearest(word, known) {
        Some(meant) => format!("did you mean `{meant}`? There are {list}"),
        None => format!("use one of {list}"),
    }
}

/// The nearest known word, if it is near at all.
fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    // Longer words are no slip of the fingers, and would cost time.
    let word: Vec<char> = word.to_lowercase().chars().take(40).collect();
    let distances =
        known.iter().map(|other| (distance(&word, &other.to_lowercase().chars().collect::<Vec<_>>()), *other));
    let (distance, meant) = distances.min()?;
    (distance <= 1 + word.len() / 4).then_some(meant)
}

/// How many characters must be put in, taken out or replaced (Levenshtein).
fn distance(one: &[char], other: &[char]) -> usize {
    let mut before: Vec<usize> = (0..=other.len()).collect();
    for (row, left) in (1..).zip(one) {
        let mut line = vec![row];
        for ((above, pair), right) in before.iter().skip(1).zip(before.iter()).zip(other) {
            let here = line.last().copied().unwrap_or(row);
            line.push((above + 1).min(here + 1).min(pair + usize::from(left != right)));
        }
        before = line;
    }
    before.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_fingers_are_near_and_other_words_are_not() {
        let known = ["egress", "languages", "limits", "require"];
        for (word, meant) in [
            ("egres", Some("egress")),
            ("Egress", Some("egress")),
            ("langauges", Some("languages")),
            ("requires", Some("require")),
            ("host", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, &known), meant, "{word}");
        }
    }
}
