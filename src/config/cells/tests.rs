use proptest::prelude::*;

use super::*;
use crate::config::source::Sources;

/// Every row, or the messages of those that are wrong.
fn read(text: &str) -> Vec<Result<Vec<String>, &'static str>> {
    let mut sources = Sources::default();
    let file = sources.add("a.csv".into(), text.into(), 0);
    let mut rows = Rows::new(file, text);
    let mut cells = Vec::new();
    let mut read = Vec::new();
    while let Some(result) = rows.next(&mut cells) {
        for cell in &cells {
            let span = cell.place.span();
            assert!(span.start <= span.end && text.get(span).is_some(), "{cell:?}");
        }
        let texts = cells.iter().map(|cell| cell.text.to_string()).collect();
        read.push(result.map(|()| texts).map_err(|error| {
            assert!(text.get(error.place.span()).is_some(), "{error:?}");
            error.message
        }));
    }
    read
}

fn rows(text: &str) -> Vec<Vec<String>> {
    read(text).into_iter().map(Result::unwrap).collect()
}

#[test]
fn cells_are_split_as_rfc_4180_says() {
    assert_eq!(rows("a,b\r\nc,d"), [["a", "b"], ["c", "d"]]);
    assert_eq!(rows("\"a,\"\"b\"\"\",\"\"\n"), [["a,\"b\"", ""]]);
    assert_eq!(rows("\"x\ny\",z\r\n"), [["x\ny", "z"]]);
    assert_eq!(rows("\"\"\"\",\"\"\"\"\"\"\n"), [["\"", "\"\""]]);
    assert_eq!(rows("a,"), [["a", ""]]);
    assert_eq!(rows(",b"), [["", "b"]]);
}

#[test]
fn blanks_around_cells_and_blank_rows_are_left_out() {
    assert_eq!(rows(" a b ,\t\" c \" \n"), [["a b", " c "]]);
    assert_eq!(rows("\n\n  \na\n,,\n\r\nb\n"), [["a"], ["b"]]);
    assert!(rows("").is_empty());
    assert!(rows("\r\n \n").is_empty());
}

#[test]
fn after_a_mistake_the_next_line_begins() {
    assert_eq!(
        read("a\"b,c\nd\n\"e\"f\ng\n\"h\n"),
        [
            Err("a quote inside a cell that does not begin with one"),
            Ok(vec!["d".to_owned()]),
            Err("expected a comma or the end of the row after a quoted cell"),
            Ok(vec!["g".to_owned()]),
            Err("this quote is never closed"),
        ]
    );
}

proptest! {
    #[test]
    fn any_text_is_read_to_its_end(text in "[a\",;\r\n \té]{0,60}") {
        read(&text);
    }

    #[test]
    fn the_csv_crate_reads_the_same(
        table in prop::collection::vec(prop::collection::vec("[ab,\"\n\r é]{0,5}", 3), 1..6),
    ) {
        let mut writer = csv::WriterBuilder::new()
            .quote_style(csv::QuoteStyle::Always)
            .from_writer(Vec::new());
        for row in &table {
            writer.write_record(row).unwrap();
        }
        let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        let mut reader =
            csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
        let theirs: Vec<Vec<String>> = reader
            .records()
            .map(|record| record.unwrap().iter().map(str::to_owned).collect())
            .filter(|row: &Vec<String>| row.iter().any(|cell| !cell.is_empty()))
            .collect();
        prop_assert_eq!(rows(&text), theirs);
    }

    #[test]
    fn unquoted_cells_are_read_as_the_csv_crate_does(
        table in prop::collection::vec(prop::collection::vec("[a-zé.=]{1,5}", 3), 1..6),
        ending in prop::sample::select(vec!["\n", "\r\n"]),
    ) {
        let text: String =
            table.iter().map(|row| row.join(",") + ending).collect();
        prop_assert_eq!(rows(&text), table);
    }
}
