//! Topic names and topic filters, MQTT 3.1.1 and 5.0 section 4.7.

/// Longest topic name or filter in bytes (section 4.7.3: a UTF-8 encoded string).
pub const TOPIC_BYTES_MAX: usize = 65_535;

/// Why a text is no topic name or no topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// MQTT-4.7.3-1.
    #[error("it is empty")]
    Empty,
    /// MQTT-4.7.3-2.
    #[error("it contains the character U+0000")]
    Nul,
    /// MQTT-4.7.3-3.
    #[error("it is longer than 65535 bytes")]
    TooLong,
    /// MQTT-3.3.2-2: a topic name contains no wildcard.
    #[error("it contains a wildcard (`+` or `#`), which only a topic filter may")]
    Wildcard,
    /// MQTT-4.7.1-2.
    #[error("`#` must be the whole last level")]
    MisplacedHash,
    /// MQTT-4.7.1-3.
    #[error("`+` must be a whole level")]
    MisplacedPlus,
    /// MQTT 5.0 section 4.8.2: `$share/NAME/FILTER`.
    #[error("a shared subscription is written `$share/NAME/FILTER`, NAME without `+` and `#`")]
    Share,
}

/// Checks a topic name, as in a PUBLISH.
pub fn check_name(name: &str) -> Result<(), TopicError> {
    check_text(name)?;
    if name.contains(['+', '#']) {
        return Err(TopicError::Wildcard);
    }
    Ok(())
}

/// Checks a topic filter, as in a SUBSCRIBE; `$share/NAME/FILTER` is one too.
pub fn check_filter(filter: &str) -> Result<(), TopicError> {
    check_text(filter)?;
    let plain = match filter.strip_prefix("$share/") {
        None => filter,
        Some(rest) => {
            let (share_name, plain) = rest.split_once('/').ok_or(TopicError::Share)?;
            if share_name.is_empty() || share_name.contains(['+', '#']) || plain.is_empty() {
                return Err(TopicError::Share);
            }
            plain
        }
    };
    let mut levels = plain.split('/').peekable();
    while let Some(level) = levels.next() {
        if level.contains('#') && (level != "#" || levels.peek().is_some()) {
            return Err(TopicError::MisplacedHash);
        }
        if level.contains('+') && level != "+" {
            return Err(TopicError::MisplacedPlus);
        }
    }
    Ok(())
}

/// Whether a filter (without `$share/NAME/`) matches a topic name, section 4.7.1 and 4.7.2.
///
/// `#` matches its parent level too; a leading wildcard does not match a topic that starts with `$`.
pub fn matches(filter: &str, name: &str) -> bool {
    if name.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut wanted = filter.split('/');
    let mut levels = name.split('/');
    loop {
        match (wanted.next(), levels.next()) {
            (Some("#"), _) => return true,
            (Some("+"), Some(_)) => {}
            (Some(literal), Some(level)) if literal == level => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

fn check_text(text: &str) -> Result<(), TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > TOPIC_BYTES_MAX {
        return Err(TopicError::TooLong);
    }
    if text.contains('\0') {
        return Err(TopicError::Nul);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_the_specification_says() {
        // Examples of MQTT 3.1.1 sections 4.7.1.2, 4.7.1.3 and 4.7.2.
        for (filter, name, expected) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/#", "sport", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/monitor", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/monitor/Clients", true),
            ("a/b", "a/b/c", false),
            ("a/b/c", "a/b", false),
            ("A", "a", false),
        ] {
            assert_eq!(matches(filter, name), expected, "{filter} against {name}");
        }
    }

    #[test]
    fn misplaced_wildcards_are_refused() {
        assert_eq!(check_filter("sport/tennis#"), Err(TopicError::MisplacedHash));
        assert_eq!(check_filter("sport/#/ranking"), Err(TopicError::MisplacedHash));
        assert_eq!(check_filter("sport+"), Err(TopicError::MisplacedPlus));
        assert_eq!(check_filter(""), Err(TopicError::Empty));
        assert_eq!(check_filter("$share/g"), Err(TopicError::Share));
        assert_eq!(check_filter("$share/+/a"), Err(TopicError::Share));
        assert_eq!(check_filter("$share/g/a/+"), Ok(()));
        assert_eq!(check_filter("+/+/#"), Ok(()));
        assert_eq!(check_name("a/+"), Err(TopicError::Wildcard));
        assert_eq!(check_name("a\0b"), Err(TopicError::Nul));
        assert_eq!(check_name(&"x".repeat(65_536)), Err(TopicError::TooLong));
        assert_eq!(check_name("/"), Ok(()));
    }
}
