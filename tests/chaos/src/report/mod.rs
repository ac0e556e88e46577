//! What a person reads afterwards.

pub(crate) mod html;
pub(crate) mod text;
