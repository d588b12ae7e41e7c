"""A configuration mistake names file, line, key and what was expected, and exits with 2."""

import re

import pytest
import yaml

import targets
import wire
from postgres import free_port

GOOD = """\
workers: 2
log: {level: info, format: text}
postgres:
  listen: ["127.0.0.1:PORT"]
  pool_size: 5
  server_idle_timeout: 60s
  databases:
    app: {url: "postgresql://app:url-secret@127.0.0.1:1/app"}
  users:
    app: {password: "user-secret"}
kv:
  listen: []
  max_value_size: 1MiB
  users:
    store: {password: "user-secret", projects: [1]}
monitoring:
  listen: ["127.0.0.1:MORE"]
"""


def check(tmp_path, text, command="check", environment=None):
    path = tmp_path / "sluice.yaml"
    path.write_text(text.replace("PORT", str(free_port())).replace("MORE", str(free_port())))
    code, out, err = targets.run_sluice(command, "--config", path, environment=environment)
    return code, out + err, path


def test_good_configuration_passes_the_check(tmp_path):
    code, output, _ = check(tmp_path, GOOD)
    assert code == 0, output


def test_full_configuration_of_the_contract_passes_the_check(tmp_path, server_certificates,
                                                             authority):
    certificate, key = server_certificates["first"]
    text = yaml.safe_dump({"workers": "auto", "log": {"level": "info", "format": "json"},
                           "postgres": {
        "listen": ["127.0.0.1:6432", "[::1]:6432", "unix:/tmp"], "auth_type": "scram-sha-256",
        "max_client_conn": 10000, "pool_mode": "transaction", "pool_size": 20,
        "min_pool_size": 0, "reserve_pool_size": 0, "reserve_pool_timeout": "5s",
        "server_idle_timeout": "60s", "server_lifetime": "1h", "server_connect_timeout": "10s",
        "query_wait_timeout": "120s", "query_wait_notify": "5s", "max_prepared_statements": 200,
        "tls": {"mode": "verify-full", "certificate": str(certificate), "key": str(key),
                "client_ca": str(authority.ca)},
        "databases": {"app": {"url": "${DATABASE_URL}", "pool_size": 3, "pool_mode": "session"},
                      "*": {"url": "host=localhost"}},
        "users": {"alice": {"password": "${ALICE_PASSWORD}", "pool_mode": "session",
                            "query_timeout": "1min"},
                  "bob": {"password": wire.scram_verifier("x")}},
        "admin_users": ["admin"], "stats_users": ["stats"]},
        "kv": {"listen": ["127.0.0.1:6380"], "directory": ".replitdb", "fsync": "everysec",
               "max_project_size": "50MiB", "users": {}},
        "monitoring": {"listen": ["127.0.0.1:9127"]}})
    code, output, _ = check(tmp_path, text, environment={
        "DATABASE_URL": "postgresql://app:x@localhost/app", "ALICE_PASSWORD": "y"})
    assert code == 0, output


# (line that is changed in GOOD, its replacement, the line and the words of the message)
MISTAKES = {
    "unknown_key": ("pool_size: 5", "pool_sise: 5", ["pool_sise"]),
    "unknown_section": ("monitoring:", "monitring:", ["monitring"]),
    "unknown_key_of_a_database": ("url: \"postgresql", "uri: \"postgresql", ["uri"]),
    "word_for_a_number": ("pool_size: 5", "pool_size: many", ["pool_size", "many"]),
    "negative_number": ("pool_size: 5", "pool_size: -5", ["pool_size"]),
    "fraction": ("pool_size: 5", "pool_size: 2.5", ["pool_size"]),
    "number_too_large": ("pool_size: 5", "pool_size: 99999999999", ["pool_size"]),
    "list_for_a_number": ("pool_size: 5", "pool_size: [5]", ["pool_size"]),
    "duration_negative": ("60s", "-60s", ["server_idle_timeout"]),
    "duration_of_an_odd_unit": ("60s", "60 fortnights", ["server_idle_timeout"]),
    "unknown_word": ("level: info", "level: chatty", ["level", "chatty"]),
    "unknown_mode": ("pool_size: 5", "pool_mode: transactional", ["pool_mode", "transactional"]),
    "unknown_auth": ("pool_size: 5", "auth_type: md5", ["auth_type", "md5"]),
    "address_without_port": ('listen: ["127.0.0.1:PORT"]', 'listen: ["127.0.0.1"]', ["listen"]),
    "port_too_large": ('listen: ["127.0.0.1:PORT"]', 'listen: ["127.0.0.1:70000"]', ["listen"]),
    "scalar_for_a_map": ("app: {password: \"user-secret\"}", "app: hello", ["users"]),
    "broken_url": ("postgresql://app:url-secret@127.0.0.1:1/app", "postgresql://[::1", ["url"]),
    "unknown_url_option": ("127.0.0.1:1/app", "127.0.0.1:1/app?nosuch=1", ["url"]),
    "missing_variable": ("user-secret", "${NO_SUCH_VARIABLE_HERE}", ["NO_SUCH_VARIABLE_HERE"]),
    "missing_file": ("user-secret", "${file:/no/such/file}", ["/no/such/file"]),
    "broken_verifier": ("user-secret", "SCRAM-SHA-256$bad", ["password"]),
    "tls_without_certificate": ("pool_size: 5", "tls: {mode: require}", ["certificate"]),
    "verify_without_ca": ("pool_size: 5", "tls: {mode: verify-full, certificate: /x, key: /y}",
                          ["client_ca"]),
    "store_size_without_a_known_unit": ("1MiB", "1MB/s", ["max_value_size", "1MB/s"]),
    "store_value_too_large": ("1MiB", "513MiB", ["max_value_size", "513MiB", "512MiB"]),
    "store_user_without_a_password": ('password: "user-secret", projects', "projects",
                                      ["kv.users.store.password"]),
    "store_project_that_is_none": ("[1]", "[one]", ["projects", "one"]),
    "workers_negative": ("workers: 2", "workers: -2", ["workers"]),
    "key_twice": ("pool_size: 5", "pool_size: 5\n  pool_size: 6", ["pool_size"]),
}


@pytest.mark.parametrize("name", MISTAKES)
@pytest.mark.parametrize("command", ["check", "serve"])
def test_mistake_names_file_line_and_key_and_exits_with_2(tmp_path, name, command):
    old, new, words = MISTAKES[name]
    assert old in GOOD
    text = GOOD.replace(old, new, 1)
    code, output, path = check(tmp_path, text, command)
    assert code == 2, output
    assert path.name in output
    # the wrong line; a missing or doubled key may be told of its section's or the next line
    line = GOOD[:GOOD.index(old)].count("\n") + 1
    numbers = {int(n) for n in re.findall(re.escape(path.name) + r":(\d+)", output)}
    assert numbers & {line, line + 1}, output
    assert all(word in output for word in words), output
    assert "url-secret" not in output and "user-secret" not in output


@pytest.mark.parametrize("text", ["workers: [", "workers: 2\n\tlog: x", "a: b: c", "- x", "\0"])
def test_broken_yaml_names_file_and_line(tmp_path, text):
    code, output, path = check(tmp_path, text)
    assert code == 2 and path.name in output


def test_unknown_key_is_answered_with_the_likely_one(tmp_path):
    _, output, _ = check(tmp_path, GOOD.replace("pool_size", "pool_sise"))
    assert "pool_size" in output


def test_every_mistake_is_reported_not_only_the_first(tmp_path):
    code, output, _ = check(tmp_path, GOOD.replace("pool_size: 5", "pool_size: x")
                            .replace("level: info", "level: y"))
    assert code == 2
    assert "pool_size" in output or "level" in output


def test_missing_file_exits_with_2(tmp_path):
    code, out, err = targets.run_sluice("serve", "--config", tmp_path / "nowhere.yaml")
    assert code == 2 and "nowhere.yaml" in out + err


@pytest.mark.parametrize("arguments", [["--no-such-option"], ["no-such-command"],
                                       ["serve", "--config"], ["serve", "--nope"]])
def test_usage_mistake_exits_with_2(arguments):
    code, out, err = targets.run_sluice(*arguments)
    assert code == 2 and (out + err).strip()


def test_version_and_help_exit_with_0():
    code, out, _ = targets.run_sluice("--version")
    assert code == 0 and re.search(r"\d+\.\d+", out)
    code, out, _ = targets.run_sluice("--help")
    assert code == 0 and "serve" in out and "check" in out


def test_address_in_use_is_a_runtime_failure(make_sluice, tmp_path):
    running = make_sluice()
    config = targets.merge(running.config, {"monitoring": {"listen": [
        f"127.0.0.1:{free_port()}"]}})
    path = tmp_path / "sluice.yaml"
    path.write_text(yaml.safe_dump(config))
    code, out, err = targets.run_sluice("serve", "--config", path)
    assert code == 1 and str(running.port) in out + err


def test_mistake_on_sighup_keeps_the_running_configuration(make_sluice):
    sluice = make_sluice(postgres={"pool_size": 1})
    client = sluice.connect()
    before = len(sluice.log)
    sluice.text = sluice.config_path.read_text().replace("pool_size: 1", "pool_size: x")
    sluice.reload()
    wire.eventually(lambda: "pool_size" in sluice.log[before:], 5, "a word about it in the log")
    assert sluice.alive() and client.query("select 1").value == "1"
    assert sluice.connect().query("select 1").value == "1"


def test_user_added_on_sighup_may_log_in(make_sluice):
    sluice = make_sluice()
    with pytest.raises(wire.PgError):
        sluice.connect(user="carol", secret="new-secret")
    sluice.reload(postgres={"users": {"carol": {"password": "new-secret"}}})

    def login():
        try:
            return sluice.connect(user="carol", secret="new-secret")
        except wire.PgError:
            return None
    assert wire.eventually(login, 5, "carol").query("select 1").value == "1"


def test_setting_that_needs_a_restart_is_reported_on_sighup(make_sluice):
    sluice = make_sluice()
    client = sluice.connect()
    before = len(sluice.log)
    sluice.reload(workers=3)
    wire.eventually(lambda: "needs a restart key=workers" in sluice.log[before:], 5,
                    "a word about it in the log")
    assert client.query("select 1").value == "1"
