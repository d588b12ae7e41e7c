"""`sluice import-pgbouncer`: real PgBouncer and sluice with the imported configuration, side by
side in front of one PostgreSQL, are asked the same."""

import os
import shutil
import signal
import stat
import subprocess

import psycopg
import pytest
from postgres import PASSWORDS, free_port
from targets import Process, run_sluice

PGBOUNCER = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin")

INI = """
[databases]
app = host=127.0.0.1 port={server} pool_size=3
forced = host=127.0.0.1 port={server} dbname=app user=bob password='{bob}' datestyle='ISO, DMY'
with-dash = host=127.0.0.1 port={server} dbname=other
* = host=127.0.0.1 port={server}

[users]
alice = max_user_connections=2

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
%include {directory}/more.ini
"""
MORE = """
auth_file = {directory}/userlist.txt
pool_mode = transaction
query_wait_timeout = 3
ignore_startup_parameters = extra_float_digits
so_reuseport = 0
"""


class Bouncer(Process):
    name = "pgbouncer"

    def start(self, ini, port):
        self.port = port
        command = [PGBOUNCER, ini]
        if os.geteuid() == 0:
            command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups",
                       *command]
        self._spawn(command)
        self.wait_listening([self.address])
        return self

    def stop(self):
        self.close_clients()
        self.signal(signal.SIGTERM)
        self.process.wait(10)  # with 1, as ever


def write_ini(directory, server, port):
    directory.chmod(0o755)
    (directory / "userlist.txt").write_text(
        "".join(f'"{user}" "{PASSWORDS[user]}"\n' for user in ("app", "alice", "bob")))
    (directory / "more.ini").write_text(MORE.format(directory=directory))
    ini = directory / f"pgbouncer-{port}.ini"
    ini.write_text(INI.format(directory=directory, server=server.port, port=port,
                              bob=PASSWORDS["bob"]))
    return ini


@pytest.fixture
def place(tmp_path_factory):
    directory = tmp_path_factory.mktemp("import")
    for path in (directory, directory.parent, directory.parent.parent):
        path.chmod(0o755)
    return directory


@pytest.fixture
def both(pg, make_sluice, place):
    """(PgBouncer, sluice) with the same configuration but for the port."""
    if PGBOUNCER is None:
        pytest.skip("no pgbouncer")
    bouncer = Bouncer(place / "bouncer")
    port = free_port()
    bouncer.start(write_ini(place, pg, port), port)
    port = free_port()
    output = place / "sluice.yaml"
    code, _, err = run_sluice("import-pgbouncer", write_ini(place, pg, port), "--output", output)
    assert code == 0, err
    monitoring = f"127.0.0.1:{free_port()}"
    text = output.read_text() + f'monitoring: {{listen: ["{monitoring}"]}}\n'
    sluice = make_sluice(text=text, postgres={"listen": [f"127.0.0.1:{port}"]},
                         monitoring={"listen": [monitoring]})
    yield bouncer, sluice
    bouncer.stop()


def outcome(target, sql, **login):
    """The rows, or the SQLSTATE."""
    try:
        with psycopg.connect(target.dsn(**login), autocommit=True) as conn:
            return conn.execute(sql).fetchall()
    except psycopg.OperationalError:
        return "refused"
    except psycopg.Error as error:
        return error.sqlstate


@pytest.mark.parametrize("sql, login", [
    ("select current_user, current_database()", {}),
    ("select current_user, current_database()", {"user": "alice"}),
    ("select current_user, current_database(), current_setting('DateStyle')",
     {"user": "alice", "database": "forced"}),
    ("select current_user, current_database()", {"database": "with-dash"}),
    ("select current_user, current_database()", {"database": "other"}),
    ("select 1", {"secret": "wrong"}),
    ("select 1", {"user": "nobody", "secret": "x"}),
    ("select 1", {"database": "missing"}),
    ("select 1/0", {}),
    ("select g, g::text from generate_series(1, 500) g", {}),
])
def test_imported_configuration_answers_as_pgbouncer(both, sql, login):
    bouncer, sluice = both
    assert outcome(sluice, sql, **login) == outcome(bouncer, sql, **login)


def test_imported_limits_hold_as_in_pgbouncer(both, pg):
    bouncer, sluice = both
    for target in (bouncer, sluice):
        pg.kill_sessions()
        # max_user_connections=2: the third of alice's transactions waits, query_wait_timeout=3 ends.
        held = [target.psycopg(user="alice", autocommit=False) for _ in range(2)]
        for conn in held:
            conn.execute("select 1")
        with pytest.raises(psycopg.Error) as caught:
            target.psycopg(user="alice").execute("select 1")
        assert "query_wait_timeout" in str(caught.value), target.name
        target.close_clients()


def test_psql_works_through_both(both):
    answers = set()
    for target in both:
        done = subprocess.run(
            ["psql", "-XAtc", r"begin; create temp table x (i int) on commit drop; "
             r"insert into x values (1), (2); select sum(i) from x; commit"],
            env=target.environment(), capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        answers.add(done.stdout)
    assert len(answers) == 1


def test_output_is_private_and_checks(pg, place):
    ini = write_ini(place, pg, free_port())
    output = place / "out.yaml"
    code, out, err = run_sluice("import-pgbouncer", ini, "--output", output)
    assert code == 0
    assert out == ""
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    assert "warning: there are passwords in" in err
    assert PASSWORDS["app"] not in err
    assert f"{place}/more.ini:5: ignore_startup_parameters" in err
    code, out, _ = run_sluice("check", "--config", output)
    assert code == 0, out


def test_existing_output_stays(pg, place):
    output = place / "out.yaml"
    output.write_text("mine")
    code, _, err = run_sluice("import-pgbouncer", write_ini(place, pg, 6432), "--output", output)
    assert code == 1
    assert "exists" in err
    assert output.read_text() == "mine"


def test_without_output_it_goes_to_standard_output(pg, place):
    code, out, err = run_sluice("import-pgbouncer", write_ini(place, pg, 6432))
    assert code == 0
    assert out.startswith("# Made by: sluice import-pgbouncer")
    assert "Comes over differently:" in err


def test_mistake_names_file_and_line(place):
    ini = place / "p.ini"
    ini.write_text("[databases]\n\n[pgbouncer]\npool_mode = sometimes\n")
    code, out, err = run_sluice("import-pgbouncer", ini)
    assert code == 2
    assert out == ""
    assert f"{ini}:4: pool_mode" in err
    code, _, err = run_sluice("import-pgbouncer", place / "missing.ini")
    assert code == 2
    assert "missing.ini" in err


def test_the_example_of_debian_comes_over(place):
    """The ini as the package brings it, with a database in it."""
    source = "/etc/pgbouncer/pgbouncer.ini"
    if not os.access(source, os.R_OK):
        pytest.skip("no " + source)
    with open(source) as file:
        text = file.read()
    users = place / "userlist.txt"
    users.write_text('"app" "secret"\n')
    ini = place / "pgbouncer.ini"
    ini.write_text(text.replace("[databases]", "[databases]\napp = host=127.0.0.1")
                   .replace("/etc/pgbouncer/userlist.txt", str(users)))
    output = place / "debian.yaml"
    code, _, err = run_sluice("import-pgbouncer", ini, "--output", output)
    assert code == 0, err
    assert run_sluice("check", "--config", output)[0] == 0
