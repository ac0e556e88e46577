//! Who may write to topics, as the cluster's authorizer has it written down.

use super::{WITHIN, text};
use crate::link::{Cluster, LinkError};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::describe_acls_response::DescribeAclsResponse;
use kafka_protocol::messages::{CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest};
use std::collections::{BTreeMap, BTreeSet};

/// By the numbers of the protocol: a type of resource, kinds of patterns, operations, permissions.
const TOPIC: i8 = 2;
const ANY_PATTERN: i8 = 1;
const ALL_OPERATIONS: i8 = 2;
const WRITE: i8 = 4;
const ANY_PERMISSION: i8 = 1;
const DENY: i8 = 2;
const ALLOW: i8 = 3;

/// Everybody, and everywhere.
const EVERYBODY: &str = "User:*";
const EVERYWHERE: &str = "*";

/// The topics that an ACL is about: a name, and whether it stands for itself or for what begins with it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pattern {
    name: String,
    kind: i8,
}

/// The ACLs about writing to topics, by principal.
#[derive(Debug, Default)]
pub(crate) struct WriteAcls {
    allowed: BTreeMap<String, BTreeSet<Pattern>>,
    denied: BTreeMap<String, BTreeSet<Pattern>>,
}

impl WriteAcls {
    /// Asks any broker.
    ///
    /// # Errors
    /// Those of the link; a cluster without an authorizer, and a missing right, by name.
    pub(crate) async fn read(cluster: &Cluster) -> Result<WriteAcls, LinkError> {
        let mut acls = WriteAcls::default();
        let connection = cluster.any().await?;
        for operation in [WRITE, ALL_OPERATIONS] {
            let request = DescribeAclsRequest::default()
                .with_resource_type_filter(TOPIC)
                .with_resource_name_filter(None)
                .with_pattern_type_filter(ANY_PATTERN)
                .with_principal_filter(None)
                .with_host_filter(None)
                .with_operation(operation)
                .with_permission_type(ANY_PERMISSION);
            let answer = connection.call(&request, WITHIN).await?;
            check(answer.error_code, "reading ACLs on the standby", "Describe")?;
            acls.take_in(answer);
        }
        Ok(acls)
    }

    fn take_in(&mut self, answer: DescribeAclsResponse) {
        for resource in answer.resources {
            let pattern = Pattern { name: resource.resource_name.to_string(), kind: resource.pattern_type };
            for acl in resource.acls {
                let by_principal = match acl.permission_type {
                    ALLOW => &mut self.allowed,
                    DENY if acl.host.as_str() == EVERYWHERE => &mut self.denied,
                    _ => continue,
                };
                by_principal.entry(acl.principal.to_string()).or_default().insert(pattern.clone());
            }
        }
    }

    /// Where a principal may write as far as ACLs say: each of these patterns has an ACL already, so that another one
    /// changes nothing for anybody else.
    pub(crate) fn open_to<'a>(&'a self, principal: &'a str) -> impl Iterator<Item = &'a Pattern> {
        let denied = self.denied.get(principal);
        let allowed = [principal, EVERYBODY].into_iter().filter_map(|who| self.allowed.get(who));
        allowed.flatten().filter(move |pattern| denied.is_none_or(|denied| !denied.contains(pattern)))
    }

    /// Whether it is denied anything.
    pub(crate) fn denies(&self, principal: &str) -> bool {
        self.denied.contains_key(principal)
    }
}

/// Has these principals denied to write there.
///
/// # Errors
/// Those of the link, and a missing right, by name.
pub(crate) async fn deny_write(cluster: &Cluster, denials: &[(String, Pattern)]) -> Result<(), LinkError> {
    let creations = denials.iter().map(|(principal, pattern)| {
        AclCreation::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(&pattern.name))
            .with_resource_pattern_type(pattern.kind)
            .with_principal(text(principal))
            .with_host(text(EVERYWHERE))
            .with_operation(WRITE)
            .with_permission_type(DENY)
    });
    let request = CreateAclsRequest::default().with_creations(creations.collect());
    let answer = cluster.controller().await?.call(&request, WITHIN).await?;
    answer
        .results
        .iter()
        .try_for_each(|result| check(result.error_code, "denying earlier owners to write", "Alter"))
}

/// Takes back every such denial of a principal.
///
/// # Errors
/// Those of the link, and a missing right, by name.
pub(crate) async fn allow_write(cluster: &Cluster, principal: &str) -> Result<(), LinkError> {
    let filter = DeleteAclsFilter::default()
        .with_resource_type_filter(TOPIC)
        .with_resource_name_filter(None)
        .with_pattern_type_filter(ANY_PATTERN)
        .with_principal_filter(Some(text(principal)))
        .with_host_filter(None)
        .with_operation(WRITE)
        .with_permission_type(DENY);
    let request = DeleteAclsRequest::default().with_filters(vec![filter]);
    let answer = cluster.controller().await?.call(&request, WITHIN).await?;
    for result in answer.filter_results {
        check(result.error_code, "taking back a denial to write", "Alter")?;
        for acl in result.matching_acls {
            check(acl.error_code, "taking back a denial to write", "Alter")?;
        }
    }
    Ok(())
}

fn check(code: i16, doing: &str, operation: &str) -> Result<(), LinkError> {
    if ResponseError::try_from_code(code) == Some(ResponseError::SecurityDisabled) {
        let reason = "the standby has no authorizer, so nobody can be shut out there; \
                      set authorizer.class.name on its brokers, or remove mirror_user from node.toml";
        return Err(LinkError::Configuration(reason.to_owned()));
    }
    LinkError::check_right(code, doing, &format!("{operation} on cluster kafka-cluster"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::describe_acls_response::{AclDescription, DescribeAclsResource};

    fn acls(of: &[(&str, i8, &str, i8)]) -> WriteAcls {
        let mut acls = WriteAcls::default();
        for (principal, permission, name, kind) in of {
            let acl = AclDescription::default()
                .with_principal(text(principal))
                .with_host(text(EVERYWHERE))
                .with_permission_type(*permission);
            let resource = DescribeAclsResource::default()
                .with_resource_name(text(name))
                .with_pattern_type(*kind)
                .with_acls(vec![acl]);
            acls.take_in(DescribeAclsResponse::default().with_resources(vec![resource]));
        }
        acls
    }

    #[test]
    fn what_is_open_is_what_is_allowed_and_not_denied_by_the_same_pattern() {
        let acls = acls(&[
            ("User:a", ALLOW, "orders", 3),
            ("User:a", ALLOW, "clicks-", 4),
            ("User:a", DENY, "orders", 3),
            ("User:*", ALLOW, "free", 3),
        ]);
        let open = |principal: &str| acls.open_to(principal).map(|p| p.name.clone()).collect::<Vec<_>>();
        assert_eq!(open("User:a"), ["clicks-", "free"]);
        assert_eq!(open("User:b"), ["free"]);
        assert!(acls.denies("User:a") && !acls.denies("User:b"));
    }

    #[test]
    fn a_cluster_without_an_authorizer_is_refused_with_the_remedy() {
        let told = check(54, "reading ACLs", "Describe").map_err(|e| e.to_string());
        assert!(told.as_ref().is_err_and(|e| e.contains("remove mirror_user")), "{told:?}");
        let told = check(31, "reading ACLs", "Describe").map_err(|e| e.to_string());
        assert!(told.is_err_and(|e| e.contains("Describe on cluster kafka-cluster is needed")));
    }
}
