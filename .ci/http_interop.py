#!/usr/bin/env python3
"""Drives the example http_server with curl and Python's http.client, directly and
through nginx, HAProxy, Caddy and Apache, and with hardly any descriptors.

Usage: http_interop.py SERVER_BINARY
"""

import contextlib
import fcntl
import http.client
import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

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
    assert status == 200 and PAGE not in head
    assert b"content-length: %d\r\n" % len(PAGE) in head.lower(), head


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
        assert answer.read() == b"".join(pieces)
    connection.close()


def both_ways(address, _):
    """32 MiB come back while they are being sent."""
    connection = http.client.HTTPConnection(address, timeout=BOUND)
    connection.putrequest("POST", "/echo")
    connection.putheader("Content-Length", str(2 * len(LARGE)))
    connection.endheaders()
    sender = threading.Thread(target=connection.send, args=[LARGE * 2])
    sender.start()
    answer = connection.getresponse()
    assert answer.read() == LARGE * 2
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
        ("POST", "/echo", {"Transfer-Encoding": "gzip"}, 400),
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
    head = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    for request, status in [
        (b"hello\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", b"421"),
        (b"GET / HTTP/1.1\nHost: localhost\r\n\r\n", b"400"),
        (b"GET / HTTP/2.0\r\n\r\n", b"505"),
        (head + b"0x1\r\n", b"400"),
        (head + b"ffffffffffffffff\r\n", b"413"),
    ]:
        with connect(address) as peer:
            peer.sendall(request)
            answer = read_to_end(peer)
        assert answer.startswith(b"HTTP/1.1 " + status), (request, answer)
        assert answer.count(b"HTTP/1.1") == 1, (request, answer)


def pipelined_files(address, _):
    """A connection has one of its files open at a time, however many it asks for."""
    with connect(address) as peer:
        request = b"GET /files/large HTTP/1.1\r\nHost: localhost\r\n\r\n"
        peer.sendall(request * 4000)
        peer.recv(1)
        assert open_files(SERVERS[address]) <= 1, open_files(SERVERS[address])


def leased_file(address, root):
    """A file that cannot be opened now is unavailable, and holds up nobody."""
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    with open(root / "leased", "w+") as file:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        assert curl(address, "/files/leased", "--max-time", "9")[0] == 503
        assert curl(address, "/", "--max-time", "9") == (200, PAGE)
    assert curl(address, "/files/leased") == (200, b"")


def moving_file(address, root):
    """A name that is a file, a link out of the root and a pipe in turn is only the file."""
    over = threading.Event()
    mover = threading.Thread(target=keep_moving, args=[root, over])
    mover.start()
    try:
        for _ in range(100):
            with connect(address) as peer:
                peer.sendall(b"GET /files/moving HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
                peer.shutdown(socket.SHUT_WR)
                answers = read_to_end(peer)
                assert answers.count(b"HTTP/1.1 ") == 20 and b"secret" not in answers, answers
    finally:
        over.set()
        mover.join()


def keep_moving(root, over):
    name, new = root / "moving", root / "new"
    makers = [
        lambda: new.write_bytes(b"public"),
        lambda: new.symlink_to("../secret"),
        lambda: os.mkfifo(new),
        lambda: new.mkdir(),
    ]
    while not over.is_set():
        for make in makers:
            make()
            if new.is_dir() and not new.is_symlink():
                name.unlink()
            new.rename(name)
            if name.is_dir() and not name.is_symlink():
                name.rmdir()


def stops_cleanly(address, server):
    """SIGINT closes idle connections, finishes requests, and exits with 0."""
    with connect(address) as idle, connect(address) as busy:
        head = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n"
        busy.sendall(head + b"Expect: 100-continue\r\n\r\n")
        assert b"100 Continue" in busy.recv(4096)
        busy.sendall(b"half")
        server.send_signal(signal.SIGINT)
        assert read_to_end(idle) == b""
        busy.sendall(b"half")
        assert read_to_end(busy).endswith(b"\r\n\r\nhalfhalf")
    assert server.wait(BOUND) == 0


def few_descriptors(binary, root):
    """With 64 of them, all peers of a hundred are served in turn, and no call fails."""
    few = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    request = b"GET /files/large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with open(root.parent / "stderr", "w+") as stderr:
        with serving(binary, root, preexec_fn=few, stderr=stderr) as (address, _):
            peers = [connect(address) for _ in range(100)]
            time.sleep(1)
            for peer in peers:
                peer.sendall(request)
            for peer in peers:
                assert read_to_end(peer).endswith(LARGE)
                peer.close()
        stderr.seek(0)
        assert stderr.read() == ""


def old_kernel(binary, root):
    """Without openat2 the files are the same."""
    for error in ["ENOSYS", "EPERM"]:
        # -D: our child is the server, and not strace.
        strace = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=openat2"]
        strace += ["-e", f"inject=openat2:error={error}"]
        with serving(binary, root, strace) as (address, _):
            curl_files(address, root)
            assert curl(address, "/files/folder/small") == (200, b"small")
            moving_file(address, root)


def nginx_config(here, http):
    return f"""
        daemon off;
        pid {here}/nginx.pid;
        events {{}}
        http {{
            access_log off;
            client_max_body_size 0;
            {http}
        }}
    """


def nginx(here, port, upstream):
    yield "nginx", "-p", here, "-e", "stderr", "-c", here / "nginx.conf"
    yield here / "nginx.conf", nginx_config(here, f"""
            server {{
                listen 127.0.0.1:{port};
                location / {{ proxy_pass http://{upstream}; }}
            }}
    """)


def nginx_unbuffered(here, port, upstream):
    yield "nginx", "-p", here, "-e", "stderr", "-c", here / "nginx.conf"
    yield here / "nginx.conf", nginx_config(here, f"""
            upstream server {{ server {upstream}; keepalive 4; }}
            server {{
                listen 127.0.0.1:{port};
                location / {{
                    proxy_pass http://server;
                    proxy_http_version 1.1;
                    proxy_set_header Host $http_host;
                    proxy_set_header Connection "";
                    proxy_buffering off;
                    proxy_request_buffering off;
                }}
            }}
    """)


def haproxy(here, port, upstream):
    yield "haproxy", "-db", "-f", here / "haproxy.cfg"
    yield here / "haproxy.cfg", f"""
defaults
    mode http
    timeout connect 10s
    timeout client 60s
    timeout server 60s
listen all
    bind 127.0.0.1:{port}
    server one {upstream}
"""


def caddy(here, port, upstream):
    yield "caddy", "run", "--config", here / "Caddyfile", "--adapter", "caddyfile"
    yield here / "Caddyfile", f"""
{{
    admin off
    auto_https off
}}
http://127.0.0.1:{port} {{
    reverse_proxy {upstream}
}}
"""


def apache(here, port, upstream):
    yield "apache2", "-X", "-d", here, "-f", here / "apache2.conf"
    modules = ["mpm_event", "authz_core", "proxy", "proxy_http"]
    load = "\n".join(f"LoadModule {m}_module /usr/lib/apache2/modules/mod_{m}.so" for m in modules)
    yield here / "apache2.conf", f"""
{load}
ServerName localhost
PidFile {here}/apache2.pid
DefaultRuntimeDir {here}
ErrorLog {here}/error.log
Listen 127.0.0.1:{port}
ProxyPass / http://{upstream}/
"""


def behind(proxy, upstream, root):
    """All is as without a proxy."""
    with tempfile.TemporaryDirectory() as here, socket.create_server(("127.0.0.1", 0)) as free:
        here, port = pathlib.Path(here), free.getsockname()[1]
        free.close()
        command, (path, config) = proxy(here, port, upstream)
        path.write_text(config)
        # What runs as another user reads what is there.
        here.chmod(0o755)
        env = os.environ | {"PATH": os.environ["PATH"] + ":/usr/sbin", "HOME": str(here)}
        output = open(here / "output", "wb")
        with output, subprocess.Popen(command, env=env, stdout=output, stderr=output) as process:
            try:
                address = f"127.0.0.1:{port}"
                wait_for(address)
                for test in THROUGH_A_PROXY:
                    in_turn(test, proxy, address, root)
            except Exception:
                traceback.print_exc()
                print((here / "output").read_text()[-2000:])
                raise
            finally:
                process.terminate()


def in_turn(test, proxy, *args):
    """Caddy 2.6 sometimes closes a connection whose answer follows the last byte of a body
    at once, whatever server it has: then once more."""
    for _ in range(4 if proxy is caddy else 0):
        with contextlib.suppress(subprocess.CalledProcessError, http.client.HTTPException):
            return test(*args)
    return test(*args)


def wait_for(address):
    begun = time.monotonic()
    while time.monotonic() < begun + BOUND:
        with contextlib.suppress(OSError):
            return connect(address).close()
        time.sleep(0.1)
    raise TimeoutError(address)


def curl_many(address, _):
    """Requests on several connections at once, which a proxy may mix."""
    urls = [f"http://{address}{path}" for path in ["/", "/stream?n=1000"] * 50]
    # A proxy may close a connection just when the next request is sent on it (RFC 9112, 9.3.1).
    again = ["--retry", "3", "--retry-all-errors"]
    command = ["curl", "--silent", "--no-progress-meter", "--parallel", *again, "--max-time", str(BOUND), *urls]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    assert done.stdout.count(PAGE) == 50 and done.stdout.count(b"line 1000\n") == 50


def echo_of_clients(address, _):
    """Most libraries send everything before they read."""
    connection = http.client.HTTPConnection(address, timeout=BOUND)
    for length in [0, 1, 100_000, 16 << 20]:
        connection.request("POST", "/echo", LARGE[:length])
        assert connection.getresponse().read() == LARGE[:length], length
    connection.close()

def connect(address):
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), BOUND)


def read_to_end(peer):
    return b"".join(iter(lambda: peer.recv(65536), b""))


def run(tests):
    """Runs functions with their arguments: how many have failed."""
    failed = 0
    for test, *args in tests:
        name = " ".join([test.__name__, *[arg.__name__ for arg in args if callable(arg)]])
        try:
            test(*args)
            print(f"ok      {name}")
        except Exception as error:
            failed += 1
            print(f"FAILED  {name}: {error!r:.500}")
    return failed


def open_files(server):
    """How many of the files of the root a server has open."""
    here = pathlib.Path(f"/proc/{server.pid}/fd")
    targets = [os.readlink(entry) for entry in here.iterdir()]
    return sum("/root/" in target for target in targets)


SERVERS = {}


@contextlib.contextmanager
def serving(binary, root, before=(), **more):
    """The server on a port of its own, and its address."""
    command = [*before, binary, "127.0.0.1:0", "--root", str(root), "--max-body", str(MAX_BODY)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **more) as server:
        try:
            address = server.stdout.readline().split()[-1]
            SERVERS[address] = server
            yield address, server
        finally:
            server.kill()


def main(binary):
    for program in ["apache2", "caddy", "curl", "haproxy", "nginx", "strace"]:
        if shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin") is None:
            sys.exit(f"{program} is not installed")
    with tempfile.TemporaryDirectory() as outside:
        root = pathlib.Path(outside, "root")
        root.mkdir()
        pathlib.Path(outside, "secret").write_text("secret")
        (root / "link").symlink_to("../secret")
        (root / "large").write_bytes(LARGE)
        with open(root / "too_large", "wb") as file:
            file.truncate(MAX_BODY + 1)
        (root / "folder").mkdir()
        (root / "folder" / "small").write_bytes(b"small")
        with serving(binary, root) as (address, server):
            tests = [
                *[(test, address, root) for test in PEERS],
                *[(behind, proxy, address, root) for proxy in PROXIES],
                (few_descriptors, binary, root),
                (old_kernel, binary, root),
                (stops_cleanly, address, server),
            ]
            failed = run(tests)
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
    echo_of_clients,
    both_ways,
    errors,
    raw_errors,
    pipelined_files,
    leased_file,
    moving_file,
]

THROUGH_A_PROXY = [
    curl_page,
    curl_stream,
    curl_echo,
    curl_many,
    echo_of_clients,
    chunked_upload,
]

PROXIES = [nginx, nginx_unbuffered, haproxy, caddy, apache]

if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
