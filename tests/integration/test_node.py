"""The Node clients that people use: each file of node/ is one case, run by node's own test runner."""

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest
import targets
from postgres import PASSWORDS

FOLDER = Path(__file__).resolve().parent / "node"
FILES = sorted(path.name for path in FOLDER.glob("*.test.mjs"))


@pytest.fixture(scope="session")
def node():
    """The node program, with the packages of package-lock.json installed beside the tests."""
    program = shutil.which("node")
    if program is None:
        pytest.fail("node is not installed: scripts/test installs it", pytrace=False)
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    lock_file = (FOLDER / "package-lock.json").read_bytes()
    # Written and compared by scripts/test in the same form.
    stamp = f"{version.stdout.strip()}\n{hashlib.sha256(lock_file).hexdigest()}  -\n"
    installed = FOLDER / "node_modules/.installed"
    with open(FOLDER / "package-lock.json", "rb") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not installed.exists() or installed.read_text() != stamp:
            done = subprocess.run(["npm", "ci", "--ignore-scripts", "--loglevel=error"],
                                  cwd=FOLDER, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, timeout=600)
            if done.returncode:
                pytest.fail(f"npm ci: {done.stdout[-3000:]}", pytrace=False)
            installed.write_text(stamp)
    return program


def run(program, file, environment, seconds):
    """(exit code, output) of one file; everything it started is ended with it."""
    process = subprocess.Popen([program, "--test", "--test-reporter=spec", file], cwd=FOLDER,
                               env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, start_new_session=True)
    try:
        output, _ = process.communicate(timeout=seconds)
        return process.returncode, output
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return -signal.SIGKILL, f"{output}\nnot done after {seconds:.0f} s"


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_node_client(node, sluice, file):
    url = f"postgres://app:{quote(PASSWORDS['app'], safe='')}@{sluice.host}:{sluice.port}/app"
    environment = {**os.environ, "DATABASE_URL": url, "NO_COLOR": "1", "TZ": "UTC",
                   "SLUICE_TEST_SCALE": str(targets.SCALE)}
    # PGOPTIONS, PGUSER and their family would reach node-postgres too.
    for name in [name for name in environment if name.startswith("PG")]:
        del environment[name]
    if hasattr(sluice, "config"):
        environment["SLUICE_POOL_SIZE"] = str(sluice.config["postgres"]["pool_size"])
    code, output = run(node, file, environment, 300 * targets.SCALE)
    if code != 0:
        pytest.fail(f"{file} ended with {code}\n{output[-12000:]}", pytrace=False)
