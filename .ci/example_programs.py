#!/usr/bin/env python3
"""Runs the example programs as their headers say, with the programs they talk to.

Usage: example_programs.py FOLDER

FOLDER has the binaries of the members, and below it `examples`. What they do in detail
is tested by `cargo test`, `example-imap` with Dovecot only there; here it is the
programs: arguments, output, exit status, how they stop.
"""

import contextlib
import os
import pathlib
import resource
import signal
import smtplib
import socket
import subprocess
import sys
import tempfile
import threading
import time

BOUND = 60  # seconds after which something counts as hung


def binary(program):
    is_member = program.startswith("example-")
    return (BINARIES if is_member else BINARIES / "examples") / program


def run(program, *arguments, status=0, **environment):
    """What a program printed; it must exit with this status."""
    command = [binary(program), *arguments]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        timeout=BOUND,
        env=os.environ | environment,
    )
    said = done.stdout + done.stderr
    assert done.returncode == status, (program, arguments, done.returncode, said)
    return said


@contextlib.contextmanager
def bounded(process):
    """Ends a process that keeps us waiting."""
    timer = threading.Timer(BOUND, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextlib.contextmanager
def example(program, *arguments, stop=signal.SIGINT, **more):
    """A server of ours, which this signal stops cleanly. Its address."""
    command = [binary(program), *arguments]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **more)
    try:
        with bounded(server):
            address = server.stdout.readline().split()[-1]
        yield address
        server.send_signal(stop)
        assert server.wait(BOUND) == 0
    finally:
        server.kill()
        server.wait()


@contextlib.contextmanager
def interop(ready, *command):
    """A server of others' on a free port: its address. `{}` is the port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [part.format(port) for part in command]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        with bounded(server):
            assert any(ready in line for line in server.stdout), command
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.communicate()


def http_client():
    with example("http_server", "127.0.0.1:0") as address:
        said = run("http_client", f"http://{address}/")
        assert said.startswith("HTTP/1.1 200 OK\n") and said.endswith("It works.\n"), said
        missing = run("http_client", f"http://{address}/missing")
        assert missing.startswith("HTTP/1.1 404 Not Found\n"), missing
    assert "refused" in run("http_client", f"http://{address}/", status=1)
    assert "usage" in run("http_client", address, status=1)


def nc(address, text):
    """What nc prints when it has sent this and the server has closed."""
    command = ["nc", "-N", *address.split(":")]
    return subprocess.run(command, input=text, stdout=subprocess.PIPE, timeout=BOUND).stdout


def echo():
    for stop in [signal.SIGINT, signal.SIGTERM]:
        with example("echo", "127.0.0.1:0", stop=stop) as address:
            assert nc(address, b"one\ntwo\r\nthr") == b"one\r\ntwo\r\nthr\r\n"


def no_descriptor_and_no_stderr():
    """What cannot be accepted is reported, and that cannot be written."""
    few = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))
    reader, writer = os.pipe()
    os.close(reader)
    with folder() as here, open("/dev/full", "w") as full:
        for program, *more in [
            ["echo"],
            ["http_server"],
            ["example-smtp", "--maildir", str(here / "Maildir")],
            ["example-chat", "--http", "127.0.0.1:0"],
        ]:
            for stderr in [writer, full]:
                command = [program, "127.0.0.1:0", *more]
                with example(*command, stderr=stderr, preexec_fn=few) as address:
                    host, port = address.split(":")
                    peers = [socket.create_connection((host, int(port))) for _ in range(40)]
                    time.sleep(0.5)
                    for peer in peers:
                        peer.close()
                    assert nc(address, b"GET /\n") != b"", program
    os.close(writer)


def redis():
    redis_server = ["redis-server", "--bind", "127.0.0.1", "--save", "", "--port", "{}"]
    with interop("Ready to accept connections", *redis_server) as address, folder() as here:
        for protocol in [[], ["--resp3"]]:
            client = lambda *words, **more: run("example-redis", *protocol, *words, **more)
            assert client(address, "SET", "a", "b c") == "OK\n"
            assert client(address, "GET", "a") == '"b c"\n'
            assert client(address, "SET", "bytes", os.fsdecode(b"\xff\xfe")) == "OK\n"
            assert client(address, "GET", "bytes") == '"\\xff\\xfe"\n'
            assert client(address, "GET", "none") == "(nil)\n"
            assert "(error) WRONGTYPE" in client(address, "LPUSH", "a", "b", status=1)
            out = str(here / "out")
            assert client("--output", out, address, "GET", "a") == f"3 bytes in {out}\n"
            assert (here / "out").read_text() == "b c"
            assert "exists" in client("--output", out, address, "GET", "a", status=2)
            (here / "out").unlink()
            many = client("--repeat", "3", address, "INCR", "n" + "".join(protocol))
            assert many == "(integer) 1\n(integer) 2\n(integer) 3\n", many
        servers = ["127.0.0.1:0", "--http", "127.0.0.1:0", "--redis", address]
        with example("example-chat", *servers) as chat:
            assert b"alone: hello\r\n" in nc(chat, b"/nick alone\nhello\n")
    assert "refused" in run("example-redis", address, "PING", status=2)
    assert "Usage" in run("example-redis", status=2)


def memcached():
    server = ["memcached", "-u", "root", "-l", "127.0.0.1", "-p", "{}", "-U", "0", "-vv"]
    with interop("server listening", *server) as address:
        run("example-memcached", address, "set", "key", "value")
        assert "value" in run("example-memcached", address, "get", "key")
        assert "not a key" in run("example-memcached", address, "get", "bad key", status=2)
    assert "refused" in run("example-memcached", address, "get", "key", status=2)
    assert "Usage" in run("example-memcached", status=2)


def chat():
    for stop in [signal.SIGINT, signal.SIGTERM]:
        with example("example-chat", "127.0.0.1:0", "--http", "127.0.0.1:0", stop=stop) as address:
            heard = nc(address, b"/nick nick\nhello\n")
            assert b"nick: hello\r\n" in heard, heard
    assert "Usage" in run("example-chat", "--what", status=2)


def smtp():
    with folder() as here:
        maildir = here / "Maildir"
        with example("example-smtp", "127.0.0.1:0", "--maildir", str(maildir)) as address:
            host, port = address.split(":")
            with smtplib.SMTP(host, int(port), timeout=BOUND) as client:
                client.sendmail("a@example.org", ["b@example.org"], "Subject: hi\r\n\r\n.dot\r\n")
            swaks = ["swaks", "--server", address, "--tls", "--to", "c@example.org"]
            subprocess.run(swaks, stdout=subprocess.DEVNULL, timeout=BOUND, check=True)
        mails = [path.read_text() for path in (maildir / "new").iterdir()]
        assert len(mails) == 2 and not list((maildir / "tmp").iterdir()), mails
        assert any(mail.endswith("Subject: hi\n\n.dot\n") for mail in mails), mails
    assert "Usage" in run("example-smtp", "--what", status=2)


def imap():
    assert "refused" in run("example-imap", "127.0.0.1:1", "ann", "list", status=1)
    assert "Usage" in run("example-imap", status=2)


@contextlib.contextmanager
def folder():
    with tempfile.TemporaryDirectory() as name:
        yield pathlib.Path(name)


TESTS = [echo, no_descriptor_and_no_stderr, http_client, redis, memcached, chat, smtp, imap]

if __name__ == "__main__":
    # Where a shell has put us into the background it is ignored, by programs
    # started here as well.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    BINARIES = pathlib.Path(sys.argv[1]).resolve()
    failed = 0
    for test in TESTS:
        try:
            test()
            print(f"ok      {test.__name__}")
        except Exception as error:
            failed += 1
            print(f"FAILED  {test.__name__}: {error!r:.2000}")
    print(f"{len(TESTS) - failed} passed, {failed} failed")
    sys.exit(failed > 0)
