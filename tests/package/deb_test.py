"""The Debian package: what is in it, what Debian's own checker says of it, and that
`cmake --install` puts the same tree."""

import re
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

import common  # noqa: E402

place = None
package = None

FILES = """
    /etc/sluice/sluice.yaml /usr/bin/sluice
    /lib/systemd/system/sluice.service /lib/systemd/system/sluice.socket
    /lib/systemd/system/sluice-kv.socket /lib/systemd/system/sluice-monitoring.socket
    /lib/systemd/system/sluice-gateway.socket
    /usr/lib/sysusers.d/sluice.conf /usr/lib/tmpfiles.d/sluice.conf
    /usr/share/man/man1/sluice.1.gz /usr/share/man/man5/sluice.yaml.5.gz
    /usr/share/bash-completion/completions/sluice /usr/share/zsh/vendor-completions/_sluice
    /usr/share/fish/vendor_completions.d/sluice.fish
    /usr/share/doc/sluice/changelog.gz /usr/share/doc/sluice/changelog.Debian.gz
    /usr/share/doc/sluice/copyright /usr/share/doc/sluice/README.md
    /usr/share/doc/sluice/examples/systemd/credentials.conf
    /usr/share/doc/sluice/examples/systemd/notify-reload.conf
    /usr/share/lintian/overrides/sluice
""".split()
# Debian's own, and what it moves, packs or leaves out.
ONLY_PACKAGE = {"/usr/share/doc/sluice/changelog.Debian", "/usr/share/doc/sluice/copyright",
                "/usr/share/lintian/overrides/sluice"}
ONLY_INSTALLED = {"/usr/share/doc/sluice/LICENSE", "/usr/share/doc/sluice/examples/sluice.yaml"}


def setUpModule():
    global place, package
    if not all(map(common.shutil.which, ("cpack", "dpkg-deb", "dpkg-shlibdeps", "file"))):
        raise unittest.SkipTest("cpack, dpkg-deb, dpkg-shlibdeps or file is not installed")
    place = tempfile.TemporaryDirectory()
    code, out = common.run("cpack", "-G", "DEB", "-B", place.name,
                           "--config", common.BUILD / "CPackConfig.cmake", cwd=common.BUILD)
    assert code == 0, out
    package = next(Path(place.name).glob("sluice_*.deb"))


def tearDownModule():
    if place:
        place.cleanup()


def contents():
    """Path -> mode, owner."""
    code, out = common.run("dpkg-deb", "-c", package)
    assert code == 0, out
    rows = [line.split(None, 5) for line in out.splitlines()]
    return {row[5][1:]: (row[0], row[1]) for row in rows if not row[0].startswith("d")}


def field(name):
    return common.run("dpkg-deb", "-f", package, name)[1].strip()


def plain(path):
    """Where `cmake --install --prefix /usr` puts it."""
    if path.startswith("/lib/"):
        path = "/usr" + path
    path = re.sub(r"\.gz$", "", path)
    return re.sub(r"/changelog$", "/CHANGELOG.md", path)


class Package(unittest.TestCase):
    def test_name_says_version_and_architecture(self):
        self.assertRegex(package.name, r"^sluice_\d+\.\d+\.\d+-\d+_[a-z0-9]+\.deb$")
        self.assertEqual(f"sluice_{field('Version')}_{field('Architecture')}.deb", package.name)

    def test_every_file_is_in_it(self):
        self.assertEqual(set(FILES) - set(contents()), set())

    def test_configuration_is_kept_from_others_and_kept_by_upgrades(self):
        self.assertEqual(contents()["/etc/sluice/sluice.yaml"], ("-rw-r-----", "root/root"))
        self.assertEqual(common.run("dpkg-deb", "-I", package, "conffiles"),
                         (0, "/etc/sluice/sluice.yaml\n"))

    def test_program_is_stripped_and_its_libraries_are_named(self):
        root = Path(place.name) / "unpacked"
        self.assertEqual(common.run("dpkg-deb", "-x", package, root)[0], 0)
        self.assertNotIn(".debug_info", common.run("readelf", "-S", root / "usr/bin/sluice")[1])
        for library in ("libpq5", "libssl3", "libyaml-cpp0.7", "libc6"):
            self.assertIn(library, field("Depends"))

    def test_scripts_are_sound_shell(self):
        for script in ("postinst", "prerm", "postrm"):
            path = common.TOP / "packaging" / "deb" / script
            self.assertEqual(common.run("sh", "-n", path), (0, ""))

    def test_version_is_the_one_of_the_changelog(self):
        log = (common.TOP / "packaging" / "deb" / "changelog").read_text(encoding="utf-8")
        self.assertIn(f"sluice ({field('Version')})", log.splitlines()[0])

    @common.needs("lintian")
    def test_lintian_is_content(self):
        command = ["lintian", "--fail-on", "error,warning", package]
        if common.os.geteuid() == 0:
            command.insert(1, "--allow-root")
        code, out = common.run(*command)
        self.assertEqual((code, [row for row in out.splitlines() if row.startswith(("E:", "W:"))]),
                         (0, []), out)


class Installed(unittest.TestCase):
    def install(self, prefix):
        root = Path(tempfile.mkdtemp(dir=place.name))
        code, out = common.run("cmake", "--install", common.BUILD, "--prefix", prefix,
                               env={**common.os.environ, "DESTDIR": str(root)})
        self.assertEqual(code, 0, out)
        return root

    def test_same_tree_as_the_package(self):
        root = self.install("/usr")
        installed = {"/" + str(path.relative_to(root)) for path in root.rglob("*")
                     if path.is_file()}
        packed = {plain(path) for path in contents()}
        self.assertEqual(packed - installed, ONLY_PACKAGE)
        self.assertEqual(installed - packed, ONLY_INSTALLED)

    def test_unit_starts_the_program_of_its_prefix(self):
        root = self.install("/opt/pool")
        unit = (root / "opt/pool/lib/systemd/system/sluice.service").read_text(encoding="utf-8")
        self.assertIn("ExecStart=/opt/pool/bin/sluice serve", unit)
        self.assertNotIn("/usr/bin", unit)

    def test_a_configuration_that_is_there_stays(self):
        root = self.install("/usr")
        (root / "etc/sluice/sluice.yaml").write_text("mine\n", encoding="utf-8")
        code, out = common.run("cmake", "--install", common.BUILD, "--prefix", "/usr",
                               env={**common.os.environ, "DESTDIR": str(root)})
        self.assertEqual(code, 0, out)
        self.assertEqual((root / "etc/sluice/sluice.yaml").read_text(encoding="utf-8"), "mine\n")


if __name__ == "__main__":
    common.main()
