use std::collections::BTreeSet;

use super::*;

fn moment(seed: u64, step: u64) -> Moment {
    let wall = "2026-02-03T04:05:06.789Z".parse::<Timestamp>().unwrap();
    Moment { seed, step, wall: later(wall, SignedDuration::from_millis(700 * step as i64)) }
}

fn document(message: &PlantMessage) -> Json {
    serde_json::from_str(&message.payload).unwrap()
}

fn order(payload: &str, step: u64) -> Order {
    Order { payload: payload.to_owned(), previous: None, step }
}

#[test]
fn messages_are_a_function_of_seed_and_step() {
    for device in Device::ALL {
        for step in 0..50 {
            let once = device.messages(moment(7, step), None);
            assert!(!once.is_empty(), "{device:?} is silent at {step}");
            assert_eq!(once, device.messages(moment(7, step), None), "{device:?} at {step}");
        }
        let other = (0..50).map(|step| device.messages(moment(8, step), None));
        let same = (0..50).map(|step| device.messages(moment(7, step), None));
        assert!(other.ne(same), "{device:?} ignores the seed");
    }
}

#[test]
fn all_qualities_of_service_and_a_retained_message_occur() {
    let messages = Device::ALL.into_iter().flat_map(|device| device.messages(moment(1, 0), None));
    let messages = messages.collect::<Vec<_>>();
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
        assert!(messages.iter().any(|message| message.qos == qos), "{qos:?}");
    }
    assert_eq!(messages.iter().filter(|message| message.retain).count(), 1);
}

#[test]
fn client_identifiers_are_unique() {
    let ids = Device::ALL.map(Device::client_id).into_iter().collect::<BTreeSet<_>>();
    assert_eq!(ids.len(), Device::ALL.len());
}

#[test]
fn every_device_speaks_at_least_every_two_seconds() {
    for device in Device::ALL {
        let period = device.period();
        assert!(period >= Duration::from_millis(500) && period <= Duration::from_secs(2));
    }
}

#[test]
fn the_pump_follows_its_setpoint() {
    let told = Order { previous: Some("1450".into()), ..order("600", 10) };
    let speed = |step| {
        document(&Device::Pump.messages(moment(1, step), Some(&told))[0])["speed"].as_f64().unwrap()
    };
    assert!((speed(10) - 1450.0).abs() < 10.0);
    assert!(speed(11) < speed(10) && speed(12) < speed(11));
    assert!((speed(30) - 600.0).abs() < 10.0);
}

#[test]
fn the_pump_stands_still_at_zero_and_ignores_nonsense() {
    let still = document(&Device::Pump.messages(moment(1, 3), Some(&order("0", 3)))[0]);
    assert_eq!(still["running"], json!(false));
    assert_eq!(still["speed"], json!(0.0));
    let nonsense = document(&Device::Pump.messages(moment(1, 3), Some(&order("NaN", 3)))[0]);
    assert_eq!(nonsense["setpoint"], json!(1450.0));
}

#[test]
fn devices_show_what_they_were_told() {
    let filler = &Device::Filler.messages(moment(1, 9), Some(&order("200", 9)))[0];
    assert!(filler.payload.contains("/200 "), "{}", filler.payload);

    let due = order("2026-03-01T02:00:00Z", 4);
    let battery = document(&Device::Battery.messages(moment(1, 4), Some(&due))[0]);
    assert_eq!(battery[0]["equalize_at"], json!("2026-03-01T02:00:00.000Z"));

    let due = order("2026-03-01 02:00:00.250", 4);
    let battery = document(&Device::Battery.messages(moment(1, 4), Some(&due))[0]);
    assert_eq!(battery[0]["equalize_at"], json!("2026-03-01T02:00:00.250Z"));

    let level = document(&Device::LevelSensor.messages(moment(1, 4), Some(&order("60", 4)))[0]);
    assert_eq!(level["fields"]["interval"], json!(60.0));

    let room = document(&Device::RoomSensor.messages(moment(1, 4), Some(&order("open", 4)))[0]);
    assert_eq!(room["valve"], json!("open"));
    let room = document(&Device::RoomSensor.messages(moment(1, 4), Some(&order("close", 4)))[0]);
    assert_eq!(room["valve"], json!("closed"));
}

#[test]
fn incidents_come_within_twenty_seconds() {
    let turns = |device: Device| {
        let last = 20_000 / device.period().as_millis() as u64;
        (0..last).flat_map(move |step| device.messages(moment(1, step), None))
    };
    let any =
        |device, test: fn(&Json) -> bool| turns(device).any(|message| test(&document(&message)));
    assert!(any(Device::Pump, |document| document["vibration"].is_null()));
    assert!(any(Device::Battery, |document| {
        document.is_array() && document[0].get("batt_temp").is_none()
    }));
    assert!(
        any(Device::LevelSensor, |document| document["rx"]["gwrx"].as_array().unwrap().len() == 1)
    );
    assert!(any(Device::HeatMeter, |document| document["value"]["building7/flow"] == "n/a"));
    assert!(any(Device::HeatMeter, |document| document["value"]["building7/pressure"] == 99.9));
    assert!(any(Device::Flexibility, |document| {
        document.get("timing").is_some() && document["value"].is_null()
    }));
}

#[test]
fn shapes_are_those_of_the_platforms() {
    let battery = &Device::Battery.messages(moment(1, 0), None)[0];
    assert!(document(battery)[0]["batt_cell_v_avg"].is_f64());
    assert_eq!(document(battery)[0]["time"], json!("2026-02-03 04:05:06.789"));
    let level = document(&Device::LevelSensor.messages(moment(1, 0), None)[0]);
    assert_eq!(level["rx"]["gwrx"][0]["time"], json!("2026-02-03T04:05:06.789Z"));
    let heat = Device::HeatMeter.messages(moment(1, 0), None);
    assert_eq!(heat[1].topic, "heatpark");
    assert_eq!(document(&heat[1])["timestamp"], json!(1_770_091_506_789_i64));
    let resource = &Device::Flexibility.messages(moment(1, 0), None)[0];
    let fields = document(resource);
    assert!(fields["value"].is_i64() && fields["soc"].is_i64());
    assert_eq!(fields["time"], json!(1_770_091_506_i64));
    assert!(!resource.retain && resource.qos != Qos::AtMostOnce, "the platform refuses both");
}
