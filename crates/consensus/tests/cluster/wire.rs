//! What does not make sense is refused by name, and harms nobody.

use crate::support::{SOON, Site, leader, propose};
use primacy_wire::v1;
use tonic::Code;

fn header() -> Option<v1::RaftHeader> {
    Some(v1::RaftHeader {
        cluster: "test".to_owned(),
        from_node: 2,
        to_node: 1,
        from_store_id: 7,
        to_store_id: 0,
    })
}

fn vote(committed: bool) -> Option<v1::RaftVote> {
    Some(v1::RaftVote { term: 1, node: 2, committed })
}

fn at(index: u64) -> Option<v1::RaftLogId> {
    Some(v1::RaftLogId { term: 1, index })
}

fn entry(index: u64, payload: v1::raft_entry::Payload) -> v1::RaftEntry {
    v1::RaftEntry { log_id: at(index), payload: Some(payload) }
}

fn appends() -> Vec<(&'static str, v1::AppendRequest)> {
    use v1::raft_entry::Payload;
    let with =
        |entries| v1::AppendRequest { header: header(), vote: vote(true), entries, ..Default::default() };
    let membership = |voters: Vec<Vec<u64>>, site: &str| {
        let voters = voters.into_iter().map(|ids| v1::RaftVoters { ids }).collect();
        let node = v1::RaftNode { id: 1, site: site.to_owned(), address: "a:1".to_owned() };
        Payload::Membership(v1::RaftMembership { voters, nodes: vec![node] })
    };
    vec![
        ("header", v1::AppendRequest { header: None, ..with(vec![]) }),
        ("vote", v1::AppendRequest { vote: None, ..with(vec![]) }),
        ("vote.committed", v1::AppendRequest { vote: vote(false), ..with(vec![]) }),
        ("entries[0].payload", with(vec![v1::RaftEntry { log_id: at(0), payload: None }])),
        (
            "entries[0].log_id",
            with(vec![v1::RaftEntry { log_id: None, payload: Some(Payload::Blank(v1::RaftBlank {})) }]),
        ),
        ("entries[0].log_id.index", with(vec![entry(5, Payload::Blank(v1::RaftBlank {}))])),
        ("entries[0].command", with(vec![entry(0, Payload::Command(vec![0xff; 9].into()))])),
        (
            "entries[0].registration",
            with(vec![entry(0, Payload::Registration(v1::RaftRegistration::default()))]),
        ),
        ("entries[0].membership.voters", with(vec![entry(0, membership(vec![], "s"))])),
        (
            "entries[0].membership.voters",
            with(vec![entry(0, membership(vec![vec![1], vec![1], vec![1]], "s"))]),
        ),
        ("entries[0].membership.voters", with(vec![entry(0, membership(vec![vec![1, 2]], "s"))])),
        ("entries[0].membership.nodes[0].site", with(vec![entry(0, membership(vec![vec![1]], "no site"))])),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_an_invalid_argument() {
    let site = Site::new(1);
    let nodes = site.start_all().await;
    leader(&nodes).await;
    let service = nodes[0].consensus.service();
    let check = |field: &str, status: tonic::Status| {
        assert_eq!(status.code(), Code::InvalidArgument, "{field}: {status:?}");
        assert!(status.message().contains(field), "{field}: {}", status.message());
    };
    for (field, request) in appends() {
        check(field, service.append_once(request.clone()).await.unwrap_err());
        let streamed = service.append(Box::pin(futures::stream::iter([request]))).await;
        let status = match streamed {
            Err(status) => status,
            Ok(mut answers) => {
                use futures::StreamExt;
                answers.next().await.unwrap().unwrap_err()
            }
        };
        check(field, status);
    }
    let none = service.append(Box::pin(futures::stream::iter([]))).await.err().unwrap();
    check("first request", none);

    let votes = [
        ("header", v1::VoteRequest { vote: vote(false), ..Default::default() }),
        ("vote", v1::VoteRequest { header: header(), ..Default::default() }),
        (
            "vote.node",
            v1::VoteRequest { header: header(), vote: Some(v1::RaftVote::default()), ..Default::default() },
        ),
        ("vote.committed", v1::VoteRequest { header: header(), vote: vote(true), ..Default::default() }),
    ];
    for (field, request) in votes {
        check(field, service.vote(request.clone()).await.unwrap_err());
        check(field, service.pre_vote(request).await.unwrap_err());
    }
    let transfer =
        v1::TransferLeaderRequest { header: header(), from_leader: vote(true), ..Default::default() };
    check("to_node", service.transfer_leader(transfer).await.unwrap_err());
    check("header", service.identify(v1::IdentifyRequest::default()).await.unwrap_err());
    propose(&nodes[0], 1).await;
    nodes[0].consensus.linearizable(SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_snapshot_is_an_invalid_argument() {
    use v1::install_snapshot_request::Part;
    let site = Site::new(1);
    let nodes = site.start_all().await;
    leader(&nodes).await;
    let service = nodes[0].consensus.service();
    let part = |part| v1::InstallSnapshotRequest { part: Some(part) };
    let head = v1::SnapshotHead {
        header: header(),
        vote: vote(true),
        meta: Some(v1::RaftSnapshotMeta {
            last_log_id: at(9),
            membership: Some(v1::RaftStoredMembership {
                log_id: at(0),
                membership: Some(v1::RaftMembership::default()),
            }),
        }),
        size_bytes: 4,
        crc32: crc32fast::hash(b"data"),
    };
    let headed = |change: fn(&mut v1::SnapshotHead)| {
        let mut head = head.clone();
        change(&mut head);
        part(Part::Head(head))
    };
    let chunk = |bytes: &'static [u8]| part(Part::Chunk(bytes.into()));
    let cases = [
        ("head", vec![]),
        ("head", vec![chunk(b"data")]),
        ("part", vec![v1::InstallSnapshotRequest { part: None }]),
        ("head.vote", vec![headed(|h| h.vote = None), chunk(b"data")]),
        ("head.meta", vec![headed(|h| h.meta = None), chunk(b"data")]),
        ("head.size_bytes", vec![headed(|h| h.size_bytes = u64::MAX)]),
        ("head.size_bytes", vec![headed(|_| ()), chunk(b"dat")]),
        ("chunk", vec![headed(|_| ()), chunk(b"data"), chunk(b"more")]),
        ("part", vec![headed(|_| ()), headed(|_| ())]),
        ("head.crc32", vec![headed(|_| ()), chunk(b"date")]),
    ];
    for (field, parts) in cases {
        let status = service.install_snapshot(Box::pin(futures::stream::iter(parts))).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{field}: {status:?}");
        assert!(status.message().contains(field), "{field}: {}", status.message());
    }
    assert!(nodes[0].leads());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_not_meant_does_not_answer() {
    let site = Site::new(1);
    let nodes = site.start_all().await;
    leader(&nodes).await;
    let mut to_another = header().unwrap();
    to_another.to_node = 3;
    let request = v1::IdentifyRequest { header: Some(to_another) };
    let refused = nodes[0].consensus.service().identify(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("this is node 1, and node 3 was meant"), "{}", refused.message());
}
