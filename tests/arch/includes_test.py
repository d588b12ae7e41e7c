"""Holds the repository to the table in rules.py, and rules.py to trees that break each rule."""

import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

import rules  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[2]

CLEAN = {
    "protocol/bytes.hpp": '#pragma once\n#include <span>\n#include <openssl/evp.h>\n',
    "protocol/CMakeLists.txt": "sluice_folder(protocol OpenSSL::Crypto)\n",
    "config/schema.hpp": "#pragma once\n#include <chrono>\n",
    "config/document.cpp": '#include "config/schema.hpp"\n#include <yaml-cpp/yaml.h>\n',
    "config/CMakeLists.txt": "sluice_folder(config yaml-cpp)\n",
    "metrics/exposition.cpp": "#include <prometheus/registry.h>\n",
    "pool/pool.hpp": '#pragma once\n#include "protocol/bytes.hpp"\n#include "config/schema.hpp"\n'
                     "#include <boost/intrusive/list.hpp>\n",
    "pool/upstream_login.cpp": '#include "pool/pool.hpp"\n#include <libpq-fe.h>\n',
    "pool/CMakeLists.txt": "sluice_folder(pool sluice_protocol sluice_config)  # not sluice_daemon\n",
    "daemon/main.cpp": '#include "pool/pool.hpp"\n#include <boost/asio.hpp>\n#include <fmt/core.h>\n',
    "daemon/CMakeLists.txt": "target_link_libraries(sluice_daemon PUBLIC sluice_pool\n"
                             "  sluice_protocol sluice_config)\n",
    "tests/unit/a_test.cpp": '#include <boost/asio.hpp>\n#include "pool/pool.hpp"\n',
}

# What breaks a rule: the files laid over CLEAN, and what the one problem must say.
BROKEN = {
    "an arrow upwards": (
        {"protocol/a.cpp": '#include "pool/pool.hpp"\n'},
        "protocol/a.cpp:1: protocol/ may not include pool/"),
    "a leaf that includes a leaf": (
        {"config/a.cpp": '#include "protocol/bytes.hpp"\n'},
        "config/a.cpp:1: config/ may not include protocol/"),
    "Asio in the pool": (
        {"pool/a.cpp": "\n#include <boost/asio/ip/tcp.hpp>\n"},
        "pool/a.cpp:2: boost/asio/ip/tcp.hpp: Asio and Beast are only in daemon/ and tests/"),
    "Beast in protocol": (
        {"protocol/a.cpp": "#  include <boost/beast/core.hpp>\n"},
        "protocol/a.cpp:1: boost/beast/core.hpp: Asio and Beast are only in daemon/ and tests/"),
    "Asio in bench": (
        {"bench/a.cpp": "#include <boost/asio.hpp>\n"},
        "bench/a.cpp:1: boost/asio.hpp: Asio and Beast are only in daemon/ and tests/"),
    "libpq in a second file": (
        {"pool/a.cpp": "#include <libpq-fe.h>\n"},
        "pool/a.cpp:1: libpq-fe.h is included only in pool/upstream_login.cpp"),
    "libpq in the daemon": (
        {"daemon/a.cpp": "#include <postgresql/libpq-fe.h>\n"},
        "is included only in pool/upstream_login.cpp"),
    "yaml-cpp in a second file": (
        {"config/a.cpp": "#include <yaml-cpp/yaml.h>\n"},
        "config/a.cpp:1: yaml-cpp/yaml.h is included only in config/document.cpp"),
    "prometheus in the daemon": (
        {"daemon/a.cpp": "#include <prometheus/counter.h>\n"},
        "daemon/a.cpp:1: prometheus/counter.h is included only in metrics/exposition.cpp"),
    "a library that is not in the table": (
        {"pool/a.cpp": "#include <spdlog/spdlog.h>\n"},
        "pool/a.cpp:1: pool/ may not include <spdlog/spdlog.h>"),
    "sockets in protocol": (
        {"protocol/a.cpp": "#include <sys/socket.h>\n"},
        "protocol/a.cpp:1: protocol/ may not include <sys/socket.h>"),
    "threads in protocol": (
        {"protocol/a.cpp": "#include <mutex>\n"},
        "protocol/a.cpp:1: protocol/ may not include <mutex>"),
    "files in the pool": (
        {"pool/a.cpp": "#include <fstream>\n"},
        "pool/a.cpp:1: pool/ may not include <fstream>"),
    "a clock in the pool": (
        {"pool/a.cpp": "// steady_clock::now() in a comment is fine\n"
                       "auto now = std::chrono::steady_clock::now();\n"},
        "pool/a.cpp:2: pool/ is given the time, it does not read it"),
    "a header named from its own folder": (
        {"pool/a.cpp": '#include "pool.hpp"\n'},
        'pool/a.cpp:1: "pool.hpp" is not a path from the top of the repository'),
    "ours in angle brackets": (
        {"pool/a.cpp": "#include <pool/pool.hpp>\n"},
        "pool/a.cpp:1: <pool/pool.hpp> is ours: include it with quotes"),
    "a header without a guard": (
        {"pool/a.hpp": "struct a {};\n"},
        "pool/a.hpp:1: no #pragma once"),
    "a file that is too long": (
        {"tests/integration/test_a.py": "\n" * 801},
        "tests/integration/test_a.py:801: longer than 800 lines"),
    "a link upwards": (
        {"protocol/CMakeLists.txt": "sluice_folder(protocol sluice_pool)\n"},
        "protocol/CMakeLists.txt:1: links sluice_pool, which the table does not allow"),
    "an arrow without its link": (
        {"pool/CMakeLists.txt": "sluice_folder(pool sluice_protocol)\n"},
        "pool/CMakeLists.txt:1: does not link sluice_config, which the table says it does"),
}


def make_tree(root, files):
    for name, text in files.items():
        path = Path(root) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


class RepositoryTest(unittest.TestCase):
    def test_repository_keeps_the_table(self):
        self.assertEqual([], rules.check(REPOSITORY))

    def test_repository_has_the_folders_of_the_table(self):
        for folder in ("protocol", "config", "metrics", "systemd", "pool", "daemon"):
            self.assertTrue((REPOSITORY / folder / "CMakeLists.txt").is_file(), folder)


class RulesTest(unittest.TestCase):
    def test_clean_tree_gives_nothing(self):
        with tempfile.TemporaryDirectory() as root:
            make_tree(root, CLEAN)
            self.assertEqual([], rules.check(root))

    def test_broken_tree_gives_its_problem(self):
        for what, (files, expected) in BROKEN.items():
            with self.subTest(what), tempfile.TemporaryDirectory() as root:
                make_tree(root, {**CLEAN, **files})
                problems = rules.check(root)
                self.assertEqual(1, len(problems), problems)
                self.assertIn(expected, problems[0])

    def test_other_peoples_files_are_left_alone(self):
        with tempfile.TemporaryDirectory() as root:
            make_tree(root, {**CLEAN, "build/release/a.cpp": "#include <boost/asio.hpp>\n",
                             "tests/integration/node/node_modules/a/long.js": "\n" * 2000})
            self.assertEqual([], rules.check(root))


if __name__ == "__main__":
    unittest.main()
