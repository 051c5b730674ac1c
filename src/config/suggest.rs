//! The word that was probably meant.

/// The candidate nearest to a misspelt word, if one is near enough to name.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let plain = normal(word);
    let allowed = (plain.chars().count() / 3).clamp(1, 4);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&plain, &normal(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Back-ticked and joined, for messages.
pub(super) fn list<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// Case and the kind of separator are the commonest mistakes.
fn normal(word: &str) -> String {
    word.chars()
        .filter(|character| !matches!(character, '_' | '-' | ' '))
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let keys = ["keep_alive", "client_id", "name", "topic_filter"];
        assert_eq!(nearest("keep-alive", keys), Some("keep_alive"));
        assert_eq!(nearest("keepalive", keys), Some("keep_alive"));
        assert_eq!(nearest("ClientID", keys), Some("client_id"));
        assert_eq!(nearest("nmae", keys), Some("name"));
        assert_eq!(nearest("topics_filter", keys), Some("topic_filter"));
        assert_eq!(nearest("colour", keys), None);
        assert_eq!(nearest("", keys), None);
    }
}
