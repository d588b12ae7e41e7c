"""A sluice whose process changes: `upgrade()` runs `sluice upgrade` and follows the new one."""

import ctypes
import os
import re
import signal
import subprocess
import time

import targets
import wire

PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans():
    """A successor whose parent has ended becomes this process's child, so that its exit code can
    be read."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Successor:
    """As much of subprocess.Popen as targets.Process uses, for a process that somebody else
    started."""

    def __init__(self, pid):
        self.pid = pid
        self.returncode = None

    def poll(self):
        if self.returncode is not None:
            return self.returncode
        try:
            done, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:  # its parent is still there, and will learn of its end
            if self._state() in (None, "Z"):
                time.sleep(0.01)
                try:
                    done, status = os.waitpid(self.pid, os.WNOHANG)
                except ChildProcessError:
                    return None if self._state() is not None else -1
            else:
                return None
        if done:
            self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def _state(self):
        try:
            with open(f"/proc/{self.pid}/stat") as stat:
                return stat.read().rsplit(")", 1)[1].split()[0]
        except OSError:
            return None

    def wait(self, timeout=None):
        end = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.01)
        return self.returncode

    def send_signal(self, number):
        os.kill(self.pid, number)

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)


def control(sluice, command, timeout=40):
    """`sluice COMMAND`: (exit code, stdout, stderr)."""
    return targets.run_sluice(command, "--config", sluice.config_path, timeout=timeout)


def status(sluice):
    code, out, err = control(sluice, "status")
    assert code == 0, err
    return dict(line.split(": ", 1) for line in out.splitlines())


def follow(sluice, pid):
    sluice.__dict__.setdefault("earlier", []).append(sluice.process)
    sluice.process = Successor(pid)


def upgrade(sluice):
    """Must go well; what was printed."""
    code, out, err = control(sluice, "upgrade")
    assert code == 0, f"{out}\n{err}\n{sluice.log[-4000:]}"
    follow(sluice, int(re.search(r"process (\d+) has taken over", out).group(1)))
    return out


def wait_for_earlier(sluice, timeout=20):
    """All processes but the newest have ended, and well."""
    for process in sluice.__dict__.pop("earlier", []):
        process.wait(timeout * targets.SCALE)
        assert process.returncode == 0, (process.returncode, sluice.log[-4000:])


def wait_for_log(sluice, text, timeout=20):
    wire.eventually(lambda: text in sluice.log, timeout * targets.SCALE, f"{text!r} in the log")
