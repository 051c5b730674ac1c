use proptest::prelude::*;

use super::*;

fn row_of(name: &str, value: Option<&str>, unit: &str, status: (Quality, Reason)) -> TagRow {
    let value = value.map(str::to_owned);
    TagRow {
        name: name.to_owned(),
        numeric: value.as_deref().is_some_and(|value| value.parse::<f64>().is_ok()),
        age: value.is_some().then_some(Duration::from_millis(430)),
        value,
        unit: unit.to_owned(),
        quality: status.0,
        reason: status.1,
        description: format!("Description of {name}"),
    }
}

fn screen() -> Screen {
    let good = (Quality::Good, Reason::Ok);
    Screen {
        line: "plant".into(),
        line_state: "connected".into(),
        line_up: true,
        broker: "127.0.0.1:40113".into(),
        messages: 312,
        elapsed: Duration::from_millis(7_300),
        remaining: Some(Duration::from_millis(12_700)),
        program: "tagline".into(),
        config: "/tmp/tagline-demo-4711".into(),
        stations: vec![
            StationView {
                name: "pump1".into(),
                address: "waterworks/pump1/data".into(),
                tags: vec![
                    row_of("pump1.speed", Some("1448.2"), "rpm", good),
                    row_of("pump1.flow", Some("181.7"), "m³/h", good),
                    row_of("pump1.vibration", Some("2.1"), "mm/s", (Quality::Bad, Reason::Null)),
                    row_of("pump1.running", Some("true"), "", good),
                ],
            },
            StationView {
                name: "filler".into(),
                address: "plc/filler/line".into(),
                tags: vec![
                    row_of("filler.report", Some("14:22:43 BATCH 1217 FILLED 83/120 OK"), "", good),
                    row_of("filler.温度", None, "°C", (Quality::Bad, Reason::NeverReceived)),
                    row_of("filler.left", Some("7"), "", (Quality::Uncertain, Reason::Restored)),
                ],
            },
        ],
    }
}

const PLAIN: Paper = Paper { width: 132, height: None, colour: false };

#[test]
fn plain_text_is_the_whole_table() {
    assert_eq!(render(&screen(), PLAIN), include_str!("plain.txt"));
}

#[test]
fn a_small_terminal_is_filled_and_not_overfilled() {
    let paper = Paper { width: 72, height: Some(12), colour: false };
    assert_eq!(render(&screen(), paper), include_str!("small.txt"));
}

#[test]
fn colours_change_nothing_but_colours() {
    let coloured = render(&screen(), Paper { colour: true, ..PLAIN });
    assert!(coloured.contains("\x1b[31mbad null\x1b[0m"));
    assert!(coloured.contains("\x1b[32mgood\x1b[0m"));
    assert!(coloured.contains("\x1b[33muncertain restored\x1b[0m"));
    let codes = regex::Regex::new("\x1b\\[[0-9]+m").unwrap();
    assert_eq!(codes.replace_all(&coloured, ""), include_str!("plain.txt"));
}

#[test]
fn without_a_terminal_there_is_no_escape_code() {
    let paper = Paper::new(false, Some((40, 10)), None);
    assert!(!render(&screen(), paper).contains('\x1b'));
    assert!(!Paper::new(true, Some((40, 10)), Some("1")).colour);
    assert!(Paper::new(true, Some((40, 10)), Some("")).colour);
    assert!(Paper::new(true, None, None).colour);
}

#[test]
fn payloads_cannot_drive_the_terminal() {
    let mut screen = screen();
    screen.stations[1].tags[0].value = Some("\x1b[2J\u{7}\r\n\u{202e}x".into());
    let text = render(&screen, PLAIN);
    assert!(!text.contains(['\x1b', '\u{7}', '\r', '\u{202e}']));
    assert_eq!(text.lines().count(), include_str!("plain.txt").lines().count());
}

#[test]
fn pages_turn_and_show_every_tag() {
    let mut screen = screen();
    let mut seen = String::new();
    for page in 0..4 {
        screen.elapsed = Duration::from_secs(PAGE_SECONDS * page);
        seen.push_str(&render(&screen, Paper { width: 100, height: Some(8), colour: false }));
    }
    for tag in screen.stations.iter().flat_map(|station| &station.tags) {
        assert!(seen.contains(&tag.name), "{}", tag.name);
    }
}

#[test]
fn an_overlay_neither_scrolls_nor_leaves_a_rest() {
    assert_eq!(overlay("a\nb\n"), "\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J");
}

#[test]
fn long_fractions_are_rounded_and_integers_are_not() {
    assert_eq!(short("72.10000000000001"), "72.1");
    assert_eq!(short("1448.2"), "1448.2");
    assert_eq!(short("3.0000000000000004"), "3");
    assert_eq!(short("18446744073709551615"), "18446744073709551615");
    assert_eq!(short("1.2345678901234e-7"), "1.2345678901234e-7");
    assert_eq!(short("no number"), "no number");
}

#[test]
fn ages_are_short() {
    let text = |milliseconds| age(Duration::from_millis(milliseconds));
    assert_eq!(text(0), "0.0 s");
    assert_eq!(text(430), "0.4 s");
    assert_eq!(text(9_999), "9.9 s");
    assert_eq!(text(10_000), "10 s");
    assert_eq!(text(7_199_000), "119 min");
    assert_eq!(text(7_200_000), "2 h");
}

#[test]
fn the_tally_counts_stations_that_change_while_good() {
    let mut tally = Tally::default();
    let mut screen = screen();
    tally.observe(&screen);
    assert_eq!(tally.summary(&screen).stations_changing, 0);

    // A bad tag that changes does not count, a good one does.
    screen.stations[0].tags[2].value = Some("9".into());
    tally.observe(&screen);
    assert_eq!(tally.summary(&screen).stations_changing, 0);
    screen.stations[0].tags[0].value = Some("1449".into());
    tally.observe(&screen);
    assert_eq!(
        tally.summary(&screen).to_string(),
        "1 of 2 stations with good changing values, 4 of 7 tags good, 312 messages in 7 s"
    );

    // What was good and is bad at the end does not count either.
    screen.stations[0].tags[0].quality = Quality::Bad;
    assert_eq!(tally.summary(&screen).stations_changing, 0);
}

proptest! {
    #[test]
    fn a_terminal_is_never_overfilled(
        width in 1_usize..160,
        height in 8_usize..40,
        seconds in 0_u64..100,
        value in "\\PC{0,60}",
        long in "[a-zé漢 ]{0,60}",
    ) {
        let mut screen = screen();
        screen.elapsed = Duration::from_secs(seconds);
        screen.stations[0].tags[3].value = Some(value);
        screen.stations[1].tags[0].description = long.clone();
        screen.stations[1].tags[0].name = long;
        let text = render(&screen, Paper { width, height: Some(height), colour: false });
        prop_assert!(text.lines().count() <= height, "{text}");
        for line in text.lines() {
            prop_assert!(line.width() <= width, "{line:?}");
        }
    }

    #[test]
    fn columns_line_up(value in "\\PC{0,40}", number in any::<f32>()) {
        let mut screen = screen();
        screen.stations[0].tags[3].value = Some(value);
        screen.stations[0].tags[0].value = Some(number.to_string());
        let text = render(&screen, PLAIN);
        let edges = text.lines().filter_map(|line| line.split_once("Description"));
        let widths = edges.map(|(before, _)| before.width()).collect::<Vec<_>>();
        prop_assert_eq!(widths.len(), 7);
        prop_assert!(widths.windows(2).all(|pair| pair[0] == pair[1]), "{}", text);
    }
}
