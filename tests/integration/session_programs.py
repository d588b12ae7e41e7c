"""Random programs of several sessions, and where they run: on connections of their own or through a
pool. A program is a list of steps in a fixed order, so that both places must give the same results.

`Plain` runs steps on direct connections and knows after each which clients need a connection of
their own (in a transaction, or with something that cannot travel): the generator keeps their number
within the pool, so that nobody waits. Whatever is visible beyond a session carries the number of
the run ({run} in a step), so that runs do not see each other.
"""

import itertools
from dataclasses import dataclass

import targets
import wire

REPORTED = ("TimeZone", "DateStyle", "IntervalStyle", "application_name", "client_encoding",
            "standard_conforming_strings", "is_superuser", "session_authorization")
TIMEOUT = 4.0
_runs = itertools.count(7_000_000)


@dataclass(frozen=True)
class Step:
    who: int          # a client; -1 - n is helper n
    kind: str         # q: simple; x: extended; p: one batch; b: queries at once; parse,
                      # bind, close: a named statement; leave: and come back
    sql: object = ""  # text, or a tuple of texts for a pipeline
    params: tuple = ()

    def __str__(self):
        name = f"client {self.who}" if self.who >= 0 else f"helper {-1 - self.who}"
        tail = f"  {list(self.params)}" if self.params else ""
        return f"{name:9} {self.kind:5} {self.sql!r}{tail}".replace(PROBE, "PROBE")


class Invalid(Exception):
    """This program asks for something that would wait."""


# ---- statements ---------------------------------------------------------------------------------

VALUES = {
    "work_mem": ["5MB", "6MB", "7MB"], "app.a": ["a1", "it''s", ""], "app.b": ["b1", "b2"],
    "TimeZone": ["UTC", "Asia/Kolkata", "Europe/Paris"], "DateStyle": ["ISO, DMY", "SQL, MDY"],
    "IntervalStyle": ["iso_8601", "postgres"], "application_name": ["one", "two"],
    "search_path": ["public", "session_test", "pg_temp, public", "Odd Name"],
    "default_transaction_isolation": ["repeatable read", "read committed"],
    "statement_timeout": ["77s", "0"], "enable_seqscan": ["off", "on"], "work_mem ": ["nonsense"],
}
PROBE = "SELECT current_user, " + ", ".join(
    f"coalesce(current_setting('{name}', true), '')" for name in VALUES if name[-1] != " ")


def setting(rng):
    name = rng.choice(list(VALUES))
    value = rng.choice(VALUES[name])
    return rng.choice([
        f"SET {name} = '{value}'", f"SET SESSION {name} TO '{value}'",
        f"SET LOCAL {name} = '{value}'", f"RESET {name}", f"SET {name} TO DEFAULT", "RESET ALL",
        f"SELECT set_config('{name.strip()}', '{value}', false)",
        f"SELECT set_config('{name.strip()}', '{value}', true)",
        f"SELECT session_test.put('{name.strip()}', '{value}')",
        f"DO $$ BEGIN PERFORM set_config('{name.strip()}', '{value}', false); END $$",
        "SET ROLE session_reader", "SET ROLE session_writer", "RESET ROLE", "SET ROLE NONE",
        "SET LOCAL ROLE session_reader", "SET TIME ZONE 'Asia/Tokyo'",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE", PROBE, PROBE, PROBE])


def prepared(rng):
    name, number = rng.choice("pppq"), rng.randrange(100)
    return rng.choice([
        f"PREPARE {name} AS SELECT {number}", f"PREPARE {name}(int) AS SELECT $1 + {number}",
        f"EXECUTE {name}", f"EXECUTE {name}({number})", f"EXECUTE {name}",
        f"EXPLAIN (COSTS OFF) EXECUTE {name}", f"DEALLOCATE {name}", "DEALLOCATE ALL",
        f"CREATE TEMP TABLE t1 AS EXECUTE {name}",
        "SELECT count(*) FROM pg_prepared_statements WHERE from_sql"])


def temporary(rng):
    name = rng.choice(["t1", "t1", "t1", "t2"])
    return rng.choice([
        f"CREATE TEMP TABLE {name} (a int)", f"CREATE TEMPORARY TABLE IF NOT EXISTS {name} (a int)",
        f"CREATE TABLE pg_temp.{name} (a int)", f"SELECT 5 AS a INTO TEMP {name}",
        f"CREATE TEMP TABLE {name} (a int) ON COMMIT DROP",
        f"CREATE TEMP TABLE {name} ON COMMIT DELETE ROWS AS SELECT 1 AS a",
        f"CREATE TEMP VIEW {name} AS SELECT 3 AS a", f"DROP VIEW {name}",
        f"INSERT INTO pg_temp.{name} VALUES ({rng.randrange(9)})",
        f"SELECT * FROM pg_temp.{name}", f"SELECT count(*) FROM {name}",
        f"DROP TABLE {name}", f"DROP TABLE IF EXISTS {name}", f"TRUNCATE {name}", "DISCARD TEMP"])


def cursor(rng):
    name = rng.choice("cccd")
    return rng.choice([
        f"DECLARE {name} CURSOR WITH HOLD FOR SELECT generate_series(1, 4)",
        f"DECLARE {name} SCROLL CURSOR WITH HOLD FOR SELECT 1/(generate_series(1, 4) - 3)",
        f"DECLARE {name} CURSOR FOR SELECT generate_series(1, 4)", f"FETCH {name}",
        f"FETCH 2 FROM {name}", f"MOVE {name}", f"CLOSE {name}", f"CLOSE {name}", "CLOSE ALL",
        "SELECT name FROM pg_cursors WHERE is_holdable ORDER BY 1"])


def lock(rng):
    key = f"{{run}}, {rng.randrange(3)}"
    return rng.choice([
        f"SELECT pg_try_advisory_lock({key})", f"SELECT session_test.try({key})",
        f"SELECT pg_try_advisory_lock_shared({key})", f"SELECT pg_try_advisory_xact_lock({key})",
        f"SELECT pg_advisory_lock({key})", f"SELECT pg_advisory_unlock({key})",
        f"SELECT pg_advisory_unlock({key})", f"SELECT pg_advisory_unlock_shared({key})",
        "SELECT pg_advisory_unlock_all()",
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"])


def listen(rng):
    # One channel only: a session that listens already may hear what was sent to a further channel
    # just before its LISTEN, depending on when its server last looked.
    channel = "ch{run}_0"
    return rng.choice([
        f"LISTEN {channel}", f"LISTEN {channel}", f"LISTEN {channel}", f"UNLISTEN {channel}",
        "UNLISTEN *",
        f"NOTIFY {channel}", f"NOTIFY {channel}, 'n{rng.randrange(1000)}'",
        f"SELECT pg_notify('{channel}', 'f{rng.randrange(1000)}')",
        f"NOTIFY {channel}, 'n{rng.randrange(1000)}'"])


def other(rng):
    return rng.choice([
        "SELECT 1/0", "SELECT nothing_such", "SELEC", "SELECT 1", "", "DISCARD ALL",
        "DISCARD PLANS", "INSERT INTO session_test.model VALUES ({run}, 1)",
        "SELECT count(*) FROM session_test.model WHERE run = {run}",
        "SELECT count(*) FROM session_test.model WHERE run = {run}"])


def begin(rng):
    return rng.choice(["BEGIN", "BEGIN", "START TRANSACTION ISOLATION LEVEL REPEATABLE READ"])


def transaction(rng):
    name = rng.choice(["s1", "s2"])
    return rng.choice(["BEGIN", "COMMIT", "COMMIT", "ROLLBACK", "ROLLBACK", f"SAVEPOINT {name}",
                       f"SAVEPOINT {name}", f"ROLLBACK TO {name}", f"ROLLBACK TO {name}",
                       f"RELEASE {name}", "COMMIT AND CHAIN"])


KINDS = {setting: 8, prepared: 3, temporary: 4, cursor: 3, lock: 4, listen: 5, other: 3,
         transaction: 6}
DIRT = ["SET work_mem = '99MB'; SET app.a = 'helper'; SET search_path = nowhere",
        "SET ROLE session_writer; SET TimeZone = 'Asia/Tokyo'; SET app.b = 'helper'",
        "RESET ALL", "RESET ROLE", "SELECT 1", "SELECT set_config('app.a', 'helped', false)"]


def weights(rng):
    """Every program has themes of its own: some kinds of statements often, others never."""
    out = {kind: weight * rng.choice([0, 0.3, 1, 4]) for kind, weight in KINDS.items()}
    return {**out, setting: out[setting] + 0.5, transaction: out[transaction] + 1}


def statement(rng, status, mix):
    if status == "E" and rng.random() < 0.4:
        return rng.choice(["ROLLBACK", "ROLLBACK TO s1", "COMMIT"])
    if status == "T" and rng.random() < 0.12:
        return rng.choice(["COMMIT", "ROLLBACK"])
    kind = rng.choices(list(mix), mix.values())[0]
    return begin(rng) if kind is transaction and status == "I" and rng.random() < 0.9 else kind(rng)


def without_refused(several, kind, status):
    """What docs/sessions.md says is refused: names of prepared statements behind the end of a
    failed transaction in one query, or behind a change of settings in one pipeline."""
    if kind == "b" or (kind == "q" and status != "E"):
        return several
    uses = ("EXECUTE", "PREPARE", "DEALLOCATE p", "DEALLOCATE q", "pg_prepared")
    return several[:1] + tuple("SELECT 1" if any(word in sql for word in uses) else sql
                               for sql in several[1:])


def random_step(rng, who, status, mix):
    act = rng.random()
    if act < 0.08:
        name = rng.choice("ab")
        return rng.choice([Step(who, "parse", f"SELECT {rng.randrange(99)} + $1::int", (name,)),
                           Step(who, "bind", name, (rng.randrange(9),)),
                           Step(who, "close", name)])
    if act < 0.10:
        return Step(who, "leave", rng.choice(["terminate", "close", "reset"]))
    if act < 0.14:
        return Step(who, "x", "SELECT set_config($1, $2, $3)",
                    (rng.choice(["work_mem", "app.a", "app.b"]), rng.choice(["8MB", "9MB"]),
                     rng.choice("tf")))
    if act < 0.24:
        several = tuple(statement(rng, status, mix) for _ in range(rng.randrange(2, 4)))
        # When a server reads its own notifications while more messages wait for it is its affair.
        if any("LISTEN" in sql for sql in several):
            several = tuple("SELECT 1" if "notify" in sql.lower() else sql for sql in several)
        # The same of a NOTIFY that the open transaction holds (docs/sessions.md).
        if status == "T":
            several = tuple("SELECT 1" if "UNLISTEN" in sql else sql for sql in several)
        kind = rng.choice("qpb")
        return Step(who, kind, without_refused(several, kind, status))
    return Step(who, rng.choice("qx"), statement(rng, status, mix))


# ---- running ------------------------------------------------------------------------------------


class Session:
    """A client of one run: its connection, status and notifications."""

    def __init__(self, conn):
        self.conn = conn
        self.status = "I"
        self.heard = []
        self.texts = []        # of its transaction
        self.is_kept = False   # for a prepared statement

    def take(self, messages, run):
        for msg in messages:
            if msg.type == "A":
                channel, payload, _ = msg.body[4:].split(b"\0", 2)
                self.heard.append((channel.decode().replace(str(run), "{run}"), payload.decode()))

    def perform(self, step, run):
        """Send one step and wait for its answers; what a program sees of them."""
        fill = lambda sql: sql.replace("{run}", str(run))  # noqa: E731
        if step.kind == "q":
            text = "; ".join(step.sql) if isinstance(step.sql, tuple) else step.sql
            self.conn.send(wire.query(fill(text)))
        elif step.kind == "x":
            self.conn.send(wire.batch(fill(step.sql), step.params))
        elif step.kind == "b":
            self.conn.send(*(wire.query(fill(sql)) for sql in step.sql))
        elif step.kind == "p":
            chunks = [wire.parse("", fill(sql)) + wire.bind() + wire.describe("P") + wire.execute()
                      for sql in step.sql]
            self.conn.send(*chunks, wire.SYNC)
        elif step.kind == "parse":
            self.conn.send(wire.parse(step.params[0], step.sql), wire.SYNC)
        elif step.kind == "bind":
            self.conn.send(wire.bind("", step.sql, step.params), wire.execute(), wire.SYNC)
        else:
            self.conn.send(wire.close("S", step.sql), wire.SYNC)
        got = wire.Result()
        for _ in step.sql if step.kind == "b" else "1":
            got.messages += self.conn.recv_until("Z").messages
        self.take(got.messages, run)
        self.status = got.status
        self.conn.parameters.update(got.parameters)
        return {"types": got.types, "rows": got.rows, "tags": got.tags, "codes": got.codes,
                "status": got.status, "notices": [n.get("C") for n in got.notices],
                "parameters": {n: self.conn.parameters.get(n) for n in REPORTED}}

    def hear(self, count, run, seconds):
        """Wait until so many notifications have come; True if they have."""
        self.conn.settimeout(seconds * targets.SCALE)
        try:
            while len(self.heard) < count:
                msg = self.conn.recv()
                assert msg.type in "ANS", f"{msg} out of turn"
                self.take([msg], run)
            return True
        except (TimeoutError, wire.Closed):
            return False
        finally:
            self.conn.settimeout(self.conn.timeout)


ORACLE = """SELECT EXISTS (SELECT FROM pg_class WHERE relnamespace = pg_my_temp_schema())
    OR EXISTS (SELECT FROM pg_cursors WHERE is_holdable)
    OR EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())"""
PREPARED = "SELECT EXISTS (SELECT FROM pg_prepared_statements WHERE from_sql)"
# Whoever has prepared a statement in a transaction with one of these may keep its connection.
CHANGING = ("SET ", "RESET", "set_config", "put(", "DO $$", "DISCARD", "trigger", "model")


@dataclass
class Trace:
    """What happened on direct connections at one step."""
    result: dict
    before: frozenset  # clients that need a connection of their own
    heard: list        # notifications so far, by client
    locks: int = 0     # held in the run; known after a client has left


class Plain:
    """Runs programs on direct connections, which it keeps from run to run."""

    def __init__(self, pg):
        self.pg = pg
        self.target = targets.Direct(pg)
        self.spare = []

    def start(self, count, pool_size):
        self.run = next(_runs)
        self.pool_size = pool_size
        self.sessions = [Session(self._connect()) for _ in range(count)]
        self.busy = set()
        self.listened = set()

    def _connect(self):
        return self.spare.pop() if self.spare else self.target.connect(user="app")

    def locks(self, and_also="", *values):
        return self.pg.value("select count(*) from pg_locks where locktype = 'advisory' and "
                             f"classid = %s {and_also}", (self.run, *values))

    def _would_wait(self, step, session):
        """A blocking lock that another client has."""
        texts = step.sql if isinstance(step.sql, tuple) else (step.sql,)
        keys = [t.split("}, ")[1][0] for t in texts if "SELECT pg_advisory_lock(" in t]
        return any(self.locks("and objid = %s and pid <> %s", int(key), session.conn.pid)
                   for key in keys)

    def step(self, step):
        before = frozenset(self.busy)
        if step.who < 0:
            return Trace({}, before, [len(s.heard) for s in self.sessions])
        session = self.sessions[step.who]
        if step.who not in self.busy and len(self.busy) >= self.pool_size:
            raise Invalid("no connection is left")
        if step.kind == "leave":
            return self._leave(step, before)
        if self._would_wait(step, session):
            raise Invalid("a lock is taken")
        try:
            result = session.perform(step, self.run)
        except (TimeoutError, wire.Closed) as problem:
            raise Invalid(f"{problem!r} on a direct connection") from None
        if "LISTEN" in str(step.sql):
            self.listened.add(step.who)
        self._look_at_prepared(session, step)
        if session.status != "I" or session.is_kept or session.conn.execute(ORACLE).value == "t":
            self.busy.add(step.who)
        else:
            self.busy.discard(step.who)
        self._settle()
        return Trace(result, before, [len(s.heard) for s in self.sessions])

    @staticmethod
    def _look_at_prepared(session, step):
        session.texts += step.sql if isinstance(step.sql, tuple) else (step.sql,)
        if session.status != "I":
            return
        texts, session.texts = session.texts, []
        if any("PREPARE" in sql for sql in texts):
            unclear = any(word in sql for sql in texts for word in CHANGING)
            again = len([sql for sql in texts if "PREPARE" in sql]) > 1
            session.is_kept = session.is_kept or unclear or again
        if session.is_kept and session.conn.execute(PREPARED).value == "f":
            session.is_kept = False

    def _settle(self):
        """Whoever listens and is idle has what was sent: it comes before an answer."""
        for who in self.listened:
            session = self.sessions[who]
            if session.status == "I":
                session.take(session.conn.query("").messages, self.run)

    def _leave(self, step, before):
        session = self.sessions[step.who]
        session.conn.terminate()
        wire.eventually(lambda: not self.pg.value(
            "select count(*) from pg_stat_activity where pid = %s", (session.conn.pid,)), 10)
        session.conn, session.status = self._connect(), "I"
        session.texts, session.is_kept = [], False
        self.busy.discard(step.who)
        self.listened.discard(step.who)
        return Trace({}, before, [len(s.heard) for s in self.sessions], self.locks())

    def finish(self):
        """Of each client all notifications and what it listens to at the end; who is busy then."""
        channels = []
        for session in self.sessions:
            conn, rows = session.conn, []
            for sql in ("ROLLBACK", "SELECT * FROM pg_listening_channels() c ORDER BY 1",
                        "DISCARD ALL"):
                got = conn.query(sql)
                conn.parameters.update(got.parameters)
                session.take(got.messages, self.run)
                rows += got.rows
            channels.append([row[0].replace(str(self.run), "{run}") for row in rows])
            self.spare.append(conn)
        heard = [list(session.heard) for session in self.sessions]
        self.sessions = []
        return heard, channels, self.busy

    def abandon(self):
        for session in self.sessions:
            session.conn.close()
        self.sessions = []
