"""What an open session of the admin console may do after a reload that changes who may use it."""

import targets
import wire
from postgres import free_port
from test_console import console, error_of, make, ok, only, table  # noqa: F401 - one is a fixture
from wire import eventually


def reconfigured(sluice, by=None, **postgres):
    """Reloads, by SIGHUP or by a console; its answer."""
    sluice.config = targets.merge(sluice.config, {"postgres": postgres})
    sluice.write_config()
    if by is not None:
        return by.query("RELOAD", check=False)
    before = sluice.log.count("configuration reloaded")
    sluice.reload()
    eventually(lambda: sluice.log.count("configuration reloaded") > before, 10, "a reload")
    return None


def last_words(conn):
    return conn.recv_until_closed().errors[-1]


def test_reload_that_takes_the_console_away_ends_its_sessions(make):  # noqa: F811
    sluice = make(admin_users=["alice", "app"])
    admin, stats, other = console(sluice), console(sluice, "bob"), console(sluice, "app")
    client = sluice.connect(user="alice")
    reconfigured(sluice, admin_users=["app"], stats_users=[])
    for conn, user in ((admin, "alice"), (stats, "bob")):
        said = last_words(conn)
        assert (said["S"], said["C"]) == ("FATAL", "57P01")
        assert said["M"] == f'user "{user}" may no longer use the admin console'
        assert "admin_users" in said["H"]
    assert ok(other, "PAUSE app") == ["PAUSE"] and ok(other, "RESUME app") == ["RESUME"]
    assert client.query("select 1").value == "1"
    eventually(lambda: only(table(other, "SHOW DATABASES"), name="pgbouncer")[
        "current_client_connections"] == "1", 10, "places given back")


def test_reload_changes_what_an_open_console_may(make):  # noqa: F811
    sluice = make(admin_users=["alice", "app"])
    conn, was_stats = console(sluice), console(sluice, "bob")
    assert ok(conn, "DISABLE app") == ["DISABLE"]
    reconfigured(sluice, admin_users=["app", "bob"], stats_users=["alice"])
    for command in ("ENABLE app", "SET query_wait_timeout = 30", "RELOAD", "KILL app"):
        assert error_of(conn, command)["C"] == "42501"
    assert table(conn, "SHOW POOLS")
    assert ok(was_stats, "ENABLE app") == ["ENABLE"]


def test_admin_who_takes_the_console_from_himself_gets_the_answer(make):  # noqa: F811
    sluice = make(admin_users=["alice", "app"])
    conn = console(sluice)
    result = reconfigured(sluice, by=conn, admin_users=["app"])
    assert result.tags == ["RELOAD"]
    assert last_words(conn)["C"] == "57P01"


def test_console_that_waits_ends_with_its_rights(make):  # noqa: F811
    sluice = make(admin_users=["alice", "app"])
    busy = sluice.connect()
    busy.query("begin")
    conn, other = console(sluice), console(sluice, "app")
    conn.send(wire.query("PAUSE app"))
    eventually(lambda: only(table(other, "SHOW DATABASES"), name="app")["paused"] == "1", 10,
               "paused")
    reconfigured(sluice, by=other, admin_users=["app"])
    assert last_words(conn)["C"] == "57P01"
    assert only(table(other, "SHOW DATABASES"), name="app")["paused"] == "1"
    ok(other, "RESUME app")
    busy.query("commit")


def test_removed_user_loses_the_console(make):  # noqa: F811
    """Still among admin_users, but not among users: nobody could log in as that."""
    sluice = make()
    conn, other = console(sluice), console(sluice, "bob")
    reconfigured(sluice, users={"alice": None})
    assert last_words(conn)["C"] == "57P01"
    assert table(other, "SHOW POOLS") is not None


def test_own_user_keeps_the_console_through_a_reload(make, tmp_path):  # noqa: F811
    sluice = make(listen=[f"127.0.0.1:{free_port()}", f"unix:{tmp_path}"])
    conn = console(sluice, "pgbouncer", address=sluice.unix_address, secret="")
    reconfigured(sluice, by=conn, admin_users=[], stats_users=[])
    assert ok(conn, "RELOAD") == ["RELOAD"]
