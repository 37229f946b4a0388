"""CPython's own asynchat as an oracle: sessions in, callbacks out.

A line on standard input is one session, two fields divided by a blank:

    terminators   divided by commas; the first to start with, the others set in
                  found_terminator: sHEX a byte string, iN a count, n none,
                  - leaves what is set
    cuts          divided by commas, each HEX: what one recv() returns

The line on standard output lists the callbacks in order, divided by commas:
cHEX collect_incoming_data, f found_terminator, and at the end bHEX, what is
held in the buffer. There are no sockets.
"""

import sys
import warnings

warnings.simplefilter("ignore", DeprecationWarning)

import asynchat  # noqa: E402  (the warning comes with the import)


class Session(asynchat.async_chat):
    def __init__(self, terminators, cuts):
        super().__init__(sock=None, map={})
        self.terminators = iter(terminators)
        self.cuts = cuts
        self.calls = []
        self.set_next()

    def set_next(self):
        term = next(self.terminators, "-")
        if term == "-":
            return
        values = {"s": bytes.fromhex, "i": int, "n": lambda _: None}
        self.set_terminator(values[term[0]](term[1:]))

    def recv(self, buffer_size):
        cut = self.cuts.pop(0)
        assert 0 < len(cut) <= buffer_size
        return cut

    def collect_incoming_data(self, data):
        self.calls.append("c" + data.hex())

    def found_terminator(self):
        self.calls.append("f")
        self.set_next()

    def run(self):
        while self.cuts:
            self.handle_read()
        self.calls.append("b" + self.ac_in_buffer.hex())
        return ",".join(self.calls)


def main():
    for line in sys.stdin:
        terminators, cuts = line.rstrip("\n").split(" ")
        cuts = [bytes.fromhex(cut) for cut in cuts.split(",") if cut]
        sys.stdout.write(Session(terminators.split(","), cuts).run() + "\n")


if __name__ == "__main__":
    main()
