"""What the tests of this folder share: the build directory is their one argument."""

import os
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("SLUICE_BUILD", TOP / "build" / "release"))
PORTS = {"sluice.socket": ("postgres", 6432), "sluice-kv.socket": ("kv", 6380),
         "sluice-monitoring.socket": ("monitoring", 9127),
         "sluice-gateway.socket": ("gateway", 8432)}


def run(*command, **more):
    """Its exit code and all that it printed."""
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=280, check=False, **more)
    return done.returncode, done.stdout


def needs(*programs):
    missing = [name for name in programs if not shutil.which(name)]
    return unittest.skipIf(missing, f"not installed: {', '.join(missing)}")


def main():
    """77 is what ctest calls skipped: there was nothing that could be tested."""
    global BUILD
    if len(sys.argv) > 1:
        BUILD = Path(sys.argv.pop(1)).resolve()
    result = unittest.main(module="__main__", exit=False, verbosity=2).result
    if not result.wasSuccessful():
        sys.exit(1)
    sys.exit(77 if len(result.skipped) >= result.testsRun else 0)
