"""What happens at the same time on several threads: worth most with a sanitizer's build, which
turns a race, a leak or a use after free into a failure of these tests."""

import threading
import time

import pytest

import targets
import wire
from postgres import PASSWORDS


class Crowd:
    """Clients on threads of their own that do `step(number)` over and over until told to stop."""

    def __init__(self, count, step):
        self.step = step
        self.stopped = threading.Event()
        self.steps = [0] * count
        self.problems = []
        self.threads = [threading.Thread(target=self._run, args=(n,), daemon=True)
                        for n in range(count)]

    def _run(self, number):
        while not self.stopped.is_set():
            try:
                self.step(number)
                self.steps[number] += 1
            except (wire.Closed, OSError, wire.PgError, AssertionError) as problem:
                self.problems.append(problem)
                self.stopped.wait(0.005)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        for thread in self.threads:
            thread.join(30 * targets.SCALE)
        assert not any(thread.is_alive() for thread in self.threads), "a client hangs"


def visit(sluice, *statements):
    """A connection of its own for these statements."""
    conn = wire.Conn(sluice.address, 10 * targets.SCALE)
    try:
        conn.login("app", "app", PASSWORDS["app"])
        for sql in statements:
            conn.query(sql)
    finally:
        conn.close()


@pytest.mark.parametrize("round_number", range(4))
def test_shutdown_in_the_middle_of_everything_ends_well(make_sluice, pg, rng, round_number):
    """Logins upstream, moves between workers, waiters, cleaning: whatever is going on. The end of
    the test asks for exit code 0 and for a log without a report."""
    sluice = make_sluice(workers=3, log={"level": "warning"}, postgres={
        "pool_size": 4, "shutdown_timeout": "50ms", "server_lifetime": "1s"})

    def step(number):
        if number == 0:
            for pid in pg.pids()[:2]:  # so that there are always logins
                pg.query("select pg_terminate_backend(%s)", (pid,))
            time.sleep(0.01)
        elif number % 3 == 0:
            visit(sluice, "begin", "select pg_sleep(0.01)")  # leaves in a transaction
        else:
            visit(sluice, "select 1", "begin", "select 2", "commit")

    with Crowd(13, step) as crowd:
        wire.eventually(lambda: sum(crowd.steps) > 20, 10 * targets.SCALE, "some traffic")
        time.sleep(rng.random() * 0.3)
        sluice.signal(15)
        sluice.process.wait(15 * targets.SCALE)
    assert sluice.process.returncode == 0, sluice.log[-8000:]
    assert not targets.SANITIZER_REPORT.search(sluice.log), sluice.log[-8000:]
    make_sluice.made.remove(sluice)


def test_clients_that_leave_while_their_password_is_checked(make_sluice):
    """The check runs on a thread of its own and outlives the client."""
    sluice = make_sluice(workers=3, log={"level": "warning"}, postgres={
        "auth_type": "cleartext", "users": {"app": {"password": wire.scram_verifier("right")}}})

    def step(_):
        with wire.Conn(sluice.address, 10 * targets.SCALE) as conn:
            conn.send(wire.startup({"user": "app", "database": "app"}))
            conn.recv()
            conn.send(wire.password("wrong"))
            conn.reset()

    with Crowd(6, step) as crowd:
        wire.eventually(lambda: sum(crowd.steps) > 300, 20 * targets.SCALE, "300 visits")
    sluice.connect(secret="right").query("select 1")


@pytest.mark.slow
def test_idle_timeout_amid_traffic_costs_no_query(make_sluice):
    """Connections are looked at for their age while other workers lease them."""
    sluice = make_sluice(workers=3, log={"level": "warning"}, postgres={
        "pool_size": 6, "server_idle_timeout": "100ms", "server_lifetime": "500ms"})
    conns = [sluice.connect() for _ in range(8)]

    def step(number):
        conns[number].query("select 1")
        time.sleep(0.002 * number * number)

    with Crowd(len(conns), step) as crowd:
        time.sleep(5)
    assert not crowd.problems
    assert min(crowd.steps) > 1


def test_reloads_on_each_others_heels_leave_the_last_one(make_sluice):
    sluice = make_sluice(log={"level": "info"}, postgres={"pool_size": 3})
    with Crowd(4, lambda _: visit(sluice, "select 1")) as crowd:
        for _ in range(30):
            sluice.signal(1)
            time.sleep(0.002)
        wire.eventually(lambda: "configuration reloaded" in sluice.log, 10 * targets.SCALE,
                        "a reload")
        wire.eventually(lambda: sum(crowd.steps) > 10, 10 * targets.SCALE, "some traffic")
    assert not crowd.problems
