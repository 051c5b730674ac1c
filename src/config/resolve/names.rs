//! Unique names of one kind over all files, and references to them.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::config::document::Written;
use crate::config::problems::Problems;
use crate::config::source::Place;
use crate::config::suggest;

/// Comparisons spent on likely names in one load: a million references to a hundred thousand
/// stations, all of them wrong, must not take hours.
const COMPARISONS_MAX: usize = 2_000_000;

/// The names of the lines, the stations or the tags.
pub(crate) struct Names {
    what: &'static str,
    places: FxHashMap<Arc<str>, (u32, Place)>,
    /// In the order of definition, for likely names.
    order: Vec<Arc<str>>,
    comparisons: usize,
}

impl Names {
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, places: FxHashMap::default(), order: Vec::new(), comparisons: 0 }
    }

    /// Checks a name and takes it; a second thing of this name is an error.
    pub(crate) fn define(
        &mut self,
        name: Written<&str>,
        position: u32,
        problems: &mut Problems,
    ) -> Arc<str> {
        super::check_name(self.what, name, problems);
        if self.what == "tag" && name.value.contains(['*', '?']) {
            problems
                .wrong(name.place, "the name of this tag contains a wildcard (`*` or `?`)")
                .help("readers use wildcards to name many tags at once");
        }
        if let Some((known, (_, first))) = self.places.get_key_value(name.value) {
            let message = format!("a second {} named `{}`", self.what, name.value);
            problems.wrong(name.place, message).first("the first one is", *first);
            return Arc::clone(known);
        }
        let shared: Arc<str> = name.value.into();
        self.places.insert(Arc::clone(&shared), (position, name.place));
        self.order.push(Arc::clone(&shared));
        shared
    }

    /// The position of the thing named.
    pub(crate) fn position(&self, name: &str) -> Option<u32> {
        self.places.get(name).map(|(position, _)| *position)
    }

    /// Reports a reference to nothing.
    pub(crate) fn report_unknown(&mut self, name: Written<&str>, problems: &mut Problems) {
        let Self { what, order, .. } = self;
        let problem = problems.wrong(name.place, format!("unknown {what} `{}`", name.value));
        if order.is_empty() {
            problem.help(format!("there is no {what}"));
            return;
        }
        self.comparisons += order.len();
        if self.comparisons > COMPARISONS_MAX {
            return;
        }
        let names = order.iter().map(|name| &**name);
        if let Some(likely) = suggest::nearest(name.value, names.clone()) {
            problem.help(format!("did you mean `{likely}`?"));
        } else if order.len() <= 8 {
            problem.help(format!("the {what}s are {}", suggest::list(names)));
        }
    }
}
