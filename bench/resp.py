"""A small Redis client for the benchmark: one socket, RESP2, no dependency."""

import socket


class ServerError(RuntimeError):
    """The server answered with an error."""


def encode(*words):
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)


class Client:
    def __init__(self, port, database=0, timeout=120):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        try:
            if database:
                self.call("SELECT", database)
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def call(self, *words):
        self.socket.sendall(encode(*words))
        return self.reply()

    def send(self, data):
        self.socket.sendall(data)

    def reply(self):
        """The next reply; an error is raised, also one within an array."""
        kind, rest = self.line()
        if kind == b"-":
            raise ServerError(rest.decode(errors="replace"))
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.take(int(rest) + 2)[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self.reply() for _ in range(int(rest))]
        return rest

    def line(self):
        """One line without its end, as (first byte, the rest)."""
        at = self.buffer.find(b"\r\n")
        while at < 0:
            self._fill()
            at = self.buffer.find(b"\r\n")
        line = bytes(self.buffer[:at])
        del self.buffer[:at + 2]
        return line[:1], line[1:]

    def take(self, count):
        while len(self.buffer) < count:
            self._fill()
        taken = bytes(self.buffer[:count])
        del self.buffer[:count]
        return taken

    def skip(self, count):
        """Drops `count` bytes without keeping them: for replies whose length is known before."""
        have = min(count, len(self.buffer))
        del self.buffer[:have]
        room = bytearray(1 << 18)
        count -= have
        while count > 0:
            got = self.socket.recv_into(room, min(count, len(room)))
            if got == 0:
                raise ConnectionError("the server closed the connection")
            count -= got

    def _fill(self):
        data = self.socket.recv(1 << 18)
        if not data:
            raise ConnectionError("the server closed the connection")
        self.buffer += data
