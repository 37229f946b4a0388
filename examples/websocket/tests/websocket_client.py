"""A client of the server at sys.argv[1], with the package `websockets`."""

import asyncio
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus


async def echo(url):
    async with connect(url + "/echo") as socket:
        for message in ["", "hello", "h\u00e9llo \U0001f600", b"", bytes(range(256)) * 300, "x" * 200_000]:
            await socket.send(message)
            assert await socket.recv() == message, message[:20]
        # Fragments, and a ping between them.
        await socket.send(["he", "l", "", "lo"])
        await (await socket.ping(b"are you there?"))
        assert await socket.recv() == "hello"
        # A burst.
        for number in range(1000):
            await socket.send(str(number))
        assert [await socket.recv() for _ in range(1000)] == [str(n) for n in range(1000)]
        await socket.close(3000, "enough")
    assert (socket.close_code, socket.close_reason) == (3000, "enough"), socket.close_code


async def refusals(url):
    for message, code in [(b"x" * (1 << 20), None), (b"x" * ((1 << 20) + 1), 1009)]:
        async with connect(url + "/echo", max_size=None) as socket:
            await socket.send(message)
            try:
                assert await socket.recv() == message and code is None
            except ConnectionClosed as closed:
                assert closed.rcvd.code == code, closed
    async with connect(url + "/echo") as socket:
        await socket.send(b"not UTF-8: \xff", text=True)
        await socket.wait_closed()
        assert socket.close_code == 1007, socket.close_code
    for path, origin, status in [("/nothing", None, 404), ("/echo", "http://evil.example", 403)]:
        try:
            async with connect(url + path, origin=origin):
                raise AssertionError(path)
        except InvalidStatus as refused:
            assert refused.response.status_code == status, refused


async def broadcast(url):
    sockets = [await connect(url + "/broadcast") for _ in range(3)]
    # Everybody is in the room when their own message has come back.
    for number, socket in enumerate(sockets):
        await socket.send(f"here {number}")
        while await socket.recv() != f"here {number}":
            pass
    await asyncio.gather(*(s.send(f"{i} {n}") for n in range(50) for i, s in enumerate(sockets)))
    heard = []
    for socket in sockets:
        messages = [m async for m in take(socket, 150)]
        heard.append(messages)
        assert sorted(messages) == sorted(f"{i} {n}" for n in range(50) for i in range(3))
    assert heard[0] == heard[1] == heard[2], "in the same order"
    for socket in sockets:
        await socket.close()
        assert socket.close_code == 1000, socket.close_code


async def take(socket, count):
    while count > 0:
        message = await socket.recv()
        if not message.startswith("here"):
            count -= 1
            yield message


async def main(url):
    await echo(url)
    await refusals(url)
    await broadcast(url)
    print("well")


asyncio.run(main(sys.argv[1]))
