//! What the example programs have in common.

pub mod serve;
