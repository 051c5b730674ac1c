use proptest::prelude::*;

use super::*;

fn read(mask: &str, zone: &str, text: &str) -> Option<String> {
    let time = TimeMask::parse(mask).unwrap().read(text, &Zone::parse(zone).unwrap()).ok()?;
    Some(time.to_string())
}

#[track_caller]
fn check(mask: &str, zone: &str, text: &str, expected: &str) {
    let expected = (!expected.is_empty()).then(|| expected.to_owned());
    assert_eq!(read(mask, zone, text), expected, "`{text}` by `{mask}` in {zone}");
}

#[test]
fn counts_since_1970_are_exact() {
    check("UNIX", "UTC", "1744858463", "2025-04-17T02:54:23Z");
    check("UNIX", "UTC", "1744858463.123456789", "2025-04-17T02:54:23.123456789Z");
    check("UNIX", "UTC", "1.744858463e9", "2025-04-17T02:54:23Z");
    check("UNIX", "UTC", " 0 ", "1970-01-01T00:00:00Z");
    check("UNIX", "UTC", "-0.0000000001", "1969-12-31T23:59:59.999999999Z");
    check("UNIX", "UTC", "-1.5", "1969-12-31T23:59:58.5Z");
    check("UNIX", "UTC", "999999999999", "");
    check("UNIX", "UTC", "1e400", "");
    check("UNIX", "UTC", "soon", "");
    check("UNIX", "UTC", "", "");
    check("UNIXMS", "UTC", "1521797973469", "2018-03-23T09:39:33.469Z");
    check("UNIXUS", "UTC", "1521797973469001", "2018-03-23T09:39:33.469001Z");
    check("UNIXNS", "UTC", "1465839830100400200", "2016-06-13T17:43:50.1004002Z");
}

#[test]
fn rfc3339_takes_what_the_contract_says() {
    check("RFC3339", "UTC", "2019-01-29T13:02:34.981Z", "2019-01-29T13:02:34.981Z");
    check("RFC3339", "UTC", "2019-01-29t13:02:34z", "2019-01-29T13:02:34Z");
    check("RFC3339", "UTC", "2019-01-29 13:02:34+01:00", "2019-01-29T12:02:34Z");
    check("RFC3339", "UTC", "2019-01-29T13:02:34-00:00", "2019-01-29T13:02:34Z");
    check("RFC3339", "UTC", "2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z");
    check("RFC3339", "UTC", "2019-01-29T13:02:34.1234567899Z", "2019-01-29T13:02:34.123456789Z");
    for text in [
        "2019-01-29T13:02:34",
        "2019-01-29T13:02:34.Z",
        "2019-02-29T13:02:34Z",
        "2019-01-29T24:00:00Z",
        "2019-01-29T13:02:61Z",
        "2019-01-29T13:02:34+0100",
        "2019-01-29T13:02:34+24:00",
        "2019-01-29T13:02:34Zx",
        "+019-01-29T13:02:34Z",
        "2019-01-29",
        "€019-01-29T13:02:34Z",
    ] {
        check("RFC3339", "UTC", text, "");
    }
}

#[test]
fn masks_of_tokens_are_read() {
    let default = "yyyy-mm-dd hh:mi:ss.mss";
    check(default, "UTC", "2017-07-05 16:06:52.250", "2017-07-05T16:06:52.25Z");
    check(default, "UTC", "2017-07-05 16:06:52", "2017-07-05T16:06:52Z");
    check(default, "UTC", "2017-07-05 16:06:52.5", "2017-07-05T16:06:52.5Z");
    check(default, "UTC", "2017-07-05 16:06:52.123456789", "2017-07-05T16:06:52.123456789Z");
    check(default, "UTC", "2017-07-05 16:06:52.1234567890", "");
    check(default, "UTC", "2017-07-05 16:06:52.", "");
    check(default, "UTC", "2017-07-05 16:06", "");
    check(default, "UTC", "2017-7-05 16:06:52", "");
    check(default, "UTC", "2017-13-05 16:06:52", "");
    check(default, "UTC", "2017-02-29 16:06:52", "");
    check(default, "UTC", "2017-07-05 24:00:00", "");
    check(default, "+01:00", "2017-07-05 16:06:52", "2017-07-05T15:06:52Z");
    check(default, "-0330", "2017-07-05 16:06:52", "2017-07-05T19:36:52Z");
    check(default, "Europe/Bratislava", "2017-07-05 16:06:52", "2017-07-05T14:06:52Z");
    check("yyyy-mm-ddThh:mi:ss.mssZ", "UTC", "2017-07-05T16:06:52.250Z", "2017-07-05T16:06:52.25Z");
    check("dd.mm.yy", "UTC", "05.07.17", "2017-07-05T00:00:00Z");
    check("dd.mm.yy", "UTC", "05.07.70", "1970-07-05T00:00:00Z");
    check("rrrrmmddhhmissmss", "UTC", "20170705160652250", "2017-07-05T16:06:52.25Z");
    check("tttt dd/mm/rrrr", "UTC", "štvrtok 05/07/2018", "2018-07-05T00:00:00Z");
    check("ttt, dd/mm/rrrr", "UTC", "Thu, 05/07/2018", "2018-07-05T00:00:00Z");
    check("ttdd/mm/rrrr", "UTC", "Th05/07/2018", "2018-07-05T00:00:00Z");
    check("yyyy-mm-dd hh:mi ZZZ", "UTC", "2018-07-05 12:00 +02", "2018-07-05T10:00:00Z");
    check("yyyy-mm-dd hh:miZZZZZ", "UTC", "2018-07-05 12:00-0330", "2018-07-05T15:30:00Z");
    check("yyyy-mm-dd hh:miZZZZZZ", "UTC", "2018-07-05 12:00+05:45", "2018-07-05T06:15:00Z");
    check("yyyy-mm-dd hh:miZZZZZZ", "UTC", "2018-07-05 12:00Z", "2018-07-05T12:00:00Z");
    // The first occurrence and the longest form count; the others are literals.
    check("yyyy-mm-dd dd", "UTC", "2018-07-05 dd", "2018-07-05T00:00:00Z");
    check("yy yyyy-mm-dd", "UTC", "yy 2018-07-05", "2018-07-05T00:00:00Z");
    check("yyyy-mm-dd ss,mss", "UTC", "2018-07-05 07", "2018-07-05T00:00:07Z");
    check("yyyy-mm-dd €.mss", "UTC", "2018-07-05 €", "2018-07-05T00:00:00Z");
}

#[test]
fn changes_of_the_clock_follow_d2000() {
    let (mask, zone) = ("yyyy-mm-dd hh:mi", "Europe/Bratislava");
    check(mask, zone, "2024-03-31 01:59", "2024-03-31T00:59:00Z");
    check(mask, zone, "2024-03-31 02:30", "");
    check(mask, zone, "2024-03-31 03:00", "2024-03-31T01:00:00Z");
    check(mask, zone, "2024-10-27 01:59", "2024-10-26T23:59:00Z");
    check(mask, zone, "2024-10-27 02:30", "2024-10-27T01:30:00Z");
    check(mask, zone, "2024-10-27 A2:30", "2024-10-27T00:30:00Z");
    check(mask, zone, "2024-10-27 B2:30", "2024-10-27T01:30:00Z");
    check(mask, zone, "2024-10-27 A3:30", "");
    check(mask, "UTC", "2024-10-27 A2:30", "");
    let mask = "yyyy-mm-dd HH:mi";
    check(mask, zone, "2024-10-27 01:00", "2024-10-26T22:00:00Z");
    check(mask, zone, "2024-10-27 03:30", "2024-10-27T00:30:00Z");
    check(mask, zone, "2024-10-27 25:00", "2024-10-27T22:00:00Z");
    check(mask, zone, "2024-10-28 25:00", "");
    check(mask, zone, "2024-03-31 24:00", "");
    check(mask, zone, "2024-03-31 23:59", "2024-03-31T21:59:00Z");
    check(mask, zone, "2024-03-31 00:00", "");
}

#[test]
fn wrong_masks_and_zones_are_explained() {
    for (mask, help) in [
        ("", "yyyy-mm-dd"),
        ("unix", "`UNIX`"),
        ("UNIXMSS", "`UNIXMS`"),
        ("hh:mi:ss", "yyyy-mm-dd"),
        ("yyyy-mm-dd hh:mm:ss", "minutes are `mi`"),
        ("%Y-%m-%d", "yyyy-mm-dd"),
    ] {
        let error = TimeMask::parse(mask).unwrap_err();
        assert!(error.help.unwrap().contains(help), "{mask}");
    }
    assert!(TimeMask::parse("yyyy-mm-dd hh HH").is_err());
    for (zone, help) in
        [("Europe/Brattislava", "`Europe/Bratislava`"), ("+1", "`+01:00`"), ("+24:00", "+01:00")]
    {
        assert!(Zone::parse(zone).unwrap_err().help.unwrap().contains(help), "{zone}");
    }
    assert_eq!(Zone::parse("europe/bratislava"), Zone::parse("Europe/Bratislava"));
}

#[test]
fn times_are_written() {
    let time: Timestamp = "2018-07-05T10:07:08.009Z".parse().unwrap();
    for (mask, zone, expected) in [
        ("yyyy-mm-dd hh:mi:ss.mss", "Europe/Vienna", "2018-07-05 12:07:08.009"),
        ("UNIX", "UTC", "1530785228"),
        ("UNIXMS", "UTC", "1530785228009"),
        ("UNIXNS", "UTC", "1530785228009000000"),
        ("RFC3339", "Europe/Vienna", "2018-07-05T10:07:08.009Z"),
        ("tttt tt dd.mm.rr", "UTC", "Thursday tt 05.07.18"),
        ("yyyymmddhhmissZZZ", "+05:45", "20180705150708+05"),
        ("yyyymmddhhmissZZZZZ", "-03:30", "20180705063708-0330"),
        ("yyyymmddhhmissZZZZZZ", "UTC", "20180705100708+00:00"),
        ("yyyy-mm-dd HH:mi", "Europe/Vienna", "2018-07-05 13:07"),
    ] {
        let text = TimeMask::parse(mask).unwrap().format(time, &Zone::parse(zone).unwrap());
        assert_eq!(text, expected, "{mask}");
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_back(
        seconds in -62_000_000_000_i64..250_000_000_000,
        milliseconds in 0_i32..1000,
        zone in prop::sample::select(vec!["UTC", "+05:45", "Europe/Bratislava", "America/St_Johns"]),
        mask in prop::sample::select(vec![
            "yyyy-mm-dd hh:mi:ss.mssZZZZZZ", "rrrrmmddhhmissmssZZZZZ", "UNIXMS", "UNIXNS",
            "RFC3339", "tttt yyyy.dd.mm hh:mi:ss,mss ZZZ", "yyyy-mm-dd HH:mi:ss.mss",
        ]),
    ) {
        let zone = Zone::parse(zone).unwrap();
        let mask = TimeMask::parse(mask).unwrap();
        let time = Timestamp::new(seconds, milliseconds * 1_000_000).unwrap();
        let text = mask.format(time, &zone);
        // Offsets of the nineteenth century have seconds, which no mask shows.
        prop_assume!(zone.offset_at(time).seconds() % 60 == 0);
        prop_assert_eq!(mask.read(&text, &zone), Ok(time), "{}", text);
    }

    #[test]
    fn any_text_is_a_time_or_not(text in "\\PC{0,24}", digits in "[-+0-9 :.TtZAB€]{0,30}") {
        let zone = Zone::parse("Europe/Bratislava").unwrap();
        for mask in [
            "yyyy-mm-dd hh:mi:ss.mss", "UNIX", "RFC3339", "tt yymmdd ZZZ", "yyyy-mm-ddThh:mi:ssZ.mss",
        ] {
            let mask = TimeMask::parse(mask).unwrap();
            let _ = mask.read(&text, &zone);
            let _ = mask.read(&digits, &zone);
        }
    }

    #[test]
    fn any_mask_is_read_or_refused(mask in "[ymdhisrtZH. €:-]{0,24}", text in "\\PC{0,24}") {
        if let Ok(mask) = TimeMask::parse(&mask) {
            let zone = Zone::parse("UTC").unwrap();
            let _ = mask.read(&text, &zone);
            let _ = mask.format(Timestamp::UNIX_EPOCH, &zone);
        }
    }
}

#[test]
fn a_misspelled_zone_has_a_hint_and_another_word_has_none() {
    let help = |text: &str| Zone::parse(text).unwrap_err().help.unwrap_or_default();
    assert!(help("Europe/Viena").contains("`Europe/Vienna`"));
    assert!(help("Evrope/vienna").contains("`Europe/Vienna`"));
    for text in ["", "local", "Europe/Wien", "summer"] {
        assert!(help(text).starts_with("write `UTC`"), "`{text}`: {}", help(text));
    }
}
