"""TLS to clients: modes, versions, certificates read again."""

import signal
import ssl
import time
import warnings

import pytest

import wire
from certificates import client_context
from postgres import PASSWORDS


@pytest.fixture
def start(make_sluice, server_certificates, authority):
    def starter(mode, ca=True):
        certificate, key = server_certificates["first"]
        settings = {"mode": mode, "certificate": str(certificate), "key": str(key)}
        if ca:
            settings["client_ca"] = str(authority.ca)
        return make_sluice(postgres={"tls": settings})
    return starter


def works(target, **arguments):
    return target.connect(**arguments).query("select 1").value == "1"


def test_mode_disable_answers_N(sluice):
    conn = sluice.raw()
    conn.send(wire.SSL_REQUEST)
    assert conn.recv_byte() == b"N"


def test_mode_allow_serves_both(start):
    sluice = start("allow", ca=False)
    assert works(sluice)
    assert works(sluice, tls=client_context())


def test_mode_require_refuses_plain_connections(start):
    sluice = start("require", ca=False)
    with pytest.raises(wire.PgError) as caught:
        sluice.connect()
    assert caught.value.code in ("28000", "08P01")
    assert works(sluice, tls=client_context())


def test_mode_require_asks_no_password_of_a_plain_connection(start):
    conn = start("require", ca=False).raw()
    conn.send(wire.startup({"user": "app", "database": "app"}))
    assert "R" not in conn.recv_until_closed().types


def test_mode_require_still_serves_unix_sockets(make_sluice, server_certificates, tmp_path):
    certificate, key = server_certificates["first"]
    sluice = make_sluice(postgres={
        "listen": [*make_sluice.default_config()["postgres"]["listen"], f"unix:{tmp_path}"],
        "tls": {"mode": "require", "certificate": str(certificate), "key": str(key)}})
    assert works(sluice, address=sluice.unix_address)


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_mode_verify_needs_a_client_certificate(start, server_certificates, mode):
    sluice = start(mode)
    with pytest.raises((wire.PgError, wire.Closed, OSError)):
        sluice.connect(user="alice", tls=client_context())
    with pytest.raises((wire.PgError, wire.Closed)):
        sluice.connect(user="alice")
    assert works(sluice, user="alice", tls=client_context(
        certificate=server_certificates["alice"]))


def test_mode_verify_ca_takes_a_certificate_of_any_name(start, server_certificates):
    context = client_context(certificate=server_certificates["mallory"])
    assert works(start("verify-ca"), user="alice", tls=context)


def test_mode_verify_full_takes_only_the_users_own_certificate(start, server_certificates):
    sluice = start("verify-full")
    context = client_context(certificate=server_certificates["mallory"])
    with pytest.raises((wire.PgError, wire.Closed, OSError)):
        sluice.connect(user="alice", tls=context)


def test_certificate_of_a_foreign_authority_is_refused(start, tmp_path):
    from certificates import Authority
    foreign = Authority(tmp_path / "foreign").issue("alice", "alice", addresses=None)
    sluice = start("verify-ca")
    with pytest.raises((wire.PgError, wire.Closed, OSError)):
        sluice.connect(user="alice", tls=client_context(certificate=foreign))


def test_server_certificate_verifies_in_full(start, authority):
    conn = start("require", ca=False).raw()
    conn.request_tls(client_context(authority.ca), "localhost")
    conn.login("app", "app", PASSWORDS["app"])
    assert conn.query("select 1").value == "1"


def only(version):
    context = client_context()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    if version < ssl.TLSVersion.TLSv1_2:
        context.set_ciphers("ALL:@SECLEVEL=0")
    return context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_tls_versions_are_refused(start, version):
    sluice = start("allow", ca=False)
    conn = sluice.raw()
    with pytest.raises((ssl.SSLError, ConnectionError)):
        conn.request_tls(only(version))
    assert works(sluice, tls=client_context())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_new_tls_versions_are_served(start, version):
    conn = start("require", ca=False).connect(tls=only(version))
    assert conn.query("select 1").value == "1"


def serial(target):
    conn = target.raw()
    conn.request_tls(client_context())
    data = conn.sock.getpeercert(binary_form=True)
    conn.close()
    return data


def test_certificate_is_read_again_on_sighup(make_sluice, server_certificates, tmp_path):
    certificate, key = tmp_path / "now.pem", tmp_path / "now.key"

    def install(name):
        certificate.write_bytes(server_certificates[name][0].read_bytes())
        key.write_bytes(server_certificates[name][1].read_bytes())
        key.chmod(0o600)

    install("first")
    sluice = make_sluice(postgres={"tls": {"mode": "require", "certificate": str(certificate),
                                           "key": str(key)}})
    old = serial(sluice)
    conn = sluice.connect(tls=client_context())
    install("second")
    assert serial(sluice) == old, "read before anyone asked"
    sluice.signal(signal.SIGHUP)
    wire.eventually(lambda: serial(sluice) != old, 5, "the new certificate")
    assert conn.query("select 1").value == "1", "an existing connection was disturbed"
    assert works(sluice, tls=client_context(), gs2="p"), "channel binding to the new certificate"


def test_broken_certificate_on_sighup_keeps_the_old_one(make_sluice, server_certificates,
                                                        tmp_path):
    certificate, key = tmp_path / "now.pem", tmp_path / "now.key"
    certificate.write_bytes(server_certificates["first"][0].read_bytes())
    key.write_bytes(server_certificates["first"][1].read_bytes())
    sluice = make_sluice(postgres={"tls": {"mode": "require", "certificate": str(certificate),
                                           "key": str(key)}})
    old = serial(sluice)
    certificate.write_text("nonsense")
    before = len(sluice.log)
    sluice.signal(signal.SIGHUP)
    wire.eventually(lambda: len(sluice.log) > before, 5, "a word about it in the log")
    assert serial(sluice) == old
    assert works(sluice, tls=client_context())


def test_megabytes_pass_through_tls_both_ways(start):
    conn = start("require", ca=False).connect(tls=client_context())
    text = "0123456789abcdef" * (1 << 18)
    assert conn.execute("select $1::text", [text]).value == text


def test_tls_client_that_never_finishes_the_handshake_disturbs_nobody(start):
    sluice = start("require", ca=False)
    stuck = []
    for _ in range(20):
        conn = sluice.raw()
        conn.send(wire.SSL_REQUEST)
        assert conn.recv_byte() == b"S"
        conn.send(b"\x16\x03\x01\x02\x00\x01")
        stuck.append(conn)
    started = time.monotonic()
    assert works(sluice, tls=client_context())
    assert time.monotonic() - started < 2


def test_garbage_in_the_place_of_a_handshake_closes_the_connection(start):
    sluice = start("require", ca=False)
    conn = sluice.raw()
    conn.send(wire.SSL_REQUEST)
    assert conn.recv_byte() == b"S"
    conn.send(b"GET / HTTP/1.1\r\n\r\n")
    try:
        while True:
            conn.recv_byte()
    except wire.Closed:
        pass
    assert works(sluice, tls=client_context())


def test_tls_connection_cut_without_close_notify_is_noticed(start, pg):
    sluice = start("require", ca=False)
    conn = sluice.connect(tls=client_context())
    conn.query("begin")
    conn.reset()
    wire.eventually(lambda: all(s["state"] == "idle" for s in pg.sessions()), 5,
                    "the transaction to be rolled back")
