//! D2000 KOM's line: text with the ACK_ID handshake, JSON with time, stations with a will.

use crate::broker::Broker;
use crate::harness::{Driver, eventually};
use crate::messages;
use crate::site::Site;

fn site(broker: &Broker) -> Driver {
    Site::of("d2000")
        .change("mqtt://127.0.0.1:1883", &format!("mqtt://127.0.0.1:{}", broker.port))
        .variable("D2000_MQTT_USER", "kom")
        .secret("D2000_MQTT_PASSWORD", "whisper-kom-1")
        .start(&["kom"])
}

#[test]
fn text_with_the_ack_id_handshake() {
    let broker = Broker::open();
    let driver = site(&broker);
    let answers = broker.subscribe("plant/answers", 1);
    let acknowledged = || broker.log().matches("Received PUBACK from D2000kom").count();
    broker.publish("plant/orders", "start pump 1", 1);
    broker.publish("plant/orders", "stop pump 1", 1);
    driver.has("orders.data", "start pump 1", "ok");
    driver.has("orders.topic", "plant/orders", "ok");
    let id = driver.read("orders.id")["value"].clone();
    assert!(id.as_u64().unwrap() > 0);
    assert_eq!(driver.write("orders.answer", "pump 1 starts")["outcome"], "completed");
    assert_eq!(answers.wait_for(1)[0].payload, "pump 1 starts");
    // Not confirmed: not acknowledged, and the next one is not shown.
    assert_eq!(acknowledged(), 0);
    assert_eq!(driver.read("orders.data")["value"], "start pump 1");
    assert_eq!(driver.write("orders.ack", id)["outcome"], "completed");
    driver.has("orders.data", "stop pump 1", "ok");
    eventually("the first order is acknowledged", || (acknowledged() == 1).then_some(()));
    let id = driver.read("orders.id")["value"].clone();
    assert_eq!(driver.write("orders.ack", id)["outcome"], "completed");
    // QoS 0: the identifier is 0, and 0 confirms.
    broker.publish("plant/orders", "report", 0);
    driver.has("orders.data", "report", "ok");
    assert_eq!(driver.read("orders.id")["value"], 0);
    assert_eq!(driver.write("orders.ack", 0)["outcome"], "completed");
}

#[test]
fn json_with_time_and_every_other_topic() {
    let broker = Broker::open();
    let driver = site(&broker);
    for message in messages::d2000() {
        broker.publish(&message.topic, &message.payload, 1);
    }
    let voltage = driver.has("battery.voltage", 53.2, "ok");
    assert_eq!(voltage["time"], "2026-03-04T05:06:07.089Z");
    driver.has("battery.cell", 3.32, "ok");
    driver.has("battery.cycles", 17, "ok");
    driver.has("battery.charging", true, "ok");
    driver.has("battery.mode", "trans", "ok");
    driver.has("battery.runtime", 5400, "ok");
    driver.has("battery.serviced", "2026-01-31T00:00:00Z", "ok");
    // The expression takes what is not the topic itself; the rest goes to `.*`.
    driver.has("other_batteries.topic", "status/battery7", "ok");
    driver.has("other_batteries.voltage", 51.5, "ok");
    driver.has("rest.topic", "somewhere/else", "ok");
    driver.has("rest.data", "21.5", "ok");
    assert_eq!(driver.count_logged("no time"), 0, "a missing time is ignored where it says so");
    // An address that is absent invalidates its tag.
    broker.publish("status/battery", r#"{"time":"2026-03-04 05:06:08","rx":{}}"#, 1);
    driver.has("battery.voltage", 53.2, "path_missing");
}

#[test]
fn will_stations() {
    let broker = Broker::open();
    let driver = site(&broker);
    broker.publish("pump/state", "online", 1);
    driver.has("pump.state", "online", "ok");
    broker.publish("pump/state", "offline", 1);
    driver.has("pump.state", "offline", "station_will");
    assert_eq!(driver.station("pump")["state"], "StHARDERR");
    broker.publish("pump/state", "online", 1);
    driver.has("pump.state", "online", "ok");
    assert_eq!(driver.station("pump")["state"], "StON");
}

#[test]
fn the_will_of_the_line() {
    let broker = Broker::open();
    let mut driver = site(&broker);
    let wills = broker.subscribe("kom/state", 1);
    driver.kill();
    let will = &wills.wait_for(1)[0];
    assert_eq!((will.payload.as_str(), will.qos), ("gone", 1));
}

/// The address list of the shipped example's line becomes what the example is, and runs.
#[test]
fn an_address_list_is_imported() {
    let broker = Broker::open();
    let site = Site::empty();
    let list = format!(
        "Line,Host,Port,User Name,Password,Topic Filter,Subscribe QoS,Client ID,Clean Session Flag,Publish QoS,Keep Alive,Wait Timeout,Station,Station address,SWT,SWP,FPT,FTF,Time Mask,Tag name,Type,Address,Description,Noise band\n\
         kom,127.0.0.1,{port},kom,whisper-list-1,#,QoS_1,D2000kom,NO,QoS_1,60,0.1,orders,plant/orders,,,Text only,,,orders.data,TxtI,IN_DATA,The order,\n\
         kom,,,,,,,,,,,,orders,plant/orders,,,,,,orders.id,Ci,IN_ID,,\n\
         kom,,,,,,,,,,,,orders,plant/orders,,,,,,orders.ack,Co,ACK_ID,,\n\
         kom,,,,,,,,,,,,battery,status/battery,,,JSON,time,yyyy-mm-dd hh:mi:ss.mss,battery.voltage,Ai,JA=rx.voltage,Voltage,0.5\n\
         kom,,,,,,,,,,,,pump,pump/state,pump/state,offline,,,,pump.state,TxtI,IN_DATA,,\n",
        port = broker.port
    );
    let site = site.file("list.csv", list);
    let folder = site.driver.folder().to_str().unwrap().to_owned();
    let path = format!("{folder}/list.csv");
    let output = site.driver.run(["import", "d2000", &path, "--out", &folder]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{error}");
    assert!(text.contains("lines: 1, stations: 3, tags: 5"), "{text}");
    assert!(text.contains("`Noise band` is not known; its values are comments"), "{text}");
    let main = std::fs::read_to_string(site.driver.folder().join("tagline.toml")).unwrap();
    assert!(!main.contains("whisper-list-1"), "a password is written nowhere: {main}");
    let stations = std::fs::read_to_string(site.driver.folder().join("stations/kom.toml")).unwrap();
    assert!(stations.contains("# battery.voltage: Noise band = 0.5"), "{stations}");
    let again = site.driver.run(["import", "d2000", &path, "--out", &folder]);
    assert_eq!(again.status.code(), Some(1), "nothing is overwritten");
    std::fs::remove_file(&path).unwrap();
    let driver =
        site.variable("KOM_USER", "kom").secret("KOM_PASSWORD", "whisper-list-1").start(&["kom"]);
    broker.publish("plant/orders", "start pump 1", 1);
    broker.publish(
        "status/battery",
        r#"{"time":"2026-03-04 05:06:07.089","rx":{"voltage":53.2}}"#,
        1,
    );
    broker.publish("pump/state", "offline", 1);
    driver.has("orders.data", "start pump 1", "ok");
    assert_eq!(driver.has("battery.voltage", 53.2, "ok")["time"], "2026-03-04T05:06:07.089Z");
    driver.has("pump.state", "offline", "station_will");
}
