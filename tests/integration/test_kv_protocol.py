"""The key-value port's protocol: framing, errors, pipelines, HELLO, CLIENT REPLY, bad clients."""

import socket
import threading
import time

import pytest

import kv_targets
import resp
import targets
from resp import ReplyError, encode

MIB = 1 << 20


def answer(kv, data, timeout=10.0):
    """All bytes that come back for `data` on a new connection until the server closes it."""
    conn = kv.connect(timeout=timeout)
    conn.send(data)
    return conn.read_to_end()


def growth(kv, before):
    """How much resident memory came since `before`; reports of a sanitizer's build tell nothing."""
    if targets.SANITIZED:
        pytest.skip("memory of a sanitizer's build tells nothing")
    return kv.memory("VmRSS") - before


# ---- requests -----------------------------------------------------------------------------------


@pytest.mark.parametrize("data, reply", [
    (b"PING\r\n", b"+PONG\r\n"),
    (b"PING\n", b"+PONG\r\n"),
    (b"  PING   hi  \r\n", b"$2\r\nhi\r\n"),
    (b"\r\n\r\n\nPING\r\n", b"+PONG\r\n"),
    (b"*0\r\n*-1\r\nPING\r\n", b"+PONG\r\n"),
    (b'ECHO "a\\x41\\n\\t"\r\n', b"$4\r\naA\n\t\r\n"),
    (b"ECHO 'b\\'c\\n'\r\n", b"$5\r\nb'c\\n\r\n"),
    (b'ECHO ""\r\n', b"$0\r\n\r\n"),
    (b"*1\r\n$4\r\nPINGxyPING\r\n", b"+PONG\r\n+PONG\r\n"),  # what ends a bulk is not looked at
    (b"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n", b"$0\r\n\r\n"),
    (b"*1\r\n$0\r\n\r\n", b"-ERR unknown command '', with args beginning with: \r\n"),
    (b"*2\r\n$4\r\nECHO\r\n$3\r\n\0\xff\n\r\n", b"$3\r\n\0\xff\n\r\n"),
])
def test_request_is_answered(kv, data, reply):
    conn = kv.connect()
    conn.send(data)
    got = b"".join(conn.read_raw() for _ in range(reply.count(b"PONG") or 1))
    assert got == reply
    assert conn.call("PING") == "PONG"


@pytest.mark.parametrize("data, error", [
    (b"*x\r\n", "invalid multibulk length"),
    (b"* 1\r\n", "invalid multibulk length"),
    (b"*+1\r\n", "invalid multibulk length"),
    (b"*01\r\n", "invalid multibulk length"),
    (b"*2147483648\r\n", "invalid multibulk length"),
    (b"*9223372036854775808\r\n", "invalid multibulk length"),
    (b"*1\r\n+PING\r\n", "expected '$', got '+'"),
    (b"*1\r\n:4\r\n", "expected '$', got ':'"),
    (b"*1\r\n\r\n", "expected '$', got '\r'"),
    (b"*1\r\n$-1\r\n", "invalid bulk length"),
    (b"*1\r\n$x\r\n", "invalid bulk length"),
    (b"*1\r\n$04\r\nPING\r\n", "invalid bulk length"),
    (b"*1\r\n$\r\n", "invalid bulk length"),
    (b"*1\r\n$536870913\r\n", "invalid bulk length"),
    (b"*1\r\n$9223372036854775807\r\n", "invalid bulk length"),
    (b"*1\r\n$9223372036854775808\r\n", "invalid bulk length"),
    (b"*1\r\n$-9223372036854775808\r\n", "invalid bulk length"),
    (b"*1\r\n$18446744073709551616\r\n", "invalid bulk length"),
    (b'ECHO "abc\r\n', "unbalanced quotes in request"),
    (b'ECHO "a"b\r\n', "unbalanced quotes in request"),
    (b"ECHO 'a\r\n", "unbalanced quotes in request"),
    (b"P" * 65537, "too big inline request"),
    (b"*" + b"1" * 65537, "too big mbulk count string"),
    (b"*1\r\n$" + b"1" * 65537, "too big bulk count string"),
])
def test_broken_request_gets_the_error_after_earlier_replies_and_the_end(kv, data, error):
    # CR and LF of a byte that is quoted become spaces in an error.
    expected = f"-ERR Protocol error: {error}\r\n".replace("'\r'", "' '").encode()
    assert answer(kv, b"PING\r\n" + data) == b"+PONG\r\n" + expected
    assert kv.connect().call("PING") == "PONG"


@pytest.mark.parametrize("data", [
    b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\nSET crossed 1\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nSET crossed 1\r\n",
    encode("POST", "/") + encode("SET", "crossed", 1),
    encode("host:", "x") + encode("SET", "crossed", 1),
])
def test_http_request_is_cut_off(kv, data):
    got = answer(kv, data)
    assert b"OK" not in got
    assert kv.connect().call("EXISTS", "crossed") == 0


def test_tls_hello_and_zero_bytes_get_no_reply(kv):
    conn = kv.connect()
    conn.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100)
    assert conn.silent(0.3)
    assert kv.connect().call("PING") == "PONG"


PIECES = (encode("SET", "piece", "a\r\nb\0") + b"\r\nGET piece\n" + encode("INCRBY", "n", 41)
          + b"*0\r\n*-1\r\n" + b'ECHO "x y"\r\n' + encode("MULTI") + encode("GET", "piece")
          + encode("NOSUCH") + encode("EXEC") + encode("APPEND", "piece", "")
          + encode("PING", "end"))
PIECES_ANSWER = (b"+OK\r\n$5\r\na\r\nb\0\r\n:41\r\n$3\r\nx y\r\n+OK\r\n+QUEUED\r\n"
                 b"-ERR unknown command 'NOSUCH', with args beginning with: \r\n"
                 b"-EXECABORT Transaction discarded because of previous errors.\r\n"
                 b":5\r\n$3\r\nend\r\n")


def test_request_cut_at_every_byte_gets_the_same_replies(kv):
    for cut in range(1, len(PIECES)):
        conn = kv.connect()
        conn.ok("FLUSHALL")
        conn.send(PIECES[:cut])
        if cut % 8 == 0:
            time.sleep(0.002)  # so that the pieces also arrive apart
        conn.send(PIECES[cut:])
        got = bytearray()
        while not got.endswith(b"$3\r\nend\r\n"):
            got += conn.read_raw()
        assert got == PIECES_ANSWER, f"cut at {cut}"
        conn.close()


def test_request_byte_by_byte_gets_the_same_replies(kv):
    conn = kv.connect()
    for byte in PIECES:
        conn.send(bytes([byte]))
    assert b"".join(conn.read_raw() for _ in range(10)) == PIECES_ANSWER


def test_broken_request_byte_by_byte_gets_the_error(kv):
    conn = kv.connect()
    for byte in b"*2\r\n$3\r\nGET\r\n$x\r\n":
        conn.send(bytes([byte]))
    assert conn.read_to_end() == b"-ERR Protocol error: invalid bulk length\r\n"


def test_a_dead_request_is_not_executed(kv):
    """What the client sent of a command before it left."""
    conn = kv.connect()
    conn.send(encode("SET", "whole", 1) + encode("SET", "part", "abcdef")[:-3])
    conn.close()
    kv_targets.eventually(lambda: kv.connect().call("EXISTS", "whole") == 1, what="the whole one")
    assert kv.connect().call("EXISTS", "part") == 0


@pytest.mark.parametrize("size", [0, 1, 16 * 1024, 32 * 1024 - 1, 1 << 20, (1 << 24) + 7])
def test_value_of_any_size_comes_back(kv, size):
    value = bytes(range(256)) * (size // 256) + b"\r\n"[:size % 256]
    conn = kv.connect()
    conn.ok("SET", "big", value)
    assert conn.call("STRLEN", "big") == len(value)
    assert conn.call("GET", "big") == value


def test_command_of_many_arguments(kv):
    conn = kv.connect()
    pairs = [part for i in range(60000) for part in (f"k{i}", i)]
    conn.ok("MSET", *pairs)
    assert conn.call("MGET", *pairs[::2]) == [str(i).encode() for i in range(60000)]
    assert conn.call("DEL", *pairs[::2]) == 60000


@pytest.mark.parametrize("command, reply", [
    (("NOSUCH", "a", "b", "c"),
     b"-ERR unknown command 'NOSUCH', with args beginning with: 'a' 'b' 'c' \r\n"),
    (("x" * 200, "y" * 200, "z"),
     b"-ERR unknown command '%b', with args beginning with: '%b' \r\n" % (b"x" * 128, b"y" * 128)),
    (("a\r\nb", "c\nd"), b"-ERR unknown command 'a  b', with args beginning with: 'c d' \r\n"),
    (("LPUSH", "l", "1"), b"-ERR unknown command 'LPUSH', with args beginning with: 'l' '1' \r\n"),
    (("GET",), b"-ERR wrong number of arguments for 'get' command\r\n"),
    (("gEt", "a", "b"), b"-ERR wrong number of arguments for 'get' command\r\n"),
    (("CONFIG", "GET"), b"-ERR wrong number of arguments for 'config|get' command\r\n"),
    (("CONFIG", "FOO"), b"-ERR unknown subcommand 'FOO'. Try CONFIG HELP.\r\n"),
    (("CLIENT", "FOO", "x"), b"-ERR unknown subcommand 'FOO'. Try CLIENT HELP.\r\n"),
    (("OBJECT",), b"-ERR wrong number of arguments for 'object' command\r\n"),
    (("CLIENT", "REPLY", "x"), b"-ERR syntax error\r\n"),
])
def test_refused_command_gets_the_text_of_redis(kv, command, reply):
    if kv_targets.ON_REDIS and command[0] == "LPUSH":
        pytest.skip("Redis has lists")
    conn = kv.connect()
    assert conn.raw_call(*command) == reply
    assert conn.call("PING") == "PONG"


# ---- pipelines ----------------------------------------------------------------------------------


def test_pipeline_of_100000_commands_is_taken_without_reading_a_reply(kv):
    """The client writes all of it before it reads: the server may not stop reading, nor grow by
    more than what it owes and the usual buffers."""
    conn = kv.connect()
    conn.ok("SET", "value", "v" * 100)
    before = kv.memory("VmRSS")
    block = b"".join(encode("GET", "value") + encode("INCR", "n") for _ in range(1000))
    for _ in range(50):
        conn.send(block)
    assert growth(kv, before) < 64 * MIB
    replies = conn.read_many(100000)
    assert replies[::2] == [b"v" * 100] * 50000
    assert replies[1::2] == list(range(1, 50001))
    assert conn.call("PING") == "PONG"


def test_a_million_unread_replies_are_kept_in_order_or_wait_for_the_reader(kv):
    """A server may stop reading from a client that does not; it may not grow, nor stop others."""
    conn, other = kv.connect(timeout=60), kv.connect()
    before = kv.memory("VmRSS")
    block = encode("INCR", "n") * 10000
    sender = threading.Thread(target=lambda: [conn.send(block) for _ in range(100)])
    sender.start()
    sender.join(2)
    assert other.call("PING") == "PONG"
    assert growth(kv, before) < 96 * MIB
    expected = sum(len(b":%d\r\n" % i) for i in range(1, 1_000_001))
    conn.skip_bytes(expected - len(b":1000000\r\n"))
    assert conn.read() == 1000000
    sender.join()


def test_pipeline_with_errors_keeps_the_order(kv):
    conn = kv.connect()
    replies = conn.pipe(("SET", "a", "x"), ("INCR", "a"), ("GET", "a"), ("NOSUCH",), ("GET",),
                        ("GET", "a"))
    assert replies == ["OK", "ERR value is not an integer or out of range", b"x",
                       "ERR unknown command 'NOSUCH', with args beginning with: ",
                       "ERR wrong number of arguments for 'get' command", b"x"]


def test_commands_behind_quit_are_not_executed(kv):
    assert answer(kv, encode("SET", "before", 1) + encode("QUIT") + encode("SET", "after", 1)) == \
        b"+OK\r\n+OK\r\n"
    assert kv.connect().call("EXISTS", "before", "after") == 1


def test_client_that_stops_sending_gets_its_replies(kv):
    conn = kv.connect()
    conn.send(encode("SET", "a", 1) + encode("GET", "a"))
    conn.sock.shutdown(socket.SHUT_WR)
    # Redis answers what it has read before it sees the end; nothing comes twice.
    assert conn.read_to_end() in (b"+OK\r\n$1\r\n1\r\n", b"+OK\r\n", b"")
    assert kv.connect().call("GET", "a") == b"1"


def test_client_that_does_not_read_big_values_neither_fills_memory_nor_stops_others(make_kv):
    kv = make_kv(kv={"client_output_buffer_limit": "32MiB"})
    conn, other = kv.connect(), kv.connect()
    value = b"v" * (4 * MIB)
    conn.ok("SET", "big", value)
    before = kv.memory("VmRSS")
    try:
        conn.send(encode("GET", "big") * 100)
    except resp.Closed:
        pass
    for _ in range(30):
        began = time.monotonic()
        assert other.call("INCR", "n")
        assert time.monotonic() - began < 2 * targets.SCALE
        assert growth(kv, before) < 128 * MIB
        time.sleep(0.01)
    # Whether it is cut off or waits for its reader: it never gets something else.
    try:
        for _ in range(100):
            assert conn.read() == value
        assert conn.call("PING") == "PONG"
    except resp.Closed:
        pass
    assert other.call("PING") == "PONG"


def test_connections_that_come_and_go_leave_nothing(kv):
    kv.connect().ok("SET", "a", "v" * 1000)
    kv_targets.eventually(lambda: kv.connect().call("PING") == "PONG")
    kv.close_clients()
    time.sleep(0.05)
    descriptors = kv.descriptors()
    for i in range(300):
        conn = kv.connect()
        conn.send(encode("MULTI") + encode("GET", "a") + encode("WATCH", "b") * (i % 3))
        conn.close()
    kv.close_clients()
    kv_targets.eventually(lambda: kv.descriptors() <= descriptors + 2, what="descriptors closed")


# ---- CLIENT REPLY, RESET, HELLO -----------------------------------------------------------------


def test_client_reply_off_and_on(kv):
    conn = kv.connect()
    conn.send(encode("CLIENT", "REPLY", "OFF") + encode("SET", "a", 1) + encode("NOSUCH")
              + encode("GET") + encode("PING") + encode("CLIENT", "REPLY", "ON")
              + encode("GET", "a"))
    assert conn.read_raw() + conn.read_raw() == b"+OK\r\n$1\r\n1\r\n"
    assert conn.silent(0.05)


def test_client_reply_skip(kv):
    conn = kv.connect()
    conn.send(encode("CLIENT", "REPLY", "SKIP") + encode("SET", "a", 1) + encode("INCR", "a")
              + encode("CLIENT", "REPLY", "SKIP") + encode("NOSUCH") + encode("GET", "a"))
    assert conn.read_raw() + conn.read_raw() == b":2\r\n$1\r\n2\r\n"
    assert conn.silent(0.05)


def test_client_reply_off_hides_a_transaction(kv):
    conn = kv.connect()
    conn.send(encode("CLIENT", "REPLY", "OFF") + encode("MULTI") + encode("INCR", "n")
              + encode("EXEC") + encode("CLIENT", "REPLY", "ON") + encode("GET", "n"))
    assert conn.read_many(2) == ["OK", b"1"]


def test_hello_reports_and_switches(kv):
    conn = kv.connect()
    two = conn.call("HELLO")
    assert isinstance(two, list)
    fields = dict(zip(two[::2], two[1::2]))
    assert list(fields) == [b"server", b"version", b"proto", b"id", b"mode", b"role", b"modules"]
    assert fields[b"proto"] == 2 and fields[b"role"] == b"master" and fields[b"modules"] == []
    assert fields[b"mode"] == b"standalone" and isinstance(fields[b"id"], int)
    assert conn.raw_call("GET", "none") == b"$-1\r\n"
    three = conn.call("HELLO", 3)
    assert isinstance(three, dict) and three[b"proto"] == 3
    assert conn.raw_call("GET", "none") == b"_\r\n"
    assert isinstance(conn.call("HELLO"), dict)
    assert isinstance(conn.call("HELLO", 2), list)
    assert conn.raw_call("GET", "none") == b"$-1\r\n"


def test_hello_in_a_pipeline_switches_exactly_there(kv):
    conn = kv.connect()
    conn.send(encode("GET", "none") + encode("HELLO", 3) + encode("GET", "none")
              + encode("HELLO", 2) + encode("GET", "none"))
    replies = [conn.read_raw() for _ in range(5)]
    assert [replies[0], replies[2], replies[4]] == [b"$-1\r\n", b"_\r\n", b"$-1\r\n"]
    assert replies[1].startswith(b"%7\r\n") and replies[3].startswith(b"*14\r\n")


@pytest.mark.parametrize("args, reply", [
    (("4",), "NOPROTO unsupported protocol version"),
    (("1",), "NOPROTO unsupported protocol version"),
    (("x",), "ERR Protocol version is not an integer or out of range"),
    (("3", "FOO"), "ERR Syntax error in HELLO option 'FOO'"),
    (("3", "AUTH", "a"), "ERR Syntax error in HELLO option 'AUTH'"),
    (("3", "SETNAME"), "ERR Syntax error in HELLO option 'SETNAME'"),
    (("3", "SETNAME", "a b"),
     "ERR Client names cannot contain spaces, newlines or special characters."),
    (("3", "AUTH", "nobody", "x"),
     "WRONGPASS invalid username-password pair or user is disabled."),
])
def test_wrong_hello_gets_the_text_of_redis_and_changes_nothing(kv, args, reply):
    conn = kv.connect()
    assert conn.call("HELLO", *args) == reply
    assert conn.raw_call("GET", "none") == b"$-1\r\n"


def test_hello_with_setname(kv):
    conn = kv.connect()
    conn.call("HELLO", 3, "SETNAME", "worker-7")
    assert conn.call("CLIENT", "GETNAME") == b"worker-7"
    assert b"name=worker-7 " in conn.call("CLIENT", "LIST")
    assert b"resp=3" in conn.call("CLIENT", "LIST") or kv_targets.ON_REDIS


def test_reset_forgets_everything_of_the_connection(kv):
    conn = kv.connect(3)
    conn.ok("SELECT", 5)
    conn.ok("SET", "five", 1)
    conn.ok("CLIENT", "SETNAME", "me")
    conn.ok("WATCH", "five")
    conn.ok("MULTI")
    assert conn.call("RESET") == "RESET"
    assert conn.call("EXEC") == "ERR EXEC without MULTI"
    assert conn.raw_call("GET", "five") == b"$-1\r\n"  # database 0 and version 2
    assert conn.call("CLIENT", "GETNAME") in (b"", None)
    kv.connect().ok("SELECT", 5)
    conn.ok("MULTI")
    assert conn.call("EXEC") == []


def test_reset_in_a_pipeline(kv):
    conn = kv.connect(3)
    conn.send(encode("GET", "none") + encode("RESET") + encode("GET", "none"))
    assert [conn.read_raw() for _ in range(3)] == [b"_\r\n", b"+RESET\r\n", b"$-1\r\n"]


# ---- before a client has proved who it is -------------------------------------------------------

USERS = {"alice": {"password": "wonderland", "projects": "all"}}
NOAUTH = "NOAUTH Authentication required."


@pytest.fixture
def closed_kv(make_kv):
    return make_kv(kv={"users": USERS})


@pytest.mark.parametrize("command", [("GET", "a"), ("PING",), ("SET", "a", 1), ("SELECT", 1),
                                     ("INFO",), ("COMMAND",), ("MULTI",), ("EXEC",)])
def test_command_before_auth_is_refused(closed_kv, command):
    conn = closed_kv.connect()
    refusal = conn.call(*command)
    assert refusal == ("EXECABORT Transaction discarded because of: " if command == ("EXEC",)
                       else "") + NOAUTH
    conn.ok("AUTH", "alice", "wonderland")
    assert not str(conn.call(*command)).startswith("NOAUTH")


def test_unknown_command_before_auth_says_so(closed_kv):
    conn = closed_kv.connect()
    assert conn.call("NOSUCH", "x") == \
        "ERR unknown command 'NOSUCH', with args beginning with: 'x' "


def test_hello_before_auth(closed_kv):
    conn = closed_kv.connect()
    assert conn.call("HELLO", 3) == (
        "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO "
        "AUTH <user> <pass> option can be used to authenticate the client and select the RESP "
        "protocol version at the same time")
    assert conn.call("HELLO", 3, "AUTH", "alice", "queen") == \
        "WRONGPASS invalid username-password pair or user is disabled."
    reply = conn.call("HELLO", 3, "AUTH", "alice", "wonderland", "SETNAME", "a")
    assert reply[b"proto"] == 3
    assert conn.call("ACL", "WHOAMI") == b"alice"


def test_reset_takes_the_login_away(closed_kv):
    conn = closed_kv.connect()
    conn.ok("AUTH", "alice", "wonderland")
    assert conn.call("RESET") == "RESET"
    assert conn.call("GET", "a") == NOAUTH


def test_quit_before_auth(closed_kv):
    assert answer(closed_kv, encode("QUIT")) == b"+OK\r\n"


@pytest.mark.parametrize("data, error", [
    (b"*11\r\n", "unauthenticated multibulk length"),
    (b"*2147483647\r\n", "unauthenticated multibulk length"),
    (b"*2\r\n$16385\r\n", "unauthenticated bulk length"),
    (b"*1\r\n$536870912\r\n", "unauthenticated bulk length"),
    (b"*1\r\n$9223372036854775808\r\n", "invalid bulk length"),
])
def test_big_request_before_auth_is_refused(closed_kv, data, error):
    assert answer(closed_kv, data) == f"-ERR Protocol error: {error}\r\n".encode()


def test_unauthenticated_clients_cannot_make_the_server_grow(closed_kv):
    closed_kv.connect().call("PING")
    before = closed_kv.memory("VmRSS")
    conns = [closed_kv.connect() for _ in range(150)]
    for i, conn in enumerate(conns):
        conn.send([b"*10\r\n$16384\r\n" + b"x" * 16383, b"P" * 16000,
                   encode("GET", "a") * 20][i % 3])
    # The last kind proves by its replies that the server has read what came.
    for conn in conns[2::3]:
        assert set(conn.read_many(20)) == {ReplyError(NOAUTH)}
    assert growth(closed_kv, before) < 150 * 64 * 1024


def test_unauthenticated_clients_that_read_nothing_cannot_make_the_server_grow(closed_kv):
    """Debian's Redis cuts them off above 1 KiB of unread replies."""
    before = closed_kv.memory("VmRSS")
    for _ in range(10):
        conn = closed_kv.connect(timeout=1)
        try:
            for _ in range(100):
                conn.send(b"PING\n" * 20000)
        except (resp.Closed, TimeoutError):
            pass
    assert growth(closed_kv, before) < 4 * MIB


def test_announced_but_unsent_values_cost_no_memory(kv):
    kv.connect().call("PING")
    before = kv.memory("VmRSS")
    conns = [kv.connect() for _ in range(20)]
    for conn in conns:
        conn.send(b"*2147483647\r\n$536870912\r\nx")
    for conn in conns[:10]:
        assert conn.silent(0.02)
    assert growth(kv, before) < 32 * MIB
