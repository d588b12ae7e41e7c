"""SIGHUP and the key-value port: what applies to clients that are there, and to new ones."""

import json
import ssl
import time

import pytest

import kv_targets
import resp
import targets
from certificates import client_context
from test_reload import reload
from test_races import Crowd

pytestmark = pytest.mark.sluice_only
SECONDS = targets.SCALE


def all_projects(**passwords):
    return {"users": {name: {"password": secret, "projects": "all"}
                      for name, secret in passwords.items()}}


def test_users_come_go_and_change_their_password(make_kv):
    kv = make_kv(kv=all_projects(anna="one", bert="one"))
    anna, bert = kv.connect(), kv.connect()
    anna.ok("AUTH", "anna", "one")
    bert.ok("AUTH", "bert", "one")
    reload(kv, kv={"users": {"anna": {"password": "two"}, "bert": None,
                             "carl": {"password": "one", "projects": [1]}}})
    assert "no longer known" in bert.read() and bert.ended()
    anna.ok("SET", "a", "1")
    late = kv.connect()
    assert isinstance(late.call("AUTH", "anna", "one"), resp.ReplyError)
    late.ok("AUTH", "anna", "two")
    carl = kv.connect()
    carl.ok("AUTH", "carl", "one")
    carl.ok("SELECT", 1)
    reload(kv, kv={"users": {"carl": {"projects": [2]}}})
    assert isinstance(carl.call("SELECT", 1), resp.ReplyError)
    carl.ok("SELECT", 2)


def test_port_is_not_opened_to_everybody(make_kv):
    kv = make_kv(kv=all_projects(anna="one"))
    log = reload(kv, kv={"users": None})
    assert "not reloaded" in log and "kv.users" in log
    assert isinstance(kv.connect().call("GET", "a"), resp.ReplyError)


def test_tls_is_turned_on_and_off_for_new_clients(make_kv, server_certificates, authority):
    kv = make_kv()
    plain = kv.connect()
    plain.ok("SET", "a", "1")
    halfway = kv.connect()  # it came before, and has said nothing yet

    def tls(mode, name):
        certificate, key = server_certificates[name]
        return {"tls": {"mode": mode, "certificate": str(certificate), "key": str(key)}}
    reload(kv, kv=tls("require", "first"))
    assert plain.call("GET", "a") == halfway.call("GET", "a") == b"1"
    assert isinstance(kv.connect().call("GET", "a"), resp.ReplyError)
    kv.tls = client_context(authority.ca)
    secure = kv.connect()
    assert secure.call("GET", "a") == b"1"
    silent = kv_targets.socket.create_connection(kv.address)  # before its TLS handshake
    reload(kv, kv=tls("require", "second"))
    assert kv.connect().call("GET", "a") == secure.call("GET", "a") == b"1"
    reload(kv, kv={"tls": {"mode": "disable"}})
    with client_context(authority.ca).wrap_socket(silent, server_hostname="localhost") as late:
        late.sendall(resp.encode("GET", "a"))
        assert late.recv(100) == b"$1\r\n1\r\n", "TLS that it came for"
    with pytest.raises((ssl.SSLError, OSError, resp.Closed)):
        kv.connect()
    kv.tls = None
    assert kv.connect().call("GET", "a") == b"1"


def test_limits_and_timeouts_apply_to_clients_that_are_there(make_kv):
    kv = make_kv()
    conn = kv.connect()
    conn.ok("SET", "a", "x" * 1000)
    reload(kv, kv={"max_value_size": "100B", "max_key_size": "10B", "max_keys": 1,
                   "disabled_commands": ["flushall"]})
    assert isinstance(conn.call("SET", "b", "x" * 1000), resp.ReplyError)
    assert isinstance(conn.call("SET", "b" * 100, "x"), resp.ReplyError)
    assert isinstance(conn.call("SET", "b", "x"), resp.ReplyError), "max_keys"
    assert "unknown command" in conn.call("FLUSHALL")
    assert conn.call("STRLEN", "a") == 1000
    reload(kv, kv={"max_value_size": None, "max_keys": None, "maxclients": 1})
    conn.ok("SET", "b", "x" * 1000)
    assert "max number of clients" in kv.connect().read()
    started = time.monotonic()
    reload(kv, kv={"maxclients": 10, "timeout": "500ms"})
    assert conn.ended(10 * SECONDS) and time.monotonic() - started < 8 * SECONDS
    reload(kv, kv={"timeout": "0"})
    conn = kv.connect()
    assert conn.silent(1)


def test_config_set_holds_until_the_next_reload(make_kv):
    kv = make_kv()
    conn = kv.connect()
    conn.ok("CONFIG", "SET", "maxclients", "77")
    reload(kv, kv={"slowlog_max_len": 5})
    assert conn.call("CONFIG", "GET", "maxclients") == [b"maxclients", b"10000"]
    assert conn.call("CONFIG", "GET", "slowlog-max-len") == [b"slowlog-max-len", b"5"]


def test_saving_and_backups_are_reconfigured(make_kv, tmp_path):
    kv = make_kv(kv={"checkpoint_interval": "1h"})
    conn = kv.connect()
    conn.ok("SET", "a", "1")
    reload(kv, kv={"checkpoint_interval": "100ms", "fsync": "always",
                   "backup": {"directory": str(tmp_path / "backups"), "every": "1h"}})
    kv_targets.eventually(lambda: (kv.data / "project-0.json").exists(), 10 * SECONDS, "a file")
    assert json.loads((kv.data / "project-0.json").read_text())
    kv_targets.eventually(lambda: any((tmp_path / "backups").glob("*")), 10 * SECONDS, "a backup")


def test_storm_of_reloads_loses_no_command(make_kv):
    kv = make_kv()
    conns = [kv.connect() for _ in range(4)]
    counts = [0] * len(conns)

    def step(n):
        counts[n] += 1
        assert conns[n].call("INCR", f"n{n}") == counts[n]

    with Crowd(len(conns), step) as crowd:
        for number in range(30):
            kv.config = targets.merge(kv.config, {"kv": {
                "fsync": ["always", "everysec", "never"][number % 3],
                "maxclients": 10 + number, "slowlog_max_len": number}})
            reload(kv)
    assert not crowd.problems and min(counts) > 0
