"""Who may see the monitoring port: a token, users, certificates, or nobody is asked."""

import base64
import http.client
import json
import shutil
import socket
import ssl
import subprocess
import time
import urllib.request

import pytest

import kv_targets
import targets
import wire
from certificates import client_context
from postgres import free_port

TOKEN = "t0ken-that-nobody-guesses"
PATHS = ["/metrics", "/api/status", "/api/history"]


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def ask(sluice, path, authorization=None, context=None, **headers):
    """(status, headers, body)."""
    kind = http.client.HTTPSConnection if context else http.client.HTTPConnection
    options = {"context": context} if context else {}
    connection = kind("127.0.0.1", sluice.monitoring_port, timeout=10 * targets.SCALE, **options)
    if authorization:
        headers["Authorization"] = authorization
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()
    finally:
        connection.close()


def status(sluice, path, *arguments, **options):
    return ask(sluice, path, *arguments, **options)[0]


@pytest.fixture
def make_monitored(make_kv):
    """make_monitored(token=..., users=...): no PostgreSQL is needed for this."""
    def make(**monitoring):
        return make_kv(monitoring=monitoring)
    return make


def test_loopback_asks_nobody_by_default(make_monitored):
    sluice = make_monitored()
    for path in ["/", *PATHS]:
        assert status(sluice, path) == 200, path
    assert json.loads(ask(sluice, "/api/status")[2])["statements"] == []


def test_token_is_asked_for(make_monitored):
    sluice = make_monitored(token=TOKEN)
    for path in PATHS:
        code, headers, body = ask(sluice, path)
        assert code == 401 and headers["WWW-Authenticate"] == 'Bearer realm="sluice"'
        assert TOKEN not in body
        assert status(sluice, path, f"Bearer {TOKEN}x") == 401
        assert status(sluice, path, basic("token", TOKEN)) == 401
        assert status(sluice, path, f"Bearer {TOKEN}") == 200
    assert status(sluice, "/") == 200  # the page, which has no figures
    assert ask(sluice, "/healthz")[::2] == (200, "ok\n")
    assert status(sluice, "/readyz") == 200


def test_token_may_come_from_a_file(make_kv, tmp_path):
    secret = tmp_path / "token"
    secret.write_text(TOKEN + "\n")
    sluice = make_kv(monitoring={"token": "${file:" + str(secret) + "}"})
    assert status(sluice, "/metrics", f"Bearer {TOKEN}") == 200


def test_users_log_in_with_plain_passwords_and_verifiers(make_monitored):
    code, verifier, _ = targets.run_sluice("hash-password", stdin="bob's pässword\n")
    assert code == 0
    sluice = make_monitored(users={"alice": {"password": "alice's: password"},
                                   "bob": {"password": verifier.strip()}})
    code, headers, _ = ask(sluice, "/")
    assert code == 401 and headers["WWW-Authenticate"] == 'Basic realm="sluice", charset="UTF-8"'
    for right in (basic("alice", "alice's: password"), basic("bob", "bob's pässword")):
        for path in ["/", *PATHS]:
            assert status(sluice, path, right) == 200, path
    for wrong in (basic("alice", "alice's"), basic("bob", verifier.strip()), basic("carol", ""),
                  basic("bob", ""), "Basic =", f"Bearer {TOKEN}"):
        assert status(sluice, "/metrics", wrong) == 401, wrong


def test_guessing_is_slowed_down_and_health_is_not(make_monitored):
    sluice = make_monitored(token=TOKEN)
    assert status(sluice, "/metrics", f"Bearer {TOKEN}") == 200
    codes = [status(sluice, "/metrics", f"Bearer guess{i}") for i in range(15)]
    assert codes == [401] * 10 + [429] * 5
    code, headers, _ = ask(sluice, "/api/status", "Bearer another")
    assert code == 429 and headers["Retry-After"] == "60"
    assert status(sluice, "/healthz") == 200
    # Whoever was let in stays in: somebody else on the same address may be the one who guesses.
    assert status(sluice, "/metrics", f"Bearer {TOKEN}") == 200


def test_reason_for_not_being_ready_is_kept_from_strangers(make_sluice):
    url = f"postgresql://app:x@127.0.0.1:{free_port()}/secret_database"
    sluice = make_sluice(monitoring={"token": TOKEN}, postgres={
        "query_wait_timeout": "500ms", "databases": {"app": {"url": url}}})
    with pytest.raises(wire.PgError):
        sluice.connect().query("select 1")
    assert ask(sluice, "/readyz")[::2] == (503, "not ready\n")
    code, _, body = ask(sluice, "/readyz", f"Bearer {TOKEN}")
    assert code == 503 and "app" in body


def refused(make_kv, monitoring):
    """(exit code, words) of a start that must not come about; `sluice check` says the same."""
    sluice = make_kv.prepare(monitoring=monitoring)
    sluice.write_config()
    checked = targets.run_sluice("check", "--config", sluice.config_path)
    started = sluice.start_refused()
    assert checked[0] == started[0], (checked, started)
    return started[0], checked[2], started[1]


def test_listening_elsewhere_without_access_control_is_refused(make_kv):
    code, checked, started = refused(make_kv, {"listen": [f"0.0.0.0:{free_port()}"]})
    assert code == 2
    for text in (checked, started):
        for word in ("monitoring.listen[0]", "monitoring.token", "monitoring.users",
                     "monitoring.allow_anonymous: true"):
            assert word in text, text


def test_listening_elsewhere_openly_is_possible_and_hides_statements(make_kv):
    address = kv_targets.own_address()
    if address is None:
        pytest.skip("this machine has no address beyond loopback")
    port = free_port()
    sluice = make_kv(monitoring={"listen": [f"0.0.0.0:{port}"], "allow_anonymous": True})
    assert json.loads(ask(sluice, "/api/status")[2])["statements"] == []
    with urllib.request.urlopen(f"http://{address}:{port}/api/status", timeout=10) as answer:
        assert json.load(answer)["statements"] is None
    assert json.loads(ask(sluice, "/api/status", Host="evil.example")[2])["statements"] is None


def test_tls_is_spoken_and_a_plain_client_is_told(make_kv, server_certificates, authority):
    certificate, key = server_certificates["first"]
    sluice = make_kv(monitoring={"token": TOKEN, "tls": {
        "mode": "require", "certificate": str(certificate), "key": str(key)}})
    for alpn in (None, "http/1.1", ["h2", "http/1.1"], "h2"):
        context = client_context(authority.ca, alpn=alpn)
        assert status(sluice, "/metrics", f"Bearer {TOKEN}", context=context) == 200, alpn
        assert status(sluice, "/metrics", context=context) == 401
    code, _, body = ask(sluice, "/metrics", f"Bearer {TOKEN}")
    assert code == 400 and "https" in body


def test_tls_allow_serves_both(make_kv, server_certificates, authority):
    certificate, key = server_certificates["first"]
    sluice = make_kv(monitoring={"tls": {
        "mode": "allow", "certificate": str(certificate), "key": str(key)}})
    assert status(sluice, "/metrics") == 200
    assert status(sluice, "/metrics", context=client_context(authority.ca)) == 200


def test_client_certificates_are_enough_and_needed(make_kv, server_certificates, authority):
    certificate, key = server_certificates["first"]
    sluice = make_kv(monitoring={"listen": [f"0.0.0.0:{free_port()}"], "tls": {
        "mode": "verify-ca", "certificate": str(certificate), "key": str(key),
        "client_ca": str(authority.ca)}})
    with_certificate = client_context(authority.ca, server_certificates["alice"])
    assert status(sluice, "/metrics", context=with_certificate) == 200
    answer = ask(sluice, "/api/status", context=with_certificate, Host="monitoring.example")
    assert json.loads(answer[2])["statements"] == []
    with pytest.raises((ssl.SSLError, OSError)):
        ask(sluice, "/healthz", context=client_context(authority.ca))


def test_handshake_that_never_ends_is_in_nobodys_way(make_kv, server_certificates, authority):
    certificate, key = server_certificates["first"]
    sluice = make_kv(monitoring={"tls": {
        "mode": "require", "certificate": str(certificate), "key": str(key)}})
    with socket.create_connection(("127.0.0.1", sluice.monitoring_port)) as silent, \
            socket.create_connection(("127.0.0.1", sluice.monitoring_port)) as nonsense:
        nonsense.sendall(b"\x16\x03\x01\x02\x00" + b"\xff" * 512)
        assert status(sluice, "/healthz", context=client_context(authority.ca)) == 200
        assert silent.fileno() >= 0


def serial_number(sluice, authority):
    """Of the certificate that the monitoring port shows."""
    context = client_context(authority.ca)
    with socket.create_connection(("127.0.0.1", sluice.monitoring_port), timeout=10) as plain, \
            context.wrap_socket(plain, server_hostname="localhost") as tls:
        return tls.getpeercert()["serialNumber"]


def test_reload_changes_token_users_and_certificate(make_kv, server_certificates, authority):
    first, second = server_certificates["first"], server_certificates["second"]
    tls = {"mode": "require", "certificate": str(first[0]), "key": str(first[1])}
    sluice = make_kv(monitoring={"token": TOKEN, "tls": tls})
    context = client_context(authority.ca)
    before = serial_number(sluice, authority)
    sluice.reload(monitoring={"token": "other", "users": {"alice": {"password": "x"}}, "tls": {
        "certificate": str(second[0]), "key": str(second[1])}})
    wire.eventually(lambda: status(sluice, "/metrics", "Bearer other", context=context) == 200,
                    10 * targets.SCALE, "the new token")
    assert status(sluice, "/metrics", f"Bearer {TOKEN}", context=context) == 401
    assert status(sluice, "/metrics", basic("alice", "x"), context=context) == 200
    assert serial_number(sluice, authority) != before


def test_reload_that_would_open_the_port_to_everybody_changes_nothing(make_kv):
    port = free_port()
    sluice = make_kv(monitoring={"listen": [f"0.0.0.0:{port}"], "token": TOKEN})
    # Where it listens waits for a restart, so that the file alone is not what would be in force.
    sluice.reload(monitoring={"listen": [f"127.0.0.1:{port}"], "token": None})
    wire.eventually(lambda: "open to everybody" in sluice.log, 10 * targets.SCALE, "the refusal")
    assert status(sluice, "/metrics") == 401
    assert status(sluice, "/metrics", f"Bearer {TOKEN}") == 200


def test_secrets_appear_nowhere(make_monitored):
    sluice = make_monitored(token=TOKEN, users={"alice": {"password": "hunter2-of-alice"}})
    bodies = [ask(sluice, path, f"Bearer {TOKEN}")[2] for path in ["/", *PATHS]]
    status(sluice, "/metrics", "Bearer guess-of-somebody")
    for text in [*bodies, sluice.log]:
        for secret in (TOKEN, "hunter2-of-alice", "guess-of-somebody"):
            assert secret not in text


@pytest.mark.slow
def test_prometheus_scrapes_with_its_own_settings(make_monitored, tmp_path):
    """A real Prometheus with `authorization` and with `basic_auth`."""
    if not shutil.which("prometheus"):
        pytest.fail("no prometheus: scripts/install-packages brings it")
    sluice = make_monitored(token=TOKEN, users={"prom": {"password": "scrape me"}})
    target = f"static_configs: [{{targets: ['127.0.0.1:{sluice.monitoring_port}']}}]"
    config = tmp_path / "prometheus.yml"
    config.write_text(f"""
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: token
    authorization: {{credentials: {TOKEN}}}
    {target}
  - job_name: password
    basic_auth: {{username: prom, password: scrape me}}
    {target}
  - job_name: nothing
    {target}
""")
    port = free_port()
    with open(tmp_path / "prometheus.log", "wb") as log:
        prometheus = subprocess.Popen(
            ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path}/data",
             f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"],
            stdout=log, stderr=log)

    def up():
        try:
            with urllib.request.urlopen(
                    f"http://127.0.0.1:{port}/api/v1/query?query=up", timeout=5) as answer:
                result = json.load(answer)["data"]["result"]
        except OSError:
            return None
        return {one["metric"]["job"]: one["value"][1] for one in result}

    try:
        wire.eventually(lambda: up() == {"token": "1", "password": "1", "nothing": "0"},
                        40 * targets.SCALE, "scrapes")
    finally:
        prometheus.terminate()
        end = time.monotonic() + 10
        while prometheus.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        prometheus.kill()
        prometheus.wait()
