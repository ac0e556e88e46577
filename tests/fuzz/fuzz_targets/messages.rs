//! Whatever bytes a peer, a client or a disk gives: a value that means the same again, or a refusal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use primacy_core::{Event, EventBatch, GroupSpec, Moment, Transition};
use primacy_wire::{
    decode_command, decode_state, encode_command, encode_state, gate, holder, sighting, v1, witness,
};
use prost::Message;

const NOW: Moment = Moment(1_000_000_000);

fuzz_target!(|bytes: &[u8]| {
    if let Ok(command) = decode_command(bytes) {
        assert_eq!(decode_command(&encode_command(&command)).ok(), Some(command));
    }
    if let Ok(state) = decode_state(bytes) {
        assert_eq!(decode_state(&encode_state(&state)).ok(), Some(state));
    }
    let _ = v1::GroupSpec::decode(bytes).map(GroupSpec::try_from);
    let _ = v1::Transition::decode(bytes).map(Transition::try_from);
    let _ = v1::Event::decode(bytes).map(Event::try_from);
    let _ = v1::EventBatch::decode(bytes).map(EventBatch::try_from);
    let _ = v1::Sighting::decode(bytes).map(|sent| sighting::from_wire(sent, NOW));
    let _ = v1::WitnessReport::decode(bytes).map(|sent| witness::from_wire(sent, NOW));
    let _ = v1::HolderReport::decode(bytes).map(|sent| holder::from_wire(sent, NOW));
    let _ = v1::GateReport::decode(bytes).map(|sent| gate::from_wire(&sent, NOW));
});
