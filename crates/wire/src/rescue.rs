//! The promotion that ends a rescue, between the leader and the node beside the candidate.

use crate::convert::{parsed, required};
use crate::{WireError, v1};
use primacy_core::{MemberName, NodeId, Promoted, Promotion};
use std::time::Duration;

/// What the candidate's node is asked to do at the end of the tail.
pub fn promotion_to(promotion: &Promotion) -> v1::RescuePromotion {
    v1::RescuePromotion {
        expected: promotion.expected.clone(),
        run_id: promotion.run_id.clone(),
        admit: promotion.admit.iter().map(ToString::to_string).collect(),
        refuse: promotion.refuse.iter().map(ToString::to_string).collect(),
        witness: promotion.witness.map(|node| node.0),
    }
}

/// # Errors
/// Names the field that is impossible.
pub fn promotion_from(promotion: v1::RescuePromotion) -> Result<Promotion, WireError> {
    Ok(Promotion {
        expected: promotion.expected,
        run_id: promotion.run_id,
        admit: members(&promotion.admit, "admit")?,
        refuse: members(&promotion.refuse, "refuse")?,
        witness: promotion.witness.map(NodeId),
    })
}

/// What became of it.
pub fn promoted_to(promoted: &Promoted, took: Duration) -> v1::RescuedPromotion {
    v1::RescuedPromotion {
        lineage: Some((&promoted.lineage).into()),
        refused: promoted.refused.iter().map(ToString::to_string).collect(),
        us: took.as_micros() as u64,
    }
}

/// # Errors
/// Names the field that is impossible.
pub fn promoted_from(promoted: v1::RescuedPromotion) -> Result<(Promoted, Duration), WireError> {
    let lineage = required(promoted.lineage, "lineage")?;
    let refused = members(&promoted.refused, "refused")?;
    Ok((Promoted { lineage, refused }, Duration::from_micros(promoted.us)))
}

fn members(names: &[String], field: &str) -> Result<Vec<MemberName>, WireError> {
    names.iter().map(|name| parsed(name, field)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use primacy_core::{Lineage, Position};

    #[test]
    fn both_come_back_as_they_were_and_an_impossible_one_is_refused() {
        let member = |name: &str| MemberName::new(name).unwrap();
        let promotion = Promotion {
            expected: Some("a".repeat(40)),
            run_id: None,
            admit: vec![member("west-a")],
            refuse: vec![member("east-a")],
            witness: Some(NodeId(2)),
        };
        let sent = promotion_to(&promotion);
        assert_eq!(promotion_from(sent.clone()).unwrap(), promotion);
        let wild = v1::RescuePromotion { refuse: vec!["no name".to_owned()], ..sent };
        assert_eq!(promotion_from(wild).unwrap_err().field, "refuse");

        let start = Position { replid: "b".repeat(40), offset_bytes: 7 };
        let lineage = Lineage { run_id: "c".repeat(40), start, previous: Some("a".repeat(40)) };
        let promoted = Promoted { lineage, refused: vec![member("east-a")] };
        let sent = promoted_to(&promoted, Duration::from_micros(400));
        assert_eq!(promoted_from(sent.clone()).unwrap(), (promoted, Duration::from_micros(400)));
        let wild = v1::RescuedPromotion { lineage: None, ..sent };
        assert_eq!(promoted_from(wild).unwrap_err().field, "lineage");
    }
}
