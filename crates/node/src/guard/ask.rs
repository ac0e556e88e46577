//! What the leader has done by the node that stands beside a member.

use super::Guards;
use super::tails::{Asked, Rescued};
use primacy_core::{Action, ActionKind, NodeId, Outcome, Position, SiteName};
use primacy_redis::ActionError;
use primacy_runtime::timeout;
use primacy_wire::v1::site_client::SiteClient;
use primacy_wire::{rescue, v1};
use std::sync::Arc;
use std::time::Duration;
use tonic::transport::Channel;

impl Guards {
    /// Has the candidate read the tail, and be promoted at its end where that is asked for: by a node at its site, so that no handshake of Redis crosses between sites; where
    /// none can be asked, by this one.
    pub(crate) async fn have_rescued(
        self: &Arc<Self>,
        action: &Action,
        within: Duration,
    ) -> Result<Outcome, ActionError> {
        let ActionKind::Rescue { holder, site, of, then, .. } = &action.kind else {
            return Err(failed(action, "it is no rescue"));
        };
        let asked = Asked { of: *of, then: then.as_ref() };
        let beside = self.beside(site);
        let mut why = None;
        for (node, address) in beside {
            let done = async {
                if node == self.me {
                    let holder = self.address_of(*holder).filter(|_| *holder != self.me);
                    return self.rescue(action, &asked, holder, within).await.map_err(|e| e.to_string());
                }
                self.ask_rescue(action, &address, within).await
            };
            match done.await {
                Ok(Rescued { end, fetched_bytes, complete, promoted }) => {
                    return Ok(Outcome::Rescued { end, fetched_bytes, complete, promoted });
                }
                Err(reason) => why = Some(format!("n{node}: {reason}")),
            }
        }
        Err(failed(action, &why.unwrap_or_else(|| "there is no node to do it".to_owned())))
    }

    /// Ends the process of a member by the node on its host.
    pub(crate) async fn have_killed(
        self: &Arc<Self>,
        action: &Action,
        run_id: &str,
        pid: u32,
        within: Duration,
    ) -> Result<Outcome, ActionError> {
        let site = self.consensus.read(|state| {
            let group = state.groups.get(&action.group)?;
            group.spec.member(&action.member).map(|m| m.site.clone())
        });
        let site = site.ok_or_else(|| failed(action, "it is no longer a member"))?;
        let mut why = "there is no node at its site".to_owned();
        for (node, address) in self.at_site(&site) {
            let killed = if node == self.me {
                self.kill(&action.group, action.epoch, &action.member, run_id, pid).await
            } else {
                self.ask_kill(action, &address, run_id, pid, within).await
            };
            match killed {
                Ok(()) => return Ok(Outcome::Killed),
                Err(reason) => why = reason,
            }
        }
        Err(failed(action, &why))
    }

    async fn ask_rescue(&self, action: &Action, address: &str, within: Duration) -> Result<Rescued, String> {
        let ActionKind::Rescue { holder, of, then, .. } = &action.kind else {
            return Err("no rescue".to_owned());
        };
        let channel = self.peers.channel(address).ok_or_else(|| format!("{address} is no address"))?;
        let request = v1::RescueRequest {
            group: action.group.as_str().to_owned(),
            epoch: action.epoch.0,
            of_epoch: of.0,
            member: action.member.as_str().to_owned(),
            address: action.address.to_string(),
            replid: String::new(),
            holder_node: holder.0,
            holder_address: self.address_of(*holder).unwrap_or_default(),
            within_us: within.as_micros() as u64,
            then: then.as_ref().map(rescue::promotion_to),
        };
        let mut client = SiteClient::new(channel);
        let answer = timeout(within, client.rescue(request)).await;
        let answer = answer.map_err(|_| "no answer in time".to_owned())?;
        let rescued = answer.map_err(|status| status.message().to_owned())?.into_inner();
        let end = Position { replid: rescued.replid, offset_bytes: rescued.end_bytes };
        let promoted = rescued.promoted.map(rescue::promoted_from).transpose().map_err(|e| e.to_string())?;
        Ok(Rescued { end, fetched_bytes: rescued.fetched_bytes, complete: rescued.complete, promoted })
    }

    async fn ask_kill(
        &self,
        action: &Action,
        address: &str,
        run_id: &str,
        pid: u32,
        within: Duration,
    ) -> Result<(), String> {
        let channel = self.peers.channel(address).ok_or_else(|| format!("{address} is no address"))?;
        let request = v1::KillRequest {
            group: action.group.as_str().to_owned(),
            epoch: action.epoch.0,
            member: action.member.as_str().to_owned(),
            run_id: run_id.to_owned(),
            pid,
        };
        let mut client = SiteClient::new(channel);
        match timeout(within, client.kill(request)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) => Err(status.message().to_owned()),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    /// This node first where it is at the site, then the others there, and this node in the end wherever it is.
    fn beside(&self, site: &SiteName) -> Vec<(NodeId, String)> {
        let mut nodes = self.at_site(site);
        nodes.sort_by_key(|(id, _)| *id != self.me);
        if !nodes.iter().any(|(id, _)| *id == self.me) {
            nodes.push((self.me, self.config.node.advertise.clone()));
        }
        nodes
    }

    fn at_site(&self, site: &SiteName) -> Vec<(NodeId, String)> {
        let nodes = self.consensus.membership().nodes;
        nodes.into_iter().filter(|(_, m)| m.site == *site).map(|(id, m)| (id, m.address)).collect()
    }

    /// A way to another node; none to one that is no member.
    pub(super) fn channel_to(&self, node: NodeId) -> Option<Channel> {
        self.peers.channel(&self.address_of(node)?)
    }

    fn address_of(&self, node: NodeId) -> Option<String> {
        self.consensus.membership().nodes.get(&node).map(|m| m.address.clone())
    }
}

fn failed(action: &Action, why: &str) -> ActionError {
    let Action { group, member, kind, .. } = action;
    let message = format!("{group}: cannot {} {member}: {why}", kind.word());
    ActionError { message, permanent: false }
}
