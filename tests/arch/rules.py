"""The rules of the house (docs/architecture.md) and what checks a source tree against them.

`check(root)` gives a list of problems, each "path:line: what is wrong"; an empty list is a clean
tree. Only the text is read: headers can break an arrow that the linker never sees.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

LONGEST_FILE = 800  # lines; a longer file is a design question

# C++20 and C headers of the standard library, by what they give.
STD = set("""
algorithm any array atomic barrier bit bitset charconv chrono codecvt compare complex concepts
condition_variable coroutine deque exception execution filesystem forward_list fstream functional
future initializer_list iomanip ios iosfwd iostream istream iterator latch limits list locale map
memory memory_resource mutex new numbers numeric optional ostream queue random ranges ratio regex
scoped_allocator semaphore set shared_mutex source_location span sstream stack stdexcept stop_token
streambuf string string_view strstream syncstream system_error thread tuple type_traits typeindex
typeinfo unordered_map unordered_set utility valarray variant vector version
cassert cctype cerrno cfenv cfloat cinttypes climits clocale cmath csetjmp csignal cstdarg cstddef
cstdint cstdio cstdlib cstring ctime cuchar cwchar cwctype
""".split())
STD_THREADS = {"barrier", "condition_variable", "future", "latch", "mutex", "semaphore",
               "shared_mutex", "stop_token", "thread"}
STD_FILES = {"filesystem", "fstream", "iostream", "cstdio"}
CLOCKS = re.compile(r"_clock::now\b|\bclock_gettime\b|\bgettimeofday\b|\btime\((nullptr|NULL|0)\)")

# What may be included from outside, by prefix.
ASIO = ("boost/asio", "boost/beast")
LIBPQ = ("libpq-fe.h", "postgresql/", "pg_config", "libpq/")
YAML = ("yaml-cpp/",)
PROMETHEUS = ("prometheus/",)
OPENSSL = ("openssl/",)
SYSTEMD = ("systemd/",)
POSIX = ("sys/", "netinet/", "arpa/", "unistd.h", "fcntl.h", "netdb.h", "poll.h", "signal.h",
         "pthread.h", "pwd.h", "grp.h", "dirent.h", "endian.h", "errno.h", "time.h", "sched.h",
         "malloc.h", "linux/", "ifaddrs.h", "net/", "strings.h", "stdlib.h", "sysexits.h")
BOOST_CONTAINERS = ("boost/circular_buffer", "boost/container/", "boost/intrusive/",
                    "boost/unordered/")
ANYTHING = ("",)


@dataclass(frozen=True)
class Folder:
    ours: frozenset = frozenset()  # folders of ours that it may include and link
    outside: tuple = ()            # headers of others that any of its files may include
    files: dict = field(default_factory=dict)  # file -> what that one file may include besides
    std_never: frozenset = frozenset()
    no_clock: bool = False         # it is given the time
    clock_files: tuple = ()        # but for these


TABLE = {
    "protocol": Folder(
        outside=("boost/system", "boost/endian", "boost/json", "pg_query.h") + BOOST_CONTAINERS
        + OPENSSL,
        std_never=frozenset(STD_THREADS | STD_FILES | {"chrono", "random"}),
        no_clock=True),
    "config": Folder(
        files={"document.cpp": YAML, "address.cpp": ("arpa/inet.h", "sys/un.h")},
        std_never=frozenset(STD_THREADS)),
    "metrics": Folder(outside=POSIX, files={"exposition.cpp": PROMETHEUS}),
    "systemd": Folder(outside=SYSTEMD + POSIX),
    "pool": Folder(
        ours=frozenset({"protocol", "config", "metrics"}),
        outside=("boost/system",) + BOOST_CONTAINERS,
        files={"upstream_login.cpp": LIBPQ + OPENSSL + POSIX + ("cstdio",),
               "client_registry.cpp": ("openssl/crypto.h",)},  # compares keys in constant time
        std_never=frozenset(STD_FILES),
        no_clock=True,
        clock_files=("upstream_login.cpp",)),  # it blocks, on a thread of its own
    "kvstore": Folder(
        ours=frozenset({"protocol", "config", "metrics"}),
        outside=("boost/json", "boost/system", "xxhash.h") + BOOST_CONTAINERS,
        files={"file_env_posix.cpp": POSIX}),
    "daemon": Folder(
        ours=frozenset({"protocol", "config", "metrics", "systemd", "pool", "kvstore"}),
        outside=ANYTHING),
}

# Headers with one home in the product: no other file of its folders includes them.
ONE_HOME = {LIBPQ: "pool/upstream_login.cpp", YAML: "config/document.cpp",
            PROMETHEUS: "metrics/exposition.cpp"}
# Where Asio and Beast may be; every other folder of the repository is searched for them.
ASIO_HOMES = ("daemon/", "tests/")

CODE = {".cpp", ".hpp", ".h", ".cc", ".c"}
MEASURED = CODE | {".py", ".mjs", ".js"}
NOT_OURS = {"build", "node_modules", ".git", ".cache", "__pycache__", "corpus"}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
LINK = re.compile(r"\bsluice_(\w+)")


def our_files(root):
    todo = [root]
    while todo:
        for path in sorted(todo.pop().iterdir()):
            if path.is_dir():
                if path.name not in NOT_OURS and not path.is_symlink():
                    todo.append(path)
            else:
                yield path


def _matches(header, prefixes):
    return any(header.startswith(prefix) for prefix in prefixes)


def _check_include(root, name, folder, inside, quoted, header):
    """What is wrong with one include of file `name` (relative); a list."""
    problems = []
    for prefixes, home in ONE_HOME.items():
        if folder and _matches(header, prefixes) and name != home:
            problems.append(f"{header} is included only in {home}")
    if _matches(header, ASIO) and not name.startswith(ASIO_HOMES):
        problems.append(f"{header}: Asio and Beast are only in daemon/ and tests/")
    if folder is None or problems:
        return problems
    rules = TABLE[folder]
    first = header.split("/")[0]
    if quoted:
        if "/" not in header or not (root / header).is_file():
            problems.append(f'"{header}" is not a path from the top of the repository')
        elif first != folder and first not in rules.ours:
            problems.append(f"{folder}/ may not include {first}/")
        return problems
    if first in TABLE and (root / header).is_file():
        problems.append(f"<{header}> is ours: include it with quotes")
    elif header in STD:
        if header in rules.std_never and header not in rules.files.get(inside, ()):
            problems.append(f"{folder}/ may not include <{header}>")
    elif not _matches(header, rules.outside + rules.files.get(inside, ())):
        problems.append(f"{folder}/ may not include <{header}>")
    return problems


def _reads_clock(folder, inside, line):
    rules = TABLE[folder]
    return (rules.no_clock and inside not in rules.clock_files
            and CLOCKS.search(line.split("//", 1)[0]))


def check_sources(root):
    problems = []
    for path in our_files(root):
        name = path.relative_to(root).as_posix()
        if path.suffix not in MEASURED:
            continue
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        if len(lines) > LONGEST_FILE:
            problems.append(f"{name}:{len(lines)}: longer than {LONGEST_FILE} lines")
        if path.suffix not in CODE:
            continue
        top, _, inside = name.partition("/")
        folder = top if top in TABLE else None
        if folder is None and top == "tests":
            continue
        if folder and path.suffix == ".hpp" and "#pragma once" not in lines:
            problems.append(f"{name}:1: no #pragma once")
        for number, line in enumerate(lines, 1):
            found = INCLUDE.match(line)
            if found:
                for problem in _check_include(root, name, folder, inside, found[1] == '"',
                                              found[2].strip()):
                    problems.append(f"{name}:{number}: {problem}")
            elif folder and _reads_clock(folder, inside, line):
                problems.append(f"{name}:{number}: {folder}/ is given the time, it does not read it")
    return problems


def linked_folders(text):
    """The folders that a folder's CMakeLists.txt links its library with."""
    text = re.sub(r"#[^\n]*", "", text)
    linked = set()
    for call in re.finditer(r"\b(sluice_folder|target_link_libraries)\s*\(([^)]*)\)", text):
        words = call[2].split()
        linked.update(word.removeprefix("sluice_") for word in words[1:]
                      if LINK.fullmatch(word))
    return linked


def check_links(root):
    problems = []
    for folder, rules in TABLE.items():
        listing = root / folder / "CMakeLists.txt"
        if not listing.is_file():
            continue
        here = {name for name in rules.ours if (root / name / "CMakeLists.txt").is_file()}
        linked = linked_folders(listing.read_text(encoding="utf-8")) - {folder, "options"}
        for extra in sorted(linked - here):
            problems.append(f"{folder}/CMakeLists.txt:1: links sluice_{extra}, which the table "
                            f"does not allow")
        for missing in sorted(here - linked):
            problems.append(f"{folder}/CMakeLists.txt:1: does not link sluice_{missing}, which "
                            f"the table says it does")
    return problems


def check(root):
    root = Path(root)
    return check_sources(root) + check_links(root)
