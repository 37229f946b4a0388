#!/usr/bin/env python3
"""Counts the instructions of what must stay fast, and compares.

Usage: instructions.py [--write]

Each work of `benches/count.rs` is done N and 2N times under valgrind; the
difference is what it costs, to the digit, however busy the machine is. More
than TOLERANCE above what stands in `benches/instructions.txt` is a failure;
more than that below is said, so that the file is brought up to date.
"""

import pathlib
import re
import subprocess
import sys

TOLERANCE = 0.03
TIMES = 20_000
FILE = pathlib.Path("benches/instructions.txt")
WORKS = [
    "owned-8",
    "owned-64",
    "borrowed-8-lf",
    "borrowed-64-crlf",
    "borrowed-8-line",
    "flood",
    "handler-32",
    "next-32",
    "receive-32",
    "switch",
]


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


def main(write):
    built = output("cargo", "bench", "--bench", "count", "--no-run")
    program = re.search(r"Executable .*\((.*)\)", built)[1]
    rustc = output("rustc", "--version").strip()
    counts = {}
    for work in WORKS:
        times = TIMES // 100 if work == "flood" else TIMES
        once, twice = (instructions(program, work, n * times) for n in (1, 2))
        counts[work] = (twice - once) / times
    if write:
        lines = [f"{work} {count:.1f}\n" for work, count in counts.items()]
        FILE.write_text(f"# {rustc}\n" + "".join(lines))
        return 0
    head, *lines = FILE.read_text().splitlines()
    expected = {work: float(count) for work, count in map(str.split, lines)}
    if head != f"# {rustc}":
        print(f"{FILE} was made with another compiler: not compared ({head[2:]})")
    failed = 0
    for work, count in counts.items():
        ratio = count / expected[work]
        slower = ratio > 1 + TOLERANCE and head == f"# {rustc}"
        failed += slower
        note = "SLOWER" if slower else "faster: run --write" if ratio < 1 - TOLERANCE else "ok"
        print(f"{work:20} {count:10.1f} {expected[work]:10.1f} {ratio:6.3f} {note}")
    print(f"{len(counts) - failed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main("--write" in sys.argv))
