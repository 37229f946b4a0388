#!/usr/bin/env python3
"""Lets each system call of three example programs fail once.

Usage: syscall_faults.py FOLDER_OF_BINARIES [--runs N] [--seed N] [--jobs N] [--only TEXT]

The programs are `echo`, `http_server` and `http_client`; the others have the
same accept loop and the same channel, and are not run here. strace injects the
failures. For each system call in CALLS that a program makes in a run in which all
is well, for each error that it could have, and for the first, second, ... call:
one run in which that call fails, once in each thread. Without `--runs` all of
them; with it so many, of every system call some.

What is asked of a run: it ends within a time; no panic; a program that gives up
says why and has an exit status; a client that does not has its answer; and a
server that has begun to listen serves whoever comes next, and stops. No more
connections than there were failures may lack a part of their answer, and what
has arrived is the beginning of it: as it was in the run in which all is well, or
that there is no such file, or not now, for a file that cannot be opened.

What is left out, and why:

- EAGAIN from a socket. The kernel says it when there is nothing, and tells epoll
  when there is; an injected one is not followed by that.
- Any error but EINTR from epoll_wait: what tokio does is panic.
- close: injected, it does not close, and the peer waits for an end.
- write: those are wake-ups, which never fail, and stdout, which is instead a
  full device, and a pipe that nobody reads.
- the stop by a signal where sendto or recvfrom fails: those tell the runtime of it.
- futex and memory (mmap, brk): std and the allocator abort, by design.
- What the loader and std do before `main` is only what is in CALLS.

A panic of tokio's own, when its threads, pipes or wake-ups cannot be made, is
counted apart: no program can prevent those.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading

BOUND = 20  # seconds after which something counts as hung

TRANSFER = ["EINTR", "ECONNRESET", "EIO", "ENOBUFS", "ENOMEM", "ETIMEDOUT", "EHOSTUNREACH"]
CALLS = {
    "accept4": ["EINTR", "ECONNABORTED", "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EPERM", "EPROTO"],
    "bind": ["EADDRINUSE", "EACCES", "ENOMEM"],
    "clone3": ["EAGAIN", "ENOMEM"],
    "connect": ["ECONNREFUSED", "ETIMEDOUT", "ENETUNREACH", "EADDRNOTAVAIL"],
    "epoll_create1": ["EMFILE", "ENOMEM"],
    "epoll_ctl": ["ENOMEM", "ENOSPC"],
    "epoll_wait": ["EINTR"],
    "eventfd2": ["EMFILE", "ENOMEM"],
    "fcntl": ["EMFILE"],
    "fstat": ["EIO", "ENOMEM"],
    "getsockname": ["ENOBUFS"],
    "getsockopt": ["ENOBUFS"],
    "listen": ["EADDRINUSE", "ENOBUFS"],
    "lseek": ["EIO"],
    "openat": ["EMFILE", "ENFILE", "EACCES", "EINTR", "EIO"],
    "openat2": ["EMFILE", "ENFILE", "EACCES", "EINTR", "EIO", "ENOSYS"],
    "read": ["EINTR", "EIO", "ECONNRESET"],
    "recvfrom": TRANSFER,
    "sendmsg": [*TRANSFER, "EPIPE"],
    "sendto": [*TRANSFER, "EPIPE"],
    "setsockopt": ["ENOBUFS", "EINVAL"],
    "shutdown": ["ENOTCONN", "ENOBUFS", "EIO"],
    "socket": ["EMFILE", "ENFILE", "ENOBUFS", "EACCES"],
    "socketpair": ["EMFILE"],
    "statx": ["EIO", "ENOMEM"],
    "writev": [*TRANSFER, "EPIPE"],
}

# What tokio says when it cannot go on itself.
OF_TOKIO = [
    "Failed building the Runtime",
    "OS can't spawn worker thread",
    "failed to wake I/O driver",
    "failed to create UnixStream",
]

BODY = bytes(range(256)) * 400


def talk(address, text):
    """What the server at this address answers to this, up to its end or an error."""
    got = bytearray()
    try:
        with socket.create_connection(address, timeout=BOUND) as client:
            client.sendall(text)
            client.shutdown(socket.SHUT_WR)
            while part := client.recv(65536):
                got += part
    except TimeoutError:
        raise Failed("a connection hangs") from None
    except OSError:
        pass
    return bytes(got)


def http(path, body=None):
    head = f"{'GET' if body is None else 'POST'} {path} HTTP/1.1\r\nHost: localhost\r\n"
    head += f"Content-Length: {len(body or b'')}\r\n"
    return (head + "\r\n").encode() + (body or b"")


# What is sent to a server, one connection each, and what must be in the answer.
ECHO = [
    (b"one\ntwo\r\nthr", b"one\r\ntwo\r\nthr\r\n"),
    (b"x" * 70000 + b"\nz\n", b"please\r\nz\r\n"),
    (b"a line\n" * 20, b"a line\r\n" * 20),
]
HTTP = [
    (http("/") + http("/stream?n=1000"), b"line 1000\n"),
    (http("/echo", BODY), BODY),
    (http("/files/file"), BODY),
    (http("/files/none"), b"404"),
    (http("/files/none") + http("/echo", b"x") + http("/files/file"), BODY),
]
PROBES = {"echo": ECHO[0], "http_server": (http("/"), b"It works.")}
SESSIONS = {"echo": ECHO, "http_server": HTTP}
# The whole answers of a run in which all is well, by what is sent.
RIGHT = {}


class Failed(Exception):
    pass


def check(condition, why):
    if not condition:
        raise Failed(why)


class Run:
    """A program under strace, with what it says."""

    def __init__(self, strace, *command):
        environment = os.environ | {"TOKIO_WORKER_THREADS": "1"}
        # -D: our child is the program, and not strace.
        traced = ["strace", "-D", "-f", "-qq", *strace, BINARIES / command[0], *command[1:]]
        self.process = subprocess.Popen(
            traced,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
        self.stderr = b""
        self.reader = threading.Thread(target=self.read_stderr)
        self.reader.start()
        self.is_late = False
        self.timer = threading.Timer(2 * BOUND, self.give_up)
        self.timer.start()

    def read_stderr(self):
        self.stderr = self.process.stderr.read()

    def give_up(self):
        self.is_late = True
        self.process.kill()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.finish()
        self.process.stderr.close()
        self.process.stdout.close()

    def finish(self):
        """The exit status."""
        status = self.process.wait()
        self.reader.join()
        self.timer.cancel()
        return status

    def has_given_up(self):
        """Whether it has ended by an error; that it must have said."""
        status = self.finish()
        check(not self.is_late, "hangs")
        check(status == 0 or self.stderr, f"ends with {status} and says nothing")
        return status != 0


def server(strace, name, *arguments):
    with Run(strace, name, "127.0.0.1:0", *arguments) as run:
        line = run.process.stdout.readline().split()
        if not line:
            check(run.has_given_up(), "does not listen and is content")
            return run.stderr
        host, port = line[-1].decode().split(":")
        address = (host, int(port))
        # Any of these may be the one that the failure hits: then it ends.
        sessions = [attempt(address, *session) for session in SESSIONS[name]]
        probes = [attempt(address, *PROBES[name]) for _ in range(3)]
        if b"panicked" not in run.stderr:
            check(run.process.poll() is None or is_tokio(run), "the server has ended")
        check(any(probes) or is_tokio(run), "nobody is served any more")
        lost, failures = (sessions + probes).count(False), failures_in(strace)
        check(lost <= failures or is_tokio(run), f"{lost} answers lost by {failures} failures")
        if {"trace=sendto", "trace=recvfrom"} & set(strace):
            return run.stderr
        run.process.send_signal(signal.SIGINT)
        status = run.finish()
        check(not run.is_late, "does not stop")
        check(status in [0, -signal.SIGINT] or is_tokio(run), f"ends with {status}")
        return run.stderr


def attempt(address, text, answer):
    """Whether the whole answer came. If not, what came must be its beginning."""
    got = talk(address, text)
    right = RIGHT.setdefault((text, answer), got)
    if got == right:
        check(answer in got, f"answers {got[-80:]!r}")
        return True
    is_beginning = any(answers.startswith(got) for answers in [right, *without_a_file(right)])
    check(is_beginning, f"answers {got[-80:]!r} at {len(got)} of {len(right)}")
    return False


def without_a_file(right):
    """The same, but for one answer, which is that there is no such file, or not now."""
    starts = [found.start() for found in re.finditer(rb"HTTP/1\.1 \d", right)] + [len(right)]
    missing = RIGHT.get((http("/files/none"), b"404"), b"")
    later = missing.replace(b"404 Not Found", b"503 Service Unavailable")
    later = later.replace(b"Length: 13", b"Length: 23")
    places = list(zip(starts, starts[1:]))
    return [right[:a] + other + right[b:] for a, b in places for other in [missing, later]]


def failures_in(strace):
    """How many calls were made to fail; the log is the file behind `-o`."""
    log = pathlib.Path(strace[strace.index("-o") + 1])
    return log.read_text(errors="replace").count("(INJECTED)")


def is_tokio(run):
    run.reader.join(0.5)
    return any(said.encode() in run.stderr for said in OF_TOKIO)


def client(strace, address):
    with Run(strace, "http_client", f"http://{address}/") as run:
        said = run.process.stdout.read()
        if not run.has_given_up():
            check(b"200 OK" in said and b"It works." in said, f"is content with {said!r}")
        return run.stderr


def play(program, strace, folder, address):
    if program == "http_client":
        return client(strace, address)
    more = ["--root", str(folder)] if program == "http_server" else []
    return server(strace, program, *more)


def calls_of(program, *where):
    """The calls of a clean run: for each, the ordinals it has in some thread."""
    with tempfile.NamedTemporaryFile() as log:
        play(program, ["-o", log.name, "-e", f"trace={','.join(CALLS)}"], *where)
        text = pathlib.Path(log.name).read_text(errors="replace")
    counts = collections.Counter()
    ordinals = collections.defaultdict(set)
    for thread, call in re.findall(r"^(\d+) +(\w+)\(", text, re.MULTILINE):
        counts[thread, call] += 1
        ordinals[call].add(counts[thread, call])
    return ordinals


def cases(where):
    """Those of each system call of each program by themselves."""
    groups = []
    for program in ["echo", "http_server", "http_client"]:
        for call, whens in sorted(calls_of(program, *where).items()):
            groups.append([(program, call, e, when) for e in CALLS[call] for when in sorted(whens)])
    return groups


def spread(groups, runs, seed):
    """So many, of each group one after the other."""
    chance = random.Random(seed)
    for group in groups:
        chance.shuffle(group)
    chance.shuffle(groups)
    chosen = []
    while any(groups) and len(chosen) < runs:
        chosen += [group.pop() for group in groups if group]
    return chosen[:runs]


def fault(case, where):
    """What went wrong; nothing, or "tokio"."""
    program, call, error, when = case
    inject = f"inject={call}:error={error}:when={when}"
    with tempfile.NamedTemporaryFile() as log:
        strace = ["-o", log.name, "--seccomp-bpf", "-e", f"trace={call}", "-e", inject]
        try:
            stderr = play(program, strace, *where)
        except Failed as failed:
            return str(failed)
    if b"panicked" not in stderr:
        return None
    if any(said.encode() in stderr for said in OF_TOKIO):
        return "tokio"
    return "panics: " + stderr.decode(errors="replace").strip()


def unwritable(address):
    """What went wrong where stdout cannot be written."""
    reader, writer = os.pipe()
    os.close(reader)
    full = os.open("/dev/full", os.O_WRONLY)
    for program in ["echo", "http_server", "http_client"]:
        to = [f"http://{address}/"] if program == "http_client" else ["127.0.0.1:0"]
        for name, stdout in [("full", full), ("broken", writer)]:
            command = [BINARIES / program, *to]
            done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, timeout=BOUND)
            said = done.stderr.decode(errors="replace").strip()
            if done.returncode != 1 or not said or "panicked" in said:
                yield (program, "stdout", name), f"ends with {done.returncode}: {said}"
    os.close(full)
    os.close(writer)


@contextlib.contextmanager
def places():
    """A folder with a file to serve, and the address of a server for clients."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "file").write_bytes(BODY)
        command = [BINARIES / "http_server", "127.0.0.1:0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                yield folder, server.stdout.readline().split()[-1]
            finally:
                server.kill()


def main(options):
    with places() as where:
        groups = cases(where)
        every = sum(map(len, groups))
        chosen = spread(groups, options.runs or every, options.seed)
        chosen = [case for case in chosen if options.only in " ".join(map(str, case))]
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            results = list(pool.map(lambda case: fault(case, where), chosen))
        failed = list(unwritable(where[1]))
    failed += [(case, why) for case, why in zip(chosen, results) if why not in [None, "tokio"]]
    for case, why in failed:
        print("FAILED ", *case, "-", why)
    print(
        f"{len(chosen)} of {every} runs: {len(failed)} failed, "
        f"{results.count('tokio')} panics of tokio's own"
    )
    return bool(failed) or not chosen


if __name__ == "__main__":
    # In the background of a shell it is ignored, by programs started here as well.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parser = argparse.ArgumentParser()
    parser.add_argument("binaries", type=pathlib.Path)
    parser.add_argument("--runs", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    BINARIES = options.binaries.resolve()
    sys.exit(main(options))
