#!/usr/bin/env python3
"""Counts the instructions of what must stay fast, and compares.

Usage: instructions.py [--write | --any-rustc | --complexity [WORK…]]

Each work of `benches/instructions.rs` is done N and 2N times under valgrind; the
difference is what it costs, to the digit, however busy the machine is. More
than TOLERANCE above what stands in `benches/instructions.txt` is a failure;
more than that below is said, so that the file is brought up to date. Counts of
two compilers cannot be compared: another than the file was made with is a
failure, unless `--any-rustc` is given; then the counts are only shown.

With `--complexity` each work of `benches/complexity.rs` is done for N and 2N bytes, and
for none: twice the bytes may cost no more than LINEAR times the instructions.
Of all of them, or of those that are named.
"""

import pathlib
import re
import subprocess
import sys

TOLERANCE = 0.03
TIMES = 20_000
LINEAR = 2.1
FILE = pathlib.Path("benches/instructions.txt")
WORKS = [
    "owned-8",
    "owned-64",
    "owned-8-moved",
    "owned-length",
    "owned-message",
    "owned-every",
    "owned-counts",
    "borrowed-8-lf",
    "borrowed-64-crlf",
    "borrowed-8-line",
    "borrowed-length",
    "borrowed-message",
    "borrowed-every",
    "flood",
    "handler-32",
    "handler-length",
    "handler-message",
    "next-32",
    "next-set",
    "next-length",
    "next-message",
    "receive-32",
    "receive-counts",
    "push-64",
    "push-1024",
    "pusher-64",
    "reserve",
    "pushers-16",
    "peek",
    "echo-alone",
    "two-tasks",
    "switch",
]

# How many bytes. What holds 64 KiB of a terminator needs more than that to be
# slow in it, and what takes reads of up to 64 KiB needs several of them.
COMPLEXITY_WORKS = {
    "trickle-1": 20_000,
    "trickle-64": 200_000,
    "trickle-1-streaming": 20_000,
    "flood": 500_000,
    "flood-of-last-bytes": 500_000,
    "empty-frames": 20_000,
    "half-2": 50_000,
    "half-4": 50_000,
    "half-5": 50_000,
    "half-17": 50_000,
    "half-64": 50_000,
    "half-64k-trickled": 100_000,
    "half-64k-flooded": 1_000_000,
    "half-64k-streaming": 1_000_000,
    "set-of-3": 50_000,
    "set-by-automaton": 50_000,
    "set-without-automaton": 40_000,
    "skip-1": 20_000,
    "skip-set-1": 20_000,
    "skip-count-1": 20_000,
    "count-1": 20_000,
    "count-1-streaming": 20_000,
    "every-1": 20_000,
    "every-1-streaming": 20_000,
    "skip-every-1": 20_000,
    "empty-messages": 20_000,
    "message-head-1": 20_000,
    "message-body-1": 20_000,
    "message-more-1": 20_000,
    "message-more": 20_000,
    "skip-message-1": 20_000,
    "flips": 50_000,
    "set-again-1": 20_000,
    "set-again-any-1": 20_000,
    "pushes": 20_000,
    "producers": 5_000,
    "discards": 50_000,
    "channel-1": 20_000,
    "channel-64": 1_000_000,
    "channel-full-reads": 2_000_000,
    "channel-skip-64": 200_000,
    "channel-empty-frames": 20_000,
    "receive-1": 20_000,
    "receive-half-5": 20_000,
    "receive-any-1": 20_000,
    "receive-count-1": 20_000,
    "receive-none-1": 20_000,
    "receive-part-half-5": 50_000,
    "receive-empty-frames": 20_000,
    "run-1": 20_000,
    "run-half-5": 50_000,
    "run-empty-frames": 20_000,
}


def output(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        sys.exit(done.stdout)
    return done.stdout


def instructions(program, work, times):
    said = output(
        "valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program, work, str(times)
    )
    return int(re.search(r"Collected : (\d+)", said)[1])


def build(bench):
    built = output("cargo", "bench", "--bench", bench, "--no-run")
    return re.search(r"Executable .*\((.*)\)", built)[1]


def complexity(works):
    program = build("complexity")
    failed = 0
    for work in works:
        size = COMPLEXITY_WORKS[work]
        none, once, twice = (instructions(program, work, n * size) for n in (0, 1, 2))
        ratio = (twice - none) / (once - none)
        failed += ratio > LINEAR
        note = "NOT LINEAR" if ratio > LINEAR else "ok"
        print(f"{work:24} {(once - none) / size:10.1f} per byte {ratio:6.3f} {note}", flush=True)
    print(f"{len(works) - failed} passed, {failed} failed")
    return failed > 0


def main(write, any_rustc):
    rustc = output("rustc", "--version").strip()
    head, *lines = FILE.read_text().splitlines()
    is_same = head == f"# {rustc}"
    if not (write or any_rustc or is_same):
        print(f"{FILE} was made with {head[2:]}, and this is {rustc}: nothing can be compared.")
        print("--any-rustc shows the counts all the same, --write makes the file anew.")
        return 1
    program = build("instructions")
    counts = {}
    for work in WORKS:
        times = TIMES // 100 if work == "flood" else TIMES
        once, twice = (instructions(program, work, n * times) for n in (1, 2))
        counts[work] = (twice - once) / times
    if write:
        lines = [f"{work} {count:.1f}\n" for work, count in counts.items()]
        FILE.write_text(f"# {rustc}\n" + "".join(lines))
        return 0
    expected = {work: float(count) for work, count in map(str.split, lines)}
    if not is_same:
        print(f"{FILE} was made with {head[2:]}: not compared")
    failed = 0
    for work, count in counts.items():
        ratio = count / expected[work]
        slower = ratio > 1 + TOLERANCE and is_same
        failed += slower
        note = "SLOWER" if slower else "faster: run --write" if ratio < 1 - TOLERANCE else "ok"
        print(f"{work:20} {count:10.1f} {expected[work]:10.1f} {ratio:6.3f} {note}")
    print(f"{len(counts) - failed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--complexity"]:
        sys.exit(complexity(sys.argv[2:] or list(COMPLEXITY_WORKS)))
    sys.exit(main("--write" in sys.argv, "--any-rustc" in sys.argv))
