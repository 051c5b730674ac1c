//! JSONPath (RFC 9535) as a tag address: `$.values[?@.id == 'x'].v`. Contract, section 3.

use jsonpath_rust::parser::model::{
    Comparable, Comparison, Filter, FilterAtom, FnArg, JpQuery, Segment, Selector, Test,
    TestFunction,
};
use jsonpath_rust::parser::parse_json_path;
use jsonpath_rust::query::js_path_process;

use super::SyntaxError;
use super::json_address::{JsonAddress, Step};

/// A JSONPath query, parsed once.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath {
    text: String,
    query: JpQuery,
}

impl JsonPath {
    /// Reads the part after `JP=`.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        if !text.starts_with('$') {
            return Err(SyntaxError::new(0, "a JSONPath begins with `$`")
                .help(format!("the dotted form without `$` is `JA={text}`")));
        }
        match parse_json_path(text) {
            Ok(query) => match check_segments(&query.segments) {
                Ok(()) => Ok(Self { text: text.to_owned(), query }),
                Err(what) => Err(SyntaxError::new(0, format!("this is no JSONPath: {what}"))),
            },
            Err(error) => {
                let error = error.to_string();
                let what = error.lines().last().unwrap_or_default().trim();
                let what = what.trim_start_matches("= ").trim_end_matches('.');
                Err(SyntaxError::new(place(&error, text), format!("this is no JSONPath: {what}")))
            }
        }
    }

    /// The query as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it leads to one value at most, by names and indexes only (RFC 9535, section 2.3.5).
    pub fn is_singular(&self) -> bool {
        is_singular(&self.query.segments)
    }

    /// The same place as an address, which is read without a document in memory: a query of names
    /// and of indexes from the start.
    pub(super) fn as_address(&self) -> Option<JsonAddress> {
        let step = |segment: &Segment| match segment {
            Segment::Selector(Selector::Name(name)) => Some(Step::Field(name.as_str().into())),
            Segment::Selector(Selector::Index(index)) => {
                u32::try_from(*index).ok().map(|index| Step::Element(index as usize))
            }
            _ => None,
        };
        JsonAddress::of(self.query.segments.iter().map(step).collect::<Option<_>>()?)
    }

    /// The values that it selects, in the order of the query.
    pub(super) fn select<'a>(&self, document: &'a serde_json::Value) -> Vec<&'a serde_json::Value> {
        // A query that cannot be evaluated selects nothing.
        let selected = js_path_process(&self.query, document).unwrap_or_default();
        selected.into_iter().map(|selected| selected.val()).collect()
    }
}

fn is_singular(segments: &[Segment]) -> bool {
    segments
        .iter()
        .all(|segment| matches!(segment, Segment::Selector(Selector::Name(_) | Selector::Index(_))))
}

/// RFC 9535, section 2.4.3: functions are well-typed, which the parser leaves to us in part.
fn check_segments(segments: &[Segment]) -> Result<(), &'static str> {
    let check_selector = |selector: &Selector| match selector {
        Selector::Filter(filter) => check_filter(filter),
        _ => Ok(()),
    };
    segments.iter().try_for_each(|segment| match segment {
        Segment::Descendant(inner) => check_segments(std::slice::from_ref(inner)),
        Segment::Selector(selector) => check_selector(selector),
        Segment::Selectors(selectors) => selectors.iter().try_for_each(check_selector),
    })
}

fn check_filter(filter: &Filter) -> Result<(), &'static str> {
    match filter {
        Filter::Or(parts) | Filter::And(parts) => parts.iter().try_for_each(check_filter),
        Filter::Atom(FilterAtom::Filter { expr, .. }) => check_filter(expr),
        Filter::Atom(FilterAtom::Test { expr, .. }) => match &**expr {
            Test::Function(function) if gives_value(function) => {
                Err("what a function gives must be compared")
            }
            test => check_test(test),
        },
        Filter::Atom(FilterAtom::Comparison(comparison)) => {
            let (Comparison::Eq(left, right)
            | Comparison::Ne(left, right)
            | Comparison::Gt(left, right)
            | Comparison::Gte(left, right)
            | Comparison::Lt(left, right)
            | Comparison::Lte(left, right)) = &**comparison;
            [left, right].into_iter().try_for_each(|side| match side {
                Comparable::Function(function) => check_function(function),
                _ => Ok(()),
            })
        }
    }
}

fn gives_value(function: &TestFunction) -> bool {
    matches!(function, TestFunction::Length(_) | TestFunction::Value(_) | TestFunction::Count(_))
}

fn check_test(test: &Test) -> Result<(), &'static str> {
    match test {
        Test::RelQuery(segments) => check_segments(segments),
        Test::AbsQuery(query) => check_segments(&query.segments),
        Test::Function(function) => check_function(function),
    }
}

fn check_function(function: &TestFunction) -> Result<(), &'static str> {
    let check_argument = |argument: &FnArg| match argument {
        FnArg::Literal(_) => Ok(()),
        FnArg::Test(test) => check_test(test),
        FnArg::Filter(filter) => check_filter(filter),
    };
    let single = |argument: &FnArg| match argument {
        FnArg::Test(test) => match &**test {
            Test::RelQuery(segments) => is_singular(segments),
            Test::AbsQuery(query) => is_singular(&query.segments),
            Test::Function(_) => true,
        },
        _ => true,
    };
    match function {
        TestFunction::Length(argument) if !single(argument) => {
            Err("`length` takes one value, not a query for several")
        }
        TestFunction::Length(argument) => check_argument(argument),
        TestFunction::Value(argument) | TestFunction::Count(argument) => check_argument(argument),
        TestFunction::Search(one, other) | TestFunction::Match(one, other) => {
            check_argument(one).and_then(|()| check_argument(other))
        }
        TestFunction::Custom(_, arguments) => arguments.iter().try_for_each(check_argument),
    }
}

/// The parser says where in words: ` --> 1:7`, line and column from 1, in characters.
fn place(error: &str, text: &str) -> usize {
    let column = error
        .split_once("--> 1:")
        .and_then(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next())
        .and_then(|digits| digits.parse::<usize>().ok())
        .unwrap_or(1);
    text.char_indices().nth(column.saturating_sub(1)).map_or(text.len(), |(offset, _)| offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_and_select() {
        let document = serde_json::json!({"values": [{"id": "x", "v": 1}, {"id": "y", "v": 2}]});
        for (text, singular, selected) in [
            ("$", true, 1),
            ("$.values[0].v", true, 1),
            ("$['values'][-1]['v']", true, 1),
            ("$.values[*].v", false, 2),
            ("$.values[?@.id == 'y'].v", false, 1),
            ("$..v", false, 2),
            ("$.nothing", true, 0),
        ] {
            let path = JsonPath::parse(text).unwrap();
            assert_eq!(path.is_singular(), singular, "{text}");
            assert_eq!(path.select(&document).len(), selected, "{text}");
            assert_eq!(path.as_str(), text);
        }
    }

    #[test]
    fn one_place_is_an_address() {
        for (text, address) in [
            ("$.values[0].v", Some("values[1].v")),
            (r#"$['a.b']["c\"d"]"#, Some(r#""a.b"."c\"d""#)),
            ("$[1][2]", Some("[2][3]")),
            ("$", None),
            ("$.a[-1]", None),
            ("$.a[4294967296]", None),
            ("$.a[*]", None),
            ("$..a", None),
            ("$['a','b']", None),
        ] {
            let address = address.map(|address| JsonAddress::parse(address).unwrap());
            assert_eq!(JsonPath::parse(text).unwrap().as_address(), address, "{text}");
        }
    }

    #[test]
    fn mistakes_are_found() {
        for text in ["", "a.b", "$.", "$.a[", "$[?@.a ==]", "$[99999999999999999999]"] {
            let error = JsonPath::parse(text).unwrap_err();
            assert!(error.at <= text.len(), "{text}: {error}");
        }
        for text in [
            "$[?count(@..*)]",
            "$[?length(@.a)]",
            "$[?value(@.a)]",
            "$[?length(@.*)<3]",
            "$..[?@[?length(@['a','b'])<3]]",
        ] {
            assert!(JsonPath::parse(text).is_err(), "{text}");
        }
        assert!(JsonPath::parse("$[?length(@.a)<3 && match(@.b, 'x.*')]").is_ok());
        assert_eq!(JsonPath::parse("$.a[x]").unwrap_err().at, 4);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in r"\$[a.\[\]*?@='()!<&|0-9€ ]{0,16}") {
            if let Err(error) = JsonPath::parse(&text) {
                proptest::prop_assert!(error.at <= text.len());
            }
        }
    }
}
