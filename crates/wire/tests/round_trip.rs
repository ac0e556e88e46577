//! What is sent is what arrives, for any value; and bytes that nobody sent are refused, never misread.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod strategy;

use primacy_core::{Event, GroupSpec, Moment, State};
use primacy_wire::{decode_command, decode_state, encode_command, encode_state, gate, sighting, v1, witness};
use proptest::prelude::*;
use prost::Message;

const NOW: Moment = Moment(1_000_000_000);

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn a_command_arrives_as_sent(command in strategy::command()) {
        prop_assert_eq!(decode_command(&encode_command(&command)).unwrap(), command);
    }

    #[test]
    fn a_state_arrives_as_sent(state in strategy::state()) {
        let bytes = encode_state(&state);
        let back = decode_state(&bytes).unwrap();
        prop_assert_eq!(encode_state(&back), bytes);
        prop_assert_eq!(back, state);
    }

    #[test]
    fn an_event_arrives_as_sent(event in strategy::event()) {
        prop_assert_eq!(Event::try_from(v1::Event::from(&event)).unwrap(), event);
    }

    #[test]
    fn a_group_spec_arrives_as_sent(spec in strategy::group_spec()) {
        prop_assert_eq!(GroupSpec::try_from(v1::GroupSpec::from(&spec)).unwrap(), spec);
    }

    #[test]
    fn a_sighting_arrives_as_seen(
        group in strategy::group_name(),
        member in strategy::member_name(),
        seen in strategy::observation(NOW),
    ) {
        let sent = sighting::to_wire(&group, &member, &seen, NOW);
        prop_assert_eq!(sighting::from_wire(sent, NOW).unwrap(), (group, member, seen));
    }

    #[test]
    fn a_witness_report_arrives_as_made(
        group in strategy::group_name(),
        report in strategy::witness_report(NOW),
    ) {
        let sent = witness::to_wire(&group, &report, NOW);
        prop_assert_eq!(witness::from_wire(sent, NOW).unwrap(), (group, report));
    }

    #[test]
    fn a_gate_report_arrives_as_made(group in strategy::group_name(), report in strategy::gate_report(NOW)) {
        let sent = gate::to_wire(&group, &report, NOW);
        prop_assert_eq!(gate::from_wire(&sent, NOW).unwrap(), (group, report));
    }

    #[test]
    fn random_bytes_are_refused_or_meant(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        if let Ok(command) = decode_command(&bytes) {
            prop_assert_eq!(decode_command(&encode_command(&command)).unwrap(), command);
        }
        if let Ok(state) = decode_state(&bytes) {
            prop_assert_eq!(decode_state(&encode_state(&state)).unwrap(), state);
        }
        if let Ok(sighting) = v1::Sighting::decode(bytes.as_slice()) {
            let _ = sighting::from_wire(sighting, NOW);
        }
    }

    #[test]
    fn damaged_commands_never_panic(
        command in strategy::command(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<bool>(),
    ) {
        let mut bytes = encode_command(&command);
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        if let Ok(command) = decode_command(&bytes) {
            prop_assert_eq!(decode_command(&encode_command(&command)).unwrap(), command);
        }
    }

    #[test]
    fn damaged_states_never_panic(
        state in strategy::state(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<bool>(),
    ) {
        let mut bytes = encode_state(&state);
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        let _ = decode_state(&bytes);
    }

    #[test]
    fn a_sighting_of_damaged_bytes_never_panics(
        seen in strategy::observation(NOW),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let (group, member) = ("g".parse().unwrap(), "m".parse().unwrap());
        let mut bytes = sighting::to_wire(&group, &member, &seen, NOW).encode_to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(sighting) = v1::Sighting::decode(bytes.as_slice()) {
            let _ = sighting::from_wire(sighting, NOW);
        }
    }
}

#[test]
fn an_empty_message_is_no_command_and_no_state() {
    assert_eq!(decode_command(&[]).unwrap_err().field, "format");
    assert_eq!(decode_state(&[]).unwrap_err().field, "format");
    let fresh = State::default();
    assert_eq!(decode_state(&encode_state(&fresh)).unwrap(), fresh);
}
