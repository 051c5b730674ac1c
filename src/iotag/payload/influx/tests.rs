use std::borrow::Cow;

use super::*;
use crate::iotag::payload::excerpt;

fn line(text: &str) -> Line<'_> {
    Line::parse(text.as_bytes()).unwrap().unwrap()
}

#[test]
fn lines_are_read() {
    let read = line(
        r#"my\,m\ x,t\=k=v\ 1,b=2 f\ 1=1i,g="a \"b\" \\ c,d=e",h=-1.5e3,ok=T,u=7u 1465839830100400200"#,
    );
    assert_eq!(read.measurement, "my,m x");
    assert_eq!(read.tags, [("t=k".into(), "v 1".into()), ("b".into(), "2".into())]);
    let number = |text: &'static str| Datum::Number(Cow::Borrowed(text));
    assert_eq!(
        read.fields,
        [
            ("f 1".into(), number("1")),
            ("g".into(), Datum::Text("a \"b\" \\ c,d=e".into())),
            ("h".into(), number("-1.5e3")),
            ("ok".into(), Datum::Boolean(true)),
            ("u".into(), number("7")),
        ]
    );
    assert_eq!(read.timestamp, Some(1_465_839_830_100_400_200));
    assert_eq!(line("  m  v=1  -5  ").timestamp, Some(-5));
    assert_eq!(line("m v=1").timestamp, None);
    assert_eq!(line(r"C:\dir v=1").measurement, r"C:\dir");
}

#[test]
fn measurements_quoted_as_a_whole_are_names() {
    // The example of aedifion's specification.
    let text = r#""this\ is\ a\ \"datapoint\"\ with\ spaces\ and\ quotes" value=1 1"#;
    assert_eq!(line(text).measurement, "this is a \"datapoint\" with spaces and quotes");
    assert_eq!(line(r#""a b",t=1 value=1"#).measurement, "a b");
    // By the protocol a quote is part of a name.
    assert_eq!(line("\"a value=1").measurement, "\"a");
    assert_eq!(line("a\"b value=1").measurement, "a\"b");
}

#[test]
fn wrong_lines_are_refused_with_their_column() {
    for (text, column) in [
        ("m", 2),
        ("m ", 3),
        ("m v", 4),
        ("m v=", 5),
        ("m v=x", 5),
        ("m v=1 x", 7),
        ("m v=1 1 2", 7),
        ("m v=\"a", 6),
        ("m v=\"a\"b", 8),
        ("m, v=1", 3),
        ("m,a v=1", 4),
        ("m,a= v=1", 5),
        ("m =1", 3),
        ("m v=1,", 7),
        ("m v=1.5i", 5),
        ("m v=NaN", 5),
        (",a=1 v=1", 1),
        ("m v=1 99999999999999999999", 7),
    ] {
        let error = Line::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.ends_with(&format!(" at column {column}")), "{text}: {error}");
    }
    assert_eq!(Line::parse(b"m v=\xff").unwrap_err().to_string(), "not UTF-8 at column 5");
    assert_eq!(Line::parse(b"# comment"), Ok(None));
    assert_eq!(Line::parse(b"  "), Ok(None));
}

#[test]
fn a_line_end_inside_a_quote_is_no_line_end() {
    let payload = b"m v=\"a\nb\",w=1\r\n\nn\"q v=1\nm v=\"open\nm v=2\n";
    let lines: Vec<(usize, &[u8])> = Lines::of(payload).collect();
    assert_eq!(
        lines,
        [
            (1, b"m v=\"a\nb\",w=1".as_slice()),
            (3, b""),
            (4, b"n\"q v=1"),
            (5, b"m v=\"open"),
            (6, b"m v=2"),
        ]
    );
}

fn take(addresses: &[&str], payload: &str) -> (Vec<String>, MappingReport) {
    let mut plan = InfluxPlan::default();
    for address in addresses {
        plan.insert(&LineAddress::parse(address).unwrap());
    }
    let mut report = MappingReport::default();
    let found = match plan.take(payload.as_bytes(), &mut report) {
        Ok(found) => found,
        Err(error) => return (vec![format!("error: {error}")], report),
    };
    let mut shown = Vec::new();
    for slot in 0..addresses.len() as u32 {
        let before = shown.len();
        for sample in found.of(slot) {
            let time = match sample.time {
                SourceTime::Known(time) => format!(" {}", time.as_nanosecond()),
                _ => String::new(),
            };
            shown.push(format!("{slot} {}{time}", excerpt(&sample.datum)));
        }
        if shown.len() == before && found.absence(slot) != Absence::NotCarried {
            shown.push(format!("{slot} missing"));
        }
    }
    (shown, report)
}

#[test]
fn series_are_told_apart_by_the_tags_named() {
    let payload = "w,site=a,unit=C temp=1,hum=2 10\nw,unit=C,site=b temp=3 20\nw temp=4\nx value=5 30\n\
                   x value=6 40";
    let addresses = [
        "w temp",
        "w,site=a temp",
        "w,unit=C,site=b temp",
        "w,site=b hum",
        "w,site=c temp",
        "x",
        "y",
        "w,site=a hum",
    ];
    assert_eq!(
        take(&addresses, payload).0,
        ["0 1 10", "0 3 20", "0 4", "1 1 10", "2 3 20", "3 missing", "5 5 30", "5 6 40", "7 2 10",]
    );
}

#[test]
fn a_field_is_missing_only_if_no_line_of_the_series_has_it() {
    assert_eq!(take(&["m a", "m b", "m c"], "m a=1 1\nm b=2 1").0, ["0 1 1", "1 2 1", "2 missing"]);
    assert_eq!(take(&["m a"], "m a=1,a=2").0, ["0 2"]);
}

#[test]
fn good_lines_count_beside_bad_ones() {
    let (shown, report) = take(&["m"], "m value=1 1\nm value=oops 2\nnonsense\nm value=3 3");
    assert_eq!(shown, ["0 1 1", "0 3 3"]);
    assert_eq!(report.bad_lines, 2);
    assert_eq!(report.bad_line.unwrap(), "line 2: this is no value of a field at column 9");
    let (shown, report) = take(&["m"], "nonsense");
    assert_eq!(shown, ["error: line 1: expected a blank and a field at column 9"]);
    assert_eq!(report.bad_lines, 1);
    assert_eq!(take(&["m"], "").0, Vec::<String>::new());
}

proptest::proptest! {
    #[test]
    fn any_payload_is_taken_or_refused(
        payload in proptest::collection::vec(
            proptest::sample::select(b"mv=,\" \\\n\r#1.ieu-t\xff\xc3\xa9".to_vec()), 0..40),
    ) {
        let mut plan = InfluxPlan::default();
        plan.insert(&LineAddress::parse("m v").unwrap());
        plan.insert(&LineAddress::parse("m,t=1 v").unwrap());
        let _ = plan.take(&payload, &mut MappingReport::default());
        let lengths: usize = Lines::of(&payload).map(|(_, line)| line.len()).sum();
        proptest::prop_assert!(lengths <= payload.len());
    }
}
