//! Any bytes, in any pieces.

use proptest::prelude::*;

use super::*;

/// A stream that is legal for a while: known packets, mixed with rubbish.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let packet = prop_oneof![
        8 => (0u8..3, 1u16..6, any::<bool>()).prop_map(|(level, id, retain)| {
            publish(0x30 | level << 1 | u8::from(retain), id)
        }),
        2 => (1u16..6).prop_map(|id| ack(0x62, id).to_vec()),
        2 => (1u16..6).prop_map(|id| ack(0x40, id).to_vec()),
        2 => (1u16..6).prop_map(|id| ack(0x50, id).to_vec()),
        2 => (1u16..6).prop_map(|id| ack(0x70, id).to_vec()),
        1 => Just(vec![0x90, 3, 0, 1, 1]),
        1 => Just(vec![0xd0, 0]),
        1 => proptest::collection::vec(any::<u8>(), 0..12),
    ];
    proptest::collection::vec(packet, 0..40).prop_map(|packets| packets.concat())
}

fn run(bytes: &[u8], cuts: &[usize], at_once: bool) -> (Vec<u8>, Vec<String>) {
    let mut harness = Harness::up(ClientOptions { subscriptions: subscribed(&["a"]), ..options() });
    harness.publish(1, "t", 1);
    harness.publish(2, "t", 2);
    let mut buffer = BytesMut::new();
    let mut rest = bytes;
    let mut cuts = cuts.iter().cycle();
    while !rest.is_empty() {
        let cut = if at_once { rest.len() } else { *cuts.next().unwrap_or(&1) };
        let (piece, later) = rest.split_at(cut.clamp(1, rest.len()));
        rest = later;
        buffer.extend_from_slice(piece);
        loop {
            let progress = harness.client.handle_bytes(harness.now, &mut buffer);
            harness.drain();
            if progress == BytesProgress::NeedMore {
                break;
            }
        }
        if harness.closes > 0 {
            break;
        }
    }
    let events = harness.events.iter().map(|event| format!("{event:?}")).collect();
    (harness.sent, events)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_pieces_of_a_stream_do_not_matter(
        bytes in stream(),
        cuts in proptest::collection::vec(1usize..9, 1..20),
    ) {
        prop_assert_eq!(run(&bytes, &cuts, false), run(&bytes, &cuts, true));
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), greeted: bool) {
        let mut harness = Harness::new(persistent());
        harness.connect();
        if greeted {
            harness.receive(CONNACK);
        }
        harness.receive(&bytes);
        harness.wait(seconds(100));
    }
}
