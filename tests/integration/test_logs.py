"""Logs: text or JSON, one line for each connection opened and closed, rate limited."""

import json
import re
import time

import pytest

import targets
import wire


def lines(sluice):
    return [line for line in sluice.log.splitlines() if line.strip()]


def test_json_log_is_json_in_every_line(make_sluice):
    sluice = make_sluice(log={"level": "info", "format": "json"})
    conn = sluice.connect(application_name='quotes " and \\ and \n newline')
    conn.query("select 1")
    conn.terminate()
    with pytest.raises(wire.PgError):
        sluice.connect(user='we"ird\nuser', secret="x")
    wire.eventually(lambda: len(lines(sluice)) >= 4, 5, "some lines")
    assert not sluice.stop()
    make_sluice.made.remove(sluice)
    for line in lines(sluice):
        entry = json.loads(line)
        assert isinstance(entry, dict)
        keys = set(entry)
        assert keys & {"time", "ts", "timestamp"} and keys & {"level", "severity"}
        assert keys & {"msg", "message", "event"}


def test_client_opening_and_closing_are_one_line_each(make_sluice):
    sluice = make_sluice(log={"level": "info"})
    conn = sluice.connect(application_name="log-me")
    conn.query("select 1")
    port = str(conn.sock.getsockname()[1])
    conn.terminate()
    came = wire.eventually(lambda: [x for x in lines(sluice) if port in x], 5, "a line")[0]
    assert "app" in came
    number = re.search(r"client=(\S+)", came)
    assert number, "nothing tells which client the line is about"
    wire.eventually(lambda: len([x for x in lines(sluice) if number.group(0) in x]) == 2, 5,
                    "a line when it came and one when it went")


def test_server_connection_opening_and_closing_are_logged(make_sluice, pg):
    sluice = make_sluice(log={"level": "info"})
    sluice.connect().query("select 1")
    before = len(lines(sluice))
    opened = [x for x in lines(sluice) if "server" in x or "upstream" in x]
    assert opened
    pg.kill_sessions()
    wire.eventually(lambda: len(lines(sluice)) > before, 5, "a line about the closing")


def test_level_error_is_quiet_about_ordinary_life(make_sluice):
    sluice = make_sluice(log={"level": "error"})
    for _ in range(5):
        conn = sluice.connect()
        conn.query("select 1")
        conn.terminate()
    assert len(lines(sluice)) <= 3, lines(sluice)


def test_flood_of_the_same_event_is_limited(make_sluice):
    sluice = make_sluice(log={"level": "info"})
    for _ in range(600):
        conn = sluice.raw()
        conn.send(b"\0\0\0\x08\0\0\0\0")
        conn.close()
    assert sluice.connect().query("select 1").value == "1"
    time.sleep(0.2)  # what is still on its way to the file
    assert len(lines(sluice)) < 1200, "two lines for each of 600 broken clients"


def test_wrong_password_is_logged_with_user_and_address_and_no_secret(make_sluice):
    sluice = make_sluice(log={"level": "info"})
    with pytest.raises(wire.PgError):
        sluice.connect(user="alice", secret="wrong-secret-1")
    wire.eventually(lambda: [x for x in lines(sluice) if "alice" in x and "127.0.0.1" in x], 5,
                    "a line about it")
    assert "wrong-secret-1" not in sluice.log


@pytest.mark.parametrize("limit", ["max_db_client_connections", "max_user_client_connections"])
def test_client_beyond_a_limit_is_logged(make_sluice, limit):
    sluice = make_sluice(postgres={limit: 1}, log={"level": "warning"})
    first = sluice.connect()
    with pytest.raises(wire.PgError):
        sluice.connect()
    wire.eventually(lambda: "client refused" in sluice.log, 5, "the line")
    assert limit in sluice.log and "53300" in sluice.log
    assert first.query("select 1").value == "1"


def test_client_that_waited_too_long_is_logged(make_sluice):
    sluice = make_sluice(postgres={"pool_size": 1, "query_wait_timeout": "200ms"},
                         log={"level": "warning"})
    holder, other = sluice.connect(), sluice.connect()
    holder.query("begin")
    with pytest.raises(wire.PgError):
        other.query("select 'the text'")
    wire.eventually(lambda: "no server connection" in sluice.log, 5, "the line")
    (line,) = [one for one in lines(sluice) if "no server connection" in one]
    assert "query_wait_timeout" in line and "53300" in line and "the text" not in sluice.log


def test_names_from_the_network_cannot_forge_a_line(make_sluice):
    sluice = make_sluice(log={"level": "debug", "format": "text"})
    with pytest.raises(wire.PgError):
        sluice.connect(user="x\nFORGED LINE", database="y\r\nFORGED LINE", secret="x",
                       application_name="z\nFORGED LINE\x1b[31m")
    sluice.connect(application_name="z\nFORGED LINE\x1b[31m").query("select 1")
    assert not sluice.stop()
    make_sluice.made.remove(sluice)
    assert not [x for x in lines(sluice) if x.startswith("FORGED")]
    assert "\x1b" not in sluice.log


def test_start_says_where_it_listens(sluice):
    if targets.TARGET == "sluice":
        wire.eventually(lambda: str(sluice.port) in sluice.log, 5, "the port in the log")
