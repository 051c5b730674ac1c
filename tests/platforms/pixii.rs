//! Pixii PowerShaper: the broker in the device takes clients with a certificate only.

use crate::authority::Authority;
use crate::broker::Broker;
use crate::messages;
use crate::site::Site;

fn platform() -> (Broker, u16, Authority) {
    let authority = Authority::new();
    let keys = format!(
        "{}require_certificate true\nuse_identity_as_username true\n",
        authority.of_listener()
    );
    let (port, listener) = Broker::listener(&keys);
    (Broker::start(&listener), port, authority)
}

fn site(port: u16, authority: &Authority) -> Site {
    let read = |name: &str| std::fs::read(authority.path(name)).unwrap();
    Site::of("pixii")
        .server("mqtts://powershaper.local:8883", "mqtts", port)
        .file("secrets/pixii-ca.pem", read("ca.pem"))
        .file("secrets/client.pem", read("client.pem"))
        .file("secrets/client.key", read("client.key"))
}

#[test]
fn a_client_certificate_and_an_array() {
    let (broker, port, authority) = platform();
    let driver = site(port, &authority).start(&["pixii"]);
    for message in messages::pixii() {
        broker.publish(&message.topic, &message.payload, 1);
    }
    let voltage = driver.has("battery.cell_voltage", 3.312, "ok");
    assert_eq!(voltage["time"], "2026-03-04T05:06:07.5Z");
    driver.has("battery.cell_voltage_2", 3.3, "ok");
    driver.has("battery.soc", 81.5, "ok");
    driver.has("battery.contactor", "on", "ok");
    let commands = broker.subscribe("pixii/command", 1);
    assert_eq!(driver.write("command.setpoint", -15.5)["outcome"], "completed");
    assert_eq!(commands.wait_for(1)[0].payload, r#"[{"p_set":-15.5}]"#);
    broker.logs(&["New client connected", "as tagline-site1"]);
}

#[test]
fn without_the_certificate_it_says_so() {
    let (_broker, port, authority) = platform();
    let site = site(port, &authority)
        .change(", cert_file = \"secrets/client.pem\", key_file = \"secrets/client.key\"", "");
    let driver = site.start(&[]);
    driver.logs(&["cannot connect", "client certificate"]);
}

#[test]
fn two_systems_with_one_client_id_are_told() {
    let (broker, port, authority) = platform();
    let first = site(port, &authority).start(&["pixii"]);
    let second = site(port, &authority).start(&[]);
    broker.logs(&["already connected, closing old connection"]);
    first.logs(&["connection lost"]);
    drop(second);
}
