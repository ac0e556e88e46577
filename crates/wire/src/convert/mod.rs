//! Both ways between the generated messages and core's types, one file a part of the vocabulary.
//!
//! To a message: `From<&core::T> for v1::T`, which cannot fail. From a message: `TryFrom<v1::T> for core::T`, which
//! names the field that is missing or impossible.

mod command;
mod event;
mod group;
mod proof;
mod state;
mod transition;

pub use command::{decode_command, encode_command};
pub use state::{decode_state, encode_state};

use crate::WireError;
use std::fmt::Display;
use std::str::FromStr;

/// The version of `Command` and `State` that this program writes. It raises with what an older node would misread.
pub const FORMAT: u32 = 2;

/// The oldest version that this program reads: what a newer one added is unset there, and has a stated meaning.
pub const FORMAT_OLDEST: u32 = 1;

fn check_format(format: u32) -> Result<(), WireError> {
    match format {
        FORMAT_OLDEST..=FORMAT => Ok(()),
        0 => Err(WireError::missing("format")),
        newer => Err(WireError::new(
            "format",
            format!("is {newer}, and this version reads up to {FORMAT}: update this node first"),
        )),
    }
}

/// A message field that must be set.
pub(crate) fn required<W, C>(value: Option<W>, field: &str) -> Result<C, WireError>
where
    C: TryFrom<W, Error = WireError>,
{
    let value = value.ok_or_else(|| WireError::missing(field))?;
    C::try_from(value).map_err(|e| e.within(field))
}

/// A message field that may be unset.
pub(crate) fn optional<W, C>(value: Option<W>, field: &str) -> Result<Option<C>, WireError>
where
    C: TryFrom<W, Error = WireError>,
{
    value.map(C::try_from).transpose().map_err(|e| e.within(field))
}

/// A repeated message field.
pub(crate) fn each<W, C, L>(values: Vec<W>, field: &str) -> Result<L, WireError>
where
    C: TryFrom<W, Error = WireError>,
    L: FromIterator<C>,
{
    let convert = |(i, value)| C::try_from(value).map_err(|e: WireError| e.within(&format!("{field}[{i}]")));
    values.into_iter().enumerate().map(convert).collect()
}

/// A name or an address.
pub(crate) fn parsed<T>(value: &str, field: &str) -> Result<T, WireError>
where
    T: FromStr,
    T::Err: Display,
{
    value.parse().map_err(|e: T::Err| WireError::new(field, e.to_string()))
}

/// A name that may be unset. An empty one is not unset, it is wrong.
pub(crate) fn optional_parsed<T>(value: Option<&str>, field: &str) -> Result<Option<T>, WireError>
where
    T: FromStr,
    T::Err: Display,
{
    value.map(|v| parsed(v, field)).transpose()
}

/// An enumeration: `W` is the generated one, `C` is core's.
pub(crate) fn chosen<W, C>(value: i32, field: &str) -> Result<C, WireError>
where
    W: TryFrom<i32>,
    C: TryFrom<W, Error = WireError>,
{
    let unknown = || WireError::new(field, format!("{value} is no value that this version knows"));
    let wire = W::try_from(value).map_err(|_| unknown())?;
    C::try_from(wire).map_err(|e| e.within(field))
}

/// Enumerations that have the same variants on both sides, but for the zero of the wire.
macro_rules! mirror {
    ($name:ident { $($variant:ident),+ $(,)? }) => {
        impl From<$name> for $crate::v1::$name {
            fn from(value: $name) -> Self {
                match value {
                    $($name::$variant => Self::$variant,)+
                }
            }
        }

        impl TryFrom<$crate::v1::$name> for $name {
            type Error = $crate::WireError;

            fn try_from(value: $crate::v1::$name) -> Result<Self, $crate::WireError> {
                match value {
                    $crate::v1::$name::Unspecified => Err($crate::WireError::missing("")),
                    $($crate::v1::$name::$variant => Ok(Self::$variant),)+
                }
            }
        }
    };
}
pub(crate) use mirror;
