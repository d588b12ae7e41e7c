import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, os.path.dirname(__file__))

import fake_server  # noqa: E402
import kv_targets  # noqa: E402
import targets  # noqa: E402
import wire  # noqa: E402
from certificates import Authority  # noqa: E402
from postgres import Postgres  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes more than about five seconds")
    config.addinivalue_line("markers", "sluice_only: Redis has no such thing, or does it otherwise")
    if targets.TARGET == "sluice" and not targets.BINARY.exists():
        raise pytest.UsageError(f"{targets.BINARY} does not exist: build it or set SLUICE_BINARY")
    for name in [n for n in os.environ if n.startswith("PG")]:
        del os.environ[name]  # no test may reach a server that it did not start


def pytest_runtest_setup(item):
    if kv_targets.ON_REDIS and item.get_closest_marker("sluice_only"):
        pytest.skip("not for redis-server")


@pytest.fixture(scope="session")
def authority():
    directory = Path(tempfile.mkdtemp(prefix="sluice-ca-"))
    directory.chmod(0o755)
    yield Authority(directory)
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def server_certificates(authority):
    """Two for the daemon (to replace one by the other) and three for clients."""
    return {
        "first": authority.issue("first", "localhost"),
        "second": authority.issue("second", "localhost"),
        "alice": authority.issue("alice", "alice", addresses=None),
        "mallory": authority.issue("mallory", "mallory", addresses=None),
    }


@pytest.fixture(scope="session")
def postgres_instance(authority):
    server = Postgres(authority)
    yield server
    server.destroy()


@pytest.fixture
def pg(postgres_instance):
    """The private PostgreSQL, running and without sessions of an earlier test."""
    if not postgres_instance.running():
        postgres_instance.start()
    for database in ("app", "other"):
        if postgres_instance.session_count(database):
            postgres_instance.kill_sessions(database)
        wire.eventually(lambda: not postgres_instance.session_count(database), 10,
                        "old sessions gone")
    return postgres_instance


@pytest.fixture
def make_sluice(pg):
    """make_sluice(postgres={...}, log={...}, workers=2): a running sluice with these changes to
    the default configuration (targets.Factory.default_config)."""
    factory = targets.Factory(pg)
    yield factory
    problems = factory.finish()
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


@pytest.fixture
def sluice(make_sluice):
    """One with the default configuration."""
    return make_sluice()


def _kv_factory(**options):
    factory = kv_targets.KvFactory(**options)
    yield factory
    problems = factory.finish()
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


@pytest.fixture
def make_kv():
    """make_kv(kv={...}): a running sluice with these changes to kv_targets' default
    configuration; with SLUICE_TEST_TARGET=redis a redis-server set up alike."""
    yield from _kv_factory()


@pytest.fixture
def kv(make_kv):
    """One with the default configuration."""
    return make_kv()


@pytest.fixture
def redis_server():
    """redis-server itself, to compare with; it keeps nothing."""
    for factory in _kv_factory(redis=True, persistent=False):
        yield factory()


@pytest.fixture
def make_fake():
    """make_fake(script, scripts=[...]): a scripted server."""
    made = []

    def make(*args, **kwargs):
        made.append(fake_server.FakeServer(*args, **kwargs))
        return made[-1]

    yield make
    for server in made:
        server.close()
    failures = [problem for server in made for problem in server.failures]
    assert not failures, f"a fake server's script failed: {failures}"


@pytest.fixture
def direct(pg):
    """PostgreSQL itself, to compare with."""
    target = targets.Direct(pg)
    yield target
    target.close_clients()


@pytest.fixture
def table(pg):
    """A fresh table t(id int, note text) in database app that everybody may use."""
    pg.in_app("drop table if exists t; create table t (id int, note text); "
              "grant all on t to public")
    yield "t"
    pg.in_app("select pg_terminate_backend(pid) from pg_locks join pg_class c on c.oid = relation "
              "where relname = 't' and pid <> pg_backend_pid()")
    pg.in_app("drop table if exists t")


@pytest.fixture
def rng():
    """Random numbers; the seed is printed, SLUICE_TEST_SEED repeats it."""
    seed = int(os.environ.get("SLUICE_TEST_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"SLUICE_TEST_SEED={seed}")
    return random.Random(seed)
