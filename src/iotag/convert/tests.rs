use super::*;
use crate::iotag::testing::{station, tag};
use crate::iotag::{PayloadType, Station};

/// Converts the JSON text `raw` and shows what comes out.
fn convert(tag: &Tag, station: &Station, raw: &str) -> String {
    let datum = json::datum(raw);
    match Conversion::of(tag).convert(&datum, &station.time_mask, &station.time_zone) {
        Ok(value) => value.to_json().to_string(),
        Err(reason) => reason.to_string(),
    }
}

#[track_caller]
fn check(tag: &Tag, cases: &[(&str, &str)]) {
    let station = station(PayloadType::Json);
    for (raw, expected) in cases {
        assert_eq!(convert(tag, &station, raw), *expected, "{} of {raw}", tag.tag_type);
    }
}

fn of_type(tag_type: TagType) -> Tag {
    tag(tag_type, "IN_DATA")
}

#[test]
fn reals() {
    check(
        &of_type(TagType::Ai),
        &[
            ("14.47", "14.47"),
            ("-0.0", "-0.0"),
            ("5", "5.0"),
            ("\" 14.47\\n\"", "14.47"),
            ("\"+.5e1\"", "5.0"),
            ("true", "1.0"),
            ("false", "0.0"),
            ("null", "null"),
            ("\"\"", "type_mismatch"),
            ("\"true\"", "type_mismatch"),
            ("\"NaN\"", "type_mismatch"),
            ("\"inf\"", "type_mismatch"),
            ("\"1,5\"", "type_mismatch"),
            ("\"0x10\"", "type_mismatch"),
            ("1e400", "out_of_range"),
            ("\"-1e400\"", "out_of_range"),
            ("1e-400", "0.0"),
            ("0.1000000000000000055511151231257827021181583404541015625", "0.1"),
            ("[1]", "type_mismatch"),
            ("{}", "type_mismatch"),
        ],
    );
    let mut scaled = of_type(TagType::Ai);
    scaled.scale = Number::Real(0.5);
    scaled.offset = Number::Integer(-1);
    scaled.min = Some(Number::Integer(0));
    scaled.max = Some(Number::Real(10.5));
    check(
        &scaled,
        &[("2", "0.0"), ("1.99", "out_of_range"), ("23", "10.5"), ("23.1", "out_of_range")],
    );
    scaled.scale = Number::Real(1e308);
    check(&scaled, &[("1e300", "out_of_range")]);
}

#[test]
fn integers() {
    let mut ci = of_type(TagType::Ci);
    check(
        &ci,
        &[
            ("5", "5"),
            ("5.0", "5"),
            ("1e3", "1000"),
            ("5.7", "type_mismatch"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("-9223372036854775809", "out_of_range"),
            ("18446744073709551615", "18446744073709551615"),
            ("18446744073709551616", "out_of_range"),
            ("12345678901234567890123", "out_of_range"),
            ("1e400", "out_of_range"),
            ("9007199254740993.0", "9007199254740993"),
            ("\"9007199254740993\"", "9007199254740993"),
            ("\" 7 \"", "7"),
            ("\"5.7\"", "type_mismatch"),
            ("\"seven\"", "type_mismatch"),
            ("1e-400", "type_mismatch"),
            ("true", "1"),
            ("null", "null"),
        ],
    );
    ci.scale = Number::Integer(2);
    ci.offset = Number::Integer(1);
    check(
        &ci,
        &[
            ("9007199254740993", "18014398509481987"),
            ("9223372036854775807", "18446744073709551615"),
            ("9223372036854775808", "out_of_range"),
            ("99999999999999999999999999999999999999", "out_of_range"),
            ("2.5", "type_mismatch"),
        ],
    );
    ci.scale = Number::Real(1.0);
    ci.offset = Number::Real(0.0);
    check(&ci, &[("9007199254740993", "9007199254740993")]);
    ci.scale = Number::Real(0.5);
    ci.offset = Number::Integer(0);
    check(&ci, &[("3", "2"), ("-3", "-2"), ("36893488147419103232", "out_of_range")]);
    ci.scale = Number::Real(1e300);
    check(&ci, &[("3", "out_of_range"), ("-3", "out_of_range"), ("0", "0")]);
}

#[test]
fn limits_of_integers_are_exact() {
    let mut ci = of_type(TagType::Ci);
    ci.max = Some(Number::Integer(9_007_199_254_740_992));
    ci.min = Some(Number::Real(0.5));
    check(
        &ci,
        &[
            ("9007199254740992", "9007199254740992"),
            ("9007199254740993", "out_of_range"),
            ("0", "out_of_range"),
            ("1", "1"),
        ],
    );
}

#[test]
fn logicals() {
    let mut di = of_type(TagType::Di);
    check(
        &di,
        &[
            ("true", "true"),
            ("false", "false"),
            ("0", "false"),
            ("1.0", "true"),
            ("2", "type_mismatch"),
            ("0.5", "type_mismatch"),
            ("\"1\"", "true"),
            ("\"TRUE\"", "true"),
            ("\"Off\"", "false"),
            ("\" yes \"", "true"),
            ("\"no\"", "false"),
            ("\"open\"", "type_mismatch"),
            ("null", "null"),
            ("[true]", "type_mismatch"),
        ],
    );
    di.on_text = Some("open".into());
    di.off_text = Some("1".into());
    check(
        &di,
        &[
            ("\"open\"", "true"),
            ("\"OPEN\"", "type_mismatch"),
            ("\"1\"", "false"),
            ("1", "false"),
            ("0", "false"),
            ("true", "true"),
        ],
    );
}

#[test]
fn four_states() {
    check(
        &of_type(TagType::Qi),
        &[
            ("\"off\"", "\"off\""),
            ("\"On\"", "\"on\""),
            ("\"TRANS\"", "\"trans\""),
            ("\"err\"", "\"err\""),
            ("0", "\"off\""),
            ("3", "\"err\""),
            ("\"2\"", "\"trans\""),
            ("4", "type_mismatch"),
            ("-1", "type_mismatch"),
            ("1.5", "type_mismatch"),
            ("true", "\"on\""),
            ("false", "\"off\""),
            ("\"open\"", "type_mismatch"),
        ],
    );
}

#[test]
fn texts() {
    check(
        &of_type(TagType::TxtI),
        &[
            ("\" a\\u00e9\\n\"", "\" aé\\n\""),
            ("1.50", "\"1.50\""),
            ("12345678901234567890123", "\"12345678901234567890123\""),
            ("true", "\"true\""),
            ("{ \"a b\" : [ 1.0 , \"\\\" }\" ] }", r#""{\"a b\":[1.0,\"\\\" }\"]}""#),
            ("[ ]", "\"[]\""),
            ("\"\"", "\"\""),
            ("null", "null"),
        ],
    );
}

#[test]
fn intervals_and_moments() {
    let mut tir = of_type(TagType::TiR);
    check(
        &tir,
        &[
            ("1.5", "1.5"),
            ("\"90\"", "90.0"),
            ("\"01:00:00.5\"", "3600.5"),
            ("\"PT2H\"", "7200.0"),
            ("\"P1M\"", "type_mismatch"),
            ("true", "type_mismatch"),
        ],
    );
    tir.scale = Number::Real(0.001);
    check(&tir, &[("1500", "1.5"), ("\"00:00:01\"", "1.0")]);
    check(
        &of_type(TagType::TiA),
        &[
            ("\"2024-01-31 12:00:00.5\"", "\"2024-01-31T12:00:00.5Z\""),
            ("\"2024-01-31T12:00:00+01:00\"", "\"2024-01-31T11:00:00Z\""),
            ("\"yesterday\"", "type_mismatch"),
            ("1700000000", "type_mismatch"),
            ("true", "type_mismatch"),
        ],
    );
    let mut unix = station(PayloadType::Json);
    unix.time_mask = TimeMask::parse("UNIXMS").unwrap();
    let tia = of_type(TagType::TiA);
    assert_eq!(convert(&tia, &unix, "1521797973469"), "\"2018-03-23T09:39:33.469Z\"");
    assert_eq!(convert(&tia, &unix, "\"1521797973469\""), "\"2018-03-23T09:39:33.469Z\"");
    assert_eq!(convert(&tia, &unix, "\"2018-03-23T09:39:33Z\""), "\"2018-03-23T09:39:33Z\"");
}

#[test]
fn short_texts_are_what_conversion_says() {
    let tag = crate::iotag::testing::tag(TagType::TxtI, "JA=x");
    let conversion = Conversion::of(&tag);
    let mask = TimeMask::parse("UNIX").unwrap();
    let zone = Zone::parse("UTC").unwrap();
    for raw in [
        "\"\"", "\"é x\"", "1.50", "-0", "true", "false", "null", "{}", "[1 ]", "\"\\n\"",
        "\"\\\"\"",
    ] {
        if let Some(text) = conversion.short_text(raw) {
            let expected = conversion.convert(&json::datum(raw), &mask, &zone);
            assert_eq!(expected, Ok(Value::Text(text.into())), "{raw}");
        }
    }
    assert_eq!(conversion.short_text("\"é x\""), Some("é x"));
    for raw in ["null", "{}", "[]", "\"\\n\""] {
        assert_eq!(conversion.short_text(raw), None, "{raw}");
    }
}
