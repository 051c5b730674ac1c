//! Topic to at most one station. Contract, section 2.
//!
//! The readings of an address are tried in a fixed order:
//!
//! ```text
//! `#`  ->  equal topic  ->  `filter:`, most specific first  ->  expressions, descending  ->  `.*`
//! ```
//!
//! An equal topic is one look-up in a hash map. What filters and expressions say of a topic is
//! remembered, also that none takes it, in a cache with a bound.

mod cache;
mod expression;
mod filter;

use regex::Regex;
use rustc_hash::FxHashMap;

use super::{StationId, SyntaxError};
use crate::topic;
use cache::Cache;
use expression::Expressions;
use filter::Filters;

/// Which topics a station receives.
#[derive(Clone, Debug)]
pub enum StationAddress {
    /// `#`: everything, and nothing else is searched.
    All,
    /// `exact:TOPIC`.
    Exact(String),
    /// A plain address: that topic, else a regular expression over whole topics; `None` when the
    /// expression matches that topic only.
    Plain(String, Option<Regex>),
    /// `regex:EXPRESSION` over whole topics.
    Regex(String, Regex),
    /// `filter:a/+/b/#`.
    Filter(String),
    /// `.*`: what no other station takes.
    Fallback,
}

/// What two stations of a line must not share; see [`StationAddress::claims`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Claim {
    /// Everything.
    All,
    /// One topic.
    Topic(String),
    /// One topic filter.
    Filter(String),
    /// One regular expression.
    Expression(String),
    /// What is left.
    Fallback,
}

/// The rule by which a station takes a topic, in the order of the contest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// Its address is `#`.
    All,
    /// Its address is the topic.
    Exact,
    /// Its topic filter matches.
    Filter,
    /// Its regular expression matches the whole topic.
    Expression,
    /// Its address is `.*`.
    Fallback,
}

impl Rule {
    /// The word on the socket.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Exact => "exact",
            Self::Filter => "filter",
            Self::Expression => "regex",
            Self::Fallback => "fallback",
        }
    }

    /// In words.
    pub fn why(self) -> &'static str {
        match self {
            Self::All => "its address `#` takes everything",
            Self::Exact => "its address is the topic",
            Self::Filter => "its topic filter matches",
            Self::Expression => "its regular expression matches the whole topic",
            Self::Fallback => "its address `.*` takes what no other station does",
        }
    }
}

impl StationAddress {
    /// Reads an address as written in a station file.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        match text {
            "" => return Err(SyntaxError::new(0, "the station address is empty")),
            "#" => return Ok(Self::All),
            ".*" => return Ok(Self::Fallback),
            _ => {}
        }
        if let Some(name) = text.strip_prefix("exact:") {
            return exact(name).map_err(|error| shifted(error, "exact:"));
        }
        if let Some(filter) = text.strip_prefix("filter:") {
            return topic_filter(filter).map_err(|error| shifted(error, "filter:"));
        }
        if let Some(source) = text.strip_prefix("regex:") {
            return match expression::compile(source) {
                Ok(regex) => Ok(Self::Regex(source.to_owned(), regex)),
                Err(error) => Err(shifted(error, "regex:")),
            };
        }
        plain(text)
    }

    /// What the station lays claim to. Two stations of one line clash when they share a claim: a
    /// plain address `a` clashes with `exact:a` and with `regex:a`, which do not clash themselves.
    pub fn claims(&self) -> Vec<Claim> {
        match self {
            Self::All => vec![Claim::All],
            Self::Exact(name) => vec![Claim::Topic(name.clone())],
            Self::Plain(text, _) => {
                vec![Claim::Topic(text.clone()), Claim::Expression(text.clone())]
            }
            Self::Regex(source, _) => vec![Claim::Expression(source.clone())],
            Self::Filter(filter) => vec![Claim::Filter(filter.clone())],
            Self::Fallback => vec![Claim::Fallback],
        }
    }

    /// The topic filter that brings the station's messages (D2000: SSA); `None` for expressions,
    /// which no server understands.
    pub fn as_filter(&self) -> Option<&str> {
        match self {
            Self::All => Some("#"),
            Self::Exact(topic) | Self::Filter(topic) => Some(topic),
            Self::Plain(text, _) => topic::check_filter(text).is_ok().then_some(text),
            Self::Regex(..) | Self::Fallback => None,
        }
    }

    /// Whether two stations of one line cannot both have these addresses.
    pub fn clashes_with(&self, other: &Self) -> bool {
        let claims = self.claims();
        other.claims().iter().any(|claim| claims.contains(claim))
    }
}

fn exact(name: &str) -> Result<StationAddress, SyntaxError> {
    match topic::check_name(name) {
        Ok(()) => Ok(StationAddress::Exact(name.to_owned())),
        Err(error) => {
            let at = name.find(['+', '#', '\0']).unwrap_or(0);
            let error = SyntaxError::new(at, format!("no message has this topic: {error}"));
            Err(if name.contains(['+', '#']) {
                error.help(format!("a topic filter is written `filter:{name}`"))
            } else {
                error
            })
        }
    }
}

fn topic_filter(filter: &str) -> Result<StationAddress, SyntaxError> {
    if filter.starts_with("$share/") {
        return Err(SyntaxError::new(0, "a station has no shared subscription")
            .help("write the filter without `$share/NAME/`"));
    }
    match topic::check_filter(filter) {
        Ok(()) => Ok(StationAddress::Filter(filter.to_owned())),
        Err(error) => Err(SyntaxError::new(
            filter.find(['#', '+', '\0']).unwrap_or(0),
            format!("this is no topic filter: {error}"),
        )),
    }
}

fn plain(text: &str) -> Result<StationAddress, SyntaxError> {
    if text.strip_suffix("/#").is_some_and(|head| !head.contains(expression::is_meta)) {
        return Err(SyntaxError::new(
            text.len() - 1,
            "`#` is a wildcard in topic filters only, and no topic contains it",
        )
        .help(format!("write `filter:{text}`")));
    }
    if !text.contains(expression::is_meta) {
        return Ok(StationAddress::Plain(text.to_owned(), None));
    }
    match expression::compile(text) {
        Ok(regex) => Ok(StationAddress::Plain(text.to_owned(), Some(regex))),
        Err(error) => {
            Err(error.help(format!("if the topic itself is meant, write `exact:{text}`")))
        }
    }
}

fn shifted(mut error: SyntaxError, prefix: &str) -> SyntaxError {
    error.at += prefix.len();
    error
}

/// The stations of one line, compiled for look-up.
pub struct Router {
    all: Option<StationId>,
    exact: FxHashMap<Box<str>, StationId>,
    filters: Filters,
    expressions: Expressions,
    fallback: Option<StationId>,
    cache: Cache,
}

/// How the stations of a line contest for a topic, for people: [`Router::explain`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contest {
    /// The station that takes the topic, and by which rule.
    pub winner: Option<(StationId, Rule)>,
    /// Every station whose address takes the topic by itself, in the order of the contest; the
    /// first is the winner.
    pub candidates: Vec<(StationId, Rule)>,
}

impl Router {
    /// Compiles; the addresses are known to be different.
    pub fn compile<'a>(stations: impl Iterator<Item = (StationId, &'a StationAddress)>) -> Self {
        let mut all = None;
        let mut exact = FxHashMap::default();
        let mut filters = Filters::default();
        let mut expressions = Vec::new();
        let mut fallback = None;
        for (station, address) in stations {
            match address {
                StationAddress::All => all = Some(station),
                StationAddress::Exact(name) => {
                    exact.insert(name.as_str().into(), station);
                }
                StationAddress::Plain(text, regex) => {
                    exact.insert(text.as_str().into(), station);
                    if let Some(regex) = regex {
                        expressions.push((text.as_str(), regex, station));
                    }
                }
                StationAddress::Regex(source, regex) => {
                    expressions.push((source.as_str(), regex, station));
                }
                StationAddress::Filter(filter) => filters.insert(filter, station),
                StationAddress::Fallback => fallback = Some(station),
            }
        }
        let expressions = Expressions::compile(expressions);
        Self { all, exact, filters, expressions, fallback, cache: Cache::default() }
    }

    /// The station that takes a topic, if any does.
    pub fn route(&mut self, topic: &str) -> Option<StationId> {
        if self.all.is_some() {
            return self.all;
        }
        if let Some(station) = self.exact.get(topic) {
            return Some(*station);
        }
        if self.filters.is_empty() && self.expressions.is_empty() {
            return self.fallback;
        }
        if let Some(remembered) = self.cache.find(topic) {
            return remembered;
        }
        let station =
            self.filters.first(topic).or_else(|| self.expressions.first(topic)).or(self.fallback);
        self.cache.remember(topic, station);
        station
    }

    /// How a topic comes to its station.
    pub fn explain(&self, topic: &str) -> Contest {
        let mut candidates = Vec::new();
        candidates.extend(self.all.map(|station| (station, Rule::All)));
        candidates.extend(self.exact.get(topic).map(|station| (*station, Rule::Exact)));
        let filters = self.filters.matches(topic);
        candidates.extend(filters.into_iter().map(|station| (station, Rule::Filter)));
        let expressions = self.expressions.matches(topic);
        candidates.extend(expressions.into_iter().map(|station| (station, Rule::Expression)));
        candidates.extend(self.fallback.map(|station| (station, Rule::Fallback)));
        Contest { winner: candidates.first().copied(), candidates }
    }
}

#[cfg(test)]
mod tests;
