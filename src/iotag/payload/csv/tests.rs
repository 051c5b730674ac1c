use super::*;
use crate::iotag::payload::excerpt;
use crate::iotag::time_mask::{TimeMask, Zone};

fn take(mut plan: CsvPlan, columns: &[&str], payload: &[u8]) -> (Vec<String>, MappingReport) {
    for column in columns {
        plan.insert(column);
    }
    let times = Times { mask: TimeMask::parse("UNIX").unwrap(), zone: Zone::parse("UTC").unwrap() };
    let mut report = MappingReport::default();
    let found = match plan.take(payload, &times, &mut report) {
        Ok(found) => found,
        Err(error) => return (vec![format!("error: {error}")], report),
    };
    let mut shown = Vec::new();
    for slot in 0..columns.len() as u32 {
        let before = shown.len();
        for sample in found.of(slot) {
            let time = match sample.time {
                SourceTime::Known(time) => format!(" {}", time.as_second()),
                SourceTime::Unstated => String::new(),
                other => format!(" {other:?}"),
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
fn columns_are_found_by_name_and_every_row_is_a_sample() {
    let plan = CsvPlan::new(b',', true, Some("time"));
    let payload = b"\xef\xbb\xbfname, value ,time\r\n\"a, \"\"b\"\"\",1.5,10\r\n\r\nc,,20\r\nd,3,\r\ne,4,x\r\n";
    let (shown, report) = take(plan, &["value", "name", "absent"], payload);
    assert_eq!(
        shown,
        [
            "0 1.5 10",
            "0 null 20",
            "0 3 Missing",
            "0 4 Unreadable",
            "1 a, \"b\" 10",
            "1 c 20",
            "1 d Missing",
            "1 e Unreadable",
            "2 missing",
        ]
    );
    assert_eq!(report.time_unreadable.as_deref(), Some("x"));
}

#[test]
fn columns_are_found_by_number_without_a_header() {
    let plan = CsvPlan::new(b';', false, Some("1"));
    let (shown, _) = take(plan, &["2", "3"], b"10;1,5\n20;2,5\n");
    assert_eq!(shown, ["0 1,5 10", "0 2,5 20", "1 missing"]);
}

#[test]
fn good_rows_count_beside_bad_ones() {
    let plan = || CsvPlan::new(b',', true, None);
    let (shown, report) = take(plan(), &["b"], b"a,b\n1,2\n3\n4,\xff\n5,6\n");
    assert_eq!(shown, ["0 2", "0 6"]);
    assert_eq!(
        (report.bad_lines, report.bad_line.as_deref()),
        (2, Some("line 3: 1 cells instead of 2"))
    );
    let (shown, _) = take(plan(), &["b"], b"a,b\n1\n");
    assert_eq!(shown, ["error: line 2: 1 cells instead of 2"]);
    assert!(take(plan(), &["b"], b"").0[0].contains("there is no header"));
    assert!(take(plan(), &["b"], b"\xff\n1").0[0].contains("not UTF-8"));
    assert_eq!(take(plan(), &["b", "c"], b"a,b\n").0, ["1 missing"]);
}

proptest::proptest! {
    #[test]
    fn any_payload_is_taken_or_refused(
        payload in proptest::collection::vec(proptest::sample::select(b"ab,\";\n\r1\xff ".to_vec()), 0..40),
        header: bool,
    ) {
        take(CsvPlan::new(b',', header, Some("b")), &["a", "1"], &payload);
    }
}
