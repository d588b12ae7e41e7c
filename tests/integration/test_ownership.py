"""No client ever sees another's row.

Two hundred clients on a pool of five. Every query asks for its client's number and a serial of
its own, in many forms; meanwhile clients cancel, vanish in all ways, and the server's
connections are killed and once the whole server is restarted. An error is fine, a foreign row
never. The seed is printed; SLUICE_TEST_SEED repeats the choices.
"""

import random
import socket
import threading
import time

import pytest

import targets
import wire
from postgres import PASSWORDS

CLIENTS = 200
SECONDS = 20
P, B, D, E, S = wire.parse, wire.bind, wire.describe, wire.execute, wire.SYNC

# Errors that chaos may bring; anything else is a finding.
EXPECTED = {"57014", "57P01", "57P02", "57P03", "53300", "25P02", "22012", "08006", "08003",
            "08P01", "08001", "57P05"}


class ForeignRow(AssertionError):
    pass


class Client:
    def __init__(self, sluice, number, seed, world):
        self.sluice, self.number, self.world = sluice, number, world
        self.rng = random.Random(seed)
        self.serial = 0
        self.conn = None
        self.rows = 0
        self.errors = {}

    def connect(self):
        self.conn = wire.Conn(self.sluice.address, 30 * targets.SCALE)
        self.conn.login("app", "app", PASSWORDS["app"], application_name=f"client-{self.number}")
        self.prepared = False

    def check(self, result):
        for fields in result.errors:
            code = fields.get("C")
            self.errors[code] = self.errors.get(code, 0) + 1
            if code not in EXPECTED:
                raise AssertionError(f"client {self.number}: unexpected {fields}")
        for row in result.rows:
            if row[0] != str(self.number):
                raise ForeignRow(f"client {self.number} was given {row}")
            if row[1] is not None and int(row[1]) not in range(self.first, self.serial + 1):
                raise ForeignRow(f"client {self.number} was given an old answer: {row}, "
                                 f"expected {self.first}..{self.serial}")
            if len(row) > 2 and row[2] not in (f"client-{self.number}", ""):
                raise ForeignRow(f"client {self.number} ran with the name {row[2]}")
            self.rows += 1
        return result

    def mine(self):
        self.serial += 1
        return f"{self.number}, {self.serial}, current_setting('application_name')"

    def read(self, count):
        self.check(self.conn.recv_count("Z", count))

    # -- the kinds of work

    def simple(self):
        self.conn.send(wire.query(f"select {self.mine()}"))
        self.read(1)

    def several(self):
        self.conn.send(wire.query(f"select {self.mine()}; select {self.mine()}"))
        self.read(1)

    def pipelined(self):
        count = self.rng.randrange(2, 8)
        self.conn.send(*[wire.query(f"select {self.mine()}") for _ in range(count)])
        self.read(count)

    def extended(self):
        self.conn.send(wire.batch(f"select {self.mine()}"))
        self.read(1)

    def prepared_statement(self):
        self.serial += 1
        chunks = []
        if not self.prepared:
            chunks += [wire.close("S", "mine"),
                       P("mine", f"select {self.number}, $1::int, "
                                 "current_setting('application_name')")]
        self.conn.send(*chunks, B("", "mine", [self.serial]), E(), S)
        result = self.conn.recv_until("Z")
        self.prepared = self.prepared or not result.errors
        self.check(result)

    def failing_pipeline(self):
        self.conn.send(wire.batch(f"select {self.mine()}"), P("", "select 1/0"), B(), E(),
                       P("", "select -1, 0"), B(), E(), S, wire.batch(f"select {self.mine()}"))
        self.read(3)

    def transaction(self):
        self.conn.send(wire.query("begin"))
        self.read(1)
        for _ in range(self.rng.randrange(1, 4)):
            self.conn.send(wire.query(f"select {self.mine()}"))
            self.read(1)
        self.conn.send(wire.query(self.rng.choice(["commit", "rollback"])))
        self.read(1)

    def many_rows(self):
        count = self.rng.choice([50, 3000])
        self.conn.send(wire.query(f"select {self.mine()} from generate_series(1, {count})"))
        self.read(1)

    def portions(self):
        self.conn.send(P("", f"select {self.mine()} from generate_series(1, 40)"), B(),
                       E("", 15), E("", 15), E("", 15), S)
        self.read(1)

    def two_round_trips(self):
        self.conn.send(P("", f"select {self.mine()}"), D("S"), S)
        self.read(1)
        self.conn.send(B(), E(), S)
        result = self.conn.recv_until("Z")
        # an error of the first trip leaves no statement behind
        self.check(wire.Result([m for m in result.messages if m.type != "E" or
                                wire.error_fields(m.body)["C"] != "26000"]))

    def copy_out(self):
        self.serial += 1
        self.conn.send(wire.query(f"copy (select {self.number} from generate_series(1, 200)) "
                                  "to stdout"))
        result = self.conn.recv_until("Z")
        for m in result._of("d"):
            if m.body != b"%d\n" % self.number:
                raise ForeignRow(f"client {self.number} was given copy data {m.body[:40]}")
        self.check(result)

    def cancelled(self):
        self.conn.send(wire.query(f"select {self.mine()} from pg_sleep(0.05)"))
        time.sleep(self.rng.random() * 0.06)
        self.conn.cancel(wait=self.rng.random() < 0.5)
        self.read(1)

    def leave(self):
        self.conn.send(self.rng.choice([
            wire.query(f"begin; select {self.mine()}"), wire.query("select pg_sleep(1)"),
            wire.query(f"select {self.mine()} from generate_series(1, 20000)"),
            wire.batch(f"select {self.mine()}")[:-7], wire.query("copy t from stdin"), b"Q\0\0"]))
        if self.rng.random() < 0.3:
            self.conn.sock.shutdown(socket.SHUT_WR)
        self.rng.choice([self.conn.close, self.conn.reset, self.conn.terminate])()
        self.conn = None

    def step(self):
        self.first = self.serial + 1
        kinds = [self.simple, self.several, self.pipelined, self.extended,
                 self.prepared_statement, self.prepared_statement, self.failing_pipeline,
                 self.transaction, self.many_rows, self.portions, self.two_round_trips,
                 self.copy_out]
        draw = self.rng.random()
        if draw < 0.03:
            self.leave()
        elif draw < 0.08:
            self.cancelled()
        else:
            self.rng.choice(kinds)()

    def run(self):
        try:
            while not self.world["stop"].is_set():
                try:
                    if self.conn is None:
                        self.connect()
                    self.step()
                except (wire.Closed, ConnectionError, wire.PgError) as problem:
                    if isinstance(problem, wire.PgError) and problem.code not in EXPECTED:
                        raise
                    if self.conn is not None:
                        self.conn.close()
                    self.conn = None
        except Exception as problem:  # noqa: BLE001 - the test's verdict
            self.world["problems"].append(f"{type(problem).__name__}: {problem}")
            self.world["stop"].set()
        finally:
            if self.conn is not None:
                self.conn.close()


@pytest.mark.slow
@pytest.mark.parametrize("chaos", [False, True], ids=["calm", "chaos"])
def test_no_client_ever_sees_anothers_row(make_sluice, pg, table, rng, chaos):
    sluice = make_sluice(log={"level": "warning"},
                         postgres={"pool_size": 5, "max_prepared_statements": 4})
    world = {"stop": threading.Event(), "problems": []}
    clients = [Client(sluice, n + 1000, rng.random(), world) for n in range(CLIENTS)]
    if not chaos:
        for client in clients:
            client.leave = client.simple
            client.cancelled = client.simple
    threads = [threading.Thread(target=c.run, daemon=True) for c in clients]
    for thread in threads:
        thread.start()
    seconds = SECONDS if chaos else 6
    started, killed, restarted, most = time.monotonic(), 0, False, 0
    while time.monotonic() - started < seconds and not world["stop"].is_set():
        time.sleep(0.1)
        most = max(most, pg.session_count())
        if chaos and rng.random() < 0.1:
            pids = pg.pids()
            if pids:
                pg.query("select pg_terminate_backend(%s)", (rng.choice(pids),))
                killed += 1
        if chaos and not restarted and time.monotonic() - started > seconds / 2:
            pg.restart("immediate")
            restarted = True
    world["stop"].set()
    for thread in threads:
        thread.join(60 * targets.SCALE)
    stuck = [c.number for c, t in zip(clients, threads) if t.is_alive()]
    errors = {}
    for client in clients:
        for code, count in client.errors.items():
            errors[code] = errors.get(code, 0) + count
    rows = sum(c.rows for c in clients)
    print(f"{rows} rows checked, {killed} server connections killed, errors {errors}, "
          f"most server connections {most}")
    assert not world["problems"], world["problems"][:5]
    assert not stuck, f"clients that never got an answer: {stuck[:10]}"
    assert rows > 2000, "too little happened to prove anything"
    if not chaos:
        assert set(errors) <= {"22012"}, errors
        assert most <= 5
    assert sluice.alive()
    for i in range(10):
        assert sluice.connect().query(f"select {i}").value == str(i)
