#![no_main]

use asynchat_fuzz::http_server::{is_long, run};
use libfuzzer_sys::{Corpus, fuzz_target};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fuzz_target!(|data: &[u8]| -> Corpus {
    // It takes as long as a hundred others.
    if is_long(data) {
        return Corpus::Reject;
    }
    run(data);
    Corpus::Keep
});
