//! Tags by name, exact or by pattern.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::config::Config;
use crate::iotag::TagId;

/// All tag names, hashed and in order.
pub(super) struct NameIndex {
    exact: FxHashMap<Arc<str>, TagId>,
    ordered: Vec<(Arc<str>, TagId)>,
    /// Names that no tag has any more.
    retired: FxHashMap<Arc<str>, TagId>,
    /// Tags that had the name of one that there is, and that one.
    former: Vec<(TagId, TagId)>,
}

impl NameIndex {
    pub(super) fn new(config: &Config) -> Self {
        let mut ordered: Vec<_> =
            config.live_tags().map(|(id, tag)| (Arc::clone(&tag.name), id)).collect();
        let exact: FxHashMap<_, _> = ordered.iter().cloned().collect();
        ordered.sort_unstable();
        let all = (0u32..).map(TagId).zip(&config.tags);
        let mut former = Vec::new();
        let mut retired = FxHashMap::default();
        for (id, tag) in all.filter(|(id, _)| config.is_retired_tag(*id)) {
            match exact.get(&tag.name) {
                Some(&successor) => former.push((id, successor)),
                None => drop(retired.insert(Arc::clone(&tag.name), id)),
            }
        }
        Self { exact, ordered, retired, former }
    }

    /// A tag of this name that there is, or was.
    pub(super) fn ever(&self, name: &str) -> Option<TagId> {
        self.exact(name).or_else(|| self.retired.get(name).copied())
    }

    /// Tags that had the name of one that there is, and that one.
    pub(super) fn former(&self) -> &[(TagId, TagId)] {
        &self.former
    }

    pub(super) fn exact(&self, name: &str) -> Option<TagId> {
        self.exact.get(name).copied()
    }

    pub(super) fn matching<'a>(
        &'a self,
        pattern: &'a str,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = TagId> + 'a {
        let literal = pattern.find(['*', '?']).map_or(pattern, |wildcard| &pattern[..wildcard]);
        let start = self.ordered.partition_point(|(name, _)| {
            &**name < literal || after.is_some_and(|after| &**name <= after)
        });
        self.ordered[start..]
            .iter()
            .take_while(move |(name, _)| name.starts_with(literal))
            .filter(move |(name, _)| glob(pattern, name))
            .map(|&(_, tag)| tag)
    }
}

/// Whether a name matches a pattern: `*` any characters, `?` one. Linear in memory, no recursion.
pub(super) fn glob(pattern: &str, name: &str) -> bool {
    let mut pattern_rest = pattern.chars();
    let mut name_rest = name.chars();
    let mut retry: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
    loop {
        let mut pattern_next = pattern_rest.clone();
        match pattern_next.next() {
            Some('*') => {
                retry = Some((pattern_next.clone(), name_rest.clone()));
                pattern_rest = pattern_next;
                continue;
            }
            Some(wanted) => {
                let mut name_next = name_rest.clone();
                if name_next.next().is_some_and(|found| wanted == '?' || wanted == found) {
                    pattern_rest = pattern_next;
                    name_rest = name_next;
                    continue;
                }
            }
            None if name_rest.as_str().is_empty() => return true,
            None => {}
        }
        // The last `*` takes one character more.
        let Some((after_star, taken)) = &mut retry else { return false };
        if taken.next().is_none() {
            return false;
        }
        pattern_rest = after_star.clone();
        name_rest = taken.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn patterns_match_like_in_a_shell() {
        for (pattern, name, expected) in [
            ("pump*", "pump1.flow", true),
            ("pump*", "apump", false),
            ("*.flow", "pump1.flow", true),
            ("p?mp1.*", "pump1.flow", true),
            ("p?mp1.*", "pmp1.flow", false),
            ("*a*b", "xaxxab", true),
            ("*a*b", "xaxxa", false),
            ("*", "", true),
            ("?", "", false),
            ("", "", true),
            ("", "a", false),
            ("č?", "čž", true),
            ("a**b", "ab", true),
        ] {
            assert_eq!(glob(pattern, name), expected, "{pattern} against {name}");
        }
    }
}
