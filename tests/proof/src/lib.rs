//! Evidence that needs more than the tests of the crate itself; see `tests`.
