//! A cluster begins once, in whatever order its nodes start, and an emptied node is found out.

use crate::support::{Site, all_hold, eventually, leader, propose, registered, within};
use primacy_consensus::{Halted, StartError};
use primacy_core::NodeId;

#[tokio::test(flavor = "multi_thread")]
async fn nodes_found_the_cluster_in_any_order_and_a_late_one_joins() {
    for order in [[1, 2, 3], [3, 1, 2], [2, 3, 1]] {
        let site = Site::new(3);
        let first = site.start(order[0]).await;
        let alone = tokio::time::timeout(std::time::Duration::from_millis(300), async {
            eventually("nothing", async || if first.leads() { Ok(()) } else { Err(String::new()) }).await;
        });
        assert!(alone.await.is_err(), "one node of three founds nothing");
        let mut nodes = vec![first, site.start(order[1]).await];
        let leading = leader(&nodes).await;
        propose(&nodes[leading], 7).await;
        nodes.push(site.start(order[2]).await);
        all_hold(&nodes.iter().collect::<Vec<_>>(), &[7]).await;
        eventually("the membership", async || {
            let members = nodes[2].consensus.membership().nodes;
            let voters = members.values().filter(|member| member.voter).count();
            if voters == 3 { Ok(()) } else { Err(format!("{members:?}")) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_node_is_a_cluster() {
    let site = Site::new(1);
    let nodes = site.start_all().await;
    leader(&nodes).await;
    propose(&nodes[0], 1).await;
    nodes[0].consensus.linearizable(crate::support::SOON).await.unwrap();
    assert!(nodes[0].consensus.staleness().unwrap() < crate::support::TIMINGS.election_max);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_node_is_refused_at_the_start() {
    let site = Site::new(3);
    let mut nodes = site.start_all().await;
    leader(&nodes).await;
    registered(&nodes[0], 1, 3).await;
    nodes.pop().unwrap().kill();
    empty(&site, 3).await;
    let refused = within("refusal", site.try_start(site.config(3))).await;
    match refused {
        Err(StartError::Halted(halted)) => {
            assert_eq!(halted, Halted::KnownElsewhere { node: NodeId(3) });
            assert_eq!(
                halted.to_string(),
                "node 3 is known under another data directory; join under a new id"
            );
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("started"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_node_that_starts_alone_halts_when_the_others_are_back() {
    let site = Site::new(3);
    let nodes = site.start_all().await;
    leader(&nodes).await;
    registered(&nodes[0], 1, 3).await;
    nodes.into_iter().for_each(crate::support::Node::kill);
    empty(&site, 3).await;
    let emptied = site.start(3).await;
    let one = site.start(1).await;
    // Its vote is lost, so it must not give one: with node 1 it would be a majority.
    assert_eq!(within("halt", emptied.halted()).await, Halted::KnownElsewhere { node: NodeId(3) });
    assert!(!one.leads());
    let two = site.start(2).await;
    leader(&[one, two]).await;
}

async fn empty(site: &Site, id: u64) {
    eventually("an empty directory", async || {
        let dir = site.dir(id);
        std::fs::remove_dir_all(&dir).or_else(|e| if dir.exists() { Err(e.to_string()) } else { Ok(()) })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_another_cluster_are_refused() {
    let site = Site::new(3);
    let ours = [site.start(1).await, site.start(2).await];
    leader(&ours).await;
    let mut config = site.config(3);
    config.cluster = "other".to_owned();
    let foreign = site.try_start(config).await.unwrap();
    propose(&ours[leader(&ours).await], 1).await;
    let header = primacy_wire::v1::RaftHeader {
        cluster: "other".to_owned(),
        from_node: 3,
        to_node: 1,
        from_store_id: 5,
        to_store_id: 0,
    };
    let service = ours[0].consensus.service();
    let append = primacy_wire::v1::AppendRequest { header: Some(header.clone()), ..Default::default() };
    let vote = primacy_wire::v1::VoteRequest { header: Some(header.clone()), ..Default::default() };
    let transfer =
        primacy_wire::v1::TransferLeaderRequest { header: Some(header.clone()), ..Default::default() };
    let snapshot = primacy_wire::v1::InstallSnapshotRequest {
        part: Some(primacy_wire::v1::install_snapshot_request::Part::Head(primacy_wire::v1::SnapshotHead {
            header: Some(header.clone()),
            ..Default::default()
        })),
    };
    let identify = primacy_wire::v1::IdentifyRequest { header: Some(header) };
    let refusals = [
        service.append(Box::pin(futures::stream::iter([append.clone()]))).await.err().unwrap(),
        service.append_once(append).await.unwrap_err(),
        service.vote(vote.clone()).await.unwrap_err(),
        service.pre_vote(vote).await.unwrap_err(),
        service.transfer_leader(transfer).await.unwrap_err(),
        service.install_snapshot(Box::pin(futures::stream::iter([snapshot]))).await.unwrap_err(),
        service.identify(identify).await.unwrap_err(),
    ];
    for refusal in refusals {
        assert_eq!(refusal.code(), tonic::Code::FailedPrecondition);
        assert_eq!(refusal.message(), "this node belongs to cluster \"test\", not \"other\"");
    }
    assert!(foreign.consensus.membership().nodes.is_empty());
    assert!(foreign.consensus.staleness().is_none());
}
