//! Ending a primary on this host that does not answer, where its group allows it.

use super::Guards;
use primacy_core::{Epoch, GroupName, MemberName};
use primacy_redis::{ServerProcess, end_process};
use primacy_runtime::now;

impl Guards {
    /// Kills the process of a primary that a transition has given up: only the very process that answered this node
    /// last, on this host, and only in a group that says `may_kill`.
    pub(crate) async fn kill(
        &self,
        group: &GroupName,
        epoch: Epoch,
        member: &MemberName,
        run_id: &str,
        pid: u32,
    ) -> Result<(), String> {
        let address = self.consensus.read(|state| {
            let known = state.groups.get(group).ok_or_else(|| format!("there is no group {group}"))?;
            if !known.spec.may_kill {
                return Err(format!("group {group} does not say may_kill = true"));
            }
            let meant = known.transition.as_ref().is_none_or(|t| t.epoch <= epoch);
            let primary = known.primary.as_ref().is_some_and(|p| p.member == *member && p.epoch < epoch);
            let spec = known.spec.member(member).filter(|_| meant && primary);
            spec.map(|m| m.address.clone())
                .ok_or_else(|| format!("{member} is not what epoch {epoch} replaces"))
        })?;
        let answer = self.board.own_answer(group, member);
        let (at, status) = answer.ok_or_else(|| format!("{member} never answered this node"))?;
        if status.run_id != run_id || status.pid != pid {
            return Err(format!("{member} is another process for this node"));
        }
        let process = ServerProcess { address, pid, uptime_s: status.uptime_s + now().since(at).as_secs() };
        if !end_process(process).await {
            return Err(format!("process {pid} of {member} is not on this host"));
        }
        tracing::warn!(%group, %member, pid, epoch = epoch.0, "killed: it does not answer, and the group says may_kill");
        Ok(())
    }
}
