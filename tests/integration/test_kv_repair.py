"""A project that is refused because its file was damaged comes back without a restart."""

import os
import time

import pytest

import kv_targets

pytestmark = pytest.mark.sluice_only


@pytest.fixture
def hurt(make_kv):
    """Project 7 with `a` in its file (which is damaged now) and `b`, `c` in the log only."""
    kv = make_kv(kv={"fsync": "always", "checkpoint_interval": "1h"})
    conn = kv.connect()
    conn.ok("SELECT", 7)
    conn.ok("SET", "a", "in the file")
    conn.ok("SAVE")
    conn.ok("SET", "b", "in the log")
    assert [conn.call("INCR", "c") for _ in range(3)] == [1, 2, 3]
    path = kv.data / "project-7.json"
    kv.good = path.read_text()
    kv.kill()
    path.write_text(kv.good[:len(kv.good) // 2])
    kv.start()
    conn = kv.connect().wait_loaded()
    conn.ok("SELECT", 7)
    assert "not available" in str(conn.call("GET", "a"))
    return kv


def served(kv):
    conn = kv.connect()
    conn.ok("SELECT", 7)
    kv_targets.eventually(lambda: "not available" not in str(conn.call("GET", "a")),
                          what="project 7")
    return conn


def put(kv, text):
    draft = kv.data / "mine"
    draft.write_text(text)
    os.replace(draft, kv.data / "project-7.json")


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_good_file_is_taken_with_what_the_log_has(hurt, end):
    other = hurt.connect()
    other.ok("SELECT", 8)
    other.ok("SET", "a", "of another")
    other.ok("SAVE")
    put(hurt, hurt.good)
    conn = served(hurt)
    assert conn.call("MGET", "a", "b", "c") == [b"in the file", b"in the log", b"3"]
    assert conn.call("INCR", "c") == 4
    assert "project 7 is served again" in hurt.log
    if end == "kill":
        hurt.kill()
    else:
        assert not hurt.stop()
    conn = hurt.start().connect().wait_loaded()
    conn.ok("SELECT", 7)
    assert conn.call("MGET", "a", "b", "c") == [b"in the file", b"in the log", b"4"]


def test_kept_file_that_is_put_back_repaired_or_removed(hurt):
    kept = hurt.data / "project-7.json.damaged"
    kept.write_text(hurt.good)
    os.rename(kept, hurt.data / "project-7.json")
    assert served(hurt).call("MGET", "a", "b") == [b"in the file", b"in the log"]


def test_removed_file_leaves_what_the_log_has(hurt):
    (hurt.data / "project-7.json.damaged").unlink()
    assert served(hurt).call("MGET", "b", "c") == [b"in the log", b"3"]


def test_file_that_is_damaged_too_is_kept_too(hurt):
    put(hurt, "{")
    conn = hurt.connect()
    conn.ok("SELECT", 7)
    kept = hurt.data / "project-7.json.damaged-2"
    kv_targets.eventually(lambda: conn.call("GET", "a") and kept.exists(), what=kept.name)
    assert "not available" in conn.call("GET", "a")
    put(hurt, hurt.good)
    assert served(hurt).call("MGET", "a", "b", "c") == [b"in the file", b"in the log", b"3"]


def test_file_that_is_written_slowly_is_waited_for(hurt):
    conn = hurt.connect()
    conn.ok("SELECT", 7)
    with open(hurt.data / "project-7.json", "w") as file:
        end = time.monotonic() + 2.5
        done = 0
        while time.monotonic() < end:  # it goes on being written all that time
            if done < len(hurt.good) - 10:
                done += file.write(hurt.good[done:done + 2])
            else:
                os.utime(file.fileno())
            file.flush()
            assert "not available" in conn.call("GET", "a")
        file.write(hurt.good[done:])
    assert served(hurt).call("MGET", "a", "b", "c") == [b"in the file", b"in the log", b"3"]
    assert not (hurt.data / "project-7.json.damaged-2").exists()
