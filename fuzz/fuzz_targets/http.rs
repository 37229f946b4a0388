#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| asynchat_fuzz::http_server::run(data));
