//! Topic names and topic filters, section 4.7.

/// A name to publish on.
pub fn topic(name: &str) -> Result<(), String> {
    if name.is_empty() || name.contains(['+', '#']) {
        return Err(format!("topic name `{name}` (MQTT-3.3.2-2, MQTT-4.7.3-1)"));
    }
    Ok(())
}

/// A filter to subscribe to; true: it has a wildcard.
pub fn filter(filter: &str) -> Result<bool, String> {
    let wrong = || format!("topic filter `{filter}` (MQTT-4.7.1)");
    let rest = match filter.strip_prefix("$share/") {
        Some(shared) => {
            let (group, rest) = shared.split_once('/').ok_or_else(wrong)?;
            if group.is_empty() || group.contains(['+', '#']) {
                return Err(wrong());
            }
            rest
        }
        None => filter,
    };
    if rest.is_empty() {
        return Err(wrong());
    }
    let levels: Vec<&str> = rest.split('/').collect();
    for (place, level) in levels.iter().enumerate() {
        let is_wild = level.contains(['+', '#']);
        let is_last = place + 1 == levels.len();
        if is_wild && level.len() > 1 || *level == "#" && !is_last {
            return Err(wrong());
        }
    }
    Ok(levels.iter().any(|level| level.contains(['+', '#'])))
}

#[test]
fn filters_are_told_apart() {
    for good in ["a", "/", "+", "#", "a/+/b/#", "$share/g/a/#", "+/+"] {
        assert!(filter(good).is_ok(), "{good}");
    }
    for bad in ["", "a#", "#/a", "a+", "$share//a", "$share/g", "$share/g/", "$share/+/a"] {
        assert!(filter(bad).is_err(), "{bad}");
    }
}
