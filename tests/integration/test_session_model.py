"""The model of a session is PostgreSQL: random programs of several clients give the same results
through a small pool, whose connections others take all the time, as on direct connections.

A failing program is made as short as it gets and printed with its seed.
"""

import os
import random
import time
from dataclasses import replace

import pytest

import targets
import wire
from session_programs import (DIRT, Invalid, Plain, Session, Step, TIMEOUT, Trace, _runs,
                              random_step, weights)
from session_world import World, make_objects

FULL = os.environ.get("SLUICE_TEST_FULL") == "1"


def by_channel(heard):
    return sorted(heard, key=lambda one: one[0])  # stable: the order within a channel stays


class Mismatch(Exception):
    pass


def generate(rng, plain, clients, length):
    """A program, made while it runs on direct connections: (steps, traces)."""
    steps, traces, mix = [], [], weights(rng)
    while len(steps) < length:
        if rng.random() < 0.15:
            step = Step(-1 - rng.randrange(plain.pool_size), rng.choice(["hold", "q"]),
                        rng.choice(DIRT))
        else:
            free = len(plain.busy) < plain.pool_size - (rng.random() < 0.8 and plain.pool_size > 2)
            who = rng.choice([c for c in range(clients) if free or c in plain.busy])
            step = random_step(rng, who, plain.sessions[who].status, mix)
        try:
            traces.append(plain.step(step))
            steps.append(step)
        except Invalid as problem:
            if "direct" in str(problem):
                raise
    return steps, traces


class Pooled:
    """Runs programs through sluice and compares with the traces of direct connections."""

    def __init__(self, world):
        self.world = world
        self.held = []

    def connect(self):
        conn = self.world.target.connect(user="app")
        conn.timeout = TIMEOUT * targets.SCALE
        conn.settimeout(conn.timeout)
        return conn

    def compare(self, count, steps, traces, heard, channels, busy):
        """Mismatch at the first difference."""
        self.run = next(_runs)
        self.sessions = [Session(self.connect()) for _ in range(count)]
        step = None
        try:
            for number, (step, trace) in enumerate(zip(steps, traces)):
                self._step(number, step, trace)
            step = "end"
            self._end(heard, channels, busy)
        except (wire.Closed, TimeoutError, wire.PgError, AssertionError) as problem:
            raise Mismatch(f"at {step}: {problem!r}") from None
        finally:
            self._release(0)
            for session in self.sessions:
                session.conn.close()

    def _release(self, keep):
        while len(self.held) > keep:
            self.held.pop().q("ROLLBACK")

    def _helper(self, step, busy):
        """Holds a connection, or leaves settings of its own on one; only if nobody waits then."""
        helper = self.world.helpers[-1 - step.who] if self.world.helpers else None
        if helper is None or len(busy) >= self.world.size:
            return
        if helper in self.held:
            self.held.remove(helper)
            helper.q("ROLLBACK")
        elif step.kind == "hold" and len(busy) + len(self.held) + 1 < self.world.size:
            helper.q("BEGIN; SELECT 1")
            self.held.append(helper)
        else:
            self._release(max(0, self.world.size - len(busy) - 1))
            if helper not in self.held:
                helper.q(step.sql)

    def _step(self, number, step, trace):
        if step.who < 0:
            self._helper(step, trace.before)
            return
        session = self.sessions[step.who]
        others = len(trace.before - {step.who})
        self._release(max(0, self.world.size - others - 1))
        if step.kind == "leave":
            getattr(session.conn, step.sql)()
            count = "select count(*) from pg_locks where locktype = 'advisory' and classid = %s"
            wire.eventually(lambda: self.world.pg.value(count, (self.run,)) == trace.locks,
                            TIMEOUT, "locks released")
            session.conn, session.status = self.connect(), "I"
        else:
            ours = session.perform(step, self.run)
            if ours != trace.result:
                wrong = [key for key in ours if ours[key] != trace.result[key]]
                raise Mismatch(f"at step {number}, {step}:\n" + "\n".join(
                    f"    {key}: {ours[key]}\n    {'':{len(key)}}  not {trace.result[key]}"
                    for key in wrong))
        for who, (session, count) in enumerate(zip(self.sessions, trace.heard)):
            if session.status == "I" and not session.hear(count, self.run, TIMEOUT / 2):
                raise Mismatch(f"at step {number}, {step}: client {who} has heard "
                               f"{session.heard}, which should be {count}")

    def _end(self, heard, channels, busy):
        """Everything that was sent has come: a last notification on each channel is behind it."""
        self._release(0)
        for session in self.sessions:
            if session.status != "I":
                session.take(session.conn.query("ROLLBACK").messages, self.run)
        for channel in sorted({c for listened in channels for c in listened}):
            name = channel.replace("{run}", str(self.run))
            self.world.pg.in_app(f"NOTIFY {name}, 'the last'")
            for who, session in enumerate(self.sessions):
                if channel in channels[who]:
                    heard[who] = heard[who] + [(channel, "the last")]
        for who, session in enumerate(self.sessions):
            session.hear(len(heard[who]), self.run, TIMEOUT / 2)
        for who in sorted(range(len(heard)), key=lambda who: who not in busy):
            session = self.sessions[who]  # first those that have a connection, which they leave
            session.take(session.conn.query("SELECT 1").messages, self.run)
            session.conn.close()
            # In the moment after a LISTEN, channels may overtake each other (docs/sessions.md).
            if by_channel(session.heard) != by_channel(heard[who]):
                raise Mismatch(f"client {who} has heard {session.heard}\n    not {heard[who]}")


def joined(programs):
    """One program of several: the clients of each leave before the next begins."""
    first, out = 0, []
    for count, steps in programs:
        out += [replace(step, who=step.who + first) if step.who >= 0 else step for step in steps]
        out += [Step(first + who, "leave", "close") for who in range(count)
                if steps is not programs[-1][1]]
        first += count
    return first, out


class Model:
    def __init__(self, pg, worlds):
        self.pg = pg
        self.plain = Plain(pg)
        self.pooled = [Pooled(world) for world in worlds]
        self.earlier = {pooled: [] for pooled in self.pooled}  # the last good programs

    def renew(self):
        """Server connections on which nobody has been yet."""
        mine = [session.pid for session in self.plain.spare]
        for pid in self.pg.pids("app"):
            if pid not in mine:
                self.pg.query("select pg_terminate_backend(%s, 2000)", (pid,))
        time.sleep(0.02)  # the daemon reads that they are gone

    def replay(self, pooled, count, steps):
        """The mismatch of this program, or None; Invalid if it may not run."""
        self.renew()
        self.plain.start(count, pooled.world.size)
        try:
            traces = [self.plain.step(step) for step in steps]
        except BaseException:
            self.plain.abandon()
            raise
        ending = self.plain.finish()
        try:
            pooled.compare(count, steps, traces, *ending)
        except Mismatch as problem:
            return str(problem)
        return None

    def shrink(self, pooled, count, steps, problem, seconds):
        """A program that is as short as it gets in this time, and its mismatch."""
        end, size = time.monotonic() + seconds, max(1, len(steps) // 2)
        while time.monotonic() < end:
            start, smaller = 0, False
            while start < len(steps) and time.monotonic() < end:
                fewer = steps[:start] + steps[start + size:]
                try:
                    found = self.replay(pooled, count, fewer)
                except Invalid:
                    found = None
                if found:
                    steps, problem, smaller = fewer, found, True
                else:
                    start += size
            if size == 1 and not smaller:
                break
            size = max(1, size // 2)
        return steps, problem

    def one(self, seed, pooled):
        """Generate and compare one program; a report if it fails."""
        rng = random.Random(seed)
        count, length = rng.randrange(2, 5), rng.choice([6, 12, 24, 40])
        self.plain.start(count, pooled.world.size)
        try:
            steps, traces = generate(rng, self.plain, count, length)
        except Invalid as problem:
            self.plain.abandon()
            return f"program {seed}: {problem}"
        ending = self.plain.finish()
        try:
            pooled.compare(count, steps, traces, *ending)
            self.earlier[pooled] = [*self.earlier[pooled][-9:], (count, steps)]
            return None
        except Mismatch as problem:
            found, again = str(problem), None
        # What an earlier program left on a connection fails only with that program before it.
        for number in (0, 1, 3, 10):
            more_count, more = joined([*self.earlier[pooled][-number:], (count, steps)]
                                      if number else [(count, steps)])
            again = self.replay(pooled, more_count, more)
            if again:
                break
        if again:
            count, steps, found = more_count, more, again
            steps, found = self.shrink(pooled, count, steps, found, 120 if FULL else 30)
        else:
            found += "\n(it did not happen again)"
        program = "\n".join(f"  {number:2} {step}" for number, step in enumerate(steps))
        return f"program {seed}, pool of {pooled.world.size}:\n{program}\n{found}"


@pytest.fixture
def model(make_sluice, pg):
    make_objects(pg)
    pg.in_app("create table session_test.model (run int, n int); "
              "grant all on session_test.model to public")
    wait = f"{int(2500 * targets.SCALE)}ms"
    made = Model(pg, [World(make_sluice, pg, size, query_wait_timeout=wait, query_wait_notify=0)
                      for size in (2, 3)])
    yield made
    made.plain.target.close_clients()


@pytest.mark.slow
def test_random_programs_give_what_direct_connections_give(model, rng):
    """SLUICE_TEST_FULL=1: thousands. SLUICE_TEST_SEED repeats a run, SLUICE_TEST_PROGRAM one
    program of it."""
    only = os.environ.get("SLUICE_TEST_PROGRAM")
    seeds = [int(only)] if only else [rng.getrandbits(32) for _ in range(4000 if FULL else 300)]
    end, done = time.monotonic() + (1e9 if FULL else 25), 0
    for seed in seeds:
        report = model.one(seed, model.pooled[seed % 2])
        assert report is None, f"after {done} good programs\n{report}"
        done += 1
        if time.monotonic() > end:
            break
    print(f"{done} programs")
    assert only or done > 30


def test_comparison_notices_a_difference(model):
    """What the direct run says is changed here, so that the comparison has something to find."""
    steps = [Step(0, "q", "SELECT 1"), Step(1, "q", "LISTEN ch{run}_0"),
             Step(0, "q", "NOTIFY ch{run}_0, 'x'")]
    pooled = model.pooled[0]
    assert model.replay(pooled, 2, steps) is None

    def changed(number, **changes):
        model.plain.start(2, 2)
        traces = [model.plain.step(step) for step in steps]
        heard, channels, busy = model.plain.finish()
        old = traces[number]
        traces[number] = Trace({**old.result, **changes}, old.before, old.heard)
        return traces, heard, channels, busy

    for number, changes in [(0, {"rows": [("2",)]}), (1, {"tags": ["UNLISTEN"]}),
                            (2, {"codes": ["00000"]}), (0, {"status": "T"})]:
        with pytest.raises(Mismatch):
            pooled.compare(2, steps, *changed(number, **changes))
    traces, heard, *ending = changed(0)
    heard[1] = [(channel, "y") for channel, _ in heard[1]]
    with pytest.raises(Mismatch):
        pooled.compare(2, steps, traces, heard, *ending)
