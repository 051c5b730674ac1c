//! Kept, lost and unexpected sessions, and who the client is.

use std::time::Duration;

use super::stage::{BOTH, ONLY_5, ONLY_311, SAMPLE, Scenario, Stage, scenario};
use crate::strict::packet::publish;
use crate::strict::property::{self, Value};
use crate::strict::{Kind, Packet};

pub const SCENARIOS: &[Scenario] = &[
    scenario("session-kept", session_kept).only(BOTH),
    scenario("session-lost", session_lost),
    scenario("session-of-nobody", session_of_nobody).only(ONLY_5),
    scenario("session-of-before", session_of_before).only(ONLY_311),
    scenario("session-in-spite-of-clean", session_in_spite_of_clean).keys("clean_session = true"),
    scenario("expiry-0", expiry_0).only(ONLY_5).keys_5("session_expiry = \"0s\""),
    scenario("expiry-by-the-server", expiry_by_the_server).only(ONLY_5),
    scenario("assigned-id", assigned_id)
        .only(ONLY_5)
        .keys("client_id = \"\"\nclean_session = true"),
    scenario("empty-id", empty_id).only(ONLY_311).keys("client_id = \"\"\nclean_session = true"),
    scenario("will", will)
        .keys("will = { topic = \"plant/gone\", message = \"grüße\", qos = 1, retain = true }"),
    scenario("no-credentials", no_credentials)
        .keys("user_name = \"\"\npassword = \"\"")
        .over(SAMPLE),
    scenario("user-without-password", user_without_password)
        .keys("user_name = \"tökén\"\npassword = \"\"")
        .over(SAMPLE),
    scenario("subscription-each-time", subscription_each_time).qos(&[0, 1, 2]),
];

fn session_kept(stage: &mut Stage<'_>) {
    let (mut link, connect) = stage.greet();
    assert!(!connect.clean && connect.is_persistent());
    assert_eq!(connect.client_id, format!("tagline-{}", stage.name));
    stage.connack(&mut link, &connect, vec![]);
    link.grant();
    stage.deliver(&mut link, "value", 1, 1);
    drop(link);
    let (mut link, connect) = stage.greet();
    assert!(!connect.clean && connect.is_persistent());
    stage.driver.has(&stage.input(), "value", "line_down");
    stage.connack(&mut link, &connect, vec![]);
    link.grant();
    // With the session, the tags are what they were.
    stage.has("value");
    stage.link = Some(link);
}

fn session_lost(stage: &mut Stage<'_>) {
    let mut link = stage.session();
    stage.deliver(&mut link, "value", 1, 1);
    drop(link);
    let (mut link, connect) = stage.greet();
    stage.connack_anew(&mut link, &connect, vec![]);
    link.grant();
    // Without it, messages may have been lost.
    stage.driver.has(&stage.input(), "value", "restored");
    stage.deliver(&mut link, "newer", 1, 1);
    stage.has("newer");
    stage.says(&["WARN", "lost the session"]);
    stage.link = Some(link);
}

/// MQTT-3.2.2-4; and it must not go on like this for ever.
fn session_of_nobody(stage: &mut Stage<'_>) {
    let (mut link, connect) = stage.greet();
    assert!(!connect.clean);
    link.send(&Packet::Connack { present: true, code: 0, properties: vec![] });
    match link.expect_end().as_slice() {
        [Packet::Disconnect { reason: 0x82, .. }] => {}
        other => panic!("{other:?}"),
    }
    let (mut link, connect) = stage.greet();
    assert!(connect.clean, "the server would say the same again");
    stage.connack(&mut link, &connect, vec![]);
    link.grant();
    drop(link);
    let (mut link, connect) = stage.greet();
    assert!(!connect.clean);
    stage.connack(&mut link, &connect, vec![]);
    link.grant();
    stage.link = Some(link);
}

/// In 3.1.1 a session of an earlier program of that name is no fault; what it sends is taken.
fn session_of_before(stage: &mut Stage<'_>) {
    let (mut link, _) = stage.greet();
    link.send(&Packet::Connack { present: true, code: 0, properties: vec![] });
    link.grant();
    stage.deliver(&mut link, "kept for us", 2, 40_000);
    stage.has("kept for us");
    stage.link = Some(link);
}

fn session_in_spite_of_clean(stage: &mut Stage<'_>) {
    for _ in 0..3 {
        let (mut link, connect) = stage.greet();
        assert!(connect.clean);
        link.send(&Packet::Connack { present: true, code: 0, properties: vec![] });
        match link.expect_end().as_slice() {
            [] if !stage.is_5() => {}
            [Packet::Disconnect { reason: 0x82, .. }] if stage.is_5() => {}
            other => panic!("{other:?}"),
        }
    }
    stage.says(&["WARN", "session"]);
}

/// Without an expiry the session ends with the connection, and both know it.
fn expiry_0(stage: &mut Stage<'_>) {
    let (mut link, connect) = stage.greet();
    assert!(!connect.is_persistent());
    stage.connack(&mut link, &connect, vec![]);
    link.grant();
    let request = stage.write(1, 1);
    link.expect_publish();
    drop(link);
    let (mut link, connect) = stage.greet();
    stage.connack(&mut link, &connect, vec![]);
    link.grant();
    let outcome = stage.outcome(request);
    assert_eq!(outcome, "uncertain");
    link.expect_silence(Duration::from_millis(50));
    stage.link = Some(link);
}

fn expiry_by_the_server(stage: &mut Stage<'_>) {
    let (mut link, connect) = stage.greet();
    assert_eq!(property::four(&connect.properties, property::SESSION_EXPIRY), Some(86_400));
    stage.connack(&mut link, &connect, vec![(property::SESSION_EXPIRY, Value::Four(17))]);
    link.grant();
    stage.says(&["WARN", "17 s"]);
    // 0: the server keeps nothing.
    drop(link);
    let (mut link, connect) = stage.greet();
    stage.connack_anew(&mut link, &connect, vec![(property::SESSION_EXPIRY, Value::Four(0))]);
    link.grant();
    stage.deliver(&mut link, "taken", 2, 1);
    drop(link);
    let (mut link, connect) = stage.greet();
    stage.connack_anew(&mut link, &connect, vec![]);
    link.grant();
    stage.link = Some(link);
}

fn assigned_id(stage: &mut Stage<'_>) {
    let (mut link, connect) = stage.greet();
    assert_eq!((connect.client_id.as_str(), connect.clean), ("", true));
    let assigned = vec![(property::ASSIGNED_CLIENT_ID, Value::Text("given-1".into()))];
    stage.connack(&mut link, &connect, assigned);
    link.grant();
    drop(link);
    let (mut link, connect) = stage.greet();
    // The assigned one, or once more an empty one: the judge knows both.
    stage.connack(&mut link, &connect, vec![]);
    link.grant();
    stage.deliver(&mut link, "value", 2, 1);
    stage.says(&["given-1"]);
    stage.link = Some(link);
}

fn empty_id(stage: &mut Stage<'_>) {
    let (mut link, connect) = stage.greet();
    assert_eq!((connect.client_id.as_str(), connect.clean), ("", true));
    stage.connack(&mut link, &connect, vec![]);
    link.grant();
    stage.link = Some(link);
}

fn will(stage: &mut Stage<'_>) {
    for _ in 0..2 {
        let (mut link, connect) = stage.greet();
        let will = connect.will.clone().expect("a will");
        assert_eq!((will.topic.as_str(), will.qos, will.retain), ("plant/gone", 1, true));
        assert_eq!(will.message, "grüße".as_bytes());
        stage.connack(&mut link, &connect, vec![]);
        link.grant();
    }
}

fn no_credentials(stage: &mut Stage<'_>) {
    let (mut link, connect) = stage.greet();
    assert_eq!((&connect.user_name, &connect.password), (&None, &None));
    stage.connack(&mut link, &connect, vec![]);
    link.grant();
    stage.link = Some(link);
}

fn user_without_password(stage: &mut Stage<'_>) {
    let (mut link, connect) = stage.greet();
    assert_eq!((connect.user_name.as_deref(), &connect.password), (Some("tökén"), &None));
    stage.connack(&mut link, &connect, vec![]);
    link.grant();
    stage.link = Some(link);
}

/// The filter is asked for at every connection, granted with another QoS or not.
fn subscription_each_time(stage: &mut Stage<'_>) {
    for round in 0..3 {
        let (mut link, connect) = stage.greet();
        stage.connack(&mut link, &connect, vec![]);
        let Packet::Subscribe { id, filters, .. } = link.next() else { panic!("no SUBSCRIBE") };
        let [(filter, options)] = filters.as_slice() else { panic!("{filters:?}") };
        assert_eq!((filter.as_str(), options & 3), ("#", 2));
        link.send(&Packet::Suback { id, codes: vec![stage.qos] });
        // Above what was granted, and acknowledged all the same.
        link.send(&publish("in", format!("round {round}"), 1, 1));
        link.expect_ack(Kind::Puback, 1);
        stage.has(&format!("round {round}"));
    }
}
