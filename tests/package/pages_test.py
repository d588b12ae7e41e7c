"""Manual pages without a warning, and completions that know what the program knows."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "packaging"))

import common  # noqa: E402
import pages  # noqa: E402

place = None
commands = {}
keys = []


def setUpModule():
    global place, commands, keys
    place = tempfile.TemporaryDirectory()
    described = subprocess.run([common.BUILD / "sluice", "describe"], capture_output=True,
                               text=True, check=True, cwd=place.name).stdout
    commands, keys = pages.read(described.splitlines())
    subprocess.run([sys.executable, common.TOP / "packaging" / "pages.py", "1.2.3", place.name],
                   input=described, text=True, check=True)


def tearDownModule():
    place.cleanup()


def made(name):
    return Path(place.name) / name


def complete(*words):
    """What bash offers for the last word."""
    script = """
        source "$1"; shift
        compopt() { :; }
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        _sluice; printf '%s\\n' "${COMPREPLY[@]}"
    """
    done = subprocess.run(["bash", "-euc", script, "bash", made("sluice.bash"), *words],
                          capture_output=True, text=True, cwd=place.name, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


class Manual(unittest.TestCase):
    @common.needs("man")
    def test_man_has_nothing_to_warn_of(self):
        for name in ("sluice.1", "sluice.yaml.5"):
            done = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z",
                                   made(name)], capture_output=True, text=True, check=False)
            self.assertEqual((done.returncode, done.stderr), (0, ""))

    @common.needs("mandoc")
    def test_mandoc_has_nothing_to_warn_of(self):
        self.assertEqual(common.run("mandoc", "-Tlint", "-Wwarning", made("sluice.1"),
                                    made("sluice.yaml.5")), (0, ""))

    def test_every_command_option_and_key_is_there(self):
        text = made("sluice.1").read_text(encoding="utf-8")
        for command in commands.values():
            if not command.children:
                self.assertIn(pages.bold(command.path), text)
            for name in (name for option in command.options for name in option.names):
                if name.startswith("--") and " " in command.path and name != "--help":
                    self.assertIn(pages.bold(name), text)
        text = made("sluice.yaml.5").read_text(encoding="utf-8")
        self.assertGreater(len(keys), 50)
        for key, *_ in keys:
            self.assertIn("\n" + pages.bold(key) + "\n", text)

    def test_upgrades_are_told(self):
        text = made("sluice.1").read_text(encoding="utf-8").replace("\\-", "-")
        section = text.partition("\n.SH UPGRADES\n")[2].partition("\n.SH ")[0]
        for word in ("sluice upgrade", "SIGUSR2", "SIGTERM", "systemctl kill -s USR2",
                     "NotifyAccess=all", "postgres.shutdown_timeout", "upgrade_timeout",
                     "serves on as before"):
            self.assertIn(word, section)

    def test_no_placeholder_is_left(self):
        for name in ("sluice.1", "sluice.yaml.5", "sluice.bash", "_sluice", "sluice.fish"):
            self.assertNotRegex(made(name).read_text(encoding="utf-8"), "@[A-Z]+@")
        self.assertIn('"sluice 1.2.3"', made("sluice.1").read_text(encoding="utf-8"))

    def test_text_is_kept_from_roff(self):
        self.assertEqual(pages.roff(".s `a-b` \\"), "\\&.s \\fBa\\-b\\fR \\e")


class Completion(unittest.TestCase):
    def test_every_command_and_option_is_offered(self):
        for path, command in commands.items():
            expected = {child.name for child in command.children}
            expected |= {name for option in command.options for name in option.names}
            self.assertEqual(set(complete(*path.split(), "")) & expected,
                             expected if not any(o.kind for *_, o in command.positionals)
                             else set(), path)
            self.assertEqual(set(complete(*path.split(), "-")),
                             {word for word in expected if word.startswith("-")})

    def test_a_beginning_is_completed(self):
        self.assertEqual(complete("sluice", "ser"), ["serve"])
        self.assertEqual(complete("sluice", "kv", "ex"), ["export"])
        self.assertEqual(complete("sluice", "serve", "--con"), ["--config"])

    def test_values_are_offered(self):
        self.assertEqual(complete("sluice", "kv", "export", "--format", ""), ["json", "jsonl"])

    def test_files_are_offered_where_files_go(self):
        made("mine.yaml").write_text("", encoding="utf-8")
        self.assertEqual(complete("sluice", "serve", "--config", "mi"), ["mine.yaml"])
        self.assertEqual(complete("sluice", "kv", "import", "mi"), ["mine.yaml"])

    def test_an_option_before_the_end_does_not_confuse(self):
        self.assertIn("--output", complete("sluice", "kv", "export", "--all", "--"))

    @common.needs("zsh")
    def test_zsh_can_read_it(self):
        self.assertEqual(common.run("zsh", "-n", made("_sluice")), (0, ""))

    @common.needs("fish")
    def test_fish_completes_commands_and_options(self):
        def offered(line):
            code, out = common.run(
                "fish", "--no-config", "-c", f"source {made('sluice.fish')}; complete -C '{line}'",
                env={"HOME": place.name, "PATH": "/usr/bin:/bin"})
            self.assertEqual(code, 0, out)
            return {row.split("\t")[0] for row in out.splitlines()}

        self.assertEqual(offered("sluice ser"), {"serve"})
        self.assertEqual(offered("sluice kv "),
                         {child.name for child in commands["sluice kv"].children})
        self.assertIn("--replace", offered("sluice kv import --r"))
        self.assertEqual(offered("sluice kv export --format "), {"json", "jsonl"})


if __name__ == "__main__":
    common.main()
