"""Clients in transaction mode whose server connections others take all the time.

`World` is a sluice with a small pool, clients under test and helpers: clients of the same database
and user that have settings of their own. `rotate(client)` makes a helper hold the connection that
the client had, so that the client's next transaction runs on another one. With
SLUICE_TEST_TARGET=postgres the clients are connected to PostgreSQL itself and nothing rotates: what
these tests ask for must hold there too.
"""

import threading

import pytest

import targets
import wire
from postgres import PASSWORDS

WHERE = "SELECT count(*), pg_backend_pid() FROM pg_class"  # alone, pg_backend_pid() pins by design
# What helpers have on every connection that a client may get after them.
FOREIGN = ("SET work_mem = '3333kB'; SET app.user_id = 'helper'; SET app.tenant = 'helper'; "
           "SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'German'; SET search_path = session_test; "
           "SET statement_timeout = '77s'; SET application_name = 'helper'")

OBJECTS = """
DROP SCHEMA IF EXISTS session_test CASCADE;
CREATE SCHEMA session_test;
GRANT ALL ON SCHEMA session_test TO PUBLIC;
CREATE TABLE session_test.accounts (owner text, amount int);
INSERT INTO session_test.accounts VALUES ('1', 10), ('2', 20), ('3', 30), ('helper', 99);
ALTER TABLE session_test.accounts ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON session_test.accounts USING (owner = current_setting('app.user_id', true));
CREATE TABLE session_test.touched (id int);
CREATE TABLE session_test.numbered (id serial, note text);
CREATE FUNCTION session_test.put(name text, value text) RETURNS text LANGUAGE plpgsql AS
    $$ BEGIN RETURN set_config(name, value, false); END $$;
CREATE FUNCTION session_test.put_work_mem() RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN SET work_mem = '21MB'; END $$;
CREATE PROCEDURE session_test.put_tenant() LANGUAGE plpgsql AS
    $$ BEGIN PERFORM session_test.put('app.tenant', 'from a procedure'); END $$;
CREATE FUNCTION session_test.on_touch() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM set_config('app.tenant', 'touched ' || new.id, false); RETURN new; END $$;
CREATE TRIGGER t BEFORE INSERT ON session_test.touched
    FOR EACH ROW EXECUTE FUNCTION session_test.on_touch();
CREATE VIEW session_test.putting AS SELECT session_test.put('app.tenant', 'by a view') AS a;
CREATE TABLE session_test.defaulted (id int,
    a text DEFAULT session_test.put('app.tenant', 'by a default'));
CREATE FUNCTION session_test.lock(key bigint) RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_advisory_lock(key); END $$;
CREATE FUNCTION session_test.try(a int, b int) RETURNS bool LANGUAGE sql AS
    'SELECT pg_try_advisory_lock(a, b)';
CREATE FUNCTION session_test.unlock(key bigint) RETURNS bool LANGUAGE sql AS
    'SELECT pg_advisory_unlock(key)';
GRANT ALL ON ALL TABLES IN SCHEMA session_test TO PUBLIC;
GRANT ALL ON ALL SEQUENCES IN SCHEMA session_test TO PUBLIC;
"""

BOSS = "boss"
ON_POSTGRES = targets.TARGET == "postgres"
pooled_only = pytest.mark.skipif(ON_POSTGRES, reason="about a pool")


def make_objects(pg):
    """Schema session_test, the roles session_reader and boss (a superuser that may log in)."""
    PASSWORDS[BOSS] = "boss-secret-4Tn"
    if not getattr(pg, "has_session_roles", False):
        pg.query("create role session_reader")
        pg.query("create role session_writer")
        pg.query("grant session_reader, session_writer to app")
        pg.query(f"create role {BOSS} login superuser password '{PASSWORDS[BOSS]}'")
        pg.has_session_roles = True
    pg.in_app("DO $$ BEGIN PERFORM pg_terminate_backend(pid, 2000) FROM pg_stat_activity WHERE "
              "datname = 'app' AND pid <> pg_backend_pid() AND backend_type = 'client backend'; "
              "END $$")
    pg.in_app(OBJECTS)


class Client:
    """A raw connection that remembers how its last transaction stands."""

    def __init__(self, world, user, **params):
        self.world = world
        self.conn = world.target.connect(user=user, **params)
        self.status = "I"
        self.at_login = dict(self.conn.parameters)

    def _keep(self, result):
        self.status = result.status
        self.conn.parameters.update(result.parameters)
        return result

    def try_q(self, sql):
        return self._keep(self.conn.query(sql, check=False))

    def try_x(self, sql, params=()):
        return self._keep(self.conn.execute(sql, params, check=False))

    def q(self, sql):
        """A simple Query; PgError if the server has an error."""
        return self.conn._checked(self.try_q(sql), True)

    def x(self, sql, params=()):
        """The same by the extended protocol."""
        return self.conn._checked(self.try_x(sql, params), True)

    def one(self, sql):
        """The only value of the first row."""
        return self.q(sql).value

    def show(self, name):
        return self.one(f"SELECT coalesce(current_setting('{name}', true), '')")

    def where(self):
        """The server process that serves it now."""
        return int(self.q(WHERE).rows[0][1])

    def send_all(self, *statements):
        """Queries without waiting in between; a Result for each."""
        self.conn.send(*(wire.query(sql) for sql in statements))
        return [self._keep(self.conn.recv_until("Z")) for _ in statements]

    def refused(self, sql, code):
        got = self.try_q(sql)
        assert got.codes == [code], f"{sql}: {got.errors or got.rows}"

    def notification(self, timeout=5.0):
        """The next NotificationResponse: (channel, payload)."""
        self.conn.settimeout(timeout * targets.SCALE)
        try:
            while True:
                got = self.conn.recv()
                if got.type == "A":
                    return notification(got)[1:]
                assert got.type in "NS", got
        finally:
            self.conn.settimeout(self.conn.timeout)

    def close(self):
        self.conn.close()
        self.world.forget(self)

    def fatal(self, timeout=5.0):
        """The FATAL error with which the connection ends, now or on the next statement."""
        self.conn.settimeout(timeout * targets.SCALE)
        try:
            got = self.conn.recv_until_closed()
        except TimeoutError:
            raise AssertionError("the client was not ended")
        self.world.forget(self)
        errors = [e for e in got.errors if e.get("S") == "FATAL"]
        assert errors, got.messages
        return errors[-1]


def notification(msg):
    """(process id, channel, payload) of an A message."""
    channel, payload, _ = msg.body[4:].split(b"\0", 2)
    return int.from_bytes(msg.body[:4], "big"), channel.decode(), payload.decode()


def notifications(result):
    return [notification(m)[1:] for m in result.messages if m.type == "A"]


class World:
    def __init__(self, make_sluice, pg, pool_size=3, user="app", **changes):
        self.pg = pg
        self.user = user
        self.size = pool_size
        self.on_postgres = ON_POSTGRES
        self.target = make_sluice(postgres={
            "pool_mode": "transaction", "pool_size": pool_size, "auth_type": "trust",
            "query_wait_timeout": f"{int(20 * targets.SCALE)}s",
            "databases": {"app": {"url": pg.url(user=user)}},
            "users": {user: {}}, **changes})
        self.clients = []
        self.helpers = []
        self.holder = None
        if not self.on_postgres:
            self._make_helpers()

    def _make_helpers(self):
        self.helpers = [Client(self, self.user) for _ in range(self.size)]
        for helper in self.helpers:
            helper.q(FOREIGN)
        for helper in self.helpers:  # now every connection has their settings
            helper.q("BEGIN; SELECT current_setting('work_mem')")
        for helper in self.helpers:
            helper.q("COMMIT")

    def client(self, user=None, **params):
        made = Client(self, user or self.user, **params)
        self.clients.append(made)
        return made

    def forget(self, client):
        if client in self.clients:
            self.clients.remove(client)

    def direct(self, **params):
        """A connection to PostgreSQL itself."""
        target = targets.Direct(self.pg)
        self.target.opened.append(target)
        target.close = target.close_clients
        return target.connect(user=self.user, **params)

    # -- moving clients

    def release(self):
        """No helper holds a connection any more."""
        if self.holder is not None:
            self.holder.q("ROLLBACK")
            self.holder = None

    def disturb(self, client):
        """Helpers run transactions on every connection that they can get, and keep the one that
        `client` used last. True if they got that one."""
        if self.on_postgres:
            return True
        pid = client.where()
        self.release()
        taken = []
        busy = sum(c.status != "I" for c in self.clients)
        for helper in self.helpers:
            if len(taken) + busy + self.pinned() >= self.size:
                break
            helper.q("BEGIN")
            taken.append(helper)
            if helper.where() == pid:
                self.holder = helper
                break
        for helper in taken:
            if helper is not self.holder:
                helper.q("ROLLBACK")
        return self.holder is not None

    def rotate(self, client):
        """As disturb, and the client must not have kept its connection; whose pid is returned."""
        if not self.disturb(client):
            raise AssertionError(f"the client keeps its connection: {self.pins()}")
        return self.holder.where() if self.holder else None

    # -- pins

    def pins(self):
        """{reason: how many clients}."""
        if self.on_postgres:
            return {}
        family = self.target.metrics().get("sluice_pinned_clients")
        out = {}
        for _, labels, value in family.samples if family else []:
            if value:
                out[labels["reason"]] = out.get(labels["reason"], 0) + int(value)
        return out

    def pinned(self):
        return sum(self.pins().values())

    def wait_pins(self, timeout=5.0, **reasons):
        """The pins become these."""
        if not self.on_postgres:
            try:
                wire.eventually(lambda: self.pins() == reasons, timeout * targets.SCALE)
            except AssertionError:
                raise AssertionError(f"pins are {self.pins()}, not {reasons}") from None

    # -- comparing

    def check(self, *steps, **params):
        """Run statements on a new client that is rotated before each one outside a transaction,
        and on a direct connection: the outcomes are equal. A step is SQL, or (SQL, value) with the
        value that is expected in the first column, or (SQL, value, parameters) for the extended
        protocol. Returns the client."""
        client, plain = self.client(**params), self.direct(**params)
        for step in steps:
            sql, expected, values = (step, None, None) if isinstance(step, str) else \
                (*step, None)[:3]
            if client.status == "I":
                self.disturb(client)
            if values is None:
                ours, theirs = client.try_q(sql), plain.query(sql, check=False)
            else:
                ours, theirs = client.try_x(sql, values), plain.execute(sql, values, check=False)
            got, wanted = outcome(ours), outcome(theirs)
            if got != wanted:
                raise AssertionError(f"{sql!r} gives {got}\nand directly {wanted}")
            if expected is not None:
                assert ours.rows and ours.value == expected, f"{sql}: {ours.rows} {ours.errors}"
        self.release()
        return client


class Hammer:
    """Threads of other clients that never leave a connection alone: with a `with`."""

    def __init__(self, world, count=4):
        self.world = world
        self.stop = threading.Event()
        self.problems = []
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(count)]

    def _run(self):
        try:
            client = Client(self.world, self.world.user)
            client.q(FOREIGN)
            while not self.stop.is_set():
                client.q("BEGIN; SELECT count(*) FROM pg_type; COMMIT")
                assert client.show("work_mem") == "3333kB"
        except Exception as problem:  # noqa: BLE001 - shown at the end
            self.problems.append(problem)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join(20 * targets.SCALE)
        assert not self.problems, self.problems[:3]


def outcome(result):
    return {"rows": result.rows, "tags": result.tags, "codes": result.codes,
            "status": result.status, "notifications": notifications(result),
            "notices": [n.get("C") for n in result.notices]}


def wait_gone(pg, sql, what, timeout=5.0):
    """The superuser's count(*) query becomes zero."""
    wire.eventually(lambda: pg.in_app(sql)[0][0] == 0, timeout * targets.SCALE, what)


def advisory_locks(pg):
    return pg.in_app("select count(*) from pg_locks where locktype = 'advisory'")[0][0]


def wait_until(check, seconds=5.0, what="the condition"):
    return wire.eventually(check, seconds * targets.SCALE, what)
