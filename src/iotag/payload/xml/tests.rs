use super::*;
use crate::iotag::payload::excerpt;
use crate::iotag::time_mask::{TimeMask, Zone};

fn take(addresses: &[&str], payload: &[u8]) -> Vec<String> {
    let mut plan = XmlPlan::new(None);
    for address in addresses {
        plan.insert(&XmlAddress::parse(address).unwrap());
    }
    let times = Times { mask: TimeMask::parse("UNIX").unwrap(), zone: Zone::parse("UTC").unwrap() };
    let found = match plan.take(payload, &times, &mut MappingReport::default()) {
        Ok(found) => found,
        Err(error) => return vec![format!("error: {error}")],
    };
    let show = |slot| match found.of(slot).next() {
        Some(sample) => excerpt(&sample.datum).into_owned(),
        None => "missing".to_owned(),
    };
    (0..addresses.len() as u32).map(show).collect()
}

#[test]
fn elements_and_attributes_are_found() {
    let payload = br#"<?xml version='1.0' encoding='UTF-8'?><!DOCTYPE d><d xmlns:n="urn:x">
        <!-- no --><n:foo n:unit=" m/s&#178; "> bar <b/>baz&amp;&#x41;<![CDATA[<&]]> </n:foo>
        <v>1</v><w/><v>2</v><v nil="false">3</v><x n:nil="true"/></d>"#;
    assert_eq!(
        take(
            &[
                "/d/foo",
                "/d/foo/@unit",
                "/d/v",
                "/d/v[2]",
                "/d/v[3]",
                "/d/v[4]",
                "/d/w",
                "/d/x",
                "/d/foo/b",
                "/v",
                "/d/@n",
                "/d[2]",
                "/d/v[3]/@nil",
            ],
            payload
        ),
        [
            "bar baz&A<&",
            "m/s\u{b2}",
            "1",
            "2",
            "3",
            "missing",
            "",
            "null",
            "",
            "missing",
            "missing",
            "missing",
            "false",
        ]
    );
    // akenza's example.
    let akenza = b"<?xml version='1.0' encoding='UTF-8'?><data><foo>bar</foo></data>";
    assert_eq!(take(&["/data/foo"], akenza), ["bar"]);
}

#[test]
fn documents_that_cannot_be_parsed_say_where() {
    for (payload, error) in [
        ("", "there is no element at line 1"),
        ("plain", "text outside of the root element at line 1"),
        ("<a>", "an element is not closed"),
        ("<a></b>", "line 1"),
        ("<a/><b/>", "an element after the root element"),
        ("<a>\n&bomb;</a>", "the entity `bomb` is unknown at line 2"),
        ("<a>&#0;</a>", "line 1"),
        ("<a b=\"&bomb;\"/>", "line 1"),
        ("<a b='1' b='2'/>", "line 1"),
        ("<a b=1/>", "line 1"),
        ("<a", "line 1"),
        ("<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><a>&x;</a>", "entity `x`"),
    ] {
        let taken = take(&["/a"], payload.as_bytes());
        assert!(
            taken[0].starts_with("error: ") && taken[0].contains(error),
            "{payload}: {taken:?}"
        );
    }
    let deep = "<a>".repeat(1_000_000);
    assert!(take(&["/a"], deep.as_bytes())[0].contains("more than 256 elements"));
    assert!(take(&["/a"], b"<a>\xff</a>")[0].contains("not UTF-8"));
}

proptest::proptest! {
    #[test]
    fn any_payload_is_taken_or_refused(text in "(<[abc]|</[abc]>|>|/>|<!--|-->|<!\\[CDATA\\[|\\]\\]>|&|;|amp| c='|'|\"|€|x|<\\?|\\?>|<!DOCTYPE |\\[){0,20}") {
        take(&["/a/b[2]", "/a/@c", "/a"], text.as_bytes());
    }
}
