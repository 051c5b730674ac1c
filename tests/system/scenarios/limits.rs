//! What a server of MQTT 5.0 allows, and what we allow it. That nothing is sent beyond the server's
//! limits is the judge's matter; here it is tempted.

use std::time::Duration;

use super::stage::{ONLY_5, SAMPLE, Scenario, Stage, scenario};
use crate::strict::packet::{ack, message, publish, refusal};
use crate::strict::property::{self, Properties, Value};
use crate::strict::{Got, Kind, Link, Packet, Publish};

pub const SCENARIOS: &[Scenario] = &[
    five("announcements", announcements).keys_5(
        "session_expiry = \"1h\"\nreceive_maximum = 7\ntopic_alias_maximum = 9\n\
         maximum_packet_size = 5000\nuser_properties = { site = \"north\" }",
    ),
    five("receive-maximum-1", receive_maximum_1).qos(&[1, 2]),
    five("receive-maximum-and-repeats", receive_maximum_and_repeats).qos(&[1, 2]),
    five("full-window-stalls-nothing", full_window_stalls_nothing)
        .keys("ping_interval = \"300ms\"")
        .qos(&[1, 2]),
    five("refusals-free-the-window", refusals_free_the_window).qos(&[1, 2]),
    five("our-receive-maximum", our_receive_maximum).keys_5("receive_maximum = 5"),
    five("our-receive-maximum-later", our_receive_maximum_later).keys_5("receive_maximum = 5"),
    five("packet-maximum", packet_maximum),
    five("packet-maximum-of-nothing", packet_maximum_of_nothing).over(SAMPLE),
    five("maximum-qos", maximum_qos).qos(&[0, 1]),
    five("no-retain", no_retain),
    five("no-wildcards", no_wildcards).keys("topic_filter = [\"in\", \"a/#\"]"),
    five("no-shared", no_shared).keys("topic_filter = [\"in\", \"$share/g/a\"]"),
    five("no-subscription-ids", no_subscription_ids).over(SAMPLE),
    five("aliases-of-the-server", aliases_of_the_server).keys_5("topic_alias_maximum = 3"),
    five("aliases-end-with-the-connection", aliases_end_with_the_connection)
        .keys_5("topic_alias_maximum = 3"),
    five("illegal-aliases", illegal_aliases).keys_5("topic_alias_maximum = 3"),
    five("aliases-nobody-allowed", aliases_nobody_allowed),
    five("our-aliases", our_aliases).qos(&[0, 1, 2]),
    five("our-aliases-after-reconnect", our_aliases_after_reconnect).qos(&[1, 2]),
];

const fn five(name: &'static str, run: fn(&mut Stage<'_>)) -> Scenario {
    scenario(name, run).only(ONLY_5)
}

fn announcements(stage: &mut Stage<'_>) {
    let (mut link, connect) = stage.greet();
    let properties = &connect.properties;
    assert_eq!(property::four(properties, property::SESSION_EXPIRY), Some(3600));
    assert_eq!(property::two(properties, property::RECEIVE_MAXIMUM), Some(7));
    assert_eq!(property::two(properties, property::ALIAS_MAXIMUM), Some(9));
    assert_eq!(property::four(properties, property::PACKET_MAXIMUM), Some(5000));
    let user = (property::USER_PROPERTY, Value::Pair("site".into(), "north".into()));
    assert!(properties.contains(&user), "{properties:?}");
    stage.connack(&mut link, &connect, vec![]);
    link.grant();
    stage.link = Some(link);
}

fn receive_maximum(number: u16) -> Properties {
    vec![(property::RECEIVE_MAXIMUM, Value::Two(number))]
}

/// Ends the exchange of a publication.
#[track_caller]
fn finish(link: &mut Link, publish: &Publish) {
    if publish.qos == 1 {
        link.send(&ack(Kind::Puback, publish.id));
        return;
    }
    link.send(&ack(Kind::Pubrec, publish.id));
    link.expect_ack(Kind::Pubrel, publish.id);
    link.send(&ack(Kind::Pubcomp, publish.id));
}

fn receive_maximum_1(stage: &mut Stage<'_>) {
    let mut link = stage.session_with(receive_maximum(1));
    let requests: Vec<u64> = (0..6).map(|value| stage.write(stage.qos, value)).collect();
    for (value, request) in requests.into_iter().enumerate() {
        let publish = link.expect_publish();
        assert_eq!(publish.text(), value.to_string());
        // The judge sees a second one; and QoS 0 needs no place.
        let free = stage.write(0, 100);
        assert_eq!(link.expect_publish().qos, 0);
        assert_eq!(stage.outcome(free), "completed");
        finish(&mut link, &publish);
        assert_eq!(stage.outcome(request), "completed");
    }
    stage.link = Some(link);
}

/// A smaller window after the reconnect holds for what is sent again too.
fn receive_maximum_and_repeats(stage: &mut Stage<'_>) {
    let mut link = stage.session_with(receive_maximum(6));
    let requests: Vec<u64> = (0..8).map(|value| stage.write(stage.qos, value)).collect();
    let first: Vec<Publish> = (0..6).map(|_| link.expect_publish()).collect();
    link.expect_silence(Duration::from_millis(30));
    drop(link);
    let mut link = stage.session_with(receive_maximum(2));
    for (place, request) in requests.into_iter().enumerate() {
        let publish = next_publish(&mut link, &mut Vec::new());
        assert_eq!(publish.dup, place < 6, "{place}");
        if let Some(first) = first.get(place) {
            assert_eq!((publish.id, &publish.payload), (first.id, &first.payload));
        }
        // Those behind it may have come already: they wait in the link's buffer.
        answer_in_between(&mut link, &publish);
        assert_eq!(stage.outcome(request), "completed");
    }
    stage.link = Some(link);
}

#[track_caller]
fn next_publish(link: &mut Link, before: &mut Vec<Packet>) -> Publish {
    if let Some(publish) = link.kept.pop_front() {
        return publish;
    }
    loop {
        match link.next() {
            Packet::Publish(publish) => return publish,
            other => before.push(other),
        }
    }
}

/// Ends an exchange while other publications come in between, which are kept.
#[track_caller]
fn answer_in_between(link: &mut Link, publish: &Publish) {
    if publish.qos == 1 {
        link.send(&ack(Kind::Puback, publish.id));
        return;
    }
    link.send(&ack(Kind::Pubrec, publish.id));
    loop {
        match link.next() {
            Packet::Publish(other) => link.kept.push_back(other),
            Packet::Ack(one) => {
                assert_eq!((one.kind, one.id), (Kind::Pubrel, publish.id));
                link.send(&ack(Kind::Pubcomp, publish.id));
                return;
            }
            other => panic!("{other:?}"),
        }
    }
}

fn full_window_stalls_nothing(stage: &mut Stage<'_>) {
    let mut link = stage.session_with(receive_maximum(1));
    let stuck = stage.write(stage.qos, 1);
    let waits = stage.write(stage.qos, 2);
    let publish = link.expect_publish();
    // Messages of every QoS, and a ping.
    stage.deliver(&mut link, "zero", 0, 0);
    stage.deliver(&mut link, "one", 1, 1);
    stage.deliver(&mut link, "two", 2, 2);
    link.answer_pings = false;
    link.expect(&Packet::Pingreq);
    link.send(&Packet::Pingresp);
    link.answer_pings = true;
    finish(&mut link, &publish);
    let publish = link.expect_publish();
    finish(&mut link, &publish);
    assert_eq!(stage.outcome(stuck), "completed");
    assert_eq!(stage.outcome(waits), "completed");
    stage.link = Some(link);
}

fn refusals_free_the_window(stage: &mut Stage<'_>) {
    let mut link = stage.session_with(receive_maximum(1));
    let requests: Vec<u64> = (0..4).map(|value| stage.write(stage.qos, value)).collect();
    for (place, request) in requests.into_iter().enumerate() {
        let publish = link.expect_publish();
        if place < 3 {
            let kind = if stage.qos == 1 { Kind::Puback } else { Kind::Pubrec };
            link.send(&refusal(kind, publish.id, 0x97));
            assert_eq!(stage.outcome(request), "failed");
        } else {
            finish(&mut link, &publish);
            assert_eq!(stage.outcome(request), "completed");
        }
    }
    stage.link = Some(link);
}

/// Exactly as many as we take, and not released: no fault. One more is.
fn our_receive_maximum(stage: &mut Stage<'_>) {
    let mut link = stage.session();
    for id in 1..=5 {
        link.send(&publish("in", id.to_string(), 2, id));
        link.expect_ack(Kind::Pubrec, id);
    }
    link.expect_silence(Duration::from_millis(50));
    link.send_bytes(&crate::strict::packet::encode(stage.version, &publish("in", "6", 2, 6)));
    match link.expect_end().as_slice() {
        [Packet::Disconnect { reason: 0x93, .. }] => {}
        other => panic!("{other:?}"),
    }
    stage.says(&["WARN", "without waiting for their acknowledgement"]);
}

/// The same after a while of ordinary traffic.
fn our_receive_maximum_later(stage: &mut Stage<'_>) {
    let mut link = stage.session();
    for id in 1..=20 {
        stage.deliver(&mut link, &id.to_string(), 1 + u8::try_from(id % 2).unwrap(), id);
    }
    for id in 1..=5 {
        link.send(&publish("in", id.to_string(), 2, id));
        link.expect_ack(Kind::Pubrec, id);
    }
    link.expect_silence(Duration::from_millis(50));
    link.send_bytes(&crate::strict::packet::encode(stage.version, &publish("in", "6", 2, 6)));
    match link.expect_end().as_slice() {
        [Packet::Disconnect { reason: 0x93, .. }] => {}
        other => panic!("{other:?}"),
    }
}

fn packet_maximum(stage: &mut Stage<'_>) {
    // A PUBLISH of QoS 1 with a small number fits exactly, one with a large number does not.
    let size = 2 + 2 + "commands/1".len() + 2 + 1 + 2;
    let limit = u32::try_from(size).unwrap();
    let mut link = stage.session_with(vec![(property::PACKET_MAXIMUM, Value::Four(limit))]);
    let fits = stage.write(1, 42);
    let large = stage.write(1, 123_456_789);
    let next = stage.write(1, 43);
    assert_eq!(stage.take_write(&mut link), "42");
    assert_eq!(stage.take_write(&mut link), "43");
    assert_eq!(stage.outcome(fits), "completed");
    assert_eq!(stage.outcome(large), "failed");
    assert_eq!(stage.outcome(next), "completed");
    stage.deliver(&mut link, "alive", 2, 1);
    assert_eq!(stage.driver.line(&stage.name)["counters"]["connects"], 1);
    stage.link = Some(link);
    // The last writes are larger.
    drop(stage.link.take());
}

/// Not even SUBSCRIBE fits: the line says so, and makes no tight loop of it.
fn packet_maximum_of_nothing(stage: &mut Stage<'_>) {
    let (mut link, connect) = stage.greet();
    stage.connack(&mut link, &connect, vec![(property::PACKET_MAXIMUM, Value::Four(5))]);
    match link.next_within(Duration::from_millis(300)) {
        Got::Nothing | Got::End | Got::Packet(Packet::Disconnect { .. }) => {}
        other => panic!("{other:?}"),
    }
    drop(link);
}

fn maximum_qos(stage: &mut Stage<'_>) {
    let highest = stage.qos;
    let mut link = stage.session_with(vec![(property::MAXIMUM_QOS, Value::Byte(highest))]);
    for qos in 0..=2 {
        let request = stage.write(qos, 1);
        if qos <= highest {
            stage.take_write(&mut link);
            assert_eq!(stage.outcome(request), "completed");
        } else {
            assert_eq!(stage.outcome(request), "failed");
        }
    }
    stage.deliver(&mut link, "alive", 2, 1);
    assert_eq!(stage.driver.line(&stage.name)["counters"]["connects"], 1);
}

fn no_retain(stage: &mut Stage<'_>) {
    let mut link = stage.session_with(vec![(property::RETAIN_AVAILABLE, Value::Byte(0))]);
    let request = stage.write_tag("or", 1, 10.0);
    assert_eq!(stage.outcome(request), "failed");
    let request = stage.write(1, 2);
    assert_eq!(stage.take_write(&mut link), "2");
    assert_eq!(stage.outcome(request), "completed");
    drop(link);
    let mut link = stage.session();
    let request = stage.write_tag("or", 3, 10.0);
    let publish = link.expect_publish();
    assert!(publish.retain);
    finish(&mut link, &publish);
    assert_eq!(stage.outcome(request), "completed");
    stage.link = Some(link);
}

/// The filter that the server does not take is not asked for, and named; the other one works.
#[track_caller]
fn without(stage: &mut Stage<'_>, id: u8, filter: &str) {
    let mut link = stage.session_with(vec![(id, Value::Byte(0))]);
    let line = stage.driver.line_is(&stage.name, "error");
    assert!(line["last_error"]["message"].as_str().unwrap().contains(filter), "{line}");
    stage.deliver(&mut link, "works", 1, 1);
    stage.has("works");
    stage.says(&["ERROR", filter]);
    stage.link = Some(link);
}

fn no_wildcards(stage: &mut Stage<'_>) {
    without(stage, property::WILDCARD_AVAILABLE, "a/#");
}

fn no_shared(stage: &mut Stage<'_>) {
    without(stage, property::SHARED_AVAILABLE, "$share/g/a");
}

fn no_subscription_ids(stage: &mut Stage<'_>) {
    let properties = vec![(property::SUBSCRIPTION_ID_AVAILABLE, Value::Byte(0))];
    stage.link = Some(stage.session_with(properties));
}

fn aliased(topic: &str, text: &str, qos: u8, id: u16, alias: u16) -> Packet {
    let properties = vec![(property::TOPIC_ALIAS, Value::Two(alias))];
    Packet::Publish(Publish { properties, ..message(topic, text, qos, id) })
}

fn aliases_of_the_server(stage: &mut Stage<'_>) {
    let (mut link, connect) = stage.greet();
    assert_eq!(property::two(&connect.properties, property::ALIAS_MAXIMUM), Some(3));
    stage.connack(&mut link, &connect, vec![]);
    link.grant();
    // Set, used, set otherwise, used, at every QoS.
    link.send_all(&[
        aliased("in", "a", 0, 0, 3),
        aliased("", "b", 0, 0, 3),
        aliased("elsewhere", "x", 0, 0, 3),
        aliased("in", "c", 0, 0, 1),
        aliased("", "x", 1, 1, 3),
        aliased("", "d", 1, 2, 1),
        aliased("", "e", 2, 3, 1),
    ]);
    link.expect_ack(Kind::Puback, 1);
    link.expect_ack(Kind::Puback, 2);
    link.expect_ack(Kind::Pubrec, 3);
    link.send(&ack(Kind::Pubrel, 3));
    link.expect_ack(Kind::Pubcomp, 3);
    stage.deliver(&mut link, "end", 1, 4);
    assert_eq!(stage.applied("end"), ["a", "b", "c", "d", "e", "end"]);
    stage.link = Some(link);
}

fn aliases_end_with_the_connection(stage: &mut Stage<'_>) {
    let mut link = stage.session();
    link.send(&aliased("in", "a", 1, 1, 2));
    link.expect_ack(Kind::Puback, 1);
    drop(link);
    let mut link = stage.session();
    let bytes = crate::strict::packet::encode(stage.version, &aliased("", "b", 1, 2, 2));
    link.send_bytes(&bytes);
    is_alias_fault("an old alias", &link.expect_end());
    let mut link = stage.session();
    stage.deliver(&mut link, "end", 1, 3);
    assert_eq!(stage.applied("end"), ["a", "end"]);
    stage.link = Some(link);
}

#[track_caller]
fn is_alias_fault(what: &str, packets: &[Packet]) {
    let [Packet::Disconnect { reason, .. }] = packets else { panic!("{what}: {packets:?}") };
    assert!([0x82, 0x94].contains(reason), "{what}: {reason:#04x}");
}

fn illegal_aliases(stage: &mut Stage<'_>) {
    for (what, topic, alias) in
        [("alias 0", "in", 0), ("above the maximum", "in", 4), ("unknown", "", 2)]
    {
        let mut link = stage.session();
        let bytes =
            crate::strict::packet::encode(stage.version, &aliased(topic, "bad", 0, 0, alias));
        link.send_bytes(&bytes);
        is_alias_fault(what, &link.expect_end());
    }
    let mut link = stage.session();
    stage.deliver(&mut link, "end", 1, 3);
    assert_eq!(stage.applied("end"), ["end"]);
    stage.says(&["WARN", "alias"]);
    stage.link = Some(link);
}

fn aliases_nobody_allowed(stage: &mut Stage<'_>) {
    let (mut link, connect) = stage.greet();
    let announced = property::two(&connect.properties, property::ALIAS_MAXIMUM);
    assert!(announced.is_none_or(|maximum| maximum == 0), "{announced:?}");
    stage.connack(&mut link, &connect, vec![]);
    link.grant();
    link.send_bytes(&crate::strict::packet::encode(stage.version, &aliased("in", "bad", 0, 0, 1)));
    is_alias_fault("not announced", &link.expect_end());
}

fn alias_maximum(number: u16) -> Properties {
    vec![(property::ALIAS_MAXIMUM, Value::Two(number))]
}

/// With one alias and several topics: the judge knows what each publication is about.
fn our_aliases(stage: &mut Stage<'_>) {
    let mut link = stage.session_with(alias_maximum(1));
    let mut aliased = 0;
    for value in 0..12 {
        let qos = if value % 4 == 3 { (stage.qos + 1) % 3 } else { stage.qos };
        let request = stage.write(qos, value);
        let publish = link.expect_publish();
        aliased += usize::from(publish.topic.is_empty());
        assert_eq!(publish.text(), value.to_string());
        if publish.qos > 0 {
            finish(&mut link, &publish);
        }
        assert_eq!(stage.outcome(request), "completed");
    }
    assert!(aliased > 0, "no alias was ever used");
    stage.link = Some(link);
}

fn our_aliases_after_reconnect(stage: &mut Stage<'_>) {
    let mut link = stage.session_with(alias_maximum(5));
    for value in 0..4 {
        let request = stage.write(stage.qos, value);
        let publish = link.expect_publish();
        finish(&mut link, &publish);
        assert_eq!(stage.outcome(request), "completed");
    }
    let request = stage.write(stage.qos, 4);
    let first = link.expect_publish();
    drop(link);
    // Fewer aliases, none known: the repetition carries its topic.
    let mut link = stage.session_with(alias_maximum(1));
    let again = link.expect_publish();
    assert_eq!(
        (again.id, again.topic.as_str()),
        (first.id, format!("commands/{}", stage.qos).as_str())
    );
    finish(&mut link, &again);
    assert_eq!(stage.outcome(request), "completed");
    stage.link = Some(link);
}
