use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::config::load;

const LINE: &str = "[[line]]\nname = \"plant\"\nservers = [\"mqtt://h\"]\nclient_id = \"c\"\n";

fn config(top: &str, stations: &str, tags: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("tagline.toml", top);
    write("stations/a.toml", stations);
    write("tags/a.csv", &format!("name,station,type,address,scale\n{tags}"));
    let mut config = load(folder.path()).unwrap_or_else(|wrong| panic!("{wrong:?}"));
    // Each test's folder is another one.
    config.folder = Path::new("/f").to_path_buf();
    config.process.data_dir = Path::new("/f/data").to_path_buf();
    config.socket.path = Path::new("/f/socket").to_path_buf();
    config
}

fn station(name: &str, line: &str, more: &str) -> String {
    format!(
        "[[station]]\nname = \"{name}\"\nline = \"{line}\"\naddress = \"a/{name}\"\npayload_type = \"json\"\n{more}\n"
    )
}

fn plant(tags: &str) -> Config {
    config(LINE, &station("p", "plant", ""), tags)
}

fn tag_id(config: &Config, name: &str) -> TagId {
    config.live_tags().find(|(_, tag)| &*tag.name == name).map(|(id, _)| id).unwrap()
}

#[test]
fn the_same_again_is_no_change() {
    let tags = "a,p,Ai,JA=a,\nb,p,TxtI,IN_DATA,\n";
    let aligned = align(&plant(tags), plant(tags));
    assert_eq!(aligned.diff, Diff::default());
    assert_eq!(aligned.summary(), Summary::default());
}

#[test]
fn ids_stay_with_their_names_whatever_the_order() {
    let old = plant("a,p,Ai,JA=a,\nb,p,Ai,JA=b,\nc,p,Ai,JA=c,\n");
    let aligned = align(&old, plant("c,p,Ai,JA=c,\nd,p,Ai,JA=d,\na,p,Ai,JA=a,2\n"));
    let Aligned { config, diff } = &aligned;
    for name in ["a", "c"] {
        assert_eq!(tag_id(config, name), tag_id(&old, name));
    }
    assert_eq!(diff.tags.added, [TagId(3)]);
    assert_eq!(diff.tags.removed, [tag_id(&old, "b")]);
    assert_eq!(diff.tags.changed, [tag_id(&old, "a")]);
    assert!(diff.tags.replaced.is_empty() && diff.stations.is_empty() && diff.lines.is_empty());
    assert_eq!(diff.affected, [StationId(0)]);
    assert_eq!(config.counts(), [1, 1, 3]);
    assert!(config.is_retired_tag(tag_id(&old, "b")));
    let summary = aligned.summary();
    assert_eq!((&*summary.tags.added[0], &*summary.tags.removed[0]), ("d", "b"));
    assert_eq!(summary.tags.counts, Counts { added: 1, removed: 1, changed: 1 });
}

#[test]
fn what_comes_back_has_its_id_again() {
    let first = plant("a,p,Ai,JA=a,\nb,p,Ai,JA=b,\n");
    let without = align(&first, plant("a,p,Ai,JA=a,\n")).config;
    let again = align(&without, plant("b,p,Ai,JA=b,\na,p,Ai,JA=a,\n"));
    assert_eq!(tag_id(&again.config, "b"), tag_id(&first, "b"));
    assert_eq!(again.diff.tags.added, [tag_id(&first, "b")]);
    assert_eq!(again.config.tags.len(), 2);
}

#[test]
fn another_type_is_another_tag_of_the_same_name() {
    let old = plant("a,p,Ai,JA=a,\n");
    let aligned = align(&old, plant("a,p,TxtI,JA=a,\n"));
    assert_eq!(aligned.diff.tags.replaced, [(TagId(0), TagId(1))]);
    assert!(aligned.diff.tags.added.is_empty() && aligned.diff.tags.removed.is_empty());
    let summary = aligned.summary();
    assert_eq!(summary.tags.counts, Counts { added: 0, removed: 0, changed: 1 });
    // And back: the first one.
    let back = align(&aligned.config, plant("a,p,Ai,JA=a,\n"));
    assert_eq!(back.diff.tags.replaced, [(TagId(1), TagId(0))]);
    assert_eq!(back.config.tags.len(), 2);
}

#[test]
fn a_station_on_another_line_is_another_station() {
    let two = format!("{LINE}\n{}", LINE.replace("plant", "cell").replace("\"c\"", "\"d\""));
    let tags = "a,p,Ai,JA=a,\n";
    let old = config(&two, &station("p", "plant", ""), tags);
    let aligned = align(&old, config(&two, &station("p", "cell", ""), tags));
    assert_eq!(aligned.diff.stations.replaced, [(StationId(0), StationId(1))]);
    assert_eq!(aligned.diff.tags.replaced, [(TagId(0), TagId(1))]);
    assert_eq!(aligned.diff.affected, [StationId(0), StationId(1)]);
    assert_eq!(aligned.config.stations_of(LineId(0)).count(), 0);
}

#[test]
fn only_what_goes_into_a_connection_makes_another_one() {
    let line = |more: &str| config(&format!("{LINE}{more}\n"), &station("p", "plant", ""), "");
    for (more, reconnects) in [
        ("topic_filter = [\"a/#\"]", false),
        ("subscribe_qos = 2", false),
        ("publish_in_flight = 3", false),
        ("ping_interval = \"5s\"", false),
        ("reply_timeout = \"5s\"", false),
        ("reconnect = { min = \"5s\" }", false),
        ("full_debug = true", false),
        ("keep_alive = 5", true),
        ("clean_session = true", true),
        ("will = { topic = \"gone\" }", true),
        ("user_name = \"x\"", true),
        ("maximum_packet_size = 1000", true),
        ("mqtt_version = \"5.0\"", true),
        ("tls = { alpn = [\"mqtt\"] }", true),
    ] {
        let diff = align(&line(""), line(more)).diff;
        assert_eq!(diff.lines.changed, [LineId(0)], "{more}");
        assert_eq!(!diff.reconnected.is_empty(), reconnects, "{more}");
        assert!(diff.stations.is_empty(), "{more}");
    }
    // What the stations inherit is theirs.
    let diff = align(&line(""), line("publish_qos = 1")).diff;
    assert!(diff.lines.is_empty());
    assert_eq!(diff.stations.changed, [StationId(0)]);
}

#[test]
fn what_needs_a_restart_stays_and_is_named() {
    let top = "[process]\nname = \"n\"\nlog = \"debug\"\n[journal]\nmax_entries = 7\n";
    let old = plant("");
    let mut loaded = config(&format!("{top}{LINE}"), &station("p", "plant", ""), "");
    loaded.socket.mode = 0o600;
    let aligned = align(&old, loaded);
    assert_eq!(aligned.diff.settings, ["process.name"]);
    let waiting = ["process.log", "socket.mode", "journal.max_entries"];
    assert_eq!(aligned.diff.restart_needed, waiting);
    assert_eq!((&*aligned.config.process.name, &*aligned.config.process.log), ("n", "info"));
    assert_eq!(aligned.config.socket.mode, 0o660);
    // It is still waiting, and nothing else has changed.
    let mut again = config(&format!("{top}{LINE}"), &station("p", "plant", ""), "");
    again.socket.mode = 0o600;
    let again = align(&aligned.config, again);
    assert!(again.diff.is_empty());
    assert_eq!(again.diff.restart_needed, waiting);
}

#[test]
fn long_lists_are_cut_and_counted() {
    let many: String =
        (0..NAMES_SHOWN_MAX + 5).map(|n| format!("t{n:06},p,Ai,JA=a{n},\n")).collect();
    let summary = align(&plant(""), plant(&many)).summary();
    assert!(summary.shortened);
    assert_eq!(summary.tags.added.len(), NAMES_SHOWN_MAX);
    assert_eq!(summary.tags.counts.added, NAMES_SHOWN_MAX + 5);
}

/// A plant of a few names: which line each station is on, and type, station and scale of each tag.
#[derive(Clone, Debug)]
struct Plan {
    stations: Vec<Option<u8>>,
    tags: Vec<Option<(bool, u8, u8)>>,
}

fn plan() -> impl Strategy<Value = Plan> {
    let stations = prop::collection::vec(prop::option::of(0u8..2), 3);
    let tags = prop::collection::vec(prop::option::of((any::<bool>(), 0u8..3, 1u8..3)), 6);
    (stations, tags).prop_map(|(stations, tags)| Plan { stations, tags })
}

fn planned(plan: &Plan) -> Config {
    let lines = format!("{LINE}{}", LINE.replace("plant", "cell").replace("\"c\"", "\"d\""));
    let stations: String = (0..)
        .zip(&plan.stations)
        .filter_map(|(n, line)| {
            let line = ["plant", "cell"][usize::from((*line)?)];
            Some(station(&format!("s{n}"), line, ""))
        })
        .collect();
    let tags: String = (0..)
        .zip(&plan.tags)
        .filter_map(|(n, tag)| {
            let (integer, station, scale) = (*tag)?;
            plan.stations[usize::from(station)]?;
            let tag_type = if integer { "Ci" } else { "Ai" };
            Some(format!("t{n},s{station},{tag_type},JA=t{n},{scale}\n"))
        })
        .collect();
    config(&lines, &stations, &tags)
}

/// What a configuration says, by name.
fn said(config: &Config) -> BTreeSet<String> {
    let tag = |tag: &Tag| {
        let station = &config.stations[tag.station.0 as usize];
        let line = &config.lines[station.line.0 as usize];
        let scale = tag.scale.as_f64();
        format!("{} {} {} {} {scale}", tag.name, tag.tag_type, station.name, line.name)
    };
    let tags = config.live_tags().map(|(_, one)| tag(one));
    tags.chain(config.live_stations().map(|(_, station)| {
        format!("{} {}", station.name, config.lines[station.line.0 as usize].name)
    }))
    .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Over any chain of reloads: what is in force is what was loaded, an id never means anything
    /// else, and the difference is what turns one into the other.
    #[test]
    fn ids_mean_one_thing_for_ever(plans in prop::collection::vec(plan(), 2..6)) {
        let mut config = planned(&plans[0]);
        let mut meanings: Vec<Option<(String, TagType, StationId)>> = Vec::new();
        for plan in &plans {
            let loaded = planned(plan);
            let wanted = said(&loaded);
            let before: BTreeSet<TagId> = config.live_tags().map(|(id, _)| id).collect();
            let Aligned { config: next, diff } = align(&config, loaded);
            prop_assert_eq!(said(&next), wanted);
            for (position, tag) in next.tags.iter().enumerate() {
                let meaning = (tag.name.to_string(), tag.tag_type, tag.station);
                match meanings.get(position) {
                    Some(known) => prop_assert_eq!(known.as_ref(), Some(&meaning)),
                    None => meanings.push(Some(meaning)),
                }
            }
            let mut after = before;
            for id in diff.tags.ended() {
                prop_assert!(after.remove(&id));
            }
            for id in diff.tags.begun() {
                prop_assert!(after.insert(id));
            }
            prop_assert_eq!(after, next.live_tags().map(|(id, _)| id).collect());
            for id in &diff.tags.changed {
                prop_assert!(!same_tag(&config.tags[id.0 as usize], &next.tags[id.0 as usize]));
            }
            for (id, tag) in next.live_tags() {
                prop_assert!(!next.is_retired_station(tag.station));
                let touched = diff.tags.begun().any(|begun| begun == id) || diff.tags.changed.contains(&id);
                prop_assert!(touched || same_tag(&config.tags[id.0 as usize], tag));
                prop_assert!(!touched || diff.affected.contains(&tag.station));
            }
            config = Arc::unwrap_or_clone(next);
        }
    }
}
