"""Who may log in and how it is proved; nothing secret is ever written down."""

import base64
import socket
import statistics
import subprocess
import time

import pytest

import targets
import wire
from certificates import client_context
from postgres import PASSWORDS, free_port


def tls(certificates, mode="allow", ca=None):
    certificate, key = certificates["first"]
    out = {"mode": mode, "certificate": str(certificate), "key": str(key)}
    if ca:
        out["client_ca"] = str(ca)
    return out


def failure(target, **arguments):
    with pytest.raises(wire.PgError) as caught:
        target.connect(**arguments)
    return caught.value


# ---- SCRAM --------------------------------------------------------------------------------------


def test_scram_right_password_logs_in(sluice):
    conn = sluice.connect()
    assert [code for code, _ in conn.auth_requests] == [10, 11, 12, 0]
    assert conn.mechanisms == ["SCRAM-SHA-256"]


def test_scram_wrong_password_is_28P01(sluice):
    error = failure(sluice, secret="not it")
    assert error.code == "28P01" and error.fields["S"] == "FATAL"


def test_scram_empty_password_is_refused(sluice):
    assert failure(sluice, secret="").code == "28P01"


def test_scram_connection_is_closed_after_a_wrong_password(sluice):
    conn = sluice.raw()
    with pytest.raises(wire.PgError):
        conn.login("app", "app", "not it")
    assert conn.recv_until_closed().messages == []


def probe(sluice, user, secret="whatever"):
    """One failing login: the R codes, mechanisms, salt, iterations, the error and the time."""
    conn = sluice.raw()
    started = time.monotonic()
    with pytest.raises(wire.PgError) as caught:
        conn.login(user, "app", secret)
    elapsed = time.monotonic() - started
    conn.close()
    return conn, caught.value, elapsed


def test_unknown_user_looks_like_a_wrong_password(sluice):
    known, known_error, _ = probe(sluice, "app")
    ghost, ghost_error, _ = probe(sluice, "ghost")
    assert [c for c, _ in known.auth_requests] == [c for c, _ in ghost.auth_requests]
    assert known.mechanisms == ghost.mechanisms
    assert known.scram.iterations == ghost.scram.iterations
    assert len(base64.b64decode(known.scram.salt)) == len(base64.b64decode(ghost.scram.salt))
    assert known_error.code == ghost_error.code == "28P01"
    assert known_error.fields.keys() == ghost_error.fields.keys()
    assert known_error.message.replace("app", "USER") == \
        ghost_error.message.replace("ghost", "USER")


def test_unknown_users_salt_stays_the_same(sluice):
    salts = {probe(sluice, "ghost")[0].scram.salt for _ in range(3)}
    known = {probe(sluice, "app")[0].scram.salt for _ in range(3)}
    assert len(salts) == len(known) == 1
    assert salts != {probe(sluice, "ghost2")[0].scram.salt}


def test_unknown_user_takes_the_time_of_a_wrong_password(sluice):
    probe(sluice, "app"), probe(sluice, "ghost")
    known = statistics.median(probe(sluice, "app")[2] for _ in range(15))
    ghost = statistics.median(probe(sluice, "ghost")[2] for _ in range(15))
    assert abs(known - ghost) < 0.004 * targets.SCALE, (known, ghost)


def test_unknown_user_of_a_cleartext_login_looks_like_a_wrong_password(make_sluice):
    sluice = make_sluice(postgres={"auth_type": "cleartext"})
    known, known_error, _ = probe(sluice, "app")
    ghost, ghost_error, _ = probe(sluice, "ghost")
    assert [c for c, _ in known.auth_requests] == [c for c, _ in ghost.auth_requests] == [3]
    assert known_error.code == ghost_error.code == "28P01"


def test_scram_proof_of_another_password_is_refused_for_every_user(sluice):
    assert failure(sluice, user="alice", secret=PASSWORDS["app"]).code == "28P01"


@pytest.mark.parametrize("garbage", [
    b"", b"\0", b"SCRAM-SHA-256\0", b"SCRAM-SHA-256\0\xff\xff\xff\xfe",
    b"SCRAM-SHA-256\0\x7f\xff\xff\xffn,,n=,r=x", b"SCRAM-SHA-1\0\0\0\0\x0an,,n=,r=xx",
    b"SCRAM-SHA-256\0\0\0\0\x08n,,n=,r=", b"SCRAM-SHA-256\0\0\0\0\x09m,,n=,r=a",
    b"SCRAM-SHA-256\0\0\0\0\x04" + b"\xff" * 4, b"MD5\0", b"x" * 5000,
], ids=range(11))
def test_scram_broken_first_message_is_refused(sluice, garbage):
    conn = sluice.raw()
    conn.send(wire.startup({"user": "app", "database": "app"}))
    conn.recv_until("R")
    conn.send(wire.message("p", garbage))
    rest = conn.recv_until_closed()
    assert [m.type for m in rest.messages] in (["E"], [])
    assert set(rest.codes) <= {"28P01", "08P01", "28000"}
    assert sluice.connect().query("select 1").value == "1"


def test_scram_without_an_initial_response_is_asked_for_one(sluice):
    """Length -1: PostgreSQL sends an empty challenge; refusing it is as good."""
    conn = sluice.raw()
    conn.send(wire.startup({"user": "app", "database": "app"}))
    conn.recv_until("R")
    conn.send(wire.message("p", b"SCRAM-SHA-256\0\xff\xff\xff\xff"))
    got = conn.recv()
    if got.type == "E":
        return
    assert got.type == "R" and got.body == b"\0\0\0\x0b"
    scram = wire.Scram(PASSWORDS["app"])
    first = scram.first()[5:]
    conn.send(wire.message("p", first[len(scram.mechanism) + 5:]))
    server_first = conn.recv_until("R").messages[-1].body[4:]
    conn.send(scram.final(server_first))
    assert conn.recv_until("Z").status == "I"


@pytest.mark.parametrize("change", [
    lambda m: m.replace(b"r=", b"r=x", 1),
    lambda m: m.replace(b"p=", b"q=", 1),
    lambda m: m[:-20],
    lambda m: m.replace(b"c=biws", b"c=eSws", 1),
    lambda m: m + b"A" * 4096,
    lambda m: b"",
], ids=["nonce", "no_proof", "cut", "binding", "long", "empty"])
def test_scram_broken_final_message_is_refused(sluice, change):
    conn = sluice.raw()
    conn.send(wire.startup({"user": "app", "database": "app"}))
    conn.recv_until("R")
    scram = wire.Scram(PASSWORDS["app"])
    conn.send(scram.first())
    server_first = conn.recv_until("R").messages[-1].body[4:]
    final = scram.final(server_first)[5:]
    conn.send(wire.message("p", change(final)))
    rest = conn.recv_until_closed()
    assert not rest._of("Z")
    assert set(rest.codes) <= {"28P01", "08P01"}


# ---- SCRAM-SHA-256-PLUS -------------------------------------------------------------------------


@pytest.fixture
def tls_sluice(make_sluice, server_certificates):
    return make_sluice(postgres={"tls": tls(server_certificates)})


def test_scram_plus_is_offered_inside_tls_only(tls_sluice):
    assert tls_sluice.connect().mechanisms == ["SCRAM-SHA-256"]
    inside = tls_sluice.connect(tls=client_context())
    assert sorted(inside.mechanisms) == ["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"]


def test_scram_plus_logs_in(tls_sluice):
    conn = tls_sluice.connect(tls=client_context(), gs2="p")
    assert conn.scram.mechanism == "SCRAM-SHA-256-PLUS"
    assert conn.query("select 1").value == "1"


def test_scram_without_binding_inside_tls_logs_in(tls_sluice):
    assert tls_sluice.connect(tls=client_context(), gs2="n").query("select 1").value == "1"


def test_scram_plus_is_what_libpq_uses_with_channel_binding_require(tls_sluice, authority):
    conn = tls_sluice.psycopg(sslmode="verify-full", host="localhost", hostaddr="127.0.0.1",
                              sslrootcert=str(authority.ca), channel_binding="require")
    assert conn.execute("select 1").fetchone() == (1,)


def test_scram_plus_with_another_certificates_binding_is_refused(tls_sluice, monkeypatch):
    monkeypatch.setattr(wire, "endpoint_binding", lambda _: b"\0" * 32)
    error = failure(tls_sluice, tls=client_context(), gs2="p")
    assert error.code in ("28P01", "08P01", "28000")


def test_scram_downgrade_is_detected(tls_sluice):
    """gs2 flag y: the client can bind and believes that the server cannot, though it offered."""
    error = failure(tls_sluice, tls=client_context(), gs2="y")
    assert error.code in ("28P01", "08P01", "28000")


def test_scram_flag_y_without_tls_logs_in(tls_sluice):
    assert tls_sluice.connect(gs2="y").query("select 1").value == "1"


# ---- cleartext ----------------------------------------------------------------------------------


def test_cleartext_over_loopback_logs_in(make_sluice):
    sluice = make_sluice(postgres={"auth_type": "cleartext"})
    conn = sluice.connect()
    assert [code for code, _ in conn.auth_requests] == [3, 0]
    assert failure(sluice, secret="wrong").code == "28P01"


def test_cleartext_over_a_unix_socket_logs_in(make_sluice, tmp_path):
    sluice = make_sluice(postgres={"auth_type": "cleartext", "listen": [
        f"127.0.0.1:{free_port()}", f"unix:{tmp_path}"]})
    assert sluice.connect(address=sluice.unix_address).query("select 1").value == "1"


def outside_address():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            address = probe.getsockname()[0]
        except OSError:
            return None
    return None if address.startswith("127.") else address


def test_cleartext_from_elsewhere_needs_tls(make_sluice, server_certificates):
    address = outside_address()
    if address is None:
        pytest.skip("this machine has no address but loopback")
    port = free_port()
    sluice = make_sluice(postgres={"auth_type": "cleartext", "listen": [f"0.0.0.0:{port}"],
                                   "tls": tls(server_certificates)})
    plain = sluice.raw((address, port))
    plain.send(wire.startup({"user": "app", "database": "app"}))
    seen = plain.recv_until_closed()
    assert "R" not in seen.types, "a password was asked for in the clear"
    assert sluice.connect(address=(address, port), tls=client_context()) \
        .query("select 1").value == "1"


# ---- trust and certificates ---------------------------------------------------------------------


def test_trust_asks_for_nothing(make_sluice):
    sluice = make_sluice(postgres={"auth_type": "trust"})
    conn = sluice.connect(secret="")
    assert [code for code, _ in conn.auth_requests] == [0]
    assert conn.query("select 1").value == "1"


@pytest.fixture
def cert_sluice(make_sluice, server_certificates, authority):
    return make_sluice(postgres={"auth_type": "cert", "tls": tls(
        server_certificates, "verify-ca", authority.ca)})


def test_cert_of_the_user_logs_in(cert_sluice, server_certificates):
    context = client_context(certificate=server_certificates["alice"])
    conn = cert_sluice.connect(user="alice", tls=context)
    assert [code for code, _ in conn.auth_requests] == [0]
    assert conn.query("select 1").value == "1"


def test_cert_of_another_user_is_refused(cert_sluice, server_certificates):
    context = client_context(certificate=server_certificates["mallory"])
    assert failure(cert_sluice, user="alice", tls=context).code in ("28000", "28P01")


def test_cert_missing_is_refused(cert_sluice):
    with pytest.raises((wire.PgError, wire.Closed, OSError)):
        cert_sluice.connect(user="alice", tls=client_context())
    with pytest.raises((wire.PgError, wire.Closed)):
        cert_sluice.connect(user="alice")


# ---- passthrough --------------------------------------------------------------------------------


@pytest.fixture
def passthrough(make_sluice, pg):
    return make_sluice(postgres={
        "auth_type": "passthrough", "users": None,
        "databases": {"app": {"url": f"host=127.0.0.1 port={pg.port} dbname=app "
                                     "sslmode=disable"}}})


def test_passthrough_proves_the_password_upstream(passthrough):
    conn = passthrough.connect(user="alice")
    assert conn.query("select current_user").value == "alice"
    assert passthrough.connect(user="bob").query("select current_user").value == "bob"


def test_passthrough_wrong_password_is_refused(passthrough):
    assert failure(passthrough, user="alice", secret="wrong").code == "28P01"
    passthrough.connect(user="alice")
    assert failure(passthrough, user="alice", secret="wrong").code == "28P01"
    assert failure(passthrough, user="alice", secret="").code == "28P01"


def test_passthrough_unknown_user_is_refused(passthrough):
    assert failure(passthrough, user="ghost", secret="wrong").code in ("28P01", "28000")


def test_passthrough_many_logins_share_the_pool(passthrough, pg):
    for _ in range(30):
        passthrough.connect(user="alice").query("select 1")
    assert pg.session_count(user="alice") <= 5


# ---- where secrets come from --------------------------------------------------------------------


def test_verifier_as_password_logs_in(make_sluice):
    sluice = make_sluice(postgres={"users": {"app": {
        "password": wire.scram_verifier("only the client knows it")}}})
    assert sluice.connect(secret="only the client knows it").query("select 1").value == "1"
    assert failure(sluice, secret="wrong").code == "28P01"


def test_verifiers_own_iterations_and_salt_are_used(make_sluice):
    verifier = wire.scram_verifier("pw", iterations=5000, salt=b"sixteen bytes ok")
    sluice = make_sluice(postgres={"users": {"app": {"password": verifier}}})
    conn = sluice.connect(secret="pw")
    assert conn.scram.iterations == 5000
    assert base64.b64decode(conn.scram.salt) == b"sixteen bytes ok"


def test_password_from_the_environment(make_sluice):
    sluice = make_sluice(postgres={"users": {"app": {"password": "${MY_SECRET}"}}},
                         environment={"MY_SECRET": "from: the 'environment' # yes"})
    assert sluice.connect(secret="from: the 'environment' # yes").query("select 1").value == "1"


def test_password_from_a_file(make_sluice, tmp_path):
    (tmp_path / "secret").write_text("from a file\n")
    sluice = make_sluice(postgres={"users": {"app": {"password": f"${{file:{tmp_path}/secret}}"}}})
    assert sluice.connect(secret="from a file").query("select 1").value == "1"


def test_password_of_the_upstream_url_from_the_environment(make_sluice, pg):
    sluice = make_sluice(
        postgres={"databases": {"app": {"url": pg.url(secret="${APP_PASSWORD}")}}},
        environment={"APP_PASSWORD": PASSWORDS["app"]})
    assert sluice.connect().query("select 1").value == "1"


def test_users_of_the_urls_are_the_users_when_none_are_configured(make_sluice):
    sluice = make_sluice(postgres={"users": None})
    assert sluice.connect(user="app").query("select current_user").value == "app"
    assert failure(sluice, user="alice").code == "28P01"
    assert failure(sluice, user="app", secret="wrong").code == "28P01"


def test_database_url_alone_serves_its_own_user(make_sluice, pg, tmp_path):
    """No configuration file: the URL's own database, user and password; default ports."""
    port = 6432
    for default in (port, 6380, 9127):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", default)) == 0:
                pytest.skip(f"something listens on {default}")
    factory_made = targets.Sluice(tmp_path / "bare", {"postgres": {"listen": []}},
                                  environment={"DATABASE_URL": pg.url()})
    factory_made._spawn([targets.BINARY, "serve"])
    make_sluice.made.append(factory_made)
    factory_made.port = port
    factory_made.wait_listening([("127.0.0.1", port)])
    assert factory_made.connect().query("select current_user").value == "app"
    assert failure(factory_made, secret="wrong").code == "28P01"


def test_hash_password_makes_a_verifier_that_logs_in(make_sluice):
    code, out, err = targets.run_sluice("hash-password", stdin="my password\n")
    assert code == 0, err
    verifier = out.strip().splitlines()[-1]
    assert verifier.startswith("SCRAM-SHA-256$") and "my password" not in out + err
    sluice = make_sluice(postgres={"users": {"app": {"password": verifier}}})
    assert sluice.connect(secret="my password").query("select 1").value == "1"


# ---- nothing secret in the log ------------------------------------------------------------------


def test_no_secret_is_written_to_the_log(make_sluice, pg):
    verifier = wire.scram_verifier("verified-secret-1")
    sluice = make_sluice(postgres={
        "users": {"app": {"password": PASSWORDS["app"]}, "carol": {"password": verifier}},
        "databases": {"app": {"url": pg.url()},
                      "broken": {"url": pg.url(secret="upstream-secret-77")}}})
    conn = sluice.connect()
    conn.query("select 'sql-secret-55'")
    conn.query("select 1/0 as \"sql-secret-55\"", check=False)
    conn.execute("select $1::text, 'sql-secret-55'", ["parameter-secret-66"])
    conn.query("select 'sql-secret-55' from nowhere", check=False)
    for user, secret in (("app", "wrong-secret-88"), ("ghost", "wrong-secret-88"),
                         ("carol", "verified-secret-1")):
        try:
            sluice.connect(user=user, secret=secret)
        except wire.PgError:
            pass
    error = None
    try:
        sluice.connect(database="broken").query("select 1")
    except wire.PgError as caught:
        error = caught
    assert error is not None and "upstream-secret-77" not in str(error.fields)
    keys = [conn.key.hex()]
    conn.cancel()
    conn.terminate()
    assert not sluice.stop()
    forbidden = [PASSWORDS["app"], "sql-secret-55", "parameter-secret-66", "wrong-secret-88",
                 "verified-secret-1", "upstream-secret-77", verifier.split("$")[2], *keys]
    assert sluice.log, "nothing was logged at all"
    assert [word for word in forbidden if word in sluice.log] == []
    make_sluice.made.remove(sluice)


def test_no_cleartext_password_is_written_to_the_log(make_sluice, pg):
    sluice = make_sluice(postgres={
        "auth_type": "passthrough", "users": None,
        "databases": {"app": {"url": f"host=127.0.0.1 port={pg.port} dbname=app"}}})
    sluice.connect(user="alice")
    failure(sluice, user="alice", secret="wrong-secret-99")
    assert PASSWORDS["alice"] not in sluice.log and "wrong-secret-99" not in sluice.log


def test_no_password_is_shown_in_the_process_list(sluice):
    command = subprocess.run(["ps", "-o", "args=", "-p", str(sluice.pid)], capture_output=True,
                             text=True).stdout
    assert command and not [p for p in PASSWORDS.values() if p in command]
