//! The locks and atomics that threads share. `tests/model` replaces this file by another.

pub(crate) use std::sync::atomic::AtomicBool;
pub(crate) use std::sync::{Arc, Mutex, MutexGuard};
pub(crate) use tokio::sync::oneshot;
