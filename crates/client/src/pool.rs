//! The nodes that a client knows, and which one it asks first.

use crate::builder::Settings;
use crate::endpoint::Endpoint;
use arc_swap::ArcSwap;
use std::sync::Arc;

/// More nodes than any cluster has: a bound for what leader hints can add.
const ENDPOINTS_MAX: usize = 64;

#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) settings: Settings,
    /// The one to ask first is at the front: the node that answered last, or was named as leader.
    endpoints: ArcSwap<Vec<Arc<Endpoint>>>,
}

impl Pool {
    pub(crate) fn new(addresses: &[String], settings: Settings) -> Self {
        let mut endpoints: Vec<Arc<Endpoint>> = Vec::new();
        for address in addresses {
            if endpoints.iter().all(|e| e.address() != address) {
                endpoints.push(Arc::new(Endpoint::new(address.clone(), &settings)));
            }
        }
        Self { settings, endpoints: ArcSwap::from_pointee(endpoints) }
    }

    /// All of them, in the order in which they are to be asked.
    pub(crate) fn endpoints(&self) -> Arc<Vec<Arc<Endpoint>>> {
        self.endpoints.load_full()
    }

    /// The node at this address, which a leader hint may name for the first time. Nothing when it is no address, or
    /// there are too many already.
    pub(crate) fn known(&self, address: &str) -> Option<Arc<Endpoint>> {
        let find = |all: &[Arc<Endpoint>]| all.iter().find(|e| e.address() == address).cloned();
        if let Some(known) = find(&self.endpoints.load()) {
            return Some(known);
        }
        address.parse::<primacy_core::Address>().ok()?;
        let new = Arc::new(Endpoint::new(address.to_owned(), &self.settings));
        self.endpoints.rcu(|all| {
            let mut all = Vec::clone(all);
            if all.len() < ENDPOINTS_MAX && find(&all).is_none() {
                all.push(Arc::clone(&new));
            }
            all
        });
        find(&self.endpoints.load())
    }

    /// Asks this one first from now on.
    pub(crate) fn prefer(&self, endpoint: &Arc<Endpoint>) {
        if self.endpoints.load().first().is_some_and(|first| Arc::ptr_eq(first, endpoint)) {
            return;
        }
        self.endpoints.rcu(|all| {
            let (mut first, rest): (Vec<_>, Vec<_>) =
                all.iter().cloned().partition(|e| Arc::ptr_eq(e, endpoint));
            first.extend(rest);
            first
        });
    }

    /// Asks this one last from now on.
    pub(crate) fn avoid(&self, endpoint: &Arc<Endpoint>) {
        self.endpoints.rcu(|all| {
            let (last, mut rest): (Vec<_>, Vec<_>) =
                all.iter().cloned().partition(|e| Arc::ptr_eq(e, endpoint));
            rest.extend(last);
            rest
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn order(pool: &Pool) -> Vec<String> {
        pool.endpoints().iter().map(|e| e.address().to_owned()).collect()
    }

    #[test]
    fn the_one_that_answered_is_asked_first() {
        let pool = Pool::new(&["a:1", "b:1", "a:1", "c:1"].map(str::to_owned), Settings::default());
        assert_eq!(order(&pool), ["a:1", "b:1", "c:1"]);
        let b = pool.known("b:1").unwrap();
        pool.prefer(&b);
        assert_eq!(order(&pool), ["b:1", "a:1", "c:1"]);
        pool.avoid(&b);
        assert_eq!(order(&pool), ["a:1", "c:1", "b:1"]);
    }

    #[test]
    fn a_hint_adds_a_node_once_and_only_an_address() {
        let pool = Pool::new(&["a:1".to_owned()], Settings::default());
        assert!(pool.known("b:1").is_some() && pool.known("b:1").is_some());
        assert!(pool.known("nonsense").is_none());
        assert_eq!(order(&pool), ["a:1", "b:1"]);
        for port in 1..200 {
            let _ = pool.known(&format!("c:{port}"));
        }
        assert_eq!(order(&pool).len(), ENDPOINTS_MAX);
    }
}
