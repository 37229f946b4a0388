"""Plays scenes with CPython's own asynchat, which this crate deliberately plays differently.

The argument names one of the functions below. It plays a scene without a network and
returns the result in one line. `docs/asynchat.md` says why.
"""

import sys
import warnings

warnings.simplefilter("ignore", DeprecationWarning)

import asynchat  # noqa: E402  (the warning comes with the import)
import asyncore  # noqa: E402


class Socket:
    """Gives what it was given, and writes down what is done with it."""

    def __init__(self, log):
        self.log = log
        self.reads = []
        self.blocked = False

    def send(self, data):
        if self.blocked:
            raise BlockingIOError(11, "blocked")
        self.log.append("send(%s)" % bytes(data).decode())
        return len(data)

    def recv(self, size):
        return self.reads.pop(0)

    def shutdown(self, how):
        self.log.append("shutdown")

    def close(self):
        self.log.append("close")

    def fileno(self):
        return 99

    def setblocking(self, flag):
        pass

    def getpeername(self):
        return "peer"


class Chat(asynchat.async_chat):
    def __init__(self, terminator):
        self.log = []
        self.wire = Socket(self.log)
        super().__init__(sock=self.wire, map={})
        self.set_terminator(terminator)

    def arrives(self, *cuts):
        self.wire.reads.extend(cuts)
        for _ in cuts:
            asyncore.read(self)

    def collect_incoming_data(self, data):
        self.log.append("collect(%s)" % data.decode())

    def found_terminator(self):
        self.log.append("found")

    def log_info(self, message, type="info"):
        pass

    def seen(self):
        return " ".join(self.log)


class Producer:
    def __init__(self, *chunks):
        self.chunks = list(chunks)

    def more(self):
        chunk = self.chunks.pop(0) if self.chunks else b""
        if isinstance(chunk, Exception):
            raise chunk
        return chunk


def a_count_of_zero():
    chat = Chat(0)
    chat.arrives(b"ab")
    return chat.seen()


def a_spent_count():
    chat = Chat(1)
    chat.arrives(b"a")
    return "%s %r" % (chat.seen(), chat.get_terminator())


def half_a_terminator_at_the_end():
    chat = Chat(b"\r\n")
    chat.arrives(b"QUIT\r", b"")
    return chat.seen()


def a_frame_without_an_end():
    chat = Chat(b"\n")
    chat.arrives(*[b"x" * 10_000] * 100)
    return "%d bytes collected" % sum(len(call) - len("collect()") for call in chat.log)


def frames_after_a_close():
    chat = Chat(b"\n")
    chat.found_terminator = lambda: (chat.log.append("found"), chat.close_when_done())
    chat.arrives(b"a\nb\n")
    return chat.seen()


def terminator_set_while_data_is_buffered():
    chat = Chat(b"\r\n\r\n")
    chat.arrives(b"a\r\n")
    chat.set_terminator(b"\r\n")
    chat.log.append("set, then read")
    chat.arrives(b"b")
    return chat.seen()


def a_terminator_set_in_collect_incoming_data():
    chat = Chat(5)
    chat.collect_incoming_data = lambda data: chat.set_terminator(10)
    chat.arrives(b"abc")
    count = chat.get_terminator()
    chat.collect_incoming_data = lambda data: chat.set_terminator(b"\n")
    chat.arrives(b"abc")
    return " ".join([repr(count), *chat.log])


def an_empty_chunk_of_a_producer():
    chat = Chat(None)
    chat.push_with_producer(Producer(b"a", b"", b"b"))
    for _ in range(5):
        chat.handle_write_event()
    return chat.seen()


def a_producer_that_fails():
    chat = Chat(None)
    try:
        chat.push_with_producer(Producer(b"a", OSError("oops")))
        chat.handle_write_event()
    except OSError:
        chat.log.append("raised")
    chat.push(b"behind")
    chat.handle_write_event()
    return chat.seen()


def when_a_push_is_sent():
    chat = Chat(None)
    chat.push(b"a")
    return "%s before push returns" % chat.seen()


def a_buffer_that_changes_after_its_push():
    chat = Chat(None)
    chat.wire.blocked = True
    data = bytearray(b"a")
    chat.push(data)
    data[:] = b"b"
    chat.wire.blocked = False
    chat.handle_write_event()
    return chat.seen()


def a_push_after_a_close():
    chat = Chat(None)
    chat.push(b"a")
    chat.close_when_done()
    chat.handle_write_event()
    chat.push(b"b")
    return "%s, %d queued" % (chat.seen(), len(chat.producer_fifo))


def a_peer_that_does_not_read():
    chat = Chat(b"\n")
    chat.wire.blocked = True
    chat.found_terminator = lambda: chat.push(b"x" * 100_000)
    chat.collect_incoming_data = lambda data: None
    chat.arrives(*[b"GET\n"] * 100)
    queued = sum(len(data) for data in chat.producer_fifo)
    return "%d bytes queued, reads on: %s" % (queued, bool(chat.readable()))


def a_peer_that_ends_its_side_first():
    chat = Chat(b"\n")
    chat.wire.blocked = True
    chat.found_terminator = lambda: chat.push(b"answer")
    chat.arrives(b"question\n", b"")
    return chat.seen()


def how_a_connection_is_closed():
    chat = Chat(None)
    chat.push(b"bye")
    chat.close_when_done()
    chat.handle_write_event()
    return chat.seen()


def discard_buffers_within_a_frame():
    chat = Chat(b"\n")
    chat.arrives(b"ab")
    chat.discard_buffers()
    chat.log.append("discard")
    chat.arrives(b"c\nd\n")
    return chat.seen()


def discard_buffers_after_a_close():
    chat = Chat(None)
    chat.wire.blocked = True
    chat.push(b"a")
    chat.close_when_done()
    chat.discard_buffers()
    return "to be written: %s" % bool(chat.writable())


def discard_buffers_while_a_write_is_pending():
    chat = Chat(None)
    chat.wire.blocked = True
    chat.push(b"a")
    chat.push(b"b")
    chat.discard_buffers()
    chat.push(b"c")
    chat.wire.blocked = False
    chat.initiate_send()
    return chat.seen()


def an_error_of_a_callback():
    chat = Chat(b"\n")

    def fails():
        chat.log.append("found")
        raise ValueError("oops")

    chat.found_terminator = fails
    chat.arrives(b"a\nb\n")
    return chat.seen()


if __name__ == "__main__":
    print(globals()[sys.argv[1]]())
