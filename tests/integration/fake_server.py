"""A server that speaks PostgreSQL as a test scripts it: politely, late, wrongly or not at all.

Each connection runs `script(conn)` in a thread; by default it logs everyone in and answers
every query with nothing. What clients sent is in `server.received`, a list of
(seconds, connection number, message).
"""

import socket
import struct
import threading
import time

import wire

PARAMETERS = {
    "server_version": "15.0 (fake)", "server_encoding": "UTF8", "client_encoding": "UTF8",
    "DateStyle": "ISO, MDY", "TimeZone": "UTC", "integer_datetimes": "on",
    "standard_conforming_strings": "on", "application_name": "", "is_superuser": "off",
    "session_authorization": "app", "IntervalStyle": "postgres", "in_hot_standby": "off",
    "default_transaction_read_only": "off",
}


def parameter_status(name, value):
    return wire.message("S", wire.cstr(name) + wire.cstr(value))


def report(kind, severity, code, text, **more):
    """An ErrorResponse (E) or NoticeResponse (N); code None leaves the SQLSTATE out."""
    fields = {"S": severity, "V": severity, "C": code, "M": text, **more}
    body = b"".join(k.encode() + wire.cstr(v) for k, v in fields.items() if v is not None)
    return wire.message(kind, body + b"\0")


def error(code, text, severity="ERROR", **more):
    return report("E", severity, code, text, **more)


def notice(text, code="00000", severity="NOTICE"):
    return report("N", severity, code, text)


def ready(status="I"):
    return wire.message("Z", status.encode())


def tag(text):
    return wire.message("C", wire.cstr(text))


def rows(values, column="v"):
    """RowDescription and DataRows of one text column, and the tag."""
    out = wire.message("T", struct.pack("!h", 1) + wire.cstr(column)
                       + struct.pack("!IhIhih", 0, 0, 25, -1, -1, 0))
    for value in values:
        data = str(value).encode()
        out += wire.message("D", struct.pack("!hi", 1, len(data)) + data)
    return out + tag(f"SELECT {len(values)}")


class FakeConn:
    def __init__(self, server, sock, number):
        self.server = server
        self.sock = sock
        self.number = number
        self.buffer = bytearray()
        self.parameters = {}
        self.closed_at = None
        self.status = "I"

    def send(self, *chunks):
        self.sock.sendall(b"".join(chunks))

    def _fill(self, wanted):
        while len(self.buffer) < wanted:
            data = self.sock.recv(65536)
            if not data:
                raise wire.Closed("client closed")
            self.buffer += data

    def take(self, count):
        self._fill(count)
        out = bytes(self.buffer[:count])
        del self.buffer[:count]
        return out

    def recv_startup(self):
        """The startup packet's parameters; refuses encryption; notes cancel requests."""
        while True:
            (length,) = struct.unpack("!i", self.take(4))
            body = self.take(length - 4)
            (code,) = struct.unpack_from("!i", body)
            if code in (80877103, 80877104):
                self.send(b"N")
            elif code == wire.CANCEL_CODE:
                self.server.cancels.append((struct.unpack_from("!i", body, 4)[0], body[8:]))
                return None
            else:
                words = body[4:].split(b"\0")
                self.parameters = {k.decode(): v.decode()
                                   for k, v in zip(words[0::2], words[1::2]) if k}
                return self.parameters

    def recv(self):
        got = self._next()
        while got.type == "Q" and b"pg_catalog.pg_event_trigger" in got.body:
            self.send(self.server.survey)
            got = self._next()
        self.server.received.append((time.monotonic(), self.number, got))
        return got

    def _next(self):
        head = self.take(5)
        body = self.take(struct.unpack_from("!i", head, 1)[0] - 4)
        return wire.Msg(chr(head[0]), body)

    def login(self, after=b"", pid=None):
        """Trust login; `after` goes out in the same piece, behind ReadyForQuery."""
        if self.recv_startup() is None:
            return False
        pid = pid or 1000 + self.number
        welcome = wire.message("R", struct.pack("!i", 0))
        for name, value in PARAMETERS.items():
            welcome += parameter_status(name, self.parameters.get(name, value))
        welcome += wire.message("K", struct.pack("!ii", pid, 77 + self.number))
        self.send(welcome + ready() + after)
        return True

    def answer(self, got, reply=None):
        """The plainest correct answer to a message; `reply(sql)` may give a query's."""
        kind = got.type
        if kind == "Q":
            sql = got.body[:-1].decode()
            self._follow(sql)
            special = reply(sql) if reply else None
            self.send(special if special is not None
                      else (tag(self._tag(sql)) + ready(self.status)))
        elif kind == "P":
            self.sql = got.body.split(b"\0")[1].decode()
            self.send(wire.message("1"))
        elif kind == "B":
            self.send(wire.message("2"))
        elif kind == "D":
            self.send((wire.message("t", struct.pack("!h", 0)) if got.body[:1] == b"S" else b"")
                      + wire.message("n"))
        elif kind == "E":
            self.send(tag(self._tag(getattr(self, "sql", ""))))
        elif kind == "C":
            self.send(wire.message("3"))
        elif kind == "S":
            self.send(ready(self.status))
        elif kind == "X":
            raise wire.Closed("terminate")

    def _follow(self, sql):
        word = sql.split(None, 1)[0].lower().rstrip(";") if sql.split() else ""
        if word == "begin":
            self.status = "T"
        elif word in ("commit", "rollback", "end", "abort"):
            self.status = "I"

    @staticmethod
    def _tag(sql):
        word = sql.split(None, 1)[0].upper().rstrip(";") if sql.split() else ""
        return f"{word} 0" if word == "SELECT" else (word or "SELECT 0")

    def serve(self, reply=None):
        """Answer plainly until the client leaves."""
        while True:
            self.answer(self.recv(), reply)


def polite(reply=None):
    def script(conn):
        if conn.login():
            conn.serve(reply)
    return script


class FakeServer:
    def __init__(self, script=None, scripts=(), survey=tag("SELECT 0") + ready()):
        """`scripts` serve the first connections, one each; `script` all later ones. `survey`
        answers the look through the database's functions, which scripts do not see."""
        self.survey = survey
        self.script = script or polite()
        self.scripts = list(scripts)
        self.received = []
        self.cancels = []
        self.connections = []
        self.open_now = 0
        self.open_most = 0
        self.failures = []
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                conn = FakeConn(self, sock, len(self.connections))
                self.connections.append(conn)
                script = self.scripts.pop(0) if self.scripts else self.script
                self.open_now += 1
                self.open_most = max(self.open_most, self.open_now)
            threading.Thread(target=self._run, args=(conn, script), daemon=True).start()

    def _run(self, conn, script):
        try:
            script(conn)
        except (OSError, wire.Closed):
            pass
        except Exception as problem:  # noqa: BLE001 - shown by the test that looks
            self.failures.append(problem)
        finally:
            conn.sock.close()
            conn.closed_at = time.monotonic()
            with self.lock:
                self.open_now -= 1

    def url(self, database="app", user="app", **options):
        tail = "&".join(f"{k}={v}" for k, v in {"sslmode": "disable", **options}.items())
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}?{tail}"

    def messages(self, kinds=None):
        return [m for _, _, m in list(self.received) if kinds is None or m.type in kinds]

    def close(self):
        self.listener.close()
        for conn in self.connections:
            try:
                conn.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
