"""The PostgreSQL protocol over plain sockets, for tests that must control every byte.

Builders return bytes, `Conn` speaks to a server. Nothing here hides a message: what no helper
consumes is still in the list that the helper returns.
"""

import base64
import hashlib
import hmac
import os
import socket
import ssl
import struct
import time
from dataclasses import dataclass, field

PROTOCOL_3_0 = 0x00030000
PROTOCOL_3_2 = 0x00030002
SSL_REQUEST = struct.pack("!ii", 8, 80877103)
GSSENC_REQUEST = struct.pack("!ii", 8, 80877104)
CANCEL_CODE = 80877102


class Closed(ConnectionError):
    """The peer closed (or reset) the connection."""


class PgError(Exception):
    def __init__(self, fields):
        super().__init__(f"{fields.get('S')} {fields.get('C')}: {fields.get('M')}")
        self.fields = fields
        self.code = fields.get("C")
        self.message = fields.get("M", "")


@dataclass(frozen=True)
class Msg:
    type: str
    body: bytes

    def __repr__(self):
        body = self.body if len(self.body) <= 60 else self.body[:60] + b"..."
        return f"{self.type}{body!r}"


# ---- builders -----------------------------------------------------------------------------------


def message(kind, body=b""):
    return kind.encode() + struct.pack("!i", len(body) + 4) + body


def cstr(text):
    return (text.encode() if isinstance(text, str) else text) + b"\0"


def startup(params, version=PROTOCOL_3_0):
    body = struct.pack("!i", version)
    for key, value in params.items():
        body += cstr(key) + cstr(value)
    body += b"\0"
    return struct.pack("!i", len(body) + 4) + body


def cancel_request(pid, key):
    return struct.pack("!iii", 12 + len(key), CANCEL_CODE, pid) + key


def query(sql):
    return message("Q", cstr(sql))


def parse(name, sql, oids=()):
    return message("P", cstr(name) + cstr(sql) + struct.pack("!h", len(oids))
                   + b"".join(struct.pack("!I", oid) for oid in oids))


def bind(portal="", statement="", params=(), result_formats=()):
    body = cstr(portal) + cstr(statement) + struct.pack("!hh", 0, len(params))
    for value in params:
        if value is None:
            body += struct.pack("!i", -1)
        else:
            data = value if isinstance(value, bytes) else str(value).encode()
            body += struct.pack("!i", len(data)) + data
    body += struct.pack("!h", len(result_formats))
    body += b"".join(struct.pack("!h", f) for f in result_formats)
    return message("B", body)


def describe(kind, name=""):
    return message("D", kind.encode() + cstr(name))


def execute(portal="", max_rows=0):
    return message("E", cstr(portal) + struct.pack("!i", max_rows))


def close(kind, name=""):
    return message("C", kind.encode() + cstr(name))


def function_call(oid, args):
    body = struct.pack("!Ihh", oid, 0, len(args))
    for arg in args:
        data = str(arg).encode()
        body += struct.pack("!i", len(data)) + data
    return message("F", body + struct.pack("!h", 0))


def copy_data(data):
    return message("d", data)


def password(text):
    return message("p", cstr(text))


SYNC = message("S")
FLUSH = message("H")
TERMINATE = message("X")
COPY_DONE = message("c")


def copy_fail(reason="no"):
    return message("f", cstr(reason))


def batch(sql, params=(), name=""):
    """Parse, Bind, Describe, Execute, Sync in one piece."""
    return (parse(name, sql) + bind("", name, params) + describe("P") + execute() + SYNC)


# ---- parsers ------------------------------------------------------------------------------------


def error_fields(body):
    fields = {}
    for part in body.rstrip(b"\0").split(b"\0"):
        if part:
            fields[chr(part[0])] = part[1:].decode("utf-8", "replace")
    return fields


def row_values(body):
    (count,) = struct.unpack_from("!h", body)
    offset, values = 2, []
    for _ in range(count):
        (length,) = struct.unpack_from("!i", body, offset)
        offset += 4
        if length < 0:
            values.append(None)
        else:
            values.append(body[offset:offset + length].decode("utf-8", "replace"))
            offset += length
    return tuple(values)


def column_names(body):
    (count,) = struct.unpack_from("!h", body)
    offset, names = 2, []
    for _ in range(count):
        end = body.index(b"\0", offset)
        names.append(body[offset:end].decode())
        offset = end + 1 + 18
    return names


@dataclass
class Result:
    messages: list = field(default_factory=list)

    def _of(self, kind):
        return [m for m in self.messages if m.type == kind]

    @property
    def types(self):
        """Message types in order, without the asynchronous ones."""
        return "".join(m.type for m in self.messages if m.type not in "NSA")

    @property
    def rows(self):
        return [row_values(m.body) for m in self._of("D")]

    @property
    def value(self):
        return self.rows[0][0]

    @property
    def tags(self):
        return [m.body[:-1].decode() for m in self._of("C")]

    @property
    def errors(self):
        return [error_fields(m.body) for m in self._of("E")]

    @property
    def codes(self):
        return [e.get("C") for e in self.errors]

    @property
    def notices(self):
        return [error_fields(m.body) for m in self._of("N")]

    @property
    def parameters(self):
        return dict(parameter(m.body) for m in self._of("S"))

    @property
    def status(self):
        ready = self._of("Z")
        return ready[-1].body.decode() if ready else None


def parameter(body):
    key, value, _ = body.split(b"\0", 2)
    return key.decode(), value.decode()


# ---- SCRAM --------------------------------------------------------------------------------------


def endpoint_binding(sock):
    """tls-server-end-point of RFC 5929 for certificates signed with SHA-256."""
    return hashlib.sha256(sock.getpeercert(binary_form=True)).digest()


def scram_verifier(text, iterations=4096, salt=None):
    salt = salt or os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", text.encode(), salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    b64 = lambda data: base64.b64encode(data).decode()  # noqa: E731
    return f"SCRAM-SHA-256${iterations}:{b64(salt)}${b64(stored)}:{b64(server)}"


class Scram:
    """One SCRAM exchange. `gs2` is n (no binding), y (client could) or p (bound)."""

    def __init__(self, text, gs2="n", binding=b""):
        self.password = text
        self.nonce = base64.b64encode(os.urandom(18)).decode()
        self.gs2 = "p=tls-server-end-point,," if gs2 == "p" else f"{gs2},,"
        self.binding = binding if gs2 == "p" else b""
        self.salt = self.iterations = None

    @property
    def mechanism(self):
        return "SCRAM-SHA-256-PLUS" if self.gs2.startswith("p") else "SCRAM-SHA-256"

    def first(self):
        self.first_bare = f"n=,r={self.nonce}"
        data = (self.gs2 + self.first_bare).encode()
        return message("p", cstr(self.mechanism) + struct.pack("!i", len(data)) + data)

    def final(self, server_first):
        parts = dict(p.split("=", 1) for p in server_first.decode().split(","))
        if not parts["r"].startswith(self.nonce):
            raise AssertionError("the server's nonce does not extend ours")
        self.salt, self.iterations = parts["s"], int(parts["i"])
        salted = hashlib.pbkdf2_hmac("sha256", self.password.encode(),
                                     base64.b64decode(parts["s"]), self.iterations)
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        stored = hashlib.sha256(client_key).digest()
        channel = base64.b64encode(self.gs2.encode() + self.binding).decode()
        without_proof = f"c={channel},r={parts['r']}"
        auth = f"{self.first_bare},{server_first.decode()},{without_proof}".encode()
        signature = hmac.digest(stored, auth, "sha256")
        proof = bytes(a ^ b for a, b in zip(client_key, signature))
        self.server_signature = hmac.digest(
            hmac.digest(salted, b"Server Key", "sha256"), auth, "sha256")
        final = f"{without_proof},p={base64.b64encode(proof).decode()}"
        return message("p", final.encode())

    def verify(self, server_final):
        parts = dict(p.split("=", 1) for p in server_final.decode().split(","))
        if base64.b64decode(parts["v"]) != self.server_signature:
            raise AssertionError("the server did not prove that it knows the password")


# ---- the connection -----------------------------------------------------------------------------


class Conn:
    def __init__(self, address, timeout=10.0):
        if isinstance(address, str):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(timeout)
            self.sock.connect(address)
        else:
            self.sock = socket.create_connection(address, timeout)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.address = address
        self.timeout = timeout
        self.buffer = bytearray()
        self.parameters = {}
        self.negotiations = []   # bodies of NegotiateProtocolVersion
        self.notices = []        # those seen while logging in
        self.auth_requests = []  # (code, body) of every R
        self.scram = None
        self.pid = self.key = None

    # -- bytes

    def send(self, *chunks):
        try:
            self.sock.sendall(b"".join(chunks))
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Closed(str(error)) from error

    def settimeout(self, seconds):
        self.sock.settimeout(seconds)

    def _fill(self, wanted):
        while len(self.buffer) < wanted:
            try:
                data = self.sock.recv(262144)
            except (ConnectionResetError, ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
                raise Closed(str(error)) from error
            if not data:
                raise Closed("end of stream" + (" inside a message" if self.buffer else ""))
            self.buffer += data

    def recv_byte(self):
        self._fill(1)
        byte = bytes(self.buffer[:1])
        del self.buffer[:1]
        return byte

    def recv(self):
        self._fill(5)
        (length,) = struct.unpack_from("!i", self.buffer, 1)
        assert length >= 4, f"message {self.buffer[:1]!r} with length {length}"
        self._fill(length + 1)
        out = Msg(chr(self.buffer[0]), bytes(self.buffer[5:length + 1]))
        del self.buffer[:length + 1]
        return out

    def recv_until(self, kinds="Z"):
        """All messages up to and including the first of one of these types."""
        out = Result()
        while True:
            out.messages.append(self.recv())
            if out.messages[-1].type in kinds:
                return out

    def recv_count(self, kind, count):
        out = Result()
        while count:
            out.messages.append(self.recv())
            count -= out.messages[-1].type == kind
        return out

    def recv_until_closed(self):
        """What still comes before the peer closes."""
        out = Result()
        try:
            while True:
                out.messages.append(self.recv())
        except Closed:
            return out

    def silent(self, seconds):
        """True if nothing arrives for so long (used for what must NOT be answered)."""
        if self.buffer:
            return False
        self.sock.settimeout(seconds)
        try:
            data = self.sock.recv(65536)
            self.buffer += data
            return False
        except (TimeoutError, ssl.SSLWantReadError):
            return True
        finally:
            self.sock.settimeout(self.timeout)

    def drain_bytes(self, count):
        """Read and drop so many bytes of the stream without keeping them."""
        taken = min(count, len(self.buffer))
        del self.buffer[:taken]
        count -= taken
        scratch = bytearray(1 << 20)
        view = memoryview(scratch)
        while count:
            got = self.sock.recv_into(view[:min(count, len(scratch))])
            if not got:
                raise Closed("end of stream")
            count -= got

    # -- TLS

    def request_tls(self, context, server_hostname="localhost"):
        self.send(SSL_REQUEST)
        answer = self.recv_byte()
        assert answer == b"S", f"SSLRequest answered {answer!r}"
        assert not self.buffer, "bytes between the S and the handshake"
        self.wrap_tls(context, server_hostname)

    def wrap_tls(self, context, server_hostname="localhost"):
        self.sock = context.wrap_socket(self.sock, server_hostname=server_hostname)

    # -- logging in

    def login(self, user, database, password_text=None, version=PROTOCOL_3_0, gs2=None, **params):
        everything = {"user": user}
        if database is not None:
            everything["database"] = database
        everything.update(params)
        self.send(startup(everything, version))
        return self.authenticate(password_text, gs2)

    def authenticate(self, password_text=None, gs2=None):
        """Answer whatever is asked until ReadyForQuery; PgError if refused."""
        seen = Result()
        while True:
            got = self.recv()
            seen.messages.append(got)
            if got.type == "R":
                self._answer(got.body, password_text, gs2)
            elif got.type == "S":
                key, value = parameter(got.body)
                self.parameters[key] = value
            elif got.type == "K":
                self.pid, self.key = struct.unpack_from("!i", got.body)[0], got.body[4:]
            elif got.type == "v":
                self.negotiations.append(got.body)
            elif got.type == "N":
                self.notices.append(error_fields(got.body))
            elif got.type == "E":
                raise PgError(error_fields(got.body))
            elif got.type == "Z":
                assert got.body == b"I"
                return seen
            else:
                raise AssertionError(f"{got} while logging in")

    def _answer(self, body, text, gs2):
        (code,) = struct.unpack_from("!i", body)
        self.auth_requests.append((code, body[4:]))
        if code == 0:
            return
        if code == 3:
            self.send(password(text if text is not None else ""))
        elif code == 10:
            mechanisms = body[4:].rstrip(b"\0").decode().split("\0")
            if gs2 is None:
                gs2 = "p" if "SCRAM-SHA-256-PLUS" in mechanisms else "n"
            binding = endpoint_binding(self.sock) if gs2 == "p" else b""
            self.scram = Scram(text if text is not None else "", gs2, binding)
            self.send(self.scram.first())
        elif code == 11:
            self.send(self.scram.final(body[4:]))
        elif code == 12:
            self.scram.verify(body[4:])
        else:
            raise AssertionError(f"authentication request {code}")

    @property
    def mechanisms(self):
        for code, body in self.auth_requests:
            if code == 10:
                return body.rstrip(b"\0").decode().split("\0")
        return []

    # -- queries

    def query(self, sql, check=True):
        self.send(query(sql))
        return self._checked(self.recv_until("Z"), check)

    def run(self, *chunks, check=True):
        """Send, then read to the next ReadyForQuery."""
        self.send(*chunks)
        return self._checked(self.recv_until("Z"), check)

    def execute(self, sql, params=(), check=True):
        return self.run(batch(sql, params), check=check)

    @staticmethod
    def _checked(result, check):
        if check and result.errors:
            raise PgError(result.errors[0])
        return result

    def backend(self):
        """The server process that serves this query."""
        return int(self.query("select pg_backend_pid()").value)

    # -- ends

    def cancel(self, wait=True, context=None):
        """Send the CancelRequest of this connection from a new one."""
        other = Conn(self.address, self.timeout)
        try:
            if context is not None:
                other.request_tls(context)
            other.send(cancel_request(self.pid, self.key))
            if wait:
                rest = other.recv_until_closed()
                assert not rest.messages, f"a cancel request was answered with {rest.messages}"
        finally:
            other.close()

    def close(self):
        self.sock.close()

    def terminate(self):
        self.send(TERMINATE)
        self.sock.close()

    def reset(self):
        """Close with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def eventually(check, timeout=5.0, what="the condition"):
    """Poll until check() is true (and return what it returned) or fail."""
    end = time.monotonic() + timeout
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true in {timeout} s (last: {value!r})")
        time.sleep(0.01)
