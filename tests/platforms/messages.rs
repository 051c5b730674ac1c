//! What each platform publishes: for its shipped configuration, and for `tagline discover`, which is
//! told nothing of it.

/// A message of a platform.
pub struct Message {
    pub topic: String,
    pub payload: Vec<u8>,
    pub content_type: Option<&'static str>,
}

fn message(topic: &str, payload: impl Into<Vec<u8>>) -> Message {
    Message { topic: topic.to_owned(), payload: payload.into(), content_type: None }
}

fn typed(topic: &str, payload: impl Into<Vec<u8>>, content_type: &'static str) -> Message {
    Message { content_type: Some(content_type), ..message(topic, payload) }
}

pub fn d2000() -> Vec<Message> {
    vec![
        message("plant/orders", "start pump 1"),
        message(
            "status/battery",
            r#"{"time":"2026-03-04 05:06:07.089","rx":{"voltage":53.2,"cells":[{"v":3.31},{"v":3.32}]},"cycles":17,"charging":true,"mode":"trans","runtime":"01:30:00","serviced":"2026-01-31 00:00:00.000"}"#,
        ),
        message("status/battery7", r#"{"rx":{"voltage":51.5}}"#),
        message("somewhere/else", "21.5"),
    ]
}

pub fn energydata() -> Vec<Message> {
    vec![
        message("my-topic-prefix/my/topic/suffix", r#"{"timestamp":1521797973469,"value":14.47}"#),
        message(
            "my-topic-prefix",
            r#"{"timestamp":1521797973500,"value":{"my/topic/suffix1":14.47,"my/topic/suffix2":34}}"#,
        ),
    ]
}

pub fn aedifion() -> Vec<Message> {
    vec![
        message(
            "lbg01/mybuilding/0OHgK8nP",
            "RoomTemperature value=20.3 1465839830100400200\nExtTemperature value=14.7 1465839830100400200\n\
             RoomTemperature value=22.3 1465839831100400200",
        ),
        message(
            "lbg01/mybuilding",
            r#""this\ is\ a\ \"datapoint\"\ with\ spaces and\ quotes" value=1 1465839830100400200
Flow,period=test value=7.5 1465839830100400200"#,
        ),
        message(
            "META/lbg01/mybuilding",
            r#"{"name":"PXSite1'AS11-239291","objtype":"trendLog","units":"degreesCelsius","objinstance":18}"#,
        ),
        message(
            "CONTROLS/lbg01/mybuilding",
            r#"{"type":"NEWSPT","swop_version":0.1,"datapoint":"bacnet93-4120-External-Room-Set-Temperature-RTs","value":20.3,"priority":13,"acknowledge":true,"reference":"r-17"}"#,
        ),
    ]
}

pub fn powernaut() -> Vec<Message> {
    vec![message(
        "resource/2f1c0d5e-77aa-4f6e-9d2b-5b7f3a1c9e10/commands/setpoint",
        r#"{"timing":{"start":"2024-07-01T14:00:00Z","end":"2024-07-01T14:15:00Z"},"value":12000}"#,
    )]
}

pub fn akenza() -> Vec<Message> {
    let topic = "/down/device/id/0004A30B001C0530";
    vec![
        message(topic, r#"{"setpoint":21.5}"#),
        typed(&format!("{topic}/xml"), "<data><mode>eco</mode></data>", "application/xml"),
        typed(&format!("{topic}/csv"), "mode,level\nnight,3\n", "text/csv"),
        typed(&format!("{topic}/raw"), [7, 8, 9], "application/octet-stream"),
        typed(&format!("{topic}/text"), "hello", "text/plain"),
    ]
}

pub fn the_things_stack() -> Vec<Message> {
    // Temperature 27.2 on channel 1, humidity 48.5 on 2, a place on 3.
    let payload = "AWcBEAJoYQOIBnZf8pYKAAPo";
    let uplink = |counter: u32| {
        format!(
            r#"{{"end_device_ids":{{"device_id":"dev1","application_ids":{{"application_id":"app1"}},"dev_eui":"70B3D57ED0001234","join_eui":"0000000000000000","dev_addr":"260B1234"}},"correlation_ids":["as:up:01"],"received_at":"2026-01-29T13:02:35.1Z","uplink_message":{{"f_port":1,"f_cnt":{counter},"frm_payload":"{payload}","decoded_payload":{{"temperature_1":27.2,"relative_humidity_2":48.5,"gps_3":{{"altitude":10,"latitude":42.3519,"longitude":-87.9094}}}},"rx_metadata":[{{"gateway_ids":{{"gateway_id":"roof"}},"time":"2026-01-29T13:02:34.981Z","timestamp":1283325000,"rssi":-35,"snr":5}}],"settings":{{"data_rate":{{"lora":{{"bandwidth":125000,"spreading_factor":7}}}},"coding_rate":"4/6","frequency":"868500000"}}}}}}"#
        )
    };
    vec![
        message("v3/app1@ttn/devices/dev1/up", uplink(1)),
        message("v3/app1@ttn/devices/dev1/up", uplink(2)),
    ]
}

pub fn the_things_network_v2() -> Vec<Message> {
    vec![message(
        "app1/devices/old1/up",
        r#"{"app_id":"app1","dev_id":"old1","hardware_serial":"0102030405060708","port":1,"counter":2,"payload_raw":"AWcBEA==","payload_fields":{"celsius":"27.2"},"metadata":{"time":"2017-08-08T10:11:12.123456789Z","frequency":868.1,"modulation":"LORA","gateways":[{"gtw_id":"eui-yard","rssi":-80,"snr":7}]}}"#,
    )]
}

pub fn loriot() -> Vec<Message> {
    vec![
        message(
            "loriot/app",
            r#"{"cmd":"rx","seqno":39,"EUI":"0004A30B002528D3","ts":1619347683413,"fcnt":0,"port":1,"freq":867300000,"rssi":-108,"snr":-13,"toa":1155,"dr":"SF12 BW125 4/5","ack":false,"bat":255,"offline":false,"data":"010d0b18026bda02"}"#,
        ),
        message(
            "loriot/app",
            r#"{"cmd":"gw","seqno":39,"EUI":"0004A30B002528D3","ts":1619347683413,"fcnt":0,"port":1,"freq":867300000,"data":"010d0b18026bda02","gws":[{"rssi":-108,"snr":-13,"ts":1619347683413,"gweui":"7076FF0055"}]}"#,
        ),
        message(
            "loriot/app",
            r#"{"cmd":"rx","seqno":40,"EUI":"0004A30B00000001","ts":1619347683500,"fcnt":7,"port":2,"rssi":-1,"snr":3,"dr":"SF7 BW125 4/5","ack":true,"bat":254,"data":"ffffffffff"}"#,
        ),
    ]
}

pub fn slovanet() -> Vec<Message> {
    vec![message(
        "app1/70B3D5E75E001234/up",
        r#"{"EUI":"70B3D5E75E001234","time":"2026-03-04T06:06:07.500+01:00","port":2,"fcnt":11,"rssi":-97,"payload":"084d0000002a80"}"#,
    )]
}

pub fn pixii() -> Vec<Message> {
    vec![message(
        "pixii/battery",
        r#"[{"time":"2026-03-04 05:06:07.500","batt_cell_v_avg":3.312,"soc":81.5,"contactor":"on"},{"time":"2026-03-04 05:06:07.500","batt_cell_v_avg":3.3,"soc":80.5,"contactor":"on"}]"#,
    )]
}

pub fn live_objects() -> Vec<Message> {
    vec![message(
        "fifo/plant",
        r#"{"streamId":"StreamSampleLO001","timestamp":"2018-04-07T15:52:31.150Z","location":{"lat":45.759723,"lon":4.84223},"model":"demo","value":{"hygrometry":40,"revmin":1200,"temperature":21},"tags":["SampleLO"],"metadata":{"source":"urn:lo:nsid:sensor:SampleLO001","connector":"mqtt"}}"#,
    )]
}
