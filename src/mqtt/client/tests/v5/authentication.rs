//! The exchange of enhanced authentication.

use super::*;
use crate::mqtt::scram::ScramSha256;

/// AUTH or the authentication part of a CONNACK.
fn authentication(data: &str) -> Vec<u8> {
    let method = b"SCRAM-SHA-256";
    let mut bytes = vec![0x15, 0, method.len() as u8];
    bytes.extend_from_slice(method);
    bytes.extend_from_slice(&[0x16, 0, data.len() as u8]);
    bytes.extend_from_slice(data.as_bytes());
    bytes
}

fn auth(code: u8, data: &str) -> Vec<u8> {
    let properties = authentication(data);
    let length = properties.len() as u8;
    let lengths: &[u8] = if length < 127 { &[length] } else { &[length & 0x7f | 0x80, 1] };
    let body = [&[code], lengths, &properties].concat();
    let length = body.len();
    let header: &[u8] =
        if length < 128 { &[0xf0, length as u8] } else { &[0xf0, (length & 0x7f) as u8 | 0x80, 1] };
    [header, &body].concat()
}

fn greeting() -> Harness {
    let mut harness = Harness::new(options_5());
    harness.command(Command::Connect);
    let nonce = "rOprNGfwEbeRWgbNEkqO".to_owned();
    let scram = ScramSha256::new("user".to_owned(), b"pencil".to_vec(), nonce);
    harness.input(Input::Connected(Credentials {
        user_name: Some("user".to_owned()),
        password: None,
        authenticator: Some(Box::new(scram)),
    }));
    harness
}

// The example of RFC 7677 section 3.
const SERVER_FIRST: &str =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const CLIENT_FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                            p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

#[test]
fn both_sides_prove_that_they_know_the_password() {
    let mut harness = greeting();
    let sent = harness.take_sent();
    let first = authentication("n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
    assert!(sent.windows(first.len()).any(|window| window == first));
    harness.receive(&auth(0x18, SERVER_FIRST));
    assert_eq!(harness.take_sent(), auth(0x18, CLIENT_FINAL));
    harness.receive(&connack(&authentication(SERVER_FINAL)));
    assert!(harness.client.is_up());
}

#[test]
fn a_server_that_cannot_prove_it_is_left() {
    let mut harness = greeting();
    harness.receive(&auth(0x18, SERVER_FIRST));
    harness.take_sent();
    harness.receive(&connack(&authentication("v=AAAA")));
    assert!(harness.cause().contains("authentication failed: the server could not prove"));
    harness.assert_disconnects(0x80);
}

#[test]
fn an_exchange_that_breaks_the_rules_is_a_fault() {
    let other = auth(0x18, SERVER_FIRST).into_iter().map(|it| if it == b'S' { b'T' } else { it });
    for (bytes, words) in [
        (connack(&[]), "no Authentication Method"),
        (connack(&[0x15, 0, 1, b'M']), "another Authentication Method"),
        (other.collect(), "another Authentication Method"),
        (auth(0x00, SERVER_FIRST), "in place of a CONNACK"),
        (auth(0x18, "nonsense"), "first message is malformed"),
        (connack(&authentication(SERVER_FINAL)), "too early"),
    ] {
        let mut harness = greeting();
        harness.take_sent();
        harness.receive(&bytes);
        assert!(harness.cause().contains(words), "{words}: {}", harness.cause());
        assert_eq!(harness.closes, 1);
        assert_eq!(harness.take_sent()[0], 0xe0);
    }
}

#[test]
fn a_refusal_ends_the_exchange() {
    let mut harness = greeting();
    harness.receive(&auth(0x18, SERVER_FIRST));
    harness.take_sent();
    harness.receive(&[0x20, 3, 0, 0x87, 0]);
    assert!(harness.cause().contains("not authorized"));
    assert!(harness.take_sent().is_empty());
}

#[test]
fn without_a_method_there_is_no_exchange() {
    let mut harness = Harness::new(options_5());
    harness.connect();
    harness.take_sent();
    harness.receive(&auth(0x18, SERVER_FIRST));
    harness.assert_disconnects(0x82);
    let mut harness = Harness::new(options_5());
    harness.connect();
    harness.take_sent();
    harness.receive(&connack(&[0x15, 0, 1, b'M']));
    harness.assert_disconnects(0x82);
}

#[test]
fn each_step_has_its_time() {
    let mut harness = greeting();
    harness.wait(seconds(15));
    harness.receive(&auth(0x18, SERVER_FIRST));
    harness.wait(seconds(15));
    assert_eq!(harness.closes, 0);
    harness.wait(seconds(6));
    assert!(harness.cause().contains("did not answer CONNECT"));
}
