"""PostgreSQL's own tests: their source, the programs that run them, the libraries they load.

Everything comes from Debian by apt into a cache (`$XDG_CACHE_HOME/sluice`), without root and
without touching apt's own configuration. Fetched once for each version of the installed server.
"""

import glob
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
MAJOR = 15  # that the patches below and known.txt were made for
PACKAGE = f"postgresql-{MAJOR}"
RECIPE = "1"  # another number: what older versions of this file cached is made again

# isolationtester knows whether a step waits by asking about the process id that its connection was
# told at the start, which behind a pooler is no server process. Ours asks about the session that has
# this connection's application_name and is busy. Each pattern must be there once.
ISOLATIONTESTER = (
    (r'psprintf\("%d", conns\[i\]\.backend_pid\)', "pg_strdup(PQgetvalue(res, 0, 0))"),
    (r'"SELECT pg_catalog\.pg_isolation_test_session_is_blocked\(\$1, \'\{"',
     """"SELECT coalesce(bool_or(pg_catalog.pg_isolation_test_session_is_blocked(a.pid,"
     " (SELECT coalesce(array_agg(b.pid), '{}') FROM pg_catalog.pg_stat_activity b"
     " WHERE b.application_name = ANY ('{\\"\""""),
    (r'&wait_query, ",%s"', r'&wait_query, "\",\"%s"'),
    (r'&wait_query, "\}\'\)"', """&wait_query, "\\"}'::text[])))), false)"
     " FROM pg_catalog.pg_stat_activity a"
     " WHERE a.state = 'active' AND a.application_name = $1\""""),
)


class Unavailable(Exception):
    """The tests cannot be had on this machine; the text says why."""


class Tools:
    """Where the prepared files are; `note` says what a reader of the results should know."""

    def __init__(self, top, source_version, server_version, note):
        self.top = top
        self.source_version = source_version
        self.server_version = server_version
        self.note = note
        self.regress = top / "src/test/regress"
        self.isolation = top / "src/test/isolation"
        self.programs = top / "bin"
        self.libraries = top / "lib"


def prepare(log=print):
    """The Tools for the installed server, fetched and built if they are not in the cache."""
    server = _installed()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sluice"
    top = cache / f"{PACKAGE}-tests-{server}"
    stamp = top / "complete"
    if not stamp.exists() or stamp.read_text().split("\n")[0] != RECIPE:
        log(f"fetching and building PostgreSQL's tests for {server} (once)")
        shutil.rmtree(top, ignore_errors=True)
        top.mkdir(parents=True)
        version, note = _make(top, server)
        stamp.write_text("\n".join([RECIPE, version, note]))
    _, version, note = stamp.read_text().split("\n", 2)
    return Tools(top, version, server, note)


def _run(*command, cwd=None, timeout=300):
    try:
        done = subprocess.run([str(word) for word in command], cwd=cwd, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=timeout, env={**os.environ, "LC_ALL": "C"})
    except subprocess.TimeoutExpired:
        return 124, f"{command[0]} took more than {timeout} s"
    return done.returncode, done.stdout


def _installed():
    if not shutil.which("apt-get"):
        raise Unavailable("this is not Debian: no apt-get")
    code, out = _run("dpkg-query", "-W", "-f=${db:Status-Status} ${Version}", PACKAGE)
    if code or not out.startswith("installed "):
        raise Unavailable(f"{PACKAGE} is not installed")
    return out.split()[1]


def _offered():
    """[(version, deb-src line)] of the archives that apt knows, newest first."""
    found, version = [], None
    for line in _run("apt-cache", "policy", PACKAGE)[1].splitlines():
        words = line.split()
        if re.match(r"^ (\*\*\*|   ) \S+ -?\d+$", line):
            version = words[-2]
        elif version and len(words) >= 3 and words[1].startswith("http"):
            suite, _, component = words[2].partition("/")
            signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
            found.append((version, f"deb-src {signed}{words[1]} {suite} {component}"))
    return found


class _Apt:
    """apt-get that also knows the source packages, with lists of its own."""

    def __init__(self, directory, lines):
        self.directory = directory
        for name in ("lists/partial", "cache/archives/partial"):
            (directory / name).mkdir(parents=True)
        sources = directory / "sources.list"
        sources.write_text("\n".join(sorted(set(lines))) + "\n")
        self.options = [f"-oDir::Etc::sourcelist={sources}", "-oDir::Etc::sourceparts=/dev/null",
                        f"-oDir::State::lists={directory}/lists", f"-oDir::Cache={directory}/cache",
                        "-oAcquire::Retries=2", "-oAcquire::http::Timeout=20", "-q"]

    def source(self, version):
        """The upstream tar file, or None."""
        code, out = _run("apt-get", *self.options, "source", "--download-only",
                         f"{PACKAGE}={version}", cwd=self.directory)
        found = glob.glob(str(self.directory / f"{PACKAGE}_*.orig.tar.*[z2]"))
        return (Path(found[0]), out) if code == 0 and found else (None, out)


def _package(directory, *names):
    """Unpacks the first of the named binary packages (name=version) that can be had."""
    for name in names:
        with_name = directory / re.sub(r"[^\w.-]", "_", name)
        with_name.mkdir(parents=True, exist_ok=True)
        code, _ = _run("apt-get", "-q", "download", name, cwd=with_name)
        files = list(with_name.glob("*.deb"))
        if code == 0 and files:
            code, out = _run("dpkg-deb", "-x", files[0], with_name / "root")
            files[0].unlink()
            if code == 0:
                return with_name / "root", name.partition("=")[2]
    return None, None


def _make(top, server):
    offered = _offered()
    if not offered:
        raise Unavailable(f"apt knows no archive with {PACKAGE}")
    apt = _Apt(top / "apt", [line for _, line in offered])
    _, said = _run("apt-get", *apt.options, "update")
    versions = list(dict.fromkeys([v for v, _ in offered if v == server] + [v for v, _ in offered]))
    for version in versions:
        archive, out = apt.source(version)
        said += out
        if archive:
            break
    else:
        wrong = [line for line in said.splitlines() if line.startswith(("Err:", "E:", "W:"))]
        raise Unavailable(f"apt cannot get the source of {PACKAGE}: {' '.join(wrong[:1])}")
    _unpack(archive, top)
    notes = [] if version == server else [f"the tests are of {version}, the server is {server}"]
    headers, _ = _package(top / "packages", f"postgresql-server-dev-{MAJOR}={server}",
                          f"postgresql-server-dev-{MAJOR}")
    if not headers:
        raise Unavailable(f"apt cannot get postgresql-server-dev-{MAJOR}")
    client, _ = _package(top / "packages", f"postgresql-client-{MAJOR}={version}")
    if not client:
        client = Path("/")
        notes.append("psql is the installed one")
    _programs(top, client, headers)
    _libraries(top, headers)
    shutil.rmtree(top / "apt")
    shutil.rmtree(top / "packages")
    return version, "; ".join(notes)


def _unpack(archive, top):
    with tarfile.open(archive) as tar:
        for member in tar:
            path = Path(*Path(member.name).parts[1:])
            wanted = path.parts[:3] in (("src", "test", "regress"), ("src", "test", "isolation"))
            if member.isfile() and wanted and ".." not in path.parts:
                member.name = str(path)
                tar.extract(member, top)


def _programs(top, client, headers):
    programs = top / "bin"
    programs.mkdir()
    home = client / f"usr/lib/postgresql/{MAJOR}"
    for name in ("bin/psql", "lib/pgxs/src/test/regress/pg_regress",
                 "lib/pgxs/src/test/isolation/pg_isolation_regress"):
        shutil.copy(home / name, programs)
    # pg_isolation_regress wants an isolationtester that names the same version.
    stock = home / "lib/pgxs/src/test/isolation/isolationtester"
    version = _run(stock, "-V")[1].strip().partition(") ")[2]
    source = top / "src/test/isolation"
    tester = source / "isolationtester.c"
    text = tester.read_text()
    for pattern, replacement in ISOLATIONTESTER:
        text, changed = re.subn(pattern, lambda _, new=replacement: new, text)
        if changed != 1:
            raise RuntimeError("isolationtester.c is not as tests/regress/source.py expects it")
    text = text.replace("PG_VERSION", f'"{version}"')
    tester.write_text(text)
    includes = [f"-I{path}" for path in (source, "/usr/include/postgresql",
                                         headers / f"usr/include/postgresql/{MAJOR}/server",
                                         headers / "usr/include/postgresql/internal",
                                         "/usr/include/postgresql/internal")]
    archives = sorted(headers.rglob("libpg*.a")) + sorted(Path("/usr/lib").glob("*/libpg*.a"))
    _compile("-D_GNU_SOURCE", *includes, tester, source / "specparse.c", "-lpq",
             *[f"-L{path.parent}" for path in archives], "-lpgcommon", "-lpgport", "-lm",
             "-o", programs / "isolationtester")


def _libraries(top, headers):
    libraries = top / "lib"
    libraries.mkdir()
    _compile("-D_GNU_SOURCE", "-shared", "-fPIC", "-fwrapv", "-fno-strict-aliasing",
             f"-I{headers}/usr/include/postgresql/{MAJOR}/server",
             f"-I{headers}/usr/include/postgresql/internal", "-I/usr/include/postgresql/internal",
             top / "src/test/regress/regress.c", "-o", libraries / "regress.so")
    for name in ("refint.so", "autoinc.so"):
        shutil.copy(f"/usr/lib/postgresql/{MAJOR}/lib/{name}", libraries)


def _compile(*arguments):
    code, out = _run("gcc", "-O1", "-w", *arguments)
    if code:
        raise RuntimeError(f"gcc {Path(str(arguments[-1])).name}: {out[-1500:]}")
