#!/usr/bin/env python3
"""Drives the example http_server with curl and Python's http.client.

Usage: http_peers.py SERVER_BINARY
"""

import http.client
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading

BOUND = 60  # seconds after which something counts as hung
MAX_BODY = 32 << 20
PAGE = b"<!doctype html><title>asynchat</title><p>It works.\n"
LARGE = bytes(range(256)) * (16 << 12)  # 16 MiB
LINES = b"".join(b"line %d\n" % i for i in range(1, 1001))


def curl(address, path, *options):
    """What curl printed: the status, a line feed, and the body."""
    command = ["curl", "--silent", "--show-error", "--max-time", str(BOUND)]
    command += ["--output", "-", "--write-out", "\n%{http_code}", *options]
    done = subprocess.run([*command, f"http://{address}{path}"], stdout=subprocess.PIPE, check=True)
    body, _, status = done.stdout.rpartition(b"\n")
    return int(status), body


def curl_page(address, _):
    assert curl(address, "/") == (200, PAGE)
    assert curl(address, "/", "--http1.0") == (200, PAGE)
    assert curl(address, "/", "--request", "DELETE") == (405, b"405 Method Not Allowed")
    status, head = curl(address, "/", "--head")
    assert status == 200 and b"Content-Length: %d\r\n" % len(PAGE) in head and PAGE not in head


def curl_stream(address, _):
    assert curl(address, "/stream?n=1000") == (200, LINES)
    assert curl(address, "/stream?n=1000", "--http1.0") == (200, LINES)
    assert curl(address, "/stream")[0] == 400


def curl_files(address, root):
    assert curl(address, "/files/large") == (200, LARGE)
    for path in ["/files/../secret", "/files//etc/passwd", "/files/%2e%2e/secret", "/files/link"]:
        assert curl(address, path, "--path-as-is") == (404, b"404 Not Found"), path


def curl_echo(address, root):
    upload = ["--data-binary", f"@{root}/large"]
    assert curl(address, "/echo", *upload) == (200, LARGE)
    assert curl(address, "/echo", *upload, "--http1.0") == (200, LARGE)
    assert curl(address, "/echo", *upload, "--header", "Transfer-Encoding: chunked") == (200, LARGE)
    expect = ["--header", "Expect: 100-continue", "--expect100-timeout", str(BOUND)]
    assert curl(address, "/echo", *upload, *expect) == (200, LARGE)


def curl_too_large(address, root):
    upload = ["--data-binary", f"@{root}/too_large"]
    assert curl(address, "/echo", *upload) == (413, b"413 Content Too Large")


def keep_alive(address, _):
    connection = http.client.HTTPConnection(address, timeout=BOUND)
    connection.connect()
    first = connection.sock
    for path, status, body in [
        ("/", 200, PAGE),
        ("/stream?n=1000", 200, LINES),
        ("/missing", 404, b"404 Not Found"),
        ("/files/large", 200, LARGE),
        ("/files/missing", 404, b"404 Not Found"),
        ("/", 200, PAGE),
    ]:
        for method in ["GET", "HEAD"]:
            connection.request(method, path)
            answer = connection.getresponse()
            assert answer.status == status, path
            assert answer.read() == (body if method == "GET" else b""), (method, path)
            assert connection.sock is first, f"{path}: the connection was closed"
    connection.request("GET", "/", headers={"Connection": "close"})
    assert connection.getresponse().read() == PAGE
    assert connection.sock is None
    connection.close()


def chunked_upload(address, _):
    connection = http.client.HTTPConnection(address, timeout=BOUND)
    pieces = [b"one", b"two" * 1000, b"\r\n0\r\n\r\n", b"end"]
    for _ in range(3):
        headers = {"Transfer-Encoding": "chunked"}
        connection.request("POST", "/echo", iter(pieces), headers, encode_chunked=True)
        answer = connection.getresponse()
        assert answer.headers["Transfer-Encoding"] == "chunked"
        assert answer.read() == b"".join(pieces)
    connection.close()


def both_ways(address, _):
    """16 MiB come back while they are being sent."""
    connection = http.client.HTTPConnection(address, timeout=BOUND)
    connection.putrequest("POST", "/echo")
    connection.putheader("Content-Length", str(len(LARGE)))
    connection.endheaders()
    sender = threading.Thread(target=connection.send, args=[LARGE])
    sender.start()
    answer = connection.getresponse()
    assert answer.read() == LARGE
    sender.join()
    connection.request("GET", "/")
    assert connection.getresponse().read() == PAGE
    connection.close()


def errors(address, _):
    for method, path, headers, status in [
        ("POST", "/", {}, 405),
        ("GET", "/echo", {}, 405),
        ("BREW", "/", {}, 501),
        ("POST", "/echo", {"Content-Length": "+1"}, 400),
        ("POST", "/echo", {"Content-Length": str(MAX_BODY + 1)}, 413),
        ("POST", "/echo", {"Transfer-Encoding": "gzip"}, 501),
        ("POST", "/echo", {"Transfer-Encoding": "chunked", "Content-Length": "1"}, 400),
        ("POST", "/echo", {"Expect": "a miracle"}, 417),
        ("GET", "/", {"Long": "x" * 65536}, 431),
    ]:
        connection = http.client.HTTPConnection(address, timeout=BOUND)
        connection.putrequest(method, path)
        for header in headers.items():
            connection.putheader(*header)
        connection.endheaders()
        answer = connection.getresponse()
        assert answer.status == status, (method, path, headers, answer.status)
        assert answer.headers["Connection"] == "close"
        answer.read()
        connection.close()


def raw_errors(address, _):
    """Requests http.client would not send: one answer, and the close."""
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    for request, status in [
        (b"hello\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\nHost: x\r\n\r\n", b"400"),
        (b"GET / HTTP/2.0\r\n\r\n", b"505"),
        (head + b"0x1\r\n", b"400"),
        (head + b"ffffffffffffffff\r\n", b"413"),
    ]:
        with connect(address) as peer:
            peer.sendall(request)
            answer = read_to_end(peer)
        assert answer.startswith(b"HTTP/1.1 " + status), (request, answer)
        assert answer.count(b"HTTP/1.1") == 1, (request, answer)


def stops_cleanly(address, server):
    """SIGINT closes idle connections, finishes requests, and exits with 0."""
    with connect(address) as idle, connect(address) as busy:
        busy.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\nhalf")
        begun = b""
        while not begun.endswith(b"half"):
            begun += busy.recv(4096)
        server.send_signal(signal.SIGINT)
        assert read_to_end(idle) == b""
        busy.sendall(b"half")
        assert read_to_end(busy) == b"half"
    assert server.wait(BOUND) == 0


def connect(address):
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), BOUND)


def read_to_end(peer):
    return b"".join(iter(lambda: peer.recv(65536), b""))


def run(tests):
    """Runs functions with their arguments: how many have failed."""
    failed = 0
    for test, *args in tests:
        try:
            test(*args)
            print(f"ok      {test.__name__}")
        except Exception as error:
            failed += 1
            print(f"FAILED  {test.__name__}: {error!r:.500}")
    return failed


def main(binary):
    if shutil.which("curl") is None:
        sys.exit("curl is not installed")
    with tempfile.TemporaryDirectory() as outside:
        root = pathlib.Path(outside, "root")
        root.mkdir()
        pathlib.Path(outside, "secret").write_text("secret")
        (root / "link").symlink_to("../secret")
        (root / "large").write_bytes(LARGE)
        with open(root / "too_large", "wb") as file:
            file.truncate(MAX_BODY + 1)
        command = [binary, "127.0.0.1:0", "--root", str(root), "--max-body", str(MAX_BODY)]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            address = server.stdout.readline().split()[-1]
            tests = [
                *[(test, address, root) for test in PEERS],
                (stops_cleanly, address, server),
            ]
            failed = run(tests)
        finally:
            server.kill()
            server.wait()
    print(f"{len(tests) - failed} passed, {failed} failed")
    return failed > 0


PEERS = [
    curl_page,
    curl_stream,
    curl_files,
    curl_echo,
    curl_too_large,
    keep_alive,
    chunked_upload,
    both_ways,
    errors,
    raw_errors,
]

if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
