"""sluice kv export, import, stats, backup and restore, with a running daemon and without one."""

import base64
import json
import os
import stat
import subprocess
import threading
import time
from pathlib import Path

import pytest

import targets
from kv_targets import eventually

pytestmark = pytest.mark.sluice_only

TEXT = {"a": "5", "n": "hello", "é": "ü\u0000\n", "space ": ""}
LATER = int(time.time() * 1000) + 10**9
BINARY_KEY = b"\xff\x00key"
BINARY_VALUE = bytes(range(256))


def cli(*args, code=0, where=None):
    """Runs sluice kv; (standard output, standard error)."""
    words = [str(arg) for arg in args]
    place = ["--directory", str(where)] if where is not None else []
    done = subprocess.run([targets.BINARY, "kv", *words, *place], capture_output=True,
                          timeout=60 * targets.SCALE, cwd="/")
    out, err = done.stdout.decode(), done.stderr.decode()
    assert done.returncode == code, (words, done.returncode, out, err)
    return out, err


@pytest.fixture(params=["online", "offline"])
def place(request, make_kv):
    """A store and a daemon that serves it or has just ended; `place.settle()` before the CLI."""
    kv = make_kv(kv={"fsync": "always"})  # a test kills it

    def settle():
        if request.param == "offline" and kv.process is not None:
            assert not kv.stop()
        return kv.data

    def served():
        return kv.connect() if kv.process is not None else kv.start().connect()

    kv.settle, kv.served = settle, served
    return kv


def fill(conn, project=7):
    conn.ok("SELECT", project)
    for key, value in TEXT.items():
        conn.ok("SET", key, value)
    conn.ok("SET", BINARY_KEY, BINARY_VALUE)
    conn.ok("SET", "soon", "x", "PXAT", LATER)
    conn.ok("SET", "json", '{"a":[1,2.5]}')


def contents(conn, project):
    conn.ok("SELECT", project)
    out = {}
    for key in conn.call("KEYS", "*"):
        out[key] = (conn.call("GET", key), conn.call("PEXPIRETIME", key))
    return out


def data_of(directory, project):
    return json.loads((Path(directory) / f"project-{project}.json").read_text())["data"]


def stock(place, project=7):
    conn = place.served()
    fill(conn, project)
    return contents(conn, project)


# ---- export and import --------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_export_and_import_give_everything_back(place, tmp_path, form):
    before = {p: stock(place, p) for p in (0, 7, 2147483647)}
    where = place.settle()
    # A string that looks like a number, and the number.
    (tmp_path / "forms.json").write_text('{"projectId": 5, "data": {"s": "5", "n": 5, "f": 1.0}}')
    cli("import", tmp_path / "forms.json", where=where)
    file = tmp_path / "all"
    out, _ = cli("export", "--format", form, "--output", file, where=where)
    assert out == ""
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    other = tmp_path / "other"
    other.mkdir()
    cli("import", file, where=other)
    for project in before:
        assert data_of(other, project) == data_of(where, project)
    assert data_of(other, 5) == {"s": "5", "n": 5, "f": 1.0}
    assert '"f": 1.0' in (other / "project-5.json").read_text()
    again, _ = cli("export", "--format", form, where=other)
    if form == "jsonl":
        assert again == file.read_text()
    conn = place.served()
    for project in before:
        conn.ok("SELECT", project)
        conn.ok("FLUSHDB")
    where = place.settle()
    out, _ = cli("import", file, where=where)
    assert "project 7: 7 added, 0 changed, 0 removed, 0 unchanged" in out
    conn = place.served()
    assert {p: contents(conn, p) for p in before} == before


def test_lines_hold_bytes_forms_and_expiry(place, tmp_path):
    stock(place)
    where = place.settle()
    lines = [json.loads(line) for line in
             cli("export", "--project", 7, "--format", "jsonl", where=where)[0].splitlines()]
    found = {line.get("key") or base64.b64decode(line["keyBase64"]): line for line in lines}
    assert found["a"] == {"project": 7, "key": "a", "value": "5", "form": "json"}
    assert found["n"] == {"project": 7, "key": "n", "value": "hello"}
    assert base64.b64decode(found[BINARY_KEY]["valueBase64"]) == BINARY_VALUE
    assert found["soon"]["expiresAt"].endswith("Z")
    assert found["json"]["value"] == '{"a":[1,2.5]}' and found["json"]["form"] == "json"


def test_one_project_is_exported_as_its_file_and_others_are_not_there(place):
    stock(place)
    where = place.settle()
    out, _ = cli("export", "--project", 7, where=where)
    assert json.loads(out)["projectId"] == 7
    assert json.loads(out)["data"] == data_of(where, 7)
    _, err = cli("export", "--project", 8, code=1, where=where)
    assert "no project 8" in err


def test_files_of_ecode_and_replit_are_imported(place, tmp_path):
    where = place.settle()
    (tmp_path / "project-3.json").write_text(json.dumps(
        {"projectId": 3, "data": {"text": "5", "number": 5, "list": [1, {"a": None}]},
         "createdAt": "2026-01-02T03:04:05.678Z", "updatedAt": "2026-01-02T03:04:05.678Z"},
        indent=2))
    (tmp_path / "replit.json").write_text(json.dumps({"k": "v", "n": {"a": [True]}}))
    out, _ = cli("import", tmp_path / "project-3.json", where=where)
    assert "project 3: 3 added" in out
    _, err = cli("import", tmp_path / "replit.json", code=1, where=where)
    assert "--project" in err and "nothing was imported" in err
    cli("import", tmp_path / "replit.json", "--project", 4, where=where)
    conn = place.served()
    assert {k: v for k, (v, _) in contents(conn, 3).items()} == {
        b"text": b"5", b"number": b"5", b"list": b'[1,{"a":null}]'}
    assert {k: v for k, (v, _) in contents(conn, 4).items()} == {b"k": b"v", b"n": b'{"a":[true]}'}
    conn.ok("SAVE")
    assert data_of(where, 3)["text"] == "5" and data_of(where, 3)["number"] == 5


def test_dry_run_counts_and_writes_nothing(place, tmp_path):
    stock(place)
    where = place.settle()
    cli("export", where=where)
    text = (where / "project-7.json").read_bytes()
    names = sorted(os.listdir(where))
    (tmp_path / "new.jsonl").write_text(
        '{"project": 7, "key": "n", "value": "hello"}\n'
        '{"project": 7, "key": "json", "value": "other"}\n'
        '{"project": 7, "key": "more", "value": {"x": 1}}\n'
        '{"project": 7, "key": "gone", "value": "x", "expiresAt": "2020-01-01T00:00:00.000Z"}\n'
        '{"project": 8, "key": "k", "value": "v"}\n')
    out, _ = cli("import", tmp_path / "new.jsonl", "--dry-run", where=where)
    assert "project 7: 1 added, 1 changed, 0 removed, 1 unchanged" in out
    assert "project 8: 1 added" in out and "1 key has expired" in out
    out, _ = cli("import", tmp_path / "new.jsonl", "--dry-run", "--replace", where=where)
    assert "project 7: 1 added, 1 changed, 5 removed, 1 unchanged" in out
    assert (where / "project-7.json").read_bytes() == text
    assert sorted(os.listdir(where)) == names
    out, _ = cli("import", tmp_path / "new.jsonl", "--replace", where=where)
    assert "project 7: 1 added, 1 changed, 5 removed, 1 unchanged" in out
    conn = place.served()
    assert {k: v for k, (v, _) in contents(conn, 7).items()} == {
        b"n": b"hello", b"json": b"other", b"more": b'{"x":1}'}


@pytest.mark.parametrize("text, what", [
    ('{"project": 1, "key": "a", "value": "b"}\n{"project": 1, "key": "a"}\n', "line 2: there is "),
    ('{"project": 1, "key": "a", "value": "b"}\nnonsense\n', "line 2"),
    ('{"projectId": 1,\n "data": {"a": }}', "line 2"),
    ('{"projects": [{"projectId": 1, "data": {}},\n {"data": {}}]}', "line 2: it does not say"),
    ('{"project": 1, "keyBase64": "a", "value": "b"}', "base64"),
    ('{"project": 4294967296, "key": "a", "value": "b"}', "no such project"),
    ("", "empty"),
])
def test_bad_input_is_told_with_its_line_and_changes_nothing(place, tmp_path, text, what):
    before = stock(place, 1)
    where = place.settle()
    (tmp_path / "good.jsonl").write_text('{"project": 1, "key": "new", "value": "b"}\n')
    (tmp_path / "bad").write_text(text)
    _, err = cli("import", tmp_path / "good.jsonl", tmp_path / "bad", code=1, where=where)
    assert what in err and "nothing was imported" in err
    assert contents(place.served(), 1) == before


def test_refused_keys_are_counted(make_kv, tmp_path):
    kv = make_kv(kv={"max_keys": 3})
    (tmp_path / "five.jsonl").write_text("".join(
        json.dumps({"project": 1, "key": str(i), "value": "x"}) + "\n" for i in range(5)))
    _, err = cli("import", tmp_path / "five.jsonl", code=1, where=kv.data)
    assert "2 changes were refused" in err and "kv.max_keys" in err
    config = kv.config_path
    _, err = cli("import", tmp_path / "five.jsonl", "--config", config, code=1)
    assert "nothing was imported" in err and "kv.max_keys" in err


def test_project_whose_file_was_damaged_gets_a_new_one(make_kv, tmp_path):
    kv = make_kv()
    fill(kv.connect())
    good = cli("export", "--project", 7, where=kv.data)[0]
    (tmp_path / "good.json").write_text(good)
    assert not kv.stop()
    (kv.data / "project-7.json").write_text(good[:200])
    kv.start()
    conn = kv.connect()
    conn.ok("SELECT", 7)
    assert "not available" in str(conn.call("GET", "a"))
    _, err = cli("import", tmp_path / "good.json", code=1, where=kv.data)
    assert "stop sluice" in err
    assert not kv.stop()
    out, _ = cli("import", tmp_path / "good.json", where=kv.data)
    assert "set aside" in out
    conn = kv.start().connect()
    conn.ok("SELECT", 7)
    assert conn.call("GET", "n") == b"hello"
    assert (kv.data / "project-7.json.damaged").exists()


# ---- stats --------------------------------------------------------------------------------------


def test_stats_count_what_is_there(place):
    stock(place, 7)
    conn = place.served()
    conn.ok("SELECT", 1)
    conn.ok("SET", "big", "x" * 5000)
    where = place.settle()
    facts = json.loads(cli("stats", "--json", where=where)[0])
    assert (facts["projects"], facts["keys"], facts["expiring"]) == (2, 8, 1)
    assert facts["largest"][0]["project"] == 1 and facts["largest"][0]["bytes"] == 5003
    assert facts["running"] == (place.process is not None)
    assert facts["logBytes"] > 0
    text, _ = cli("stats", where=where)
    assert "project 1: 1 key, 4.9 KiB" in text
    (where / "project-9.json").write_text("{")
    facts = json.loads(cli("stats", "--json", where=where)[0])
    assert "project-9.json is damaged" in facts["damaged"][0]
    _, err = cli("export", code=1, where=where)
    assert "project-9.json is damaged" in err


# ---- backup and restore -------------------------------------------------------------------------


def test_backup_is_restored_as_it_was(place, tmp_path):
    before = {p: stock(place, p) for p in (1, 7)}
    where = place.settle()
    out, _ = cli("backup", "--output", tmp_path / "backups", where=where)
    path = Path(out.split(": ")[0])
    assert path.parent == tmp_path / "backups" and "2 projects" in out
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert json.loads((path / "manifest.json").read_text())["format"] == 1
    conn = place.served()
    conn.ok("SELECT", 7)
    conn.ok("SET", "a", "changed")
    conn.ok("SELECT", 9)
    conn.ok("SET", "new", "x")
    _, err = cli("restore", path, "--force", code=1, where=where)
    assert "in use" in err
    assert not place.stop()
    _, err = cli("restore", path, code=1, where=where)
    assert "--force" in err
    out, _ = cli("restore", path, "--force", where=where)
    kept = Path(out.split(" is in ")[1].strip())
    assert (kept / "project-9.json").exists() and (kept / "log").is_dir()
    conn = place.served()
    assert {p: contents(conn, p) for p in before} == before
    assert contents(conn, 9) == {}
    # Records of the log that is begun then count.
    conn.ok("SELECT", 7)
    conn.ok("SET", "after", "y")
    place.kill()
    assert contents(place.start().connect().wait_loaded(), 7)[b"after"][0] == b"y"


def test_damaged_backup_is_not_restored(place, tmp_path):
    stock(place)
    where = place.settle()
    path = Path(cli("backup", "--output", tmp_path, where=where)[0].split(": ")[0])
    file = path / "project-7.json"
    good = file.read_bytes()
    file.write_bytes(good.replace(b"hello", b"hallo"))
    _, err = cli("restore", path, code=1, where=tmp_path / "new")
    assert "project-7.json is damaged" in err
    assert not (tmp_path / "new").exists()
    file.write_bytes(good)
    cli("restore", path, where=tmp_path / "new")
    assert data_of(tmp_path / "new", 7) == data_of(where, 7)


def test_transactions_are_never_torn_in_backups_under_load(make_kv, tmp_path):
    kv = make_kv(kv={"checkpoint_interval": "1s"})
    stop = threading.Event()
    failures = []

    def writer(number):
        try:
            conn = kv.connect()
            count = 0
            while not stop.is_set():
                count += 1
                conn.ok("MULTI")
                for project in (number, number + 10):  # two projects in one transaction
                    conn.call("SELECT", project)
                    conn.call("SET", "count", count)
                    conn.call("SET", "again", count)
                assert len(conn.call("EXEC")) == 6
        except Exception as error:  # noqa: BLE001 - told by the test
            failures.append(error)

    threads = [threading.Thread(target=writer, args=(i,)) for i in range(1, 5)]
    for thread in threads:
        thread.start()
    seen = set()
    for _ in range(10):
        path = cli("backup", "--output", tmp_path, where=kv.data)[0].split(": ")[0]
        for number in range(1, 5):
            if not (Path(path) / f"project-{number}.json").exists():
                continue
            one, other = data_of(path, number), data_of(path, number + 10)
            assert one["count"] == one["again"] == other["count"] == other["again"]
            seen.add((number, one["count"]))
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(seen) > 10


def test_scheduled_backups_are_made_kept_and_counted(make_kv, tmp_path):
    backups = tmp_path / "backups"
    kv = make_kv(kv={"backup": {"directory": str(backups), "every": "1s", "keep": 2}})
    conn = kv.connect()
    conn.ok("SET", "a", "1")
    metric = lambda name: kv.metrics()[f"sluice_kv_backup{name}"].total()  # noqa: E731
    eventually(lambda: metric("s_total") >= 4, 30, "four backups")
    eventually(lambda: len(os.listdir(backups)) == 2, 10, "two that stay")
    assert abs(metric("_last_success_timestamp_seconds") - time.time()) < 30
    assert metric("_last_size_bytes") > 0
    assert metric("_failures_total") == 0
    newest = max(os.listdir(backups))
    assert data_of(backups / newest, 0) == {"a": 1}
    cli("restore", backups / newest, where=tmp_path / "new")


def test_schedule_goes_on_after_a_restart(make_kv, tmp_path):
    backups = tmp_path / "backups"
    kv = make_kv(kv={"backup": {"directory": str(backups), "every": "1h", "keep": 2}})
    eventually(lambda: backups.exists() and len(os.listdir(backups)) == 1
               and not os.listdir(backups)[0].endswith(".partial"), 20, "the first backup")
    first = os.listdir(backups)
    kv.restart()
    eventually(lambda: kv.metrics()["sluice_kv_backup_last_success_timestamp_seconds"].total() > 0,
               10, "the earlier one is known")
    assert os.listdir(backups) == first
    assert kv.metrics()["sluice_kv_backups_total"].total() == 0


def test_failing_scheduled_backups_are_logged_and_counted(make_kv, tmp_path):
    (tmp_path / "file").write_text("")
    kv = make_kv(kv={"backup": {"directory": str(tmp_path / "file/in"), "every": "1s"}})
    eventually(lambda: kv.metrics()["sluice_kv_backup_failures_total"].total() == 1, 20, "failure")
    eventually(lambda: "backup failed" in kv.log, 10, "its line in the log")
    kv.connect().ok("SET", "a", "1")


# ---- usage --------------------------------------------------------------------------------------


def test_usage_errors_exit_with_2(tmp_path):
    for args in ([], ["export", "--format", "xml"], ["import"], ["export", "--project", "-1"],
                 ["export", "--all", "--project", "1"], ["restore"], ["backup"],
                 ["stats", "--config", "/nowhere.yaml"], ["import", "x", "--merge", "--replace"]):
        where = tmp_path if args == ["backup"] else None
        _, err = cli(*args, code=2, where=where)
        assert err
    for command in ("export", "import", "stats", "backup", "restore"):
        out, _ = cli(command, "--help")
        assert "--directory" in out
    _, err = cli("stats", code=1, where=tmp_path / "nowhere")
    assert "--directory" in err
