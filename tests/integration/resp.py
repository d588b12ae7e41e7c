"""Redis's protocol over plain sockets, for tests that must control every byte.

Replies come back as: simple string -> str, bulk and verbatim string -> bytes, integer -> int,
nil -> None, array, set and push -> list, map -> dict, error -> ReplyError (returned, not raised).
"""

import select
import socket
import ssl
import time

import wire


class ReplyError(str):
    """An error reply, without its '-'."""


class Closed(ConnectionError):
    """The peer closed (or reset) the connection."""


def to_bytes(value):
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    return str(value).encode()


def encode(*args):
    """One command as an array of bulk strings."""
    out = [b"*%d\r\n" % len(args)]
    for value in map(to_bytes, args):
        out.append(b"$%d\r\n%b\r\n" % (len(value), value))
    return b"".join(out)


def reply_end(buffer, start=0):
    """Where the reply that begins at `start` ends, or None if it is not complete."""
    missing, position = 1, start
    while missing:
        line = buffer.find(b"\r\n", position)
        if line < 0:
            return None
        kind, rest = buffer[position], buffer[position + 1:line]
        position = line + 2
        missing -= 1
        if kind in b"$=!" and rest != b"-1":
            position += int(rest) + 2
            if position > len(buffer):
                return None
        elif kind in b"*~>" and rest != b"-1":
            missing += int(rest)
        elif kind == 0x25:  # %
            missing += 2 * int(rest)
    return position


def _decode(buffer, position):
    line = buffer.index(b"\r\n", position)
    kind, rest = chr(buffer[position]), bytes(buffer[position + 1:line])
    position = line + 2
    if kind == "+":
        return rest.decode("latin-1"), position
    if kind == "-":
        return ReplyError(rest.decode("latin-1")), position
    if kind == ":":
        return int(rest), position
    if kind == "_" or rest == b"-1":
        return None, position
    if kind in "$=!":
        end = position + int(rest)
        body = bytes(buffer[position:end])
        return (body[4:] if kind == "=" else body), end + 2
    if kind == "#":
        return rest == b"t", position
    if kind in ",(":
        return (float(rest) if kind == "," else int(rest)), position
    if kind in "*~>%":
        items = []
        for _ in range(int(rest) * (2 if kind == "%" else 1)):
            item, position = _decode(buffer, position)
            items.append(item)
        return (dict(zip(items[::2], items[1::2])) if kind == "%" else items), position
    raise AssertionError(f"not a reply: {kind}{rest!r}")


def decode(raw):
    value, end = _decode(raw, 0)
    assert end == len(raw), f"more than one reply in {raw!r}"
    return value


class Conn:
    def __init__(self, address, timeout=20.0, tls=None):
        self.sock = socket.create_connection(address, timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.sock = tls.wrap_socket(self.sock, server_hostname=address[0])
        self.buffer = bytearray()

    def close(self):
        self.sock.close()

    # -- bytes

    def send(self, *chunks):
        try:
            self.sock.sendall(b"".join(chunks))
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError) as error:
            raise Closed(str(error)) from error

    def _more(self):
        try:
            data = self.sock.recv(262144)
        except (ConnectionResetError, ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
            raise Closed(str(error)) from error
        if not data:
            raise Closed("end of stream" + (" inside a reply" if self.buffer else ""))
        self.buffer += data

    def read_raw(self):
        """The bytes of one reply."""
        while True:
            end = reply_end(self.buffer)
            if end is not None:
                out = bytes(self.buffer[:end])
                del self.buffer[:end]
                return out
            self._more()

    def read(self):
        return decode(self.read_raw())

    def read_many(self, count):
        """`count` replies; does not copy the buffer for each."""
        out, position = [], 0
        while len(out) < count:
            end = reply_end(self.buffer, position)
            if end is None:
                del self.buffer[:position]
                position = 0
                self._more()
                continue
            out.append(_decode(self.buffer, position)[0])
            position = end
        del self.buffer[:position]
        return out

    def skip_bytes(self, count):
        """Read and throw away exactly so many bytes."""
        while count:
            if not self.buffer:
                self._more()
            cut = min(count, len(self.buffer))
            del self.buffer[:cut]
            count -= cut

    def read_to_end(self):
        """Everything until the peer closes."""
        try:
            while True:
                self._more()
        except Closed:
            out = bytes(self.buffer)
            self.buffer.clear()
            return out

    def silent(self, seconds=0.2):
        """True if nothing comes and the connection stays open."""
        end = time.monotonic() + seconds
        while not self.buffer:
            left = end - time.monotonic()
            if left <= 0:
                return True
            if select.select([self.sock], [], [], left)[0]:
                try:
                    self._more()
                except Closed:
                    return False
        return False

    def ended(self, timeout=10.0):
        """True if the peer closes within the time, saying nothing more."""
        self.sock.settimeout(timeout)
        try:
            self._more()
        except Closed:
            return True
        except TimeoutError:
            return False
        return False

    # -- commands

    def call(self, *args):
        self.send(encode(*args))
        return self.read()

    def raw_call(self, *args):
        self.send(encode(*args))
        return self.read_raw()

    def ok(self, *args):
        reply = self.call(*args)
        assert reply == "OK", f"{args[0]}: {reply!r}"

    def pipe(self, *commands):
        """Send them in one go and read one reply for each."""
        self.send(b"".join(encode(*command) for command in commands))
        return self.read_many(len(commands))

    def wait_loaded(self, timeout=20.0):
        """Until the server no longer says that it is loading."""
        wire.eventually(lambda: not str(self.call("PING")).startswith("LOADING"), timeout, "loaded")
        return self

    def scan(self, *options):
        """All keys that a whole iteration gives, with repetitions; and how many pages."""
        cursor, keys, pages = b"0", [], 0
        while True:
            reply = self.call("SCAN", cursor, *options)
            assert isinstance(reply, list), reply
            cursor, page = reply
            keys += page
            pages += 1
            if cursor == b"0":
                return keys, pages
