#![no_main]

use asynchat_fuzz::http_server::run;
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

/// Whether a stream of many lines is asked for. Fewer are more
/// than is read of an answer.
fn is_long(data: &[u8]) -> bool {
    memchr::memmem::find_iter(data, b"/stream?n=").any(|at| {
        let number = &data[at + 10..];
        let len = number.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let n = std::str::from_utf8(&number[..len]).unwrap().parse::<u64>();
        n.is_ok_and(|n| n > 200)
    })
}
