use super::*;

fn of(payloads: &[&str]) -> Survey {
    let heard: Vec<Heard> = payloads
        .iter()
        .map(|payload| Heard { payload: payload.as_bytes().to_vec(), content_type: None })
        .collect();
    survey(&heard)
}

fn shown(survey: &Survey) -> Vec<(String, Kind)> {
    survey.leaves.iter().map(|leaf| (leaf.address.clone(), leaf.kind)).collect()
}

fn addresses(survey: &Survey) -> Vec<&str> {
    survey.leaves.iter().map(|leaf| leaf.address.as_str()).collect()
}

#[test]
fn a_document_with_its_time_and_units() {
    let found = of(&[
        r#"{"timestamp":1521797973469,"t1":{"value":21,"unit":"°C"},"on":true,"f_cnt":3,"x.y":"a","n":null}"#,
        r#"{"timestamp":1521797973470,"t1":{"value":21.5,"unit":"°C"},"on":false,"f_cnt":4,"x.y":"b","s":"0102"}"#,
    ]);
    assert_eq!(found.payload_type, PayloadType::Json);
    let time = found.time.clone().unwrap();
    assert_eq!((time.field.as_str(), time.mask, time.optional), ("timestamp", "UNIXMS", false));
    let expected = [
        ("JA=f_cnt", Kind::Counter),
        ("JA=n", Kind::Null),
        ("JA=on", Kind::Logical),
        ("JA=t1.unit", Kind::Text),
        ("JA=t1.value", Kind::Number),
        ("JA=\"x.y\"", Kind::Text),
        ("JA=s", Kind::Text),
    ];
    let mut expected = expected.map(|(address, kind)| (address.to_owned(), kind)).to_vec();
    let mut found_leaves = shown(&found);
    expected.sort_by(|left, right| left.0.cmp(&right.0));
    found_leaves.sort_by(|left, right| left.0.cmp(&right.0));
    assert_eq!(found_leaves, expected);
    let value = found.leaves.iter().find(|leaf| leaf.address == "JA=t1.value").unwrap();
    assert_eq!(value.unit, "°C");
    assert!(found.leaves.iter().find(|leaf| leaf.address == "JA=s").unwrap().optional);
}

#[test]
fn keyed_arrays_batches_and_positions() {
    let keyed = of(&[
        r#"{"values":[{"id":"Ch1.A","v":1,"t":1600000000000},{"id":"Ch1.B","v":2,"t":1600000000001}]}"#,
        r#"{"values":[{"id":"Ch1.B","v":3,"t":1600000000002}]}"#,
    ]);
    assert_eq!(addresses(&keyed), [r#"JA=values[id="Ch1.A"].v"#, r#"JA=values[id="Ch1.B"].v"#]);
    assert_eq!(keyed.time.unwrap().field, "values[].t");
    let batch = of(&[r#"[{"value":-3000,"time":1744858460},{"value":-3050,"time":1744858464}]"#]);
    assert_eq!(addresses(&batch), ["JA=[].value"]);
    assert_eq!(batch.time.unwrap().field, "[].time");
    let parts =
        of(&[r#"[{"time":"2026-03-04 05:06:07.5","v":1},{"time":"2026-03-04 05:06:07.5","v":2}]"#]);
    assert_eq!(addresses(&parts), ["JA=[1].v", "JA=[2].time", "JA=[2].v"]);
    assert_eq!(parts.time.unwrap().field, "[1].time");
    let scalars = of(&[r#"{"loc":[45.75,4.84],"tags":["a","b","c","d","e"]}"#]);
    assert_eq!(addresses(&scalars), ["JA=loc[1]", "JA=loc[2]", "JA=tags"]);
}

#[test]
fn messages_of_several_kinds_and_devices() {
    let found = of(&[
        r#"{"cmd":"rx","EUI":"A1","ts":1619347683413,"rssi":-1,"data":"0102"}"#,
        r#"{"cmd":"rx","EUI":"B2","ts":1619347683413,"rssi":-2,"data":"0103"}"#,
        r#"{"cmd":"gw","EUI":"A1","ts":1619347683413,"gws":[{"rssi":-3}]}"#,
    ]);
    let whens: Vec<(&str, &str)> =
        found.leaves.iter().map(|leaf| (leaf.address.as_str(), leaf.when.as_str())).collect();
    assert!(whens.contains(&("JA=rssi", r#"EUI="B2" & cmd="rx""#)), "{whens:?}");
    assert!(whens.contains(&("JA=gws[1].rssi", r#"EUI="A1" & cmd="gw""#)), "{whens:?}");
    assert!(whens.contains(&("RA=0:u8", r#"EUI="A1" & cmd="rx""#)), "{whens:?}");
    assert_eq!(found.envelope, Some(("data".to_owned(), EnvelopeEncoding::Hex)));
}

#[test]
fn envelopes_and_frames() {
    let found = of(&[
        r#"{"received_at":"2026-01-29T13:02:35.1Z","uplink_message":{"frm_payload":"AWcBEAJoYQ==","f_port":1}}"#,
    ]);
    assert_eq!(
        found.envelope,
        Some(("uplink_message.frm_payload".to_owned(), EnvelopeEncoding::Base64))
    );
    let own = addresses(&found);
    assert!(own.contains(&"LPP=temperature_1") && own.contains(&"LPP=relative_humidity_2"));
    let frame = Heard {
        payload: vec![1, 0x67, 1, 0x10, 2, 0x88, 6, 0x76, 0x5F, 0xF2, 0x96, 10, 0, 3, 0xE8],
        content_type: None,
    };
    let found = survey(&[frame]);
    assert_eq!(found.payload_type, PayloadType::Bytes);
    assert_eq!(addresses(&found)[..2], ["LPP=temperature_1", "LPP=gps_2.latitude"]);
}

#[test]
fn other_formats() {
    let influx = of(&["RoomTemperature value=20.3 1465839830100400200\n\"a\\ b\",side=x n=1i"]);
    assert_eq!(influx.payload_type, PayloadType::Influx);
    assert_eq!(addresses(&influx), ["LP=RoomTemperature", "LP=\"a b\",side=x n"]);
    let csv = of(&["time;temp (°C);state\n2026-03-04 05:06:07;21,5;on\n"]);
    assert_eq!(csv.csv, Some(CsvFound { delimiter: ';', header: true }));
    assert_eq!(csv.time.clone().unwrap().mask, "yyyy-mm-dd hh:mi:ss.mss");
    assert_eq!(addresses(&csv), ["CA=temp (°C)", "CA=state"]);
    assert_eq!(csv.leaves[0].unit, "°C");
    let xml = of(&["<d><foo unit='K'>1.5</foo><foo>2</foo><t>2026-01-01T00:00:00Z</t></d>"]);
    assert_eq!(addresses(&xml), ["XA=/d/foo/@unit", "XA=/d/foo", "XA=/d/foo[2]"]);
    let word = of(&["on", "OFF"]);
    assert_eq!(shown(&word), [("CA=1".to_owned(), Kind::Logical)]);
    assert_eq!(shown(&of(&["21.5"])), [("CA=1".to_owned(), Kind::Number)]);
    assert_eq!(shown(&of(&["start pump 1"])), [("IN_DATA".to_owned(), Kind::Text)]);
    assert_eq!(shown(&of(&["\"text\""])), [("IN_DATA".to_owned(), Kind::Text)]);
    assert_eq!(of(&[""]).payload_type, PayloadType::Text);
}

#[test]
fn a_unit_stands_in_brackets_behind_a_name() {
    let found = of(&[r#"{"T [°C]":21.5,"p(bar)":1.5,"phase[1]":1.5,"[V]":1.5}"#]);
    let units: Vec<(&str, &str)> =
        found.leaves.iter().map(|leaf| (leaf.address.as_str(), leaf.unit.as_str())).collect();
    assert!(units.contains(&("JA=\"T [°C]\"", "°C")), "{units:?}");
    assert!(units.contains(&("JA=p(bar)", "bar")), "{units:?}");
    assert!(units.contains(&("JA=\"phase[1]\"", "")), "{units:?}");
    assert!(units.contains(&("JA=\"[V]\"", "")), "{units:?}");
}
