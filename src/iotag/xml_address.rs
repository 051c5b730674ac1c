//! Addresses in XML documents: `/a/b[1]/@c`. Contract, sections 3 and 7.

use std::sync::Arc;

use super::SyntaxError;

/// Deepest address and deepest document.
pub const DEPTH_MAX: usize = 256;

/// An element, or an attribute of one. Names are local names: without a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct XmlAddress {
    /// Name and position among the elements of that name and parent, counted from 1; from the
    /// root element.
    pub elements: Vec<(Arc<str>, u32)>,
    /// The attribute; `None`: the text of the element.
    pub attribute: Option<Arc<str>>,
}

impl XmlAddress {
    /// Reads the part after `XA=`, or a `time_field_name`.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let expected = "expected `/` and the name of an element";
        let Some(path) = text.strip_prefix('/') else {
            return Err(SyntaxError::new(0, expected)
                .help("an XML path begins at the root element, as in `/data/value[1]/@unit`"));
        };
        let mut elements = Vec::new();
        let mut at = 1;
        let mut steps = path.split('/').peekable();
        while let Some(step) = steps.next() {
            if let Some(name) = step.strip_prefix('@') {
                if elements.is_empty() {
                    return Err(SyntaxError::new(at, "an attribute needs an element"));
                }
                if steps.peek().is_some() {
                    let end = at + step.len();
                    return Err(SyntaxError::new(end, "an attribute is the end of an address"));
                }
                let name = local_name(name, at + 1)?;
                return Ok(Self { elements, attribute: Some(name) });
            }
            if elements.len() == DEPTH_MAX {
                let message = format!("an XML path has at most {DEPTH_MAX} steps");
                return Err(SyntaxError::new(at, message));
            }
            elements.push(element(step, at)?);
            at += step.len() + 1;
        }
        Ok(Self { elements, attribute: None })
    }
}

fn element(step: &str, at: usize) -> Result<(Arc<str>, u32), SyntaxError> {
    let Some((name, rest)) = step.split_once('[') else {
        return Ok((local_name(step, at)?, 1));
    };
    let name_length = name.len();
    let index_at = at + name_length + 1;
    let Some(digits) = rest.strip_suffix(']') else {
        return Err(SyntaxError::new(at + step.len(), "expected `]`"));
    };
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.parse::<u32>() {
        Ok(0) => {
            Err(SyntaxError::new(index_at, "indexes count from 1")
                .help("the first element is `[1]`"))
        }
        Ok(index) if plain => Ok((local_name(name, at)?, index)),
        _ => Err(SyntaxError::new(index_at, "expected an index from 1")),
    }
}

fn local_name(name: &str, at: usize) -> Result<Arc<str>, SyntaxError> {
    if let Some(colon) = name.find(':') {
        return Err(SyntaxError::new(at + colon, "names stand without their prefix"));
    }
    if name.is_empty() {
        return Err(SyntaxError::new(at, "expected a name"));
    }
    let wrong = |c: char| c.is_whitespace() || "[]@<>&\"'=*()".contains(c);
    match name.find(wrong) {
        Some(offset) => Err(SyntaxError::new(at + offset, "this is not part of a name")),
        None => Ok(name.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let address = XmlAddress::parse("/a/b-1[2]/@c").unwrap();
        assert_eq!(address.elements, [("a".into(), 1), ("b-1".into(), 2)]);
        assert_eq!(address.attribute.as_deref(), Some("c"));
        assert_eq!(XmlAddress::parse("/a[1]"), XmlAddress::parse("/a"));
    }

    #[test]
    fn mistakes_are_found_where_they_are() {
        for (text, at) in [
            ("", 0),
            ("a", 0),
            ("/", 1),
            ("//a", 1),
            ("/a/", 3),
            ("/@a", 1),
            ("/a/@", 4),
            ("/a/@b/c", 5),
            ("/a[0]", 3),
            ("/a[x]", 3),
            ("/a[+1]", 3),
            ("/a[1", 4),
            ("/a[1]b", 6),
            ("/n:a", 2),
            ("/a b", 2),
            ("/*", 1),
        ] {
            let error = XmlAddress::parse(text).unwrap_err();
            assert_eq!(error.at, at, "{text}: {error}");
        }
    }
}
