//! A refusal comes out of a status as it went in, under the code that the protocol promises.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use primacy_core::Rejected;
use primacy_wire::refusal::{DOMAIN, LeaderHint, Refusal, TEXT_BYTES_MAX};
use primacy_wire::{WireError, v1};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

fn all() -> Vec<(Refusal, Code)> {
    let text = |s: &str| s.to_owned();
    let leader = LeaderHint { id: 2, address: text("10.0.0.2:7101"), term: 4 };
    vec![
        (Refusal::NotLeader { leader: Some(leader) }, Code::Unavailable),
        (Refusal::NotLeader { leader: None }, Code::Unavailable),
        (
            Refusal::Rule { code: text("paused"), message: text("group é is paused") },
            Code::FailedPrecondition,
        ),
        (
            Refusal::Invalid {
                field: text("groups[0].name"),
                reason: text("it is empty"),
                remedy: text("x"),
            },
            Code::InvalidArgument,
        ),
        (Refusal::NotFound { code: text("unknown_group"), message: text("no g") }, Code::NotFound),
        (Refusal::Stale { age_ms: 4_000, bound_ms: 3_000 }, Code::Unavailable),
        (Refusal::Compacted { oldest: 17 }, Code::OutOfRange),
        (Refusal::OutcomeUnknown { message: text("see primacy history g") }, Code::DeadlineExceeded),
        (Refusal::Unavailable { message: text("no quorum") }, Code::Unavailable),
    ]
}

#[test]
fn both_ways() {
    for (refusal, code) in all() {
        let status = Status::from(refusal.clone());
        assert_eq!(status.code(), code, "{refusal:?}");
        assert_eq!(status.message(), refusal.to_string());
        assert_eq!(Refusal::from_status(&status), Some(refusal));
    }
}

#[test]
fn through_headers() {
    for (refusal, _) in all() {
        let headers = Status::from(refusal.clone()).into_http::<()>();
        let status = Status::from_header_map(headers.headers()).unwrap();
        assert_eq!(Refusal::from_status(&status), Some(refusal));
    }
}

#[test]
fn what_is_not_ours_is_nothing() {
    let foreign = ErrorDetails::with_error_info("RULE", "elsewhere", [("code", "x")].map(own));
    let unknown = ErrorDetails::with_error_info("FUTURE", DOMAIN, [("code", "x")].map(own));
    let damaged = ErrorDetails::with_error_info("STALE", DOMAIN, [("age_ms", "many")].map(own));
    assert_eq!(Refusal::from_status(&Status::unavailable("connection refused")), None);
    for details in [foreign, unknown, damaged] {
        let status = Status::with_error_details(Code::Unavailable, "x", details);
        assert_eq!(Refusal::from_status(&status), None);
    }
}

fn own((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

#[test]
fn long_texts_are_cut_at_a_character() {
    let long = Refusal::Rule { code: "x".to_owned(), message: "é".repeat(4_000) };
    let Some(Refusal::Rule { message, .. }) = Refusal::from_status(&long.into()) else {
        panic!("a rule comes back");
    };
    assert!(message.len() <= TEXT_BYTES_MAX && message.ends_with("é..."), "{message}");
}

#[test]
fn what_core_rejects_keeps_its_name() {
    let group: primacy_core::GroupName = "g".parse().unwrap();
    let rejected = Rejected::UnknownGroup { group: group.clone() };
    let refusal = Refusal::from(&rejected);
    assert!(matches!(&refusal, Refusal::NotFound { code, .. } if code == "unknown_group"), "{refusal:?}");
    let refusal = Refusal::from(&Rejected::Paused { group });
    assert!(matches!(&refusal, Refusal::Rule { code, .. } if code == "paused"), "{refusal:?}");
}

#[test]
fn a_bad_field_is_an_invalid_argument() {
    let error = primacy_core::GroupSpec::try_from(v1::GroupSpec::default()).unwrap_err();
    let status = Status::from(error.clone());
    assert_eq!(status.code(), Code::InvalidArgument);
    let WireError { field, reason } = error;
    let refusal = Refusal::from_status(&status).unwrap();
    assert!(
        matches!(&refusal, Refusal::Invalid { field: f, reason: r, .. } if *f == field && *r == reason),
        "{refusal:?}"
    );
}
