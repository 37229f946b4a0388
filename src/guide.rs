#![doc = include_str!("guide/README.md")]

// For the links of the pages.
use crate::*;

#[doc = include_str!("guide/messages.md")]
pub mod messages {}

#[doc = include_str!("guide/dialogues.md")]
pub mod dialogues {}

#[doc = include_str!("guide/output.md")]
pub mod output {}

#[doc = include_str!("guide/producers.md")]
pub mod producers {}

#[doc = include_str!("guide/transports.md")]
pub mod transports {}

#[doc = include_str!("guide/tasks.md")]
pub mod tasks {}

#[doc = include_str!("guide/servers.md")]
pub mod servers {}

// Tested in `tests/stress`, which has hyper.
#[cfg(not(doctest))]
#[doc = include_str!("guide/hyper.md")]
pub mod hyper {}

#[doc = include_str!("guide/coming_from_asynchat.md")]
pub mod coming_from_asynchat {}

#[doc = include_str!("guide/coming_from_framed.md")]
pub mod coming_from_framed {}

#[doc = include_str!("guide/when_to_use_something_else.md")]
pub mod when_to_use_something_else {}
