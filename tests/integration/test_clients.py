"""How clients reach sluice: addresses, encryption requests, protocol versions, startup packets."""

import socket
import ssl
import struct
import time

import pytest

import wire
from certificates import client_context
from postgres import PASSWORDS, free_port


def tls_config(certificates, mode="allow"):
    certificate, key = certificates["first"]
    return {"tls": {"mode": mode, "certificate": str(certificate), "key": str(key)}}


@pytest.fixture
def tls_sluice(make_sluice, server_certificates):
    return make_sluice(postgres=tls_config(server_certificates))


def refused(conn):
    """The SQLSTATE of the refusal, or 'closed'."""
    rest = conn.recv_until_closed()
    assert not [m for m in rest.messages if m.type in "RZ"], rest.messages
    return rest.codes[0] if rest.errors else "closed"


def test_tcp_ipv4_client_is_served(sluice):
    assert sluice.connect().query("select 42").rows == [("42",)]


def test_tcp_ipv6_client_is_served(make_sluice):
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 here")
    port = free_port()
    sluice = make_sluice(postgres={"listen": [f"127.0.0.1:{port}", f"[::1]:{port}"]})
    assert sluice.connect(address=("::1", port)).query("select 6").value == "6"
    assert sluice.connect().query("select 4").value == "4"


def test_unix_socket_client_is_served(make_sluice, tmp_path):
    sluice = make_sluice(postgres={"listen": [f"127.0.0.1:{free_port()}", f"unix:{tmp_path}"]})
    path = sluice.unix_address
    assert sluice.connect(address=path).query("select 7").value == "7"
    with sluice.psycopg(host=str(tmp_path), port=path.rsplit(".", 1)[1]) as conn:
        assert conn.execute("select 8").fetchone() == (8,)


def test_unix_socket_left_by_a_crash_is_replaced(make_sluice, tmp_path):
    port = free_port()
    listen = [f"127.0.0.1:{port}", f"unix:{tmp_path}"]
    first = make_sluice(postgres={"listen": listen})
    first.connect(address=first.unix_address)
    first.process.kill()
    first.process.wait()
    make_sluice.made.remove(first)
    second = make_sluice(postgres={"listen": listen})
    assert second.connect(address=second.unix_address).query("select 1").value == "1"


def test_ssl_request_without_tls_is_answered_N_and_the_login_goes_on(sluice):
    conn = sluice.raw()
    conn.send(wire.SSL_REQUEST)
    assert conn.recv_byte() == b"N"
    conn.login("app", "app", PASSWORDS["app"])
    assert conn.query("select 1").value == "1"


def test_gssenc_request_is_answered_N_and_the_login_goes_on(sluice):
    conn = sluice.raw()
    conn.send(wire.GSSENC_REQUEST)
    assert conn.recv_byte() == b"N"
    conn.login("app", "app", PASSWORDS["app"])
    assert conn.query("select 1").value == "1"


def test_gssenc_request_then_ssl_request_reach_tls(tls_sluice):
    conn = tls_sluice.raw()
    conn.send(wire.GSSENC_REQUEST)
    assert conn.recv_byte() == b"N"
    conn.request_tls(client_context())
    conn.login("app", "app", PASSWORDS["app"])
    assert conn.query("select 1").value == "1"


@pytest.mark.parametrize("request_code", [wire.SSL_REQUEST, wire.GSSENC_REQUEST],
                         ids=["ssl", "gss"])
def test_second_encryption_request_of_a_kind_is_refused(sluice, request_code):
    conn = sluice.raw()
    conn.send(request_code)
    assert conn.recv_byte() == b"N"
    conn.send(request_code)
    try:
        first = conn.recv_byte()
    except wire.Closed:
        return
    assert first == b"E", "answered a second time"
    assert sluice.connect().query("select 1").value == "1"


def test_tls_after_ssl_request_works(tls_sluice):
    conn = tls_sluice.connect(tls=client_context())
    assert conn.sock.version() in ("TLSv1.2", "TLSv1.3")
    assert conn.query("select repeat('x', 300000)").value == "x" * 300000


def test_direct_tls_with_alpn_postgresql_works(tls_sluice):
    conn = tls_sluice.raw()
    conn.wrap_tls(client_context(alpn="postgresql"))
    assert conn.sock.selected_alpn_protocol() == "postgresql"
    conn.login("app", "app", PASSWORDS["app"])
    assert conn.query("select 1").value == "1"


@pytest.mark.parametrize("alpn", [None, "http/1.1"])
def test_direct_tls_without_alpn_postgresql_is_refused(tls_sluice, alpn):
    conn = tls_sluice.raw()
    try:
        conn.wrap_tls(client_context(alpn=alpn))
        with pytest.raises((wire.Closed, wire.PgError, ssl.SSLError, ConnectionError)):
            conn.login("app", "app", PASSWORDS["app"])
    except (ssl.SSLError, ConnectionError):
        pass
    assert tls_sluice.connect().query("select 1").value == "1"


def test_direct_tls_is_refused_when_tls_is_off(sluice):
    conn = sluice.raw()
    with pytest.raises((ssl.SSLError, ConnectionError)):
        conn.wrap_tls(client_context(alpn="postgresql"))


def test_ssl_request_inside_tls_is_refused(tls_sluice):
    conn = tls_sluice.raw()
    conn.request_tls(client_context())
    conn.send(wire.SSL_REQUEST)
    try:
        assert conn.recv_byte() == b"E"
    except (wire.Closed, ssl.SSLError):
        pass


def test_bytes_stuffed_behind_ssl_request_are_refused(tls_sluice):
    conn = tls_sluice.raw()
    conn.send(wire.SSL_REQUEST, wire.startup({"user": "app", "database": "app"}))
    try:
        answer = conn.recv_byte()
        if answer == b"S":  # then nothing more may be taken from what came in the clear
            with pytest.raises((ssl.SSLError, ConnectionError, wire.Closed, wire.PgError)):
                conn.wrap_tls(client_context())
                conn.login("app", "app", PASSWORDS["app"])
        else:
            assert answer == b"E"
    except wire.Closed:
        pass
    assert tls_sluice.connect().query("select 1").value == "1"


def test_bytes_stuffed_behind_ssl_request_are_refused_without_tls_too(sluice):
    conn = sluice.raw()
    conn.send(wire.SSL_REQUEST, wire.startup({"user": "app", "database": "app"}))
    rest = bytearray()
    try:
        while True:
            rest += conn.recv_byte()
    except wire.Closed:
        pass
    rest = bytes(rest).removeprefix(b"N")
    assert rest == b"" or rest.startswith(b"E"), rest


def test_bytes_stuffed_behind_gssenc_request_are_refused(sluice):
    conn = sluice.raw()
    conn.send(wire.GSSENC_REQUEST, wire.startup({"user": "app", "database": "app"}))
    rest = bytearray()
    try:
        while True:
            rest += conn.recv_byte()
    except wire.Closed:
        pass
    rest = bytes(rest).removeprefix(b"N")
    assert rest == b"" or rest.startswith(b"E"), rest


@pytest.mark.parametrize("inside_tls", [False, True], ids=["plain", "inside_tls"])
def test_cancel_request_stops_the_query(tls_sluice, inside_tls):
    context = client_context() if inside_tls else None
    conn = tls_sluice.connect(tls=context)
    conn.send(wire.query("select pg_sleep(30)"))
    wire.eventually(lambda: tls_sluice_busy(tls_sluice, conn), 5, "a busy query")
    started = time.monotonic()
    conn.cancel(context=context)
    result = conn.recv_until("Z")
    assert result.codes == ["57014"]
    assert time.monotonic() - started < 5 * 4
    assert conn.query("select 1").value == "1"


def tls_sluice_busy(target, _conn):
    with target.psycopg() as other:
        return other.execute("select count(*) from pg_stat_activity where query like "
                             "'select pg_sleep(30)%' and state = 'active'").fetchone()[0]


def test_cancel_request_over_direct_tls_stops_the_query(tls_sluice):
    conn = tls_sluice.connect()
    conn.send(wire.query("select pg_sleep(30)"))
    wire.eventually(lambda: tls_sluice_busy(tls_sluice, conn), 5, "a busy query")
    other = tls_sluice.raw()
    other.wrap_tls(client_context(alpn="postgresql"))
    other.send(wire.cancel_request(conn.pid, conn.key))
    assert conn.recv_until("Z").codes == ["57014"]


# ---- protocol versions --------------------------------------------------------------------------


def test_protocol_3_0_gets_a_key_of_four_bytes(sluice):
    conn = sluice.connect()
    assert len(conn.key) == 4 and conn.negotiations == []


def test_protocol_3_0_process_id_is_positive(sluice):
    assert all(sluice.connect().pid > 0 for _ in range(8))


def test_protocol_3_2_gets_a_long_key_that_cancels(sluice):
    conn = sluice.connect(version=wire.PROTOCOL_3_2)
    assert 4 < len(conn.key) <= 256
    assert conn.negotiations == []
    conn.send(wire.query("select pg_sleep(30)"))
    wire.eventually(lambda: tls_sluice_busy(sluice, conn), 5, "a busy query")
    conn.cancel()
    assert conn.recv_until("Z").codes == ["57014"]


def test_keys_differ_from_client_to_client(sluice):
    keys = {(c.pid, c.key) for c in (sluice.connect() for _ in range(20))}
    assert len(keys) == 20


def negotiation(conn):
    assert len(conn.negotiations) == 1, "NegotiateProtocolVersion must come exactly once"
    version, count = struct.unpack_from("!ii", conn.negotiations[0])
    names = conn.negotiations[0][8:].rstrip(b"\0").split(b"\0") if count else []
    assert len(names) == count
    return version, names


def test_newer_minor_version_is_negotiated_down_to_3_2(sluice):
    conn = sluice.connect(version=0x00030000 + 9999)
    assert negotiation(conn) == (wire.PROTOCOL_3_2, [])
    assert conn.query("select 1").value == "1"


def test_minor_version_1_is_served(sluice):
    conn = sluice.connect(version=0x00030001)
    assert len(conn.negotiations) <= 1
    assert conn.query("select 1").value == "1"


def test_unknown_protocol_option_is_named_exactly_once(sluice):
    conn = sluice.connect(**{"_pq_.grease": "on"})
    version, names = negotiation(conn)
    assert names == [b"_pq_.grease"]
    assert version == wire.PROTOCOL_3_0, "never more than the client asked for"
    assert conn.query("select 1").value == "1"


def test_newer_version_with_unknown_options_gets_one_answer(sluice):
    conn = sluice.connect(version=0x00030000 + 9999,
                          **{"_pq_.test_protocol_negotiation": "", "_pq_.other": "x"})
    version, names = negotiation(conn)
    assert version == wire.PROTOCOL_3_2
    assert sorted(names) == [b"_pq_.other", b"_pq_.test_protocol_negotiation"]


def test_negotiation_comes_before_authentication(sluice):
    conn = sluice.raw()
    conn.send(wire.startup({"user": "app", "database": "app"}, 0x00030000 + 9999))
    seen = conn.recv_until("R")
    assert [m.type for m in seen.messages] == ["v", "R"]


@pytest.mark.parametrize("version", [0x00020000, 0x00040000, 0])
def test_other_major_version_is_refused(sluice, version):
    conn = sluice.raw()
    conn.send(wire.startup({"user": "app"}, version))
    assert refused(conn) in ("0A000", "08P01", "closed")


# ---- startup packets ----------------------------------------------------------------------------


def test_startup_packet_byte_by_byte_is_understood(sluice):
    conn = sluice.raw()
    for byte in wire.startup({"user": "app", "database": "app"}):
        conn.send(bytes([byte]))
    conn.authenticate(PASSWORDS["app"])
    assert conn.query("select 1").value == "1"


def test_database_defaults_to_the_user(sluice):
    conn = sluice.connect(database=None)
    assert conn.query("select current_database()").value == "app"


def test_database_that_does_not_exist_is_3D000(sluice):
    with pytest.raises(wire.PgError) as caught:
        sluice.connect(database="nowhere")
    assert caught.value.code == "3D000"
    assert "nowhere" in caught.value.message


def test_startup_without_user_is_refused(sluice):
    conn = sluice.raw()
    conn.send(wire.startup({"database": "app"}))
    assert refused(conn) in ("28000", "08P01")


def test_startup_with_empty_user_is_refused(sluice):
    conn = sluice.raw()
    conn.send(wire.startup({"user": "", "database": "app"}))
    assert refused(conn) in ("28000", "08P01")


@pytest.mark.parametrize("packet", [
    struct.pack("!i", -1), struct.pack("!i", 0), struct.pack("!i", 3), struct.pack("!i", 7),
    struct.pack("!ii", 10_001, wire.PROTOCOL_3_0) + b"x" * 10_000,
    struct.pack("!ii", 0x7FFFFFFF, wire.PROTOCOL_3_0),
], ids=["negative", "zero", "three", "seven", "ten_thousand_and_one", "two_gigabytes"])
def test_startup_packet_of_bad_length_is_refused(sluice, packet):
    conn = sluice.raw()
    try:
        conn.send(packet)
    except wire.Closed:
        pass
    assert refused(conn) in ("08P01", "closed")
    assert sluice.connect().query("select 1").value == "1"


def test_startup_packet_without_terminator_is_refused(sluice):
    body = struct.pack("!i", wire.PROTOCOL_3_0) + b"user\0app\0database\0app\0xy"
    conn = sluice.raw()
    conn.send(struct.pack("!i", len(body) + 4) + body)
    assert refused(conn) in ("08P01", "closed")


def test_large_legal_startup_packet_is_served(sluice):
    conn = sluice.connect(application_name="n" * 60, search_path=",".join(["public"] * 900))
    assert conn.query("select 1").value == "1"


def test_two_hundred_clients_stay_connected(sluice):
    conns = [sluice.connect() for _ in range(200)]
    assert [c.query(f"select {i}").value for i, c in enumerate(conns)] == \
        [str(i) for i in range(200)]
