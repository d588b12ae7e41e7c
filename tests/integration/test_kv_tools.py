"""Programs and libraries that nobody here wrote: redis-cli, redis-benchmark, hiredis, redis-py,
ioredis and node-redis, on the key-value port."""

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import threading
import time

import pytest
import redis as redis_py

import kv_targets
import resp
import targets
import test_node
from certificates import client_context
from test_node import node  # noqa: F401 - a fixture


def cli(kv, *args, stdin=None, check=True, timeout=30, port=None, binary=False, **environment):
    """(stdout, stderr) of redis-cli; stdin may be bytes."""
    command = ["redis-cli", "-h", kv.host, "-p", str(port or kv.port), *map(str, args)]
    feed = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    done = subprocess.run(command, capture_output=True, timeout=timeout * targets.SCALE,
                          env=kv_targets.environment(kv, **environment), **feed)
    out = done.stdout if binary else done.stdout.decode()
    assert not check or done.returncode == 0, (out, done.stderr)
    return out, done.stderr.decode()


def said(kv, *args, **options):
    """What redis-cli prints; nothing may be on stderr."""
    out, problems = cli(kv, *args, **options)
    assert problems == ""
    return out


# ---- redis-cli ----------------------------------------------------------------------------------


def test_cli_runs_one_command(kv):
    assert said(kv, "SET", "a", "x y") == "OK\n"
    assert said(kv, "GET", "a") == "x y\n"
    assert said(kv, "--no-raw", "GET", "none") == "(nil)\n"
    assert said(kv, "--no-raw", "INCRBY", "n", 5) == "(integer) 5\n"
    assert said(kv, "INCR", "a") == "ERR value is not an integer or out of range\n\n"
    out, _ = cli(kv, "-e", "INCR", "a", check=False)
    assert "not an integer" in out + _


def test_cli_selects_a_database(kv):
    said(kv, "-n", 42, "SET", "where", "forty-two")
    assert said(kv, "-n", 42, "GET", "where") == "forty-two\n"
    assert said(kv, "-n", 0, "EXISTS", "where") == "0\n"
    assert said(kv, "-u", f"redis://{kv.host}:{kv.port}/42", "GET", "where") == "forty-two\n"


def test_cli_in_version_3_and_as_json(kv):
    said(kv, "MSET", "a", "1", "b", "ü")
    assert said(kv, "-3", "--no-raw", "GET", "none") == "(nil)\n"
    assert json.loads(said(kv, "--json", "MGET", "a", "b", "none")) == ["1", "ü", None]
    config = json.loads(said(kv, "--json", "CONFIG", "GET", "maxclients"))
    assert list(config) == ["maxclients"]


def test_cli_reads_commands_and_values_from_stdin(kv):
    assert said(kv, stdin=b"SET a 1\nINCR a\nGET a\n") == "OK\n2\n2\n"
    assert said(kv, "-x", "SET", "blob", stdin=b"\0\xff\r\nend") == "OK\n"
    assert said(kv, "STRLEN", "blob") == "7\n"
    assert cli(kv, "--raw", "GET", "blob", binary=True)[0] == b"\0\xff\r\nend\n"


def test_cli_repeats(kv):
    assert said(kv, "-r", 5, "INCR", "n") == "1\n2\n3\n4\n5\n"


class Terminal:
    """redis-cli at a terminal."""

    def __init__(self, kv, *args):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe("redis-cli", ["redis-cli", "-h", kv.host, "-p", str(kv.port), *args],
                       kv_targets.environment(kv))
        self.seen = ""

    def until(self, text, timeout=10.0):
        end = time.monotonic() + timeout * targets.SCALE
        while text not in self.seen:
            left = end - time.monotonic()
            assert left > 0, f"no {text!r} in {self.seen!r}"
            if select.select([self.fd], [], [], left)[0]:
                try:
                    self.seen += os.read(self.fd, 65536).decode(errors="replace")
                except OSError:
                    break
        before, _, self.seen = self.seen.partition(text)
        return before

    def say(self, line):
        os.write(self.fd, line.encode() + b"\r")

    def end(self):
        os.close(self.fd)
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.waitpid(self.pid, 0)


def test_cli_at_a_terminal(kv):
    terminal = Terminal(kv)
    try:
        started = terminal.until("> ")
        assert "rror" not in started and "not connected" not in started, started
        for line, answer in (("SET a hello", "OK"), ("GET a", '"hello"'), ("SELECT 7", "OK"),
                             ("GET a", "(nil)"), ("MULTI", "OK"), ("INCR n", "QUEUED"),
                             ("EXEC", "1) (integer) 1"), ("NOSUCH", "ERR unknown command"),
                             ("HELLO 3", '"proto"'), ("RESET", "RESET"), ("PING", "PONG")):
            terminal.say(line)
            terminal.until(answer)
            prompt = terminal.until("> ")
            assert "rror: " not in prompt
        terminal.say("QUIT")
    finally:
        terminal.end()


def test_cli_at_a_terminal_shows_the_database(kv):
    number = "1234" if kv_targets.ON_REDIS else "1234567890"
    terminal = Terminal(kv, "-n", number)
    try:
        terminal.until(f"[{number}]")
        terminal.say("MULTI")
        terminal.until("(TX)>")
        terminal.say("DISCARD")
        terminal.until("OK")
    finally:
        terminal.end()


@pytest.fixture
def filled(kv):
    """A database with 3000 small keys, one big one and one that expires."""
    conn = kv.connect()
    conn.ok("MSET", *(word for i in range(3000) for word in (f"key:{i}", f"value {i}")))
    conn.ok("SET", "giant", "g" * 100000)
    conn.ok("SET", "short", 1, "EX", 1000)
    return kv


def test_cli_scan(filled):
    lines = said(filled, "--scan").split()
    assert sorted(lines) == sorted([f"key:{i}" for i in range(3000)] + ["giant", "short"])
    assert sorted(said(filled, "--scan", "--pattern", "key:29?9").split()) == \
        [f"key:29{i}9" for i in range(10)]
    assert said(filled, "--scan", "--pattern", "nothing*") == ""


def test_cli_bigkeys(filled):
    out = said(filled, "--bigkeys")
    assert re.search(r'Biggest string found .?"giant".? has 100000 bytes', out), out
    assert "Sampled 3002 keys in the keyspace!" in out


def test_cli_memkeys(filled):
    out = said(filled, "--memkeys")
    found = re.search(r'Biggest string found .?"giant".? has (\d+) bytes', out)
    assert found and int(found[1]) >= 100000, out


def test_cli_stat(filled):
    process = subprocess.Popen(
        ["redis-cli", "-h", filled.host, "-p", str(filled.port), "--stat", "-i", "0.05"],
        stdout=subprocess.PIPE, text=True, env=kv_targets.environment(filled))
    try:
        lines = [process.stdout.readline() for _ in range(4)]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert "keys" in lines[1], lines
    keys, memory, clients = lines[3].split()[:3]
    assert keys == "3002" and int(clients) >= 1 and re.fullmatch(r"[\d.]+[BKMG]", memory), lines


def test_cli_latency(kv):
    # Not at a terminal: samples for -i seconds and prints minimum, maximum, average and count.
    low, high, average, count = said(kv, "--latency", "-i", "0.3").split()
    assert float(low) <= float(average) <= float(high) and int(count) > 5


def test_cli_pipe(kv):
    data = b"".join(resp.encode("SET", f"key:{i}", b"\r\n" + b"v" * (i % 50)) for i in range(50000))
    out = said(kv, "--pipe", stdin=data)
    assert "errors: 0, replies: 50000" in out
    assert said(kv, "DBSIZE") == "50000\n"
    out = cli(kv, "--pipe", stdin=b"SET a 1\r\nINCR a\r\nGET\r\n", check=False)[0]
    assert "errors: 1, replies: 3" in out


def test_cli_monitor(kv):
    process = subprocess.Popen(["redis-cli", "-h", kv.host, "-p", str(kv.port), "MONITOR"],
                               stdout=subprocess.PIPE, text=True, env=kv_targets.environment(kv))
    try:
        assert process.stdout.readline() == "OK\n"
        conn = kv.connect()
        conn.ok("SELECT", 3)
        conn.ok("SET", "a", 'x"\n\0')
        lines = [process.stdout.readline() for _ in range(2)]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    form = r'\d{10}\.\d{6} \[3 127\.0\.0\.1:\d+\] %s\n'
    assert re.fullmatch(form % '"SELECT" "3"', lines[0]), lines  # with the database it led to
    assert re.fullmatch(form % re.escape('"SET" "a" "x\\"\\n\\x00"'), lines[1]), lines


def test_cli_with_user_and_password(make_kv):
    kv = make_kv(kv={"users": {"alice": {"password": "wonder land", "projects": "all"}}})
    assert said(kv, "--user", "alice", "--pass", "wonder land", "--no-auth-warning", "SET", "a",
                1) == "OK\n"
    assert said(kv, "-u", f"redis://alice:wonder%20land@{kv.host}:{kv.port}/0", "--no-auth-warning",
                "GET", "a") == "1\n"
    assert said(kv, "--user", "alice", "GET", "a", REDISCLI_AUTH="wonder land") == "1\n"
    assert "NOAUTH" in cli(kv, "GET", "a", check=False)[0]
    out, problems = cli(kv, "--user", "alice", "--pass", "wrong", "--no-auth-warning", "GET", "a",
                        check=False)
    assert "WRONGPASS" in out + problems and "NOAUTH" in out + problems


def test_cli_with_the_password_of_the_default_user(make_kv):
    kv = make_kv(kv={"users": {"default": {"password": "secret", "projects": "all"}}})
    assert said(kv, "-a", "secret", "--no-auth-warning", "-3", "SET", "a", 1) == "OK\n"
    assert said(kv, "GET", "a", REDISCLI_AUTH="secret") == "1\n"


@pytest.fixture
def tls_kv(make_kv, server_certificates, authority):
    certificate, key = server_certificates["first"]
    kv = make_kv(kv={"tls": {"mode": "require", "certificate": str(certificate), "key": str(key)}})
    kv.tls = client_context(authority.ca)
    return kv


def test_cli_over_tls(tls_kv, authority):
    value = b"v" * 300000
    assert said(tls_kv, "--tls", "--cacert", authority.ca, "-x", "SET", "a", stdin=value) == "OK\n"
    assert said(tls_kv, "--tls", "--cacert", authority.ca, "GET", "a") == value.decode() + "\n"
    data = b"".join(resp.encode("SET", f"key:{i}", "x" * 100) for i in range(20000))
    assert "errors: 0, replies: 20000" in said(tls_kv, "--tls", "--cacert", authority.ca, "--pipe",
                                               stdin=data)


def test_plain_client_on_a_tls_port_is_refused(tls_kv):
    plain = resp.Conn(tls_kv.address)
    plain.send(resp.encode("SET", "crossed", 1))
    assert b"OK" not in plain.read_to_end()
    assert tls_kv.connect().call("EXISTS", "crossed") == 0


def test_tls_client_that_writes_all_before_it_reads(tls_kv):
    conn = tls_kv.connect()
    conn.ok("SET", "a", "v" * 1000)
    conn.send(resp.encode("GET", "a") * 10000)
    assert conn.read_many(10000) == [b"v" * 1000] * 10000


@pytest.fixture
def certified_kv(make_kv, server_certificates, authority):
    """certified_kv(mode): with users alice and bob, and connections that show a certificate."""
    certificate, key = server_certificates["first"]

    def make(mode):
        users = {name: {"password": f"of {name}", "projects": "all"} for name in ("alice", "bob")}
        return make_kv(kv={"users": users, "tls": {
            "mode": mode, "certificate": str(certificate), "key": str(key),
            "client_ca": str(authority.ca)}})
    return make


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_certificates_of_clients_are_asked_for(certified_kv, mode, authority, server_certificates):
    kv = certified_kv(mode)
    kv.tls = client_context(authority.ca)
    with pytest.raises(OSError):
        kv.connect().call("PING")
    kv.tls = client_context(authority.ca, server_certificates["alice"])
    assert kv.connect().call("AUTH", "alice", "of alice") == "OK"
    conn = kv.connect()
    assert conn.call("AUTH", "alice", "of bob").startswith("WRONGPASS")
    if mode == "verify-ca":
        assert conn.call("AUTH", "bob", "of bob") == "OK"
    else:
        assert conn.call("AUTH", "bob", "of bob").startswith("WRONGPASS")
        assert conn.call("HELLO", 3, "AUTH", "bob", "of bob").startswith("WRONGPASS")
        assert conn.call("GET", "a").startswith("NOAUTH")


# ---- redis-benchmark ----------------------------------------------------------------------------


@pytest.mark.parametrize("options", [(), ("-P", "16"), ("-P", "16", "--dbnum", "7"),
                                     ("-d", "5000", "-r", "1000"), ("-3",)])
def test_benchmark(kv, options):
    done = subprocess.run(["redis-benchmark", "-h", kv.host, "-p", str(kv.port), "-t",
                           "set,get,incr,mset,ping", "-n", "5000", "-c", "20", "-q", *options],
                          capture_output=True, text=True, timeout=60 * targets.SCALE,
                          env=kv_targets.environment(kv))
    assert done.returncode == 0 and "rror" not in done.stdout + done.stderr, done
    assert "WARNING" not in done.stdout + done.stderr
    assert len(re.findall(r"requests per second", done.stdout)) == 6
    conn = kv.connect()
    conn.ok("SELECT", 7 if "--dbnum" in options else 0)
    if "-r" not in options:
        # Whole pipelines: it sends a few more than it was asked for.
        assert 5000 <= int(conn.call("GET", "counter:__rand_int__")) < 5000 + 16


# ---- hiredis ------------------------------------------------------------------------------------

HIREDIS = r"""
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(what) do { if (!(what)) { printf("line %d: %s (%s)\n", __LINE__, #what, c->errstr); \
    return 1; } } while (0)

int main(int argc, char** argv)
{
    redisContext* c = redisConnect(argv[1], atoi(argv[2]));
    CHECK(argc == 3 && !c->err);
    redisReply* r = redisCommand(c, "SET %s %b EX %d", "key", "a\0b", (size_t)3, 100);
    CHECK(r && r->type == REDIS_REPLY_STATUS && !strcmp(r->str, "OK"));
    freeReplyObject(r);
    r = redisCommand(c, "GET key");
    CHECK(r && r->type == REDIS_REPLY_STRING && r->len == 3 && !memcmp(r->str, "a\0b", 3));
    freeReplyObject(r);
    r = redisCommand(c, "GET none");
    CHECK(r && r->type == REDIS_REPLY_NIL);
    freeReplyObject(r);
    r = redisCommand(c, "INCR key");
    CHECK(r && r->type == REDIS_REPLY_ERROR);
    freeReplyObject(r);
    for (int i = 0; i < 100000; i++)
        CHECK(redisAppendCommand(c, "INCR n") == REDIS_OK);
    for (int i = 0; i < 100000; i++) {
        CHECK(redisGetReply(c, (void**)&r) == REDIS_OK);
        CHECK(r->type == REDIS_REPLY_INTEGER && r->integer == i + 1);
        freeReplyObject(r);
    }
    redisAppendCommand(c, "MULTI");
    redisAppendCommand(c, "GET n");
    redisAppendCommand(c, "EXEC");
    for (int i = 0; i < 3; i++) {
        CHECK(redisGetReply(c, (void**)&r) == REDIS_OK);
        if (i == 2)
            CHECK(r->type == REDIS_REPLY_ARRAY && r->elements == 1
                  && !strcmp(r->element[0]->str, "100000"));
        freeReplyObject(r);
    }
    redisFree(c);
    puts("fine");
    return 0;
}
"""


def test_hiredis(kv, tmp_path):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    source, program = tmp_path / "client.c", tmp_path / "client"
    source.write_text(HIREDIS)
    subprocess.run([compiler, source, "-o", program, "-lhiredis"], check=True)
    done = subprocess.run([program, kv.host, str(kv.port)], capture_output=True, text=True,
                          timeout=60 * targets.SCALE)
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stdout


# ---- redis-py -----------------------------------------------------------------------------------


@pytest.fixture
def client(kv):
    made = redis_py.Redis(kv.host, kv.port, db=9, client_name="tests", socket_timeout=20)
    yield made
    made.close()


def test_py_strings_and_counters(client):
    assert client.set("a", b"\0\xff\r\n") and client.get("a") == b"\0\xff\r\n"
    assert client.set("a", "x", nx=True) is None
    assert client.set("a", "y", get=True, keepttl=True) == b"\0\xff\r\n"
    assert client.mset({"m1": 1, "m2": "zwei"}) and client.mget("m1", "none", "m2") == \
        [b"1", None, b"zwei"]
    assert client.incrby("n", 41) == 41 and client.decr("n") == 40
    assert client.incrbyfloat("f", 0.5) == 0.5
    assert client.getset("a", "z") == b"y" and client.getdel("a") == b"z"
    assert client.append("s", "abc") == 3 and client.setrange("s", 5, "x") == 6
    assert client.getrange("s", 0, -1) == b"abc\0\0x" and client.strlen("s") == 6
    assert client.copy("s", "t") and client.rename("t", "u") and client.exists("s", "t", "u") == 2
    assert client.type("s") == b"string" and client.delete("s", "u", "none") == 2
    assert client.client_getname() == "tests" and client.dbsize() == 4
    assert client.move("n", 10) and client.exists("n") == 0


def test_py_expiry(client):
    client.set("a", 1, ex=100)
    assert 98 <= client.ttl("a") <= 100 and client.persist("a") and client.ttl("a") == -1
    assert client.expire("a", 1000, nx=True) and not client.expire("a", 10, gt=True)
    at = int(time.time()) + 5000
    assert client.expireat("a", at) and client.execute_command("EXPIRETIME", "a") == at
    client.psetex("b", 20, "x")
    kv_targets.eventually(lambda: client.get("b") is None, 2)
    assert client.ttl("b") == -2


@pytest.mark.parametrize("transaction", [True, False])
def test_py_pipeline(client, transaction):
    with client.pipeline(transaction=transaction) as pipe:
        for i in range(3000):
            pipe.set(f"k{i}", i).incr("n")
        assert pipe.execute() == [value for i in range(3000) for value in (True, i + 1)]
        pipe.set("a", "x").incr("a").get("a")
        replies = pipe.execute(raise_on_error=False)
    assert replies[0] is True and replies[2] == b"x"
    assert isinstance(replies[1], redis_py.ResponseError)


def test_py_transaction_with_watch(client):
    other = redis_py.Redis(client.connection_pool.connection_kwargs["host"],
                           client.connection_pool.connection_kwargs["port"], db=9)
    client.set("n", 1)
    interfered = []

    def double(pipe):
        value = int(pipe.get("n"))
        if not interfered:
            other.incr("n")
            interfered.append(True)
        pipe.multi()
        pipe.set("n", value * 2)
    assert client.transaction(double, "n") == [True]
    assert client.get("n") == b"4"
    with client.pipeline() as pipe, pytest.raises(redis_py.WatchError):
        pipe.watch("n")
        other.set("n", 0)
        pipe.multi()
        pipe.set("n", 7)
        pipe.execute()
    assert client.get("n") == b"0"
    other.close()


def test_py_scan_iter_and_keys(client):
    wanted = {b"key:%d" % i for i in range(2500)}
    client.mset({key: 1 for key in wanted})
    client.set("other", 1)
    assert set(client.scan_iter("key:*", count=300)) == wanted
    assert set(client.keys("key:*")) == wanted
    assert set(client.scan_iter(_type="string")) == wanted | {b"other"}


def test_py_server_commands(client):
    client.set("a", 1)
    info = client.info()
    assert info["redis_version"].split(".")[0].isdigit() and info["connected_clients"] >= 1
    assert info["db9"]["keys"] == 1 and info["loading"] == 0 and info["role"] == "master"
    assert "used_memory" in client.info("memory") and "maxclients" in client.config_get("max*")
    assert client.ping() and client.time() and client.lastsave()
    assert client.client_id() > 0 and any(c["name"] == "tests" for c in client.client_list())
    assert client.slowlog_get() == [] or client.slowlog_len() >= 0
    assert client.memory_usage("a") > 0 and client.object("encoding", "a") == b"int"
    assert client.save() and client.flushdb() and client.dbsize() == 0
    assert client.command_count() > 50 and "get" in client.command()
    assert client.swapdb(9, 10)


def test_py_client_kill(client, kv):
    victim = kv.connect()
    number = victim.call("CLIENT", "ID")
    assert client.client_kill_filter(_id=number) == 1
    assert victim.ended()


def test_py_many_threads(kv):
    pool = redis_py.ConnectionPool(host=kv.host, port=kv.port, db=4)
    failures = []

    def work():
        try:
            mine = redis_py.Redis(connection_pool=pool)
            for _ in range(300):
                mine.incr("n")
        except Exception as error:  # noqa: BLE001 - shown below
            failures.append(error)
    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert redis_py.Redis(connection_pool=pool).get("n") == b"6000"
    pool.disconnect()


def test_py_over_tls(tls_kv, authority):
    made = redis_py.Redis("localhost", tls_kv.port, ssl=True, ssl_ca_certs=str(authority.ca))
    assert made.set("a", "v" * 200000) and made.get("a") == b"v" * 200000
    made.close()


# ---- Node ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("login", [False, True], ids=["open", "login"])
@pytest.mark.parametrize("file", ["ioredis", "node_redis"])
def test_node_client(node, make_kv, file, login):  # noqa: F811
    users = {"alice": {"password": "wonderland", "projects": "all"}}
    kv = make_kv(kv={"users": users} if login else {})
    environment = {**os.environ, "KV_HOST": kv.host, "KV_PORT": str(kv.port), "NO_COLOR": "1",
                   "KV_TARGET": kv.name, "SLUICE_TEST_SCALE": str(targets.SCALE)}
    if login:
        environment |= {"KV_USER": "alice", "KV_PASSWORD": "wonderland"}
    code, output = test_node.run(node, f"kv/{file}.test.mjs", environment, 120 * targets.SCALE)
    if code != 0:
        pytest.fail(f"{file} ended with {code}\n{output[-12000:]}", pytrace=False)
