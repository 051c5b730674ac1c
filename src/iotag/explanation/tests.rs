use super::*;
use crate::iotag::json_address::JsonAddress;
use crate::iotag::testing::{station, tag};
use crate::iotag::{Quality, TagType, Timestamp};

fn place_of(payload: &str, address: &str) -> Option<(usize, String)> {
    let address = JsonAddress::parse(address).unwrap();
    let place = locate::place(payload.as_bytes(), address.steps())?;
    Some((place.start, payload[place].to_owned()))
}

#[test]
fn places_in_documents_are_those_of_the_address() {
    let payload = "\u{feff}{\"a\":1,\"a\": {\"b\\\"c\":[ null ,{\"v\":\"x\\n\"}]},\n\"k\":[{\"id\":\"1\",\"v\":2},{\"id\":1,\"v\":3},{\"id\":2}]}";
    for (address, text) in [
        (r#"a."b\"c"[1]"#, "null"),
        (r#"a."b\"c"[2].v"#, "\"x\\n\""),
        ("k[].v", "3"),
        ("k[id=1].v", "3"),
        ("k[id=\"1\"].v", "2"),
        ("[].k[2].id", "1"),
    ] {
        let (start, found) = place_of(payload, address).unwrap();
        assert_eq!(found, text, "{address}");
        assert!(payload[start..].starts_with(text), "{address}");
    }
    for (payload, address) in
        [("", "a"), ("[1]", "a"), ("{\"a\":1}", "a.b"), ("{\"a\":[1]}", "a[2]"), ("{", "a")]
    {
        assert_eq!(place_of(payload, address), None, "{payload} {address}");
    }
}

#[test]
fn every_update_has_its_bytes_its_time_and_its_reason() {
    let station = station(PayloadType::Json);
    let tags = [
        tag(TagType::Ai, "JA=speed"),
        tag(TagType::Ai, "JA=word"),
        tag(TagType::Ai, "JA=none"),
        tag(TagType::Ai, "JA=absent"),
        tag(TagType::TxtI, "JA=escaped"),
    ];
    let ids = (0u32..).map(TagId);
    let plan = StationPlan::compile(&station, ids.zip(&tags));
    let payload = br#"{"speed":1.50,"word":"fast","none":null,"escaped":"a\nb"}"#;
    let message = InMessage {
        topic: "t",
        payload,
        content_type: None,
        packet_id: 0,
        received: Timestamp::UNIX_EPOCH,
    };
    let explained = explain(&plan, &station, |id| &tags[id.0 as usize], &message);
    let shown: Vec<_> = explained
        .updates
        .iter()
        .map(|one| (one.update.quality, one.bytes["text"].as_str(), one.bytes["offset"].as_u64()))
        .collect();
    let expected = [
        (Quality::Good, Some("1.50"), Some(9)),
        (Quality::Bad, Some("fast"), Some(22)),
        (Quality::Bad, Some("null"), Some(35)),
        (Quality::Bad, None, None),
        (Quality::Good, Some(r#""a\nb""#), Some(50)),
    ];
    assert_eq!(shown, expected);
    let reasons: Vec<&str> =
        explained.updates.iter().map(|one| one.quality_reason.as_str()).collect();
    assert_eq!(reasons[1], "`fast` does not convert to type Ai");
    assert_eq!(reasons[2], "the message has null at `JA=none`");
    assert_eq!(reasons[3], "the message has nothing at `JA=absent`");
    assert_eq!(explained.updates[0].time_source["origin"], "received");
}

#[test]
fn long_payloads_are_shortened_between_characters() {
    assert_eq!(payload_text("žluť".as_bytes(), None), ("žluť".to_owned(), false));
    for length in [4095, 4096, 4097, 20_000] {
        let (text, shortened) = payload_text("ž".repeat(length).as_bytes(), None);
        assert_eq!(shortened, length > 4096, "{length}");
        assert_eq!(text.chars().count(), length.min(4096) + usize::from(shortened));
    }
    assert_eq!(payload_text(&[0xff, b'a'], None), ("\u{fffd}a".to_owned(), false));
}

#[test]
fn conditions_read_back_as_themselves() {
    for text in [
        "type=NEWSPT & datapoint=\"a b\"",
        r#"a."b.c"[2].d[].e[id="x \" y"].f=1.50 & g[n=5]=null"#,
        r#"."="\\""#,
    ] {
        let Ok(when) = When::parse(text) else { continue };
        assert_eq!(When::parse(&conditions(&when)), Ok(when), "{text}");
    }
    let when = When::parse("type=NEWSPT&datapoint=room").unwrap();
    assert_eq!(conditions(&when), "type=NEWSPT & datapoint=room");
}
