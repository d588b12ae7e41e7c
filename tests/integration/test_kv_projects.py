"""Projects of the key-value port: who may open which, limits, and the files that hold them."""

import json
import re
import stat
import time

import pytest

import kv_targets
import resp
import targets
from postgres import free_port
from resp import ReplyError

MOST = 2147483647
NOAUTH = "NOAUTH Authentication required."
WRONGPASS = "WRONGPASS invalid username-password pair or user is disabled."


def error(reply):
    assert isinstance(reply, ReplyError), reply
    return str(reply)


# ---- SELECT -------------------------------------------------------------------------------------


@pytest.mark.parametrize("project", [0, 1, 15, 16, 9999])
def test_any_project_is_there(kv, project):
    conn = kv.connect()
    conn.ok("SELECT", project)
    conn.ok("SET", "where", project)
    assert conn.call("GET", "where") == str(project).encode()
    assert f"db{project}:keys=1,expires=0" in conn.call("INFO", "keyspace").decode()
    conn.ok("SELECT", 7)
    assert conn.call("EXISTS", "where") == 0


@pytest.mark.sluice_only
def test_the_largest_projects_are_there_and_survive(kv):
    conn = kv.connect()
    for project in (MOST, MOST - 1, 1000000007):
        conn.ok("SELECT", project)
        conn.ok("SET", "where", project)
    conn.ok("SAVE")
    assert (kv.data / f"project-{MOST}.json").exists()
    kv.restart()
    conn = kv.connect().wait_loaded()
    for project in (MOST, MOST - 1, 1000000007):
        conn.ok("SELECT", project)
        assert conn.call("GET", "where") == str(project).encode()


@pytest.mark.sluice_only
@pytest.mark.parametrize("bad", ["-1", "x", "99999999999", "4294967296", ""])
def test_data_commands_are_refused_after_a_refused_select_until_one_succeeds(kv, bad):
    conn = kv.connect()
    conn.ok("SET", "a", "zero")
    error(conn.call("SELECT", bad))
    for command in (("GET", "a"), ("SET", "a", 1), ("DEL", "a"), ("KEYS", "*"), ("SCAN", 0),
                    ("DBSIZE",), ("FLUSHDB",), ("EXPIRE", "a", 1), ("RANDOMKEY",)):
        text = error(conn.call(*command))
        assert text.startswith(("ERR ", "NOPERM ")) and "SELECT" in text, text
    assert conn.call("PING") == "PONG"
    assert conn.call("ECHO", "x") == b"x"
    assert b"# Server" in conn.call("INFO")
    conn.ok("SELECT", 1)
    assert conn.call("GET", "a") is None
    conn.ok("SELECT", 0)
    assert conn.call("GET", "a") == b"zero"


@pytest.mark.sluice_only
def test_refused_select_in_a_pipeline_refuses_what_follows(kv):
    conn = kv.connect()
    replies = conn.pipe(("SELECT", "-1"), ("SET", "a", 1), ("INCR", "a"), ("SELECT", 3),
                        ("SET", "a", 3))
    assert [isinstance(reply, ReplyError) for reply in replies] == [True] * 3 + [False] * 2
    conn.ok("SELECT", 0)
    assert conn.call("EXISTS", "a") == 0


@pytest.mark.sluice_only
def test_refused_select_in_a_transaction_refuses_what_follows(kv):
    conn = kv.connect()
    replies = conn.pipe(("MULTI",), ("SET", "before", 1), ("SELECT", "-1"), ("SET", "after", 1),
                        ("EXEC",))
    assert replies[:4] == ["OK", "QUEUED", "QUEUED", "QUEUED"]
    before, select, after = replies[4]
    assert before == "OK" and isinstance(select, ReplyError) and isinstance(after, ReplyError)
    error(conn.call("GET", "before"))
    conn.ok("SELECT", 0)
    assert conn.call("EXISTS", "before", "after") == 1


@pytest.mark.sluice_only
def test_reset_ends_the_state_after_a_refused_select(kv):
    conn = kv.connect()
    error(conn.call("SELECT", "-1"))
    assert conn.call("RESET") == "RESET"
    assert conn.call("GET", "a") is None


def test_move_copy_and_swapdb_between_projects(kv):
    conn = kv.connect()
    conn.ok("SET", "a", "x", "EX", 1000)
    assert conn.call("COPY", "a", "a", "DB", 3) == 1
    assert conn.call("MOVE", "a", 3) == 0
    assert conn.call("MOVE", "a", 4) == 1
    conn.ok("SWAPDB", 3, 0)
    assert 0 < conn.call("TTL", "a") <= 1000
    conn.ok("SWAPDB", 0, 4)
    assert conn.call("GET", "a") == b"x"
    conn.ok("FLUSHALL")
    assert conn.call("INFO", "keyspace").decode().strip() == "# Keyspace"


# ---- users --------------------------------------------------------------------------------------

USERS = {"alice": {"password": "wonderland", "projects": [1, 2]},
         "bob": {"password": "builder", "projects": "all"}}


@pytest.fixture
def shared(make_kv):
    return make_kv(kv={"users": USERS})


def logged_in(kv, name):
    conn = kv.connect()
    conn.ok("AUTH", name, USERS[name]["password"])
    return conn


def test_login_and_its_refusals(shared):
    conn = shared.connect()
    assert conn.call("GET", "a") == NOAUTH
    assert conn.call("AUTH", "wonderland") == WRONGPASS  # of the user `default`
    assert conn.call("AUTH", "alice", "builder") == WRONGPASS
    assert conn.call("AUTH", "nobody", "x") == WRONGPASS
    assert conn.call("AUTH", "alice", "") == WRONGPASS
    assert conn.call("GET", "a") == NOAUTH
    conn.ok("AUTH", "bob", "builder")
    assert conn.call("ACL", "WHOAMI") == b"bob"
    assert conn.call("AUTH", "alice", "wrong") == WRONGPASS
    assert conn.call("ACL", "WHOAMI") == b"bob"  # a refusal takes nothing away
    assert conn.call("GET", "a") is None


def test_acl_lists_users_without_passwords(shared):
    conn = logged_in(shared, "bob")
    lines = [line.decode() for line in conn.call("ACL", "LIST")]
    assert any(line.startswith("user alice on ") for line in lines), lines
    assert any(line.startswith("user bob on ") for line in lines), lines
    assert not [line for line in lines if "wonderland" in line or "builder" in line]
    assert {b"alice", b"bob"} <= set(conn.call("ACL", "USERS"))


def test_without_users_everybody_is_default(kv):
    conn = kv.connect()
    assert conn.call("ACL", "WHOAMI") == b"default"
    assert conn.call("AUTH", "default", "anything") == "OK"  # `nopass`: any password will do


@pytest.mark.sluice_only
def test_user_sees_only_own_projects(shared):
    bob, alice = logged_in(shared, "bob"), logged_in(shared, "alice")
    for project in (0, 1, 3):
        bob.ok("SELECT", project)
        bob.ok("SET", "a", project)
    for command in (("GET", "a"), ("SET", "a", "x")):  # project 0 is not hers
        assert error(alice.call(*command)).startswith(("ERR ", "NOPERM "))
    alice.ok("SELECT", 1)
    assert alice.call("GET", "a") == b"1"
    assert error(alice.call("SELECT", 3)).startswith("NOPERM ")
    assert error(alice.call("GET", "a")).startswith(("ERR ", "NOPERM "))
    alice.ok("SELECT", 2)
    alice.ok("SET", "mine", 2)
    for command in (("MOVE", "mine", 3), ("COPY", "mine", "mine", "DB", 3), ("SWAPDB", 2, 3),
                    ("SWAPDB", 3, 2), ("COPY", "mine", "mine", "DB", 0)):
        assert error(alice.call(*command)).startswith("NOPERM "), command
    alice.call("FLUSHALL")  # refused, or of her own projects only
    for project in (0, 3):
        bob.ok("SELECT", project)
        assert bob.call("GET", "a") == str(project).encode()


@pytest.mark.sluice_only
def test_user_of_some_projects_in_a_transaction(shared):
    alice = logged_in(shared, "alice")
    alice.ok("SELECT", 1)
    *queued, replies = alice.pipe(("MULTI",), ("SELECT", 3), ("SET", "a", "stolen"), ("SELECT", 2),
                                  ("SET", "a", "fine"), ("EXEC",))
    assert isinstance(replies, (list, ReplyError)), replies
    bob = logged_in(shared, "bob")
    bob.ok("SELECT", 3)
    assert bob.call("EXISTS", "a") == 0
    bob.ok("SELECT", 1)
    assert bob.call("EXISTS", "a") == 0


@pytest.mark.sluice_only
def test_change_of_user_is_a_change_of_rights(shared):
    conn = logged_in(shared, "bob")
    conn.ok("SELECT", 3)
    conn.ok("SET", "a", 1)
    conn.ok("AUTH", "alice", "wonderland")
    error(conn.call("GET", "a"))
    error(conn.call("SELECT", 3))
    conn.ok("SELECT", 1)
    conn.ok("SET", "a", 1)


@pytest.mark.sluice_only
def test_user_does_not_see_other_projects_in_monitor_and_info(shared):
    alice, bob = logged_in(shared, "alice"), logged_in(shared, "bob")
    bob.ok("SELECT", 3)
    bob.ok("SET", "secret-key", "secret-value")
    assert b"secret" not in alice.call("INFO")
    reply = alice.call("MONITOR")
    bob.ok("SET", "secret-key", "secret-value")
    if reply == "OK":
        assert alice.silent(0.2)
    else:
        assert error(reply).startswith("NOPERM ")


def test_passwords_are_not_in_the_log(make_kv):
    kv = make_kv(kv={"users": USERS}, log={"level": "debug"})
    conn = kv.connect()
    conn.call("AUTH", "alice", "guessed-it")
    conn.ok("AUTH", "alice", "wonderland")
    conn.ok("SELECT", 1)
    conn.ok("SET", "a-private-key", "a-private-value")
    conn.call("NOSUCH", "a-private-value")
    kv.stop()
    for word in ("guessed-it", "wonderland", "a-private-key", "a-private-value"):
        assert word not in kv.log


# ---- limits -------------------------------------------------------------------------------------


@pytest.fixture
def outside():
    address = kv_targets.own_address()
    if address is None:
        pytest.skip("this machine has no address but loopback")
    return address


def test_protected_mode_refuses_clients_from_elsewhere(make_kv, outside):
    port = free_port()
    kv = make_kv(kv={"listen": [f"127.0.0.1:{port}", f"{outside}:{port}"]})
    conn = kv.connect(address=(outside, port))
    try:
        conn.send(resp.encode("SET", "a", 1))
    except resp.Closed:
        pass
    refusal = conn.read_to_end()
    assert refusal.startswith(b"-DENIED ") and refusal.endswith(b"\r\n") or refusal == b""
    assert kv.connect().call("EXISTS", "a") == 0


@pytest.mark.parametrize("changes", [{"protected_mode": False}, {"users": USERS}])
def test_clients_from_elsewhere_are_served_when_that_is_wanted(make_kv, outside, changes):
    port = free_port()
    kv = make_kv(kv={"listen": [f"127.0.0.1:{port}", f"{outside}:{port}"], **changes})
    conn = kv.connect(address=(outside, port))
    assert conn.call("GET", "a") == (NOAUTH if "users" in changes else None)


def test_clients_beyond_maxclients_are_told(make_kv):
    kv = make_kv(kv={"maxclients": 5})
    kv_targets.eventually(lambda: b"connected_clients:1" in kv.connect().call("INFO", "clients")
                          or kv.close_clients())
    kv.close_clients()
    held = []

    def all_taken():
        """The place of a client that left is given back a moment later."""
        conn = kv.connect()
        try:
            if conn.call("PING") == "PONG":
                held.append(conn)
        except resp.Closed:
            pass
        return len(held) == 5
    kv_targets.eventually(all_taken, what="five clients")
    late = kv.connect()
    assert late.read_to_end() == b"-ERR max number of clients reached\r\n"
    assert all(conn.call("PING") == "PONG" for conn in held)
    held[0].close()

    def free_again():
        conn = kv.connect()
        try:
            return conn.call("PING") == "PONG"
        except (resp.Closed, BrokenPipeError):
            return False
        finally:
            conn.close()
    kv_targets.eventually(free_again, what="a free place")


def test_idle_client_is_closed_and_a_busy_one_is_not(make_kv):
    kv = make_kv(kv={"timeout": "1s"})
    idle, busy = kv.connect(), kv.connect()
    assert idle.call("PING") == "PONG"
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        assert busy.call("PING") == "PONG"
        time.sleep(0.1)
    assert idle.ended(5 * targets.SCALE)


def test_idle_client_stays_without_a_timeout(kv):
    conn = kv.connect()
    assert conn.silent(1.2)
    assert conn.call("PING") == "PONG"


def test_disabled_command_is_unknown(make_kv):
    kv = make_kv(kv={"disabled_commands": ["FLUSHALL", "config"]})
    conn = kv.connect()
    conn.ok("SET", "a", 1)
    assert conn.call("FLUSHALL") == "ERR unknown command 'FLUSHALL', with args beginning with: "
    assert conn.call("config", "GET", "save") == \
        "ERR unknown command 'config', with args beginning with: 'GET' 'save' "
    assert conn.pipe(("MULTI",), ("flushall",), ("EXEC",))[2] == \
        "EXECABORT Transaction discarded because of previous errors."
    conn.ok("FLUSHDB")


@pytest.mark.sluice_only
def test_max_keys_of_a_project(make_kv):
    kv = make_kv(kv={"max_keys": 10})
    conn = kv.connect()
    for i in range(10):
        conn.ok("SET", f"k{i}", i)
    for command in (("SET", "more", 1), ("INCR", "more"), ("APPEND", "more", "x"),
                    ("SETRANGE", "more", 0, "x"), ("MSET", "k1", "new", "more", 1),
                    ("MSETNX", "more", 1), ("COPY", "k1", "more"), ("SETNX", "more", 1),
                    ("INCRBYFLOAT", "more", 1), ("SETEX", "more", 10, 1)):
        text = error(conn.call(*command))
        assert "max_keys" in text or "keys" in text, text
        assert conn.call("EXISTS", "more") == 0, command
    assert conn.call("GET", "k1") == b"1"  # MSET did nothing at all
    conn.ok("SET", "k1", "overwritten")
    assert conn.call("INCR", "k2") == 3
    conn.ok("RENAME", "k3", "renamed")
    assert conn.call("DEL", "renamed") == 1
    conn.ok("SET", "more", 1)
    conn.ok("SELECT", 1)
    conn.ok("SET", "another-project", 1)
    conn.call("MOVE", "another-project", 0)
    conn.ok("SELECT", 0)
    assert conn.call("DBSIZE") == 10


@pytest.mark.sluice_only
def test_max_project_size(make_kv):
    kv = make_kv(kv={"max_project_size": "1MiB"})
    conn = kv.connect()
    stored = 0
    for i in range(20):
        reply = conn.call("SET", f"k{i}", "x" * 100_000)
        if reply != "OK":
            break
        stored += 1
    assert 8 <= stored <= 10
    error(reply)
    assert conn.call("DBSIZE") == stored
    assert conn.call("GET", "k0") == b"x" * 100_000
    error(conn.call("APPEND", "k0", "y" * 200_000))
    error(conn.call("SETRANGE", "k0", 300_000, "y"))
    assert conn.call("STRLEN", "k0") == 100_000
    replies = conn.pipe(("MULTI",), ("SET", "small", 1), ("SET", "big", "x" * 400_000),
                        ("GET", "small"), ("EXEC",))[4]
    assert replies[0] == "OK" and isinstance(replies[1], ReplyError) and replies[2] == b"1"
    assert conn.call("DEL", "k0", "k1") == 2
    conn.ok("SET", "big", "x" * 150_000)
    conn.ok("SET", "big", "x")  # less is always allowed
    conn.ok("SELECT", 1)
    conn.ok("SET", "k", "x" * 900_000)
    conn.ok("FLUSHDB")
    conn.ok("SET", "k", "x" * 900_000)
    # What counts is the same after a restart.
    kv.restart()
    conn = kv.connect().wait_loaded()
    conn.ok("SELECT", 1)
    error(conn.call("SET", "k2", "x" * 900_000))
    conn.ok("SET", "k", "x" * 950_000)


@pytest.mark.sluice_only
def test_max_key_and_value_size(make_kv):
    kv = make_kv(kv={"max_key_size": 100, "max_value_size": "1KiB"})
    conn = kv.connect()
    conn.ok("SET", "k" * 100, "v" * 1024)
    error(conn.call("SET", "k" * 101, "v"))
    error(conn.call("SET", "k", "v" * 1025))
    error(conn.call("APPEND", "k" * 100, "x"))
    error(conn.call("SETRANGE", "k" * 100, 1024, "x"))
    error(conn.call("RENAME", "k" * 100, "r" * 101))
    error(conn.call("MSET", "a", 1, "b", "v" * 1025))
    assert conn.call("DBSIZE") == 1
    assert conn.call("STRLEN", "k" * 100) == 1024
    assert conn.call("GET", "k" * 101) is None


# ---- files --------------------------------------------------------------------------------------

# As E-Code's emulation writes it: JSON.stringify(project, null, 2).
E_CODE = """{
  "projectId": 7,
  "data": {
    "greeting": "hello",
    "answer": 42,
    "text-answer": "42",
    "price": 3.14,
    "tenth": 0.1,
    "huge": 1e+21,
    "negative": -0.5,
    "nothing": null,
    "yes": true,
    "empty": "",
    "": "empty key",
    "user:1": {
      "name": "Ada \\"L\\"",
      "tags": [
        "x",
        null,
        1.50,
        {}
      ],
      "nested": {
        "z": 1,
        "a": []
      }
    },
    "list": [],
    "json-text": "{\\"a\\": 1}",
    "quoted": "\\"x\\"",
    "unicode": "ключ 🔑 \\u0000 \\ud83d\\ude00",
    "ключ": "значение",
    "__proto__": "p",
    "constructor": "c"
  },
  "createdAt": "2026-01-02T03:04:05.678Z",
  "updatedAt": "2026-02-03T04:05:06.789Z"
}"""
E_CODE_VALUES = {
    "greeting": "hello", "answer": "42", "text-answer": "42", "price": "3.14", "tenth": "0.1",
    "huge": "1e+21", "negative": "-0.5", "nothing": "null", "yes": "true", "empty": "",
    "": "empty key",
    "user:1": '{"name":"Ada \\"L\\"","tags":["x",null,1.50,{}],"nested":{"z":1,"a":[]}}',
    "list": "[]", "json-text": '{"a": 1}', "quoted": '"x"', "unicode": "ключ 🔑 \0 😀",
    "ключ": "значение", "__proto__": "p", "constructor": "c",
}


def with_files(make_kv, files, **kv):
    """A sluice that is not yet started, on a directory with these files."""
    server = make_kv.prepare(kv=kv)
    server.data.mkdir(parents=True)
    for name, text in files.items():
        (server.data / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return server


def project(kv, number):
    return json.loads((kv.data / f"project-{number}.json").read_text())


@pytest.mark.sluice_only
def test_directory_of_e_code_is_opened_as_it_is(make_kv):
    kv = with_files(make_kv, {"project-7.json": E_CODE}).start()
    conn = kv.connect().wait_loaded()
    assert conn.call("DBSIZE") == 0
    conn.ok("SELECT", 7)
    got = {key: conn.call("GET", key).decode() for key in E_CODE_VALUES}
    assert got == E_CODE_VALUES
    assert conn.call("DBSIZE") == len(E_CODE_VALUES)
    assert conn.call("INCR", "answer") == 43


@pytest.mark.sluice_only
def test_file_after_save_is_what_e_code_reads(make_kv):
    kv = with_files(make_kv, {"project-7.json": E_CODE}).start()
    conn = kv.connect().wait_loaded()
    conn.ok("SELECT", 7)
    conn.ok("SET", "added", "later")
    before = time.time()
    conn.ok("SAVE")
    after = project(kv, 7)
    expected = json.loads(E_CODE)
    assert after["projectId"] == 7
    assert after["data"] == {**expected["data"], "added": "later"}
    assert after["createdAt"] == expected["createdAt"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", after["updatedAt"])
    assert after["updatedAt"] > expected["updatedAt"]
    written = time.strptime(after["updatedAt"][:19], "%Y-%m-%dT%H:%M:%S")
    assert abs(time.mktime(written) - time.timezone - before) < 3700
    raw = (kv.data / "project-7.json").read_text()
    for text in ("3.14", "0.1", "1e+21", "1.50"):  # numbers keep their text
        assert re.search(rf"[^\d]{re.escape(text)}[^\d]", raw), text
    kv.restart()
    conn = kv.connect().wait_loaded()
    conn.ok("SELECT", 7)
    assert {key: conn.call("GET", key).decode() for key in E_CODE_VALUES} == E_CODE_VALUES


@pytest.mark.sluice_only
def test_values_of_clients_are_in_the_file_as_json_where_they_are_json(kv):
    """A value that is JSON in its compact form is that value; other text is a string."""
    values = {
        "number": ("42", 42), "float": ("0.1", 0.1), "negative": ("-7", -7), "true": ("true", True),
        "null": ("null", None), "object": ('{"b":1,"a":[1,2,{}]}', {"b": 1, "a": [1, 2, {}]}),
        "array": ("[]", []), "text": ("hello", "hello"), "spaced": ('{"a": 1}', '{"a": 1}'),
        "string": ('"quoted"', '"quoted"'), "empty": ("", ""), "plus": ("+1", "+1"),
        "zeros": ("007", "007"), "padded": (" 42", " 42"),
        "unicode": ("ключ\n\t\0", "ключ\n\t\0"),
        "broken": ('{"a":', '{"a":'), "marked": ('{"$base64":"aGk="}', '{"$base64":"aGk="}'),
        "NaN": ("NaN", "NaN"), "twice": ("1 2", "1 2"),
    }
    conn = kv.connect()
    conn.ok("SELECT", 3)
    for key, (text, _) in values.items():
        conn.ok("SET", key, text)
    conn.ok("SAVE")
    data = project(kv, 3)["data"]
    assert data == {key: value for key, (_, value) in values.items()}
    assert data["true"] is True and isinstance(data["number"], int)
    kv.restart()
    conn = kv.connect().wait_loaded()
    conn.ok("SELECT", 3)
    assert {key: conn.call("GET", key).decode() for key in values} == \
        {key: text for key, (text, _) in values.items()}


@pytest.mark.sluice_only
def test_file_holds_bytes_and_expiry_as_its_page_says(kv):
    conn = kv.connect()
    conn.ok("SET", "picture", b"\xff\xd8\xff", "PXAT", 4_000_000_000_123)
    conn.ok("SET", b"\xff", "x")
    conn.ok("SAVE")
    raw = (kv.data / "project-0.json").read_text()
    file = json.loads(raw)
    assert file["data"] == {"picture": {"$base64": "/9j/"}, "$base64:/w==": "x"}
    assert list(file) == ["projectId", "data", "createdAt", "updatedAt", "sluice"]
    assert file["sluice"]["expires"] == {"picture": 4_000_000_000_123}
    assert re.search(r'\n    "checksum": "[0-9a-f]{16}"\n  }\n}\n$', raw)
    assert raw == json.dumps(file, indent=2, ensure_ascii=False) + "\n"


@pytest.mark.sluice_only
def test_files_are_private(kv):
    conn = kv.connect()
    conn.ok("SET", "a", 1)
    conn.ok("SELECT", 5)
    conn.ok("SET", "a", 1)
    conn.ok("SAVE")
    found = list(kv.data.rglob("*"))
    assert {path.name for path in found} >= {"project-0.json", "project-5.json"}
    for path in [kv.data, *found]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), f"{path} has mode {mode:o}"


@pytest.mark.sluice_only
def test_second_daemon_on_a_directory_is_refused(make_kv):
    first = make_kv()
    first.connect().ok("SET", "a", 1)
    second = make_kv.prepare(kv={"directory": first.kv["directory"]})
    code, said = second.start_refused()
    assert code == 1
    assert first.kv["directory"] in said and re.search("already|another|in use|lock", said), said
    assert first.connect().call("GET", "a") == b"1"
    first.kill()  # what a crash leaves does not stop the next one
    second.start()
    assert second.connect().wait_loaded().call("GET", "a") == b"1"
    make_kv.made.remove(first)


def keeps(directory, content):
    """Some file in the directory still has exactly this content."""
    return any(path.read_bytes() == content for path in directory.rglob("*") if path.is_file())


@pytest.mark.sluice_only
@pytest.mark.parametrize("content", [
    b"", b"{", E_CODE[:200].encode(), b"not json at all", b"\0" * 300, b"[1,2]", b'"text"',
    E_CODE.replace('"projectId": 7', '"projectId": 8').encode(), b"\xff\xfe" + E_CODE.encode(),
    E_CODE.encode() + b"}", b'{"projectId":7,"data":[]}',
], ids=["empty", "brace", "cut", "text", "zeros", "array", "string", "other-id", "not-utf8",
        "one-more", "data-array"])
def test_damaged_file_is_set_aside_and_never_replaced(make_kv, content):
    kv = with_files(make_kv, {"project-7.json": content,
                              "project-8.json": E_CODE.replace('"projectId": 7', '"projectId": 8')})
    kv.start()
    conn = kv.connect().wait_loaded()
    conn.ok("SELECT", 8)
    assert conn.call("GET", "greeting") == b"hello"
    conn.call("SELECT", 7)
    error(conn.call("GET", "greeting"))  # not nil: nobody may think that it is empty
    error(conn.call("SET", "greeting", "anew"))
    conn.ok("SELECT", 8)
    conn.ok("SET", "greeting", "still fine")
    conn.call("SAVE")
    assert keeps(kv.data, content)
    assert "project-7.json" in kv.log
    kv.restart()
    conn = kv.connect().wait_loaded()
    conn.ok("SELECT", 8)
    assert conn.call("GET", "greeting") == b"still fine"
    conn.call("SELECT", 7)
    conn.call("GET", "greeting")
    assert keeps(kv.data, content)


@pytest.mark.sluice_only
def test_hand_edited_file_is_taken_or_kept(kv):
    conn = kv.connect()
    conn.ok("SET", "a", "before")
    assert not kv.stop()
    path = kv.data / "project-0.json"
    edited = json.loads(path.read_text())
    edited["data"]["a"] = "by hand"
    path.write_text(json.dumps(edited))
    content = path.read_bytes()
    kv.start()
    value = kv.connect().wait_loaded().call("GET", "a")
    assert value == b"by hand" or keeps(kv.data, content)
    assert value != b"before" or "project-0.json" in kv.log


@pytest.mark.sluice_only
def test_other_files_in_the_directory_are_left_alone(make_kv):
    files = {"notes.txt": "mine", "project-x.json": "{}", "project-07.json": "{}",
             "project-7.json.bak": "{", "project--1.json": "{}", "project-99999999999.json": "{}"}
    kv = with_files(make_kv, files).start()
    conn = kv.connect().wait_loaded()
    conn.ok("SELECT", 7)
    conn.ok("SET", "a", 1)
    conn.ok("SAVE")
    kv.restart()
    for name, text in files.items():
        assert (kv.data / name).read_text() == text


@pytest.mark.parametrize("save", [True, False])
def test_binary_keys_and_values_survive_a_restart(kv, rng, save):
    if save and kv_targets.ON_REDIS:
        pytest.skip("redis-server here keeps its log, not a snapshot")
    conn = kv.connect()
    conn.ok("SELECT", 6)
    model = {b"": b"", b"\0": b"\0", bytes(range(256)): bytes(range(255, -1, -1)),
             b"\xed\xa0\x80": b"\xed\xb0\x80", b"\xff": b"\xc3\x28", b"$base64": b"$binary",
             b"a\\u0000": b'"\\ud800"', b"expires": b"{}", b"__proto__": b"1"}
    for _ in range(300):
        model[rng.randbytes(rng.randrange(40))] = rng.randbytes(rng.choice([0, 1, 5, 300]))
    conn.ok("MSET", *(word for pair in model.items() for word in pair))
    far = 4_000_000_000_123
    assert conn.call("PEXPIREAT", b"\xff", far) == 1
    if save:
        conn.ok("SAVE")
        json.loads((kv.data / "project-6.json").read_bytes())
    for _ in range(2):
        kv.restart()
        conn = kv.connect().wait_loaded()
        conn.ok("SELECT", 6)
        keys = list(model)
        assert conn.call("MGET", *keys) == [model[key] for key in keys]
        assert conn.call("DBSIZE") == len(model)
        assert conn.call("PEXPIRETIME", b"\xff") == far
        assert conn.call("PEXPIRETIME", b"\0") == -1


@pytest.mark.sluice_only
def test_idle_projects_leave_memory_and_come_back(make_kv):
    kv = make_kv(kv={"project_idle_timeout": "200ms", "checkpoint_interval": "100ms"})
    conn = kv.connect()
    for number in range(20):
        conn.ok("SELECT", number)
        conn.ok("SET", "a", f"{number}" * 1000, "PXAT", 4_000_000_000_000)
    kv_targets.eventually(lambda: len(list(kv.data.glob("project-*.json"))) >= 19,
                          what="the projects' files")
    time.sleep(0.6)
    for number in range(20):
        conn.ok("SELECT", number)
        assert conn.call("GET", "a") == f"{number}".encode() * 1000
        assert conn.call("PEXPIRETIME", "a") == 4_000_000_000_000
        assert conn.call("DBSIZE") == 1


@pytest.mark.sluice_only
def test_many_projects_beyond_max_memory(make_kv):
    kv = make_kv(kv={"max_memory": "8MiB", "checkpoint_interval": "100ms"})
    conn = kv.connect()
    for number in range(40):
        conn.ok("SELECT", number)
        # A write may be refused until others have left memory, which takes a moment.
        kv_targets.eventually(lambda: conn.call("SET", "a", f"{number:02}" * 250_000) == "OK")
    for number in range(40):
        conn.ok("SELECT", number)
        assert conn.call("GET", "a") == f"{number:02}".encode() * 250_000
    kv.kill()
    kv.start()
    conn = kv.connect().wait_loaded()
    for number in range(40):
        conn.ok("SELECT", number)
        assert conn.call("GET", "a") == f"{number:02}".encode() * 250_000
