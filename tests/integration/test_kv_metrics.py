"""The key-value port's metrics (docs/metrics.md) move with what happens."""

import pytest

import kv_targets
import resp

pytestmark = pytest.mark.sluice_only


def value(kv, name, **labels):
    return kv.metrics()[name].total(**labels)


def becomes(kv, name, wanted, **labels):
    """Workers hand their counters over now and then."""
    kv_targets.eventually(lambda: value(kv, name, **labels) == wanted,
                          what=f"{name} {labels} = {wanted}")


def test_commands_errors_and_keyspace(kv):
    conn = kv.connect()
    for i in range(10):
        conn.ok("SET", f"k{i}", "v")
    conn.pipe(*(("GET", f"k{i}") for i in range(15)))
    conn.call("INCR", "k0")
    conn.call("NOSUCH")
    conn.call("SET", "short", 1, "PX", 5)
    becomes(kv, "sluice_kv_commands_total", 11, command="set")
    becomes(kv, "sluice_kv_commands_total", 15, command="get")
    becomes(kv, "sluice_kv_command_errors_total", 1, command="incr")
    becomes(kv, "sluice_kv_keyspace_hits_total", 10)
    becomes(kv, "sluice_kv_keyspace_misses_total", 5)
    becomes(kv, "sluice_kv_expired_keys_total", 1)
    becomes(kv, "sluice_kv_keys", 10)
    becomes(kv, "sluice_kv_client_connections", 1)
    assert value(kv, "sluice_kv_received_bytes_total") > 300
    assert value(kv, "sluice_kv_sent_bytes_total") > 100
    assert value(kv, "sluice_kv_stored_bytes") >= 30
    assert value(kv, "sluice_kv_log_bytes") > 0
    assert not {label for label in kv.metrics()["sluice_kv_commands_total"].label_values("command")
                if label.lower() == "nosuch"}  # what a client makes up is no label
    conn.close()
    becomes(kv, "sluice_kv_client_connections", 0)


def test_checkpoints_and_fsyncs(make_kv):
    kv = make_kv(kv={"fsync": "always", "project_size_warning": "1KiB"})
    conn = kv.connect()
    conn.ok("SET", "a", "x" * 2000)
    becomes(kv, "sluice_kv_large_projects", 1)
    conn.ok("SAVE")
    kv_targets.eventually(
        lambda: value(kv, "sluice_kv_checkpoint_last_success_timestamp_seconds") > 1.7e9)
    assert value(kv, "sluice_kv_checkpoint_last_size_bytes") == \
        (kv.data / "project-0.json").stat().st_size
    metrics = kv.metrics()
    assert metrics["sluice_kv_log_fsync_duration_seconds"].total("_count") >= 1
    assert metrics["sluice_kv_log_records_total"].total() >= 1
    assert metrics["sluice_kv_writes_refused"].total() == 0


def test_bad_clients_are_counted(make_kv):
    kv = make_kv(kv={"maxclients": 3, "users": {"a": {"password": "b", "projects": "all"}}})
    kv.connect().call("AUTH", "a", "wrong")
    broken = kv.connect()
    broken.send(b"*1\r\n$x\r\n")
    broken.read_to_end()
    becomes(kv, "sluice_kv_auth_failures_total", 1)
    becomes(kv, "sluice_kv_protocol_errors_total", 1)
    held = []

    def full():
        held.append(kv.connect())
        try:
            return str(held[-1].call("PING")).startswith("ERR max")
        except resp.Closed:
            return True
    kv_targets.eventually(full)
    kv_targets.eventually(lambda: value(kv, "sluice_kv_clients_refused_total") >= 1)
    becomes(kv, "sluice_kv_client_connections_max", 3)


def test_damaged_project_is_counted(make_kv):
    kv = make_kv.prepare()
    kv.data.mkdir(parents=True)
    (kv.data / "project-7.json").write_text("{")
    kv.start()
    conn = kv.connect().wait_loaded()
    conn.call("SELECT", 7)
    conn.call("GET", "a")
    becomes(kv, "sluice_kv_damaged_projects", 1)
