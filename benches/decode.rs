//! Whole-mode decoding and the borrowing entry beside what one would pick
//! instead, in memory, in blocks of 64 KiB.
//!
//! `cargo bench --bench decode`. A row is the time for one block; the items per
//! second are frames. Compare rows of one run, by their medians.

use asynchat::{FrameRef, Terminator, TerminatorCodec};
use bytes::BytesMut;
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use memchr::{memchr_iter, memmem};
use std::io::BufRead;
use tokio_util::codec::{AnyDelimiterCodec, Decoder, LinesCodec};

/// Content lengths in bytes.
const LENGTHS: [usize; 5] = [8, 64, 256, 1024, 16384];
const BLOCK: usize = 64 * 1024;

fn main() {
    divan::main();
}

/// About 64 KiB of frames of `length` bytes, and how many there are.
fn block(length: usize, ending: &str) -> (Vec<u8>, usize) {
    let frame = "x".repeat(length) + ending;
    let frames = (BLOCK / frame.len()).max(4);
    (frame.repeat(frames).into_bytes(), frames)
}

/// Decodes a block to its end; each frame is dropped before the next comes.
fn owned<D: Decoder>(bencher: Bencher<'_, '_>, length: usize, ending: &str, make: impl Fn() -> D) {
    let (block, frames) = block(length, ending);
    bencher
        .counter(ItemsCount::new(frames))
        .with_inputs(|| (make(), BytesMut::from(block.as_slice())))
        .bench_local_refs(|(decoder, input)| {
            let mut seen = 0;
            while let Ok(Some(frame)) = decoder.decode(input) {
                black_box(frame);
                seen += 1;
            }
            assert_eq!(seen, frames);
        });
}

fn borrowed(bencher: Bencher<'_, '_>, length: usize, ending: &str, terminator: Terminator) {
    let (block, frames) = block(length, ending);
    let mut codec = TerminatorCodec::new(terminator);
    bencher.counter(ItemsCount::new(frames)).bench_local(|| {
        let mut input = black_box(block.as_slice());
        let mut seen = 0;
        while let Ok(Some(FrameRef::Complete(data))) = codec.decode_slice(&mut input) {
            black_box(data);
            seen += 1;
        }
        assert_eq!(seen, frames);
    });
}

#[divan::bench_group(sample_count = 200)]
mod lf {
    use super::*;

    #[divan::bench(args = LENGTHS)]
    fn a1_asynchat_owned(bencher: Bencher<'_, '_>, length: usize) {
        owned(bencher, length, "\n", || TerminatorCodec::new("\n"));
    }

    #[divan::bench(args = LENGTHS)]
    fn a2_lines_codec(bencher: Bencher<'_, '_>, length: usize) {
        owned(bencher, length, "\n", LinesCodec::new);
    }

    #[divan::bench(args = LENGTHS)]
    fn a3_any_delimiter_codec(bencher: Bencher<'_, '_>, length: usize) {
        owned(bencher, length, "\n", || AnyDelimiterCodec::new(b"\n".to_vec(), b"\n".to_vec()));
    }

    #[divan::bench(args = LENGTHS)]
    fn b1_asynchat_borrowed(bencher: Bencher<'_, '_>, length: usize) {
        borrowed(bencher, length, "\n", Terminator::lf());
    }

    #[divan::bench(args = LENGTHS)]
    fn b2_memchr_iter(bencher: Bencher<'_, '_>, length: usize) {
        let (block, frames) = block(length, "\n");
        bencher.counter(ItemsCount::new(frames)).bench_local(|| {
            let input = black_box(block.as_slice());
            let mut start = 0;
            for at in memchr_iter(b'\n', input) {
                black_box(&input[start..at]);
                start = at + 1;
            }
        });
    }

    #[divan::bench(args = LENGTHS)]
    fn b3_read_until(bencher: Bencher<'_, '_>, length: usize) {
        let (block, frames) = block(length, "\n");
        let mut line = Vec::new();
        bencher.counter(ItemsCount::new(frames)).bench_local(|| {
            let mut input = black_box(block.as_slice());
            while input.read_until(b'\n', &mut line).unwrap() > 0 {
                black_box(line.as_slice());
                line.clear();
            }
        });
    }
}

#[divan::bench_group(sample_count = 200)]
mod crlf {
    use super::*;

    #[divan::bench(args = LENGTHS)]
    fn a1_asynchat_owned(bencher: Bencher<'_, '_>, length: usize) {
        owned(bencher, length, "\r\n", || TerminatorCodec::new("\r\n"));
    }

    #[divan::bench(args = LENGTHS)]
    fn a2_lines_codec(bencher: Bencher<'_, '_>, length: usize) {
        owned(bencher, length, "\r\n", LinesCodec::new);
    }

    #[divan::bench(args = LENGTHS)]
    fn b1_asynchat_borrowed(bencher: Bencher<'_, '_>, length: usize) {
        borrowed(bencher, length, "\r\n", Terminator::crlf());
    }

    #[divan::bench(args = LENGTHS)]
    fn b2_asynchat_borrowed_line(bencher: Bencher<'_, '_>, length: usize) {
        borrowed(bencher, length, "\r\n", Terminator::line());
    }

    #[divan::bench(args = LENGTHS)]
    fn b3_memmem_find_iter(bencher: Bencher<'_, '_>, length: usize) {
        let (block, frames) = block(length, "\r\n");
        let finder = memmem::Finder::new("\r\n");
        bencher.counter(ItemsCount::new(frames)).bench_local(|| {
            let input = black_box(block.as_slice());
            let mut start = 0;
            for at in finder.find_iter(input) {
                black_box(&input[start..at]);
                start = at + 2;
            }
        });
    }
}
