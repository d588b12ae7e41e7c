"""The unit files: systemd takes them, and the service is held in tightly enough."""

import configparser
import re
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

import common  # noqa: E402

UNITS = common.TOP / "systemd"
MOST_EXPOSED = 2.0


def read_unit(name):
    # Keys may come twice, and the case of theirs counts.
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str
    parser.read(UNITS / name, encoding="utf-8")
    return parser


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)(s|min)", text).groups()
    return int(number) * (60 if unit == "min" else 1)


class Units(unittest.TestCase):
    @common.needs("systemd-analyze")
    def test_systemd_finds_no_mistake(self):
        with tempfile.TemporaryDirectory() as place:
            for path in [UNITS / "sluice.service", *(UNITS / name for name in common.PORTS)]:
                # Any program will do for the one that is not installed here.
                text = path.read_text(encoding="utf-8").replace("/usr/bin/sluice", "/bin/true")
                (Path(place) / path.name).write_text(text, encoding="utf-8")
            units = sorted(str(path) for path in Path(place).iterdir())
            code, out = common.run("systemd-analyze", "--man=no", "verify", *units)
            mine = [line for line in out.splitlines() if "sluice" in line or place in line]
            self.assertEqual((code, mine), (0, []))

    @common.needs("systemd-analyze")
    def test_exposure_is_under_the_bound(self):
        code, out = common.run("systemd-analyze", "security", "--offline=true", "--no-pager",
                               UNITS / "sluice.service")
        found = re.search(r"exposure level for sluice\.service: ([0-9.]+)", out)
        self.assertEqual(code, 0, out)
        self.assertLess(float(found[1]), MOST_EXPOSED)

    @common.needs("systemd-analyze")
    def test_examples_fit_the_service(self):
        with tempfile.TemporaryDirectory() as place:
            unit = Path(place) / "sluice.service"
            text = (UNITS / "sluice.service").read_text(encoding="utf-8")
            unit.write_text(text.replace("/usr/bin/sluice", "/bin/true"), encoding="utf-8")
            folder = Path(place) / "sluice.service.d"
            folder.mkdir()
            example = UNITS / "examples" / "credentials.conf"
            (folder / example.name).write_text(
                example.read_text(encoding="utf-8").replace("\n#Set", "\nSet"), encoding="utf-8")
            code, out = common.run("systemd-analyze", "--man=no", "verify", unit)
            self.assertEqual((code, [line for line in out.splitlines() if "sluice" in line]),
                             (0, []))

    def test_each_socket_has_its_port_and_name(self):
        for file, (name, port) in common.PORTS.items():
            socket = read_unit(file)["Socket"]
            self.assertEqual(socket["ListenStream"], f"127.0.0.1:{port}")
            self.assertEqual(socket["FileDescriptorName"], name)
            self.assertEqual(socket["Service"], "sluice.service")

    def test_a_stop_may_take_longer_than_shutdown_timeout(self):
        keys = (common.TOP / "docs" / "configuration.md").read_text(encoding="utf-8")
        default = re.search(r"`postgres\.shutdown_timeout` \| duration \| `(\w+)`", keys)[1]
        stop = read_unit("sluice.service")["Service"]["TimeoutStopSec"]
        self.assertGreater(seconds(stop), seconds(default) + 30)


if __name__ == "__main__":
    common.main()
