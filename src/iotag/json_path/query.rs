//! A query as it is evaluated: well-typed (RFC 9535, section 2.4.3), its patterns compiled.
//!
//! The parser is a library's; what it lets pass and the RFC does not is refused here.

use jsonpath_rust::parser::model as parsed;

use super::pattern::{Pattern, compile};

/// Steps from a value to values.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    /// Whether the selectors apply to all that is inside, too.
    pub(super) is_descendant: bool,
    pub(super) selectors: Vec<Selector>,
}

#[derive(Clone, Debug)]
pub(super) enum Selector {
    Name(Box<str>),
    Wildcard,
    /// Negative: from the end.
    Index(i64),
    Slice {
        start: Option<i64>,
        end: Option<i64>,
        step: i64,
    },
    Filter(Logical),
}

#[derive(Clone, Debug)]
pub(super) enum Logical {
    Or(Vec<Logical>),
    And(Vec<Logical>),
    Not(Box<Logical>),
    Exists(Query),
    Compare(Operator, Comparable, Comparable),
    /// `match`, or `search` when a part of the text is enough.
    Matches {
        whole: bool,
        text: Comparable,
        pattern: Matched,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What a text is matched with.
#[derive(Clone, Debug)]
pub(super) enum Matched {
    Known(Pattern),
    /// A pattern that stands in the document.
    Found(Comparable),
}

/// What gives a value, or nothing.
#[derive(Clone, Debug)]
pub(super) enum Comparable {
    Null,
    Boolean(bool),
    /// As it is written.
    Number(Box<str>),
    Text(Box<str>),
    /// For one value at most.
    Query(Query),
    Length(Box<Comparable>),
    Count(Query),
    Value(Query),
}

/// A query inside a filter.
#[derive(Clone, Debug)]
pub(super) struct Query {
    /// From the document as a whole, instead of from the value that is tested.
    pub(super) is_absolute: bool,
    pub(super) segments: Vec<Segment>,
}

/// Whether it leads to one value at most, by names and indexes only (RFC 9535, section 2.3.5).
pub(super) fn is_singular(segments: &[Segment]) -> bool {
    segments.iter().all(|segment| {
        !segment.is_descendant
            && matches!(*segment.selectors, [Selector::Name(_) | Selector::Index(_)])
    })
}

/// The segments of a parsed query; the error says what is wrong.
pub(super) fn segments(segments: &[parsed::Segment]) -> Result<Vec<Segment>, String> {
    segments.iter().map(segment).collect()
}

fn segment(segment: &parsed::Segment) -> Result<Segment, String> {
    let selectors = match segment {
        parsed::Segment::Descendant(inner) => {
            return Ok(Segment { is_descendant: true, ..self::segment(inner)? });
        }
        parsed::Segment::Selector(one) => vec![selector(one)?],
        parsed::Segment::Selectors(several) => {
            several.iter().map(selector).collect::<Result<_, _>>()?
        }
    };
    Ok(Segment { is_descendant: false, selectors })
}

fn selector(selector: &parsed::Selector) -> Result<Selector, String> {
    Ok(match selector {
        parsed::Selector::Name(name) => Selector::Name(name.as_str().into()),
        parsed::Selector::Wildcard => Selector::Wildcard,
        parsed::Selector::Index(index) => Selector::Index(*index),
        parsed::Selector::Slice(start, end, step) => {
            Selector::Slice { start: *start, end: *end, step: step.unwrap_or(1) }
        }
        parsed::Selector::Filter(filter) => Selector::Filter(logical(filter)?),
    })
}

fn logical(filter: &parsed::Filter) -> Result<Logical, String> {
    let all = |parts: &[parsed::Filter]| parts.iter().map(logical).collect::<Result<_, _>>();
    let negated = |is_negated: bool, inner: Logical| match is_negated {
        true => Logical::Not(Box::new(inner)),
        false => inner,
    };
    Ok(match filter {
        parsed::Filter::Or(parts) => Logical::Or(all(parts)?),
        parsed::Filter::And(parts) => Logical::And(all(parts)?),
        parsed::Filter::Atom(parsed::FilterAtom::Filter { expr, not }) => {
            negated(*not, logical(expr)?)
        }
        parsed::Filter::Atom(parsed::FilterAtom::Test { expr, not }) => negated(*not, test(expr)?),
        parsed::Filter::Atom(parsed::FilterAtom::Comparison(comparison)) => {
            let (operator, left, right) = match &**comparison {
                parsed::Comparison::Eq(left, right) => (Operator::Equal, left, right),
                parsed::Comparison::Ne(left, right) => (Operator::NotEqual, left, right),
                parsed::Comparison::Lt(left, right) => (Operator::Less, left, right),
                parsed::Comparison::Lte(left, right) => (Operator::LessOrEqual, left, right),
                parsed::Comparison::Gt(left, right) => (Operator::Greater, left, right),
                parsed::Comparison::Gte(left, right) => (Operator::GreaterOrEqual, left, right),
            };
            Logical::Compare(operator, comparable(left)?, comparable(right)?)
        }
    })
}

fn test(test: &parsed::Test) -> Result<Logical, String> {
    if let Some(query) = query(test)? {
        return Ok(Logical::Exists(query));
    }
    let parsed::Test::Function(function) = test else {
        return Err("a test is a query or a function".to_owned());
    };
    let (whole, text, pattern) = match &**function {
        parsed::TestFunction::Match(text, pattern) => (true, text, pattern),
        parsed::TestFunction::Search(text, pattern) => (false, text, pattern),
        parsed::TestFunction::Custom(name, _) => return Err(unknown(name)),
        _ => return Err("what a function gives must be compared".to_owned()),
    };
    let name = if whole { "match" } else { "search" };
    let pattern = match value(name, pattern)? {
        Comparable::Text(text) => Matched::Known(compile(&text, whole)?),
        other => Matched::Found(other),
    };
    Ok(Logical::Matches { whole, text: value(name, text)?, pattern })
}

/// `None`: it is no query.
fn query(test: &parsed::Test) -> Result<Option<Query>, String> {
    let (is_absolute, segments) = match test {
        parsed::Test::RelQuery(segments) => (false, segments),
        parsed::Test::AbsQuery(query) => (true, &query.segments),
        parsed::Test::Function(_) => return Ok(None),
    };
    Ok(Some(Query { is_absolute, segments: self::segments(segments)? }))
}

fn comparable(comparable: &parsed::Comparable) -> Result<Comparable, String> {
    match comparable {
        parsed::Comparable::Literal(literal) => Ok(self::literal(literal)),
        parsed::Comparable::Function(function) => self::function(function),
        parsed::Comparable::SingularQuery(query) => {
            let (is_absolute, segments) = match query {
                parsed::SingularQuery::Current(segments) => (false, segments),
                parsed::SingularQuery::Root(segments) => (true, segments),
            };
            let selector = |segment: &parsed::SingularQuerySegment| match segment {
                parsed::SingularQuerySegment::Index(index) => Selector::Index(*index),
                parsed::SingularQuerySegment::Name(name) => Selector::Name(name.as_str().into()),
            };
            let segment =
                |segment| Segment { is_descendant: false, selectors: vec![selector(segment)] };
            let segments = segments.iter().map(segment).collect();
            Ok(Comparable::Query(Query { is_absolute, segments }))
        }
    }
}

fn literal(literal: &parsed::Literal) -> Comparable {
    match literal {
        parsed::Literal::Int(integer) => Comparable::Number(integer.to_string().into()),
        parsed::Literal::Float(real) => Comparable::Number(format!("{real:e}").into()),
        parsed::Literal::String(text) => Comparable::Text(text.as_str().into()),
        parsed::Literal::Bool(on) => Comparable::Boolean(*on),
        parsed::Literal::Null => Comparable::Null,
    }
}

/// A function that gives a value.
fn function(function: &parsed::TestFunction) -> Result<Comparable, String> {
    Ok(match function {
        parsed::TestFunction::Length(argument) => {
            Comparable::Length(Box::new(value("length", argument)?))
        }
        parsed::TestFunction::Count(argument) => Comparable::Count(nodes("count", argument)?),
        parsed::TestFunction::Value(argument) => Comparable::Value(nodes("value", argument)?),
        parsed::TestFunction::Custom(name, _) => return Err(unknown(name)),
        parsed::TestFunction::Match(..) | parsed::TestFunction::Search(..) => {
            return Err("`match` and `search` give no value".to_owned());
        }
    })
}

/// An argument that is a value.
fn value(name: &str, argument: &parsed::FnArg) -> Result<Comparable, String> {
    let several = || format!("`{name}` takes one value, not a query for several");
    match argument {
        parsed::FnArg::Literal(literal) => Ok(self::literal(literal)),
        parsed::FnArg::Test(test) => match &**test {
            parsed::Test::Function(function) => self::function(function),
            test => match query(test)? {
                Some(query) if is_singular(&query.segments) => Ok(Comparable::Query(query)),
                _ => Err(several()),
            },
        },
        parsed::FnArg::Filter(_) => Err(format!("`{name}` takes a value, not a condition")),
    }
}

/// An argument that is any number of values.
fn nodes(name: &str, argument: &parsed::FnArg) -> Result<Query, String> {
    let query = match argument {
        parsed::FnArg::Test(test) => query(test)?,
        _ => None,
    };
    query.ok_or_else(|| format!("`{name}` takes a query"))
}

fn unknown(name: &str) -> String {
    format!("there is no function `{name}`; there are length, count, value, match and search")
}
