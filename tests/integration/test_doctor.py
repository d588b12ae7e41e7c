"""sluice doctor against real servers, and against what is broken: it says what, and what to do."""

import datetime
import json
import socket
import subprocess

import pytest
import yaml

import targets
from postgres import PASSWORDS, free_port

SECRETS = [*PASSWORDS.values(), "wrong-secret-1Qx"]


@pytest.fixture
def doctor(pg, tmp_path):
    """doctor(postgres={...}, ...): exit code and lines [(level, text)] for these changes."""

    def run(*arguments, environment=None, **changes):
        settings = targets.merge({
            "postgres": {
                "listen": [f"127.0.0.1:{free_port()}"],
                "pool_size": 5,
                "max_client_conn": 100,
                "databases": {"app": {"url": pg.url(user="app", sslmode="require")}},
                "users": {"alice": {"password": PASSWORDS["alice"]}},
            },
            "kv": {"listen": [f"127.0.0.1:{free_port()}"], "maxclients": 100,
                   "directory": str(tmp_path / "store")},
            "monitoring": {"listen": [f"127.0.0.1:{free_port()}"]},
        }, changes)
        path = tmp_path / "doctor.yaml"
        path.write_text(yaml.safe_dump(settings))
        code, out, err = targets.run_sluice("doctor", "--config", path, *arguments,
                                            environment=environment, timeout=30)
        for secret in SECRETS:
            assert secret not in out + err
        assert not err, err
        run.output = out
        if "--json" in arguments:
            return code, [json.loads(line) for line in out.splitlines()]
        lines = [tuple(line.split(None, 1)) for line in out.splitlines()]
        return code, lines

    return run


def found(lines, level, *parts):
    """The lines of this level that have all these parts."""
    return [text for one, text in lines if one == level and all(part in text for part in parts)]


def test_all_is_well(doctor, pg):
    code, lines = doctor()
    assert code == 0, doctor.output
    assert not found(lines, "fail"), doctor.output
    assert not found(lines, "warn"), doctor.output
    assert found(lines, "ok", "database app: 127.0.0.1:", "TCP ", "TLS ", "login ")
    assert found(lines, "ok", "database app: PostgreSQL 15", "first query ")
    assert found(lines, "ok", "database app: its clock is 0.")
    assert found(lines, "ok", "database app: its certificate ends in ")
    assert found(lines, "ok", f"server 127.0.0.1:{pg.port}: max_connections 100 (5 reserved)",
                 "the pools may open 5")
    assert found(lines, "ok", "descriptors: ")
    assert found(lines, "ok", "postgres port: 127.0.0.1:", "is free")
    assert found(lines, "ok", "store: ", "is not there yet")
    assert doctor.output.splitlines()[-1] == "all is well"


def test_json_is_one_object_a_line(doctor):
    code, lines = doctor("--json")
    assert code == 0
    assert {line["level"] for line in lines} == {"ok"}
    assert all(line["what"] and line["found"] for line in lines)
    code, lines = doctor("--json", postgres={"databases": {"app": {
        "url": f"postgresql://app@127.0.0.1:{free_port()}/app"}}})
    assert code == 1
    assert [line for line in lines if line["level"] == "fail" and line["advice"]]


def test_unreachable_port(doctor):
    port = free_port()
    code, lines = doctor(postgres={"databases": {"app": {
        "url": f"postgresql://app:wrong-secret-1Qx@127.0.0.1:{port}/app"}}})
    assert code == 1
    assert found(lines, "fail", f"login at 127.0.0.1:{port} failed", "Connection refused",
                 "Check that the server runs there"), doctor.output
    assert doctor.output.splitlines()[-1] == "1 failure, 0 warnings"


def test_wrong_password(doctor, pg):
    code, lines = doctor(postgres={"databases": {"app": {
        "url": f"postgresql://app:wrong-secret-1Qx@127.0.0.1:{pg.port}/app"}}})
    assert code == 1
    assert found(lines, "fail", "28P01", 'password authentication failed for user "app"',
                 "Check user and password"), doctor.output


def test_wrong_database(doctor, pg):
    code, lines = doctor(postgres={"databases": {"app": {
        "url": pg.url(user="app", database="nowhere")}}})
    assert code == 1
    assert found(lines, "fail", "3D000", '"nowhere" does not exist', "create it"), doctor.output


def test_unknown_host(doctor):
    code, lines = doctor(postgres={"databases": {"app": {
        "url": "postgresql://app@no-such-host.invalid/app"}}})
    assert code == 1
    assert found(lines, "fail", "the name no-such-host.invalid is not resolved"), doctor.output


def test_a_password_with_an_at_sign_is_not_shown(doctor):
    code, lines = doctor(postgres={"databases": {"app": {
        "url": "postgresql://app:half@wrong-secret-1Qx@127.0.0.1/app"}}})
    assert code == 1
    assert found(lines, "fail", "more than one @", "%40"), doctor.output


def test_a_pooler_is_named(doctor, pg):
    code, lines = doctor(postgres={"databases": {"app": {
        "url": pg.url(user="app").replace("127.0.0.1", "ep-a-b-pooler.localhost")}}})
    assert found(lines, "warn", "the host is a pooler's", "Use the direct host"), doctor.output


def test_max_connections_is_too_small(doctor, pg):
    code, lines = doctor(postgres={"pool_size": 96})
    assert code == 1
    assert found(lines, "fail", "server ", "the pools may open 96", "raise the server's "
                 "max_connections"), doctor.output
    # Several databases of one server count together, and the bound of a database counts.
    two = {"app": {"url": pg.url(user="app"), "pool_size": 60},
           "other": {"url": pg.url(user="app", database="other"), "pool_size": 60}}
    code, lines = doctor(postgres={"databases": two})
    assert code == 1
    assert found(lines, "fail", "the pools may open 120"), doctor.output
    two["other"]["max_db_connections"] = 20
    code, lines = doctor(postgres={"databases": two})
    assert found(lines, "ok", "the pools may open 80"), doctor.output
    assert code == 0


def test_pools_of_every_user_count(doctor, pg):
    users = {name: {"password": PASSWORDS[name]} for name in ("app", "alice", "bob")}
    url = f"host=127.0.0.1 port={pg.port} dbname=app"
    code, lines = doctor(postgres={"databases": {"app": {"url": url}}, "users": users,
                                   "reserve_pool_size": 2})
    assert code == 0
    assert found(lines, "ok", "the pools may open 21"), doctor.output


def test_ports_are_taken(doctor):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        code, lines = doctor(postgres={"listen": [f"127.0.0.1:{port}"]})
    assert code == 1
    assert found(lines, "fail", "postgres port: ", str(port), "ss -ltnp"), doctor.output


def test_postgres_itself_has_the_port(doctor, pg):
    code, lines = doctor(postgres={"listen": [f"127.0.0.1:{pg.port}"]})
    assert code == 1
    assert found(lines, "fail", "is taken by a Postgres server or pooler"), doctor.output


def test_a_running_sluice_is_recognised(doctor, make_sluice, tmp_path):
    directory = tmp_path / "store"
    kv_port = free_port()
    running = make_sluice(kv={"listen": [f"127.0.0.1:{kv_port}"], "directory": str(directory)})
    code, lines = doctor(postgres={"listen": running.config["postgres"]["listen"]},
                         kv={"listen": [f"127.0.0.1:{kv_port}"]},
                         monitoring=running.config["monitoring"])
    assert code == 0, doctor.output
    assert len(found(lines, "ok", "port: ", "a running sluice answers")) == 3, doctor.output
    assert found(lines, "ok", "store: a running sluice"), doctor.output
    assert found(lines, "ok", "store: its log is being written"), doctor.output


def test_the_log_of_a_stopped_store_is_read(doctor, make_sluice, tmp_path):
    directory = tmp_path / "store"
    kv_port = free_port()
    running = make_sluice(kv={"listen": [f"127.0.0.1:{kv_port}"], "directory": str(directory),
                              "fsync": "always"})
    with socket.create_connection(("127.0.0.1", kv_port)) as client:
        client.sendall(b"SET a b\r\n")
        assert client.recv(10) == b"+OK\r\n"
    running.process.kill()
    running.process.wait()
    running.process = None
    before = sorted(path.name for path in directory.rglob("*"))
    code, lines = doctor()
    assert code == 0, doctor.output
    assert found(lines, "ok", "store: its log is whole: 1 record"), doctor.output
    assert sorted(path.name for path in directory.rglob("*")) == before
    segment = next((directory / "log").iterdir())
    content = bytearray(segment.read_bytes())
    content[0] ^= 0xFF
    segment.write_bytes(content)
    code, lines = doctor()
    assert code == 1
    assert found(lines, "fail", "store: a start would be refused"), doctor.output


def test_certificates_that_end(doctor, authority, server_certificates, tmp_path):
    certificate, key = server_certificates["first"]  # thirty days
    tls = {"mode": "allow", "certificate": str(certificate), "key": str(key)}
    code, lines = doctor(postgres={"tls": tls})
    assert code == 0
    assert found(lines, "ok", "postgres.tls: ", "ends in 29 days") or \
        found(lines, "ok", "postgres.tls: ", "ends in 30 days"), doctor.output

    short = tmp_path / "short.pem"
    subprocess.run(["openssl", "req", "-x509", "-key", str(key), "-subj", "/CN=x", "-days", "5",
                    "-out", str(short)], check=True, capture_output=True)
    code, lines = doctor(postgres={"tls": {**tls, "certificate": str(short)}})
    assert code == 0
    assert found(lines, "warn", "postgres.tls: ", "days", "Renew it"), doctor.output

    code, lines = doctor(monitoring={"tls": {**tls, "certificate": str(short)}})
    assert code == 0
    assert found(lines, "warn", "monitoring.tls: ", "days", "Renew it"), doctor.output

    other_key = server_certificates["second"][1]
    code, lines = doctor(postgres={"tls": {**tls, "key": str(other_key)}})
    assert code == 1
    assert found(lines, "fail", "postgres.tls: "), doctor.output


def test_a_low_limit_of_descriptors(doctor, tmp_path):
    assert found(doctor()[1], "ok", "descriptors: ", "405 wanted: 100 clients"), doctor.output
    done = subprocess.run(["prlimit", "--nofile=404", str(targets.BINARY), "doctor", "--config",
                           str(tmp_path / "doctor.yaml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "warn  descriptors: at most 404 (" in done.stdout
    assert "LimitNOFILE" in done.stdout


def test_broken_configuration_is_a_usage_error(tmp_path):
    path = tmp_path / "sluice.yaml"
    path.write_text("postgres: {pool_sizes: 3}\n")
    code, out, err = targets.run_sluice("doctor", "--config", path)
    assert code == 2
    assert "pool_sizes" in err and not out
    assert targets.run_sluice("doctor", "--nonsense")[0] == 2


def test_lines_come_as_they_are_known(tmp_path):
    """A server that says nothing must not hold back what was found before it."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        path = tmp_path / "sluice.yaml"
        path.write_text(yaml.safe_dump({
            "postgres": {"listen": [], "server_connect_timeout": "60s", "databases": {
                "app": {"url": f"postgresql://a@127.0.0.1:{silent.getsockname()[1]}/app"}}},
            "kv": {"listen": []}, "monitoring": {"listen": []}}))
        with subprocess.Popen([str(targets.BINARY), "doctor", "--config", str(path)],
                              stdout=subprocess.PIPE, text=True) as run:
            began = datetime.datetime.now()
            assert run.stdout.readline().startswith("ok    sluice: version")
            assert "configuration" in run.stdout.readline()
            assert (datetime.datetime.now() - began).total_seconds() < 30
            assert run.poll() is None
            run.kill()
