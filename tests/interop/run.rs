//! The steps that all combinations of a broker take together.

use std::fmt::Display;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::cell::{Cell, Transport, Version};
use crate::harness::{Changes, Config, Driver, PATIENCE, Subscriber};
use crate::peer::Peer;
use crate::table;

/// Messages and commands: before the driver is stopped, meanwhile, afterwards.
const LIVE: &str = "live";
const AWAY: &str = "away";
const BACK: &str = "back";

/// Runs every combination with a broker, shows the table, and fails if any is red.
pub fn run(peer: &dyn Peer) {
    let started = Instant::now();
    let mut cells = Cell::all();
    for cell in &mut cells {
        cell.left_out = peer.leaves_out(cell);
    }
    let mut driver = Driver::start(&config(peer, &cells));
    let seen = peer.clients().subscribe("interop/out/#", 2);

    is_up(&driver, &mut cells, |_| false);
    publish(peer, &cells, LIVE);
    arrives(&driver, peer, &mut cells);
    write(&driver, &seen, peer, &mut cells, LIVE);
    is_answered(peer, &mut cells);
    driver.durable();
    driver.terminate();

    publish(peer, &cells, AWAY);
    driver.restart();
    is_up(&driver, &mut cells, |cell| cell.resumed);
    publish(peer, &cells, BACK);
    has_history(driver.subscribe(&["*.in"], "oldest"), peer, &mut cells);
    write(&driver, &seen, peer, &mut cells, BACK);
    has_logged(peer, &mut cells);

    let text = table::render(peer.name(), &cells, started.elapsed().as_secs_f64());
    table::show(&text);
    let ran = cells.iter().filter(|cell| cell.left_out.is_none()).count();
    let good = cells.iter().filter(|cell| cell.is_good()).count();
    assert!(ran > 0 && good == ran, "{good} of {ran} combinations are good:{text}");
}

/// A line, a station and three tags for each combination.
fn config(peer: &dyn Peer, cells: &[Cell]) -> Config {
    let mut config = Config::new();
    for cell in cells.iter().filter(|cell| cell.left_out.is_none()) {
        let keys = format!(
            "{}mqtt_version = \"{}\"\nclean_session = {}\nsubscribe_qos = {qos}\n\
             publish_qos = {qos}\ntopic_filter = \"{}\"",
            peer.line_keys(cell),
            cell.version.key(),
            !cell.resumed,
            cell.topic_in(),
            qos = cell.qos,
        );
        config = config
            .line_named(&cell.to_string(), 0, &keys)
            .stations(&format!(
                "[[station]]\nname = \"{cell}\"\nline = \"{cell}\"\naddress = \"{}\"\n\
                 out_topic = \"{}\"\n",
                cell.topic_in(),
                cell.topic_out()
            ))
            .tags(&format!(
                "{cell}.in,{cell},TxtI,IN_DATA\n{cell}.id,{cell},Ci,IN_ID\n\
                 {cell}.out,{cell},TxtO,OUT_VALUE"
            ));
    }
    config
}

/// Looks again and again until all good combinations pass; those that never do turn red.
fn settle<S>(
    cells: &mut [Cell],
    what: &str,
    mut look: impl FnMut() -> S,
    check: impl Fn(&S, &Cell) -> Result<(), String>,
) {
    let end = Instant::now() + PATIENCE;
    let mut open: Vec<&mut Cell> = cells.iter_mut().filter(|cell| cell.is_good()).collect();
    loop {
        let over = Instant::now() > end;
        let now = look();
        open.retain_mut(|cell| match check(&now, cell) {
            Ok(()) => false,
            Err(why) => {
                if over {
                    cell.faults.push(format!("{what}: {why}"));
                }
                true
            }
        });
        if open.is_empty() || over {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn expect<T: PartialEq + Display>(what: &str, found: &T, wanted: &T) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("{what} is {found}, not {wanted}")) }
}

/// The entry of a list whose key has this value.
fn entry<'a>(list: &'a Json, key: &str, name: &str) -> &'a Json {
    let found = list.as_array().and_then(|list| list.iter().find(|entry| entry[key] == name));
    found.unwrap_or(&Json::Null)
}

/// Connected and granted, encrypted or not, and with the session it should have.
fn is_up(driver: &Driver, cells: &mut [Cell], session: impl Fn(&Cell) -> bool) {
    let mut socket = driver.socket();
    let look = || socket.call("line.list", json!({}))["lines"].take();
    settle(cells, "connect", look, |lines, cell| {
        let line = entry(lines, "name", &cell.to_string());
        if line["state"] != "up" {
            return Err(format!("{} ({})", line["state"], line["last_error"]));
        }
        expect("session present", &line["session_present"], &session(cell).into())?;
        let granted = &line["subscriptions"][0]["qos"];
        expect("granted", granted, &cell.qos.into())?;
        let encrypted = !line["tls"].is_null();
        expect("encryption", &encrypted, &cell.transport.is_encrypted())
    });
}

/// One message for each combination, at its QoS, by a few publishers at a time.
fn publish(peer: &dyn Peer, cells: &[Cell], payload: &str) {
    let clients = peer.clients();
    let cells: Vec<&Cell> = cells.iter().filter(|cell| cell.is_good()).collect();
    thread::scope(|scope| {
        for some in cells.chunks(cells.len().div_ceil(6).max(1)) {
            scope.spawn(move || {
                some.iter().for_each(|cell| clients.publish(&cell.topic_in(), payload, cell.qos));
            });
        }
    });
}

/// The message is the value of the tag, and its QoS shows in its number.
fn arrives(driver: &Driver, peer: &dyn Peer, cells: &mut [Cell]) {
    let mut socket = driver.socket();
    let look = || socket.call("tag.read", json!({ "names": ["*.in", "*.id"] }))["values"].take();
    settle(cells, "message in", look, |values, cell| {
        let value = entry(values, "name", &format!("{cell}.in"));
        expect("value", &value["value"], &LIVE.into())?;
        expect("reason", &value["reason"], &"ok".into())?;
        let id = entry(values, "name", &format!("{cell}.id"));
        let numbered = id["value"].as_u64().is_some_and(|id| id > 0);
        let wanted = cell.qos > 0;
        if peer.lowers_qos() { expect("numbered", &numbered, &wanted) } else { Ok(()) }
    });
}

/// All commands in one request; each is completed, and seen once by another client.
fn write(
    driver: &Driver,
    seen: &Subscriber,
    peer: &dyn Peer,
    cells: &mut [Cell],
    value: &'static str,
) {
    let mut good: Vec<&mut Cell> = cells.iter_mut().filter(|cell| cell.is_good()).collect();
    let writes: Vec<Json> =
        good.iter().map(|cell| json!({ "name": format!("{cell}.out"), "value": value })).collect();
    let results = driver.call("tag.write", json!({ "writes": writes, "timeout_s": 20 }));
    for (place, cell) in good.iter_mut().enumerate() {
        let result = &results["results"][place];
        if result["outcome"] != "completed" {
            cell.faults.push(format!("command `{value}`: {result}"));
        }
    }
    settle(
        cells,
        "command out",
        || seen.received(),
        |received, cell| {
            let topic = cell.topic_out();
            let own = received.iter().filter(|one| one.topic == topic && one.payload == value);
            let levels: Vec<u8> = own.map(|one| one.qos).collect();
            let level = levels.first().ok_or("it does not arrive")?;
            expect("number of arrivals", &levels.len(), &1)?;
            if peer.lowers_qos() { expect("QoS", level, &cell.qos) } else { Ok(()) }
        },
    );
}

/// The broker has the last word of every exchange, so that nothing is sent again after the stop.
fn is_answered(peer: &dyn Peer, cells: &mut [Cell]) {
    if peer.log().is_none() {
        return;
    }
    let look = || peer.log().unwrap_or_default();
    settle(cells, "acknowledgement", look, |log, cell| {
        let word = match cell.qos {
            0 => return Ok(()),
            1 => "PUBACK",
            _ => "PUBCOMP",
        };
        expect(word, &log.contains(&format!("Received {word} from tagline-{cell} (")), &true)
    });
}

/// What became of the tag over both starts: each message once and in order.
fn has_history(mut changes: Changes, peer: &dyn Peer, cells: &mut [Cell]) {
    let look = || {
        changes.take_in(Duration::from_millis(50));
        changes.all.clone()
    };
    settle(cells, "history", look, |all, cell| {
        let name = format!("{cell}.in");
        // A line that comes back repeats the values it had, with their time of arrival.
        let own = all.iter().filter(|change| change["name"] == *name && change["reason"] == "ok");
        let mut own: Vec<_> = own.map(|change| (&change["value"], &change["received"])).collect();
        own.dedup();
        let values: Vec<&str> = own.iter().map(|(value, _)| value.as_str().unwrap()).collect();
        let kept = cell.resumed && (cell.qos > 0 || peer.keeps_qos_0());
        let wanted = if kept { vec![LIVE, AWAY, BACK] } else { vec![LIVE, BACK] };
        expect("it", &values.join(", "), &wanted.join(", "))
    });
}

/// The broker's own log: version, session, QoS and client certificate are what was asked for.
fn has_logged(peer: &dyn Peer, cells: &mut [Cell]) {
    let Some(log) = peer.log() else { return };
    for cell in cells.iter_mut().filter(|cell| cell.is_good()) {
        let (version, clean) = (
            match cell.version {
                Version::V311 => 2,
                Version::V50 => 5,
            },
            u8::from(!cell.resumed),
        );
        if cell.transport == Transport::MutualTls {
            // mosquitto takes the common name of the certificate for the user's name.
            let name = format!(" as tagline-{cell} (");
            let own = log.lines().filter(|line| line.contains(&name) && line.contains("u'client'"));
            if let Err(why) = expect("connections named by their certificate", &own.count(), &2) {
                cell.faults.push(why);
            }
        }
        for (text, wanted) in [
            (format!(" as tagline-{cell} (p{version}, c{clean},"), 2),
            (format!(" as tagline-{cell} ("), 2),
            (format!("Sending PUBLISH to tagline-{cell} (d0, q{},", cell.qos), {
                2 + usize::from(cell.resumed && cell.qos > 0)
            }),
            (format!("Received PUBLISH from tagline-{cell} (d0, q{},", cell.qos), 2),
            (format!("Received PUBLISH from tagline-{cell} ("), 2),
        ] {
            let found = log.matches(&text).count();
            if let Err(why) = expect(&format!("`{text}…` in the broker's log"), &found, &wanted) {
                cell.faults.push(why);
            }
        }
    }
}
