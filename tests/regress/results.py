"""What PostgreSQL's tests said: reading it, comparing it with a direct connection, reporting it."""

import json
import re
import xml.etree.ElementTree as xml
from pathlib import Path

KNOWN = Path(__file__).resolve().parent / "known.txt"
# pg_regress's lines: "test name ... ok 12 ms" alone, "     name ... FAILED 12 ms" in a group.
LINE = re.compile(r"^(?:test|    ) (\S+)\s+\.\.\. (ok|FAILED|failed \(ignored\))", re.M)


def changed_lines(differences):
    """{test: changed lines} of regression.diffs."""
    found, name = {}, None
    for line in differences.splitlines():
        if line.startswith("diff -U3 "):
            name = Path(line.split()[-1]).stem
            found[name] = []
        elif name and line[:1] in "+-" and not line.startswith(("+++ /", "--- /")):
            found[name].append(line.rstrip())
    return found


class Results:
    """Tests in the order in which they ran: whether each passed, and the lines in which the output
    of one that did not differs from the expected one ("- ..." and "+ ...")."""

    def __init__(self):
        self.passed = {}
        self.lines = {}

    def add(self, log_text, differences):
        changed = changed_lines(differences)
        for name, word in LINE.findall(log_text):
            self.passed[name] = word == "ok"
            if word != "ok":
                self.lines[name] = changed.get(name, [])

    def missing(self, names):
        """Tests that never reported (pg_regress itself failed) count as failed."""
        for name in names:
            if name not in self.passed:
                self.passed[name] = False
                self.lines[name] = []

    def save(self, path):
        path.write_text(json.dumps({"passed": self.passed, "lines": self.lines}))

    @classmethod
    def load(cls, path):
        made = cls()
        content = json.loads(path.read_text())
        made.passed, made.lines = content["passed"], content["lines"]
        return made

    def count(self):
        return sum(self.passed.values())


def known(suite, mode):
    """{test: (reason, lines)} of known.txt for this suite and mode. With `lines` the test may
    differ in these and no others (~ means moved); without, in whatever it likes."""
    found, lines = {}, None
    for number, line in enumerate(KNOWN.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("    "):
            if lines is None:
                raise ValueError(f"{KNOWN.name}:{number}: a line of no test")
            lines.append(line[4:].rstrip())
            continue
        head, colon, reason = line.partition(":")
        words = head.split()
        if not colon or not reason.strip() or len(words) != 3:
            raise ValueError(f"{KNOWN.name}:{number}: expected 'suite mode test: reason'")
        lines = []
        if words[0] == suite and words[1] in (mode, "any"):
            found[words[2]] = (reason.strip(), lines)
    return found


def differ_as_allowed(lines, allowed):
    moved = {line[1:] for line in allowed if line.startswith("~")}
    return (all(lines.count("-" + text) == lines.count("+" + text) for text in moved) and
            {line for line in lines if line[1:] not in moved} <= set(allowed))


class Verdict:
    """The tests of a run through sluice, each in one of five heaps."""

    def __init__(self, results, direct, reasons):
        self.results, self.direct, self.reasons = results, direct, reasons
        self.heaps = {"passed": [], "failed": [], "known": [], "as direct": [],
                      "otherwise than direct": []}
        for name, ok in results.passed.items():
            self.heaps[self._heap(name, ok)].append(name)

    def _heap(self, name, ok):
        if ok:
            return "passed"
        lines = self.results.lines[name]
        if name in self.reasons:
            allowed = self.reasons[name][1]
            if not allowed or lines and differ_as_allowed(lines, allowed):
                return "known"
        if self.direct.passed.get(name):
            return "failed"
        return "as direct" if lines == self.direct.lines.get(name) else "otherwise than direct"

    @property
    def failed(self):
        return self.heaps["failed"] + self.heaps["otherwise than direct"]

    def needless(self):
        """On the list and passed here."""
        return [name for name in self.heaps["passed"] if name in self.reasons]

    def print(self, title):
        total = len(self.results.passed)
        print(f"{title}: {self.results.count()} of {total} pass; "
              f"directly {sum(1 for n in self.results.passed if self.direct.passed.get(n))}")
        texts = {
            "failed": "pass directly, fail through sluice",
            "known": "fail through sluice as the list says",
            "as direct": "fail directly too, with the same output",
            "otherwise than direct": "fail directly too, with another output",
        }
        for heap, text in texts.items():
            names = self.heaps[heap]
            if names:
                print(f"  {len(names)} {text}: {' '.join(names)}")
        if self.needless():
            print(f"  on the list but passed this time: {' '.join(self.needless())}")

    def write_junit(self, path, suite, problems):
        root = xml.Element("testsuite", name=f"postgresql.{suite}")
        for heap, names in self.heaps.items():
            for name in names:
                case = xml.SubElement(root, "testcase", classname=f"postgresql.{suite}", name=name)
                if heap == "failed":
                    xml.SubElement(case, "failure", message="passes on a direct connection")
                elif heap == "otherwise than direct":
                    xml.SubElement(case, "failure", message="fails otherwise than directly")
                elif heap == "known":
                    xml.SubElement(case, "skipped", message=self.reasons[name][0])
                elif heap == "as direct":
                    xml.SubElement(case, "skipped", message="fails on a direct connection too")
        for problem in problems:
            case = xml.SubElement(root, "testcase", classname=f"postgresql.{suite}",
                                  name=problem.split(":")[0])
            xml.SubElement(case, "failure", message=problem[:2000])
        _write(root, path)


def write_skipped(path, suite, reason):
    root = xml.Element("testsuite", name=f"postgresql.{suite}")
    case = xml.SubElement(root, "testcase", classname=f"postgresql.{suite}", name="the suite")
    xml.SubElement(case, "skipped", message=reason)
    _write(root, path)


def _write(root, path):
    cases = root.findall("testcase")
    root.set("tests", str(len(cases)))
    root.set("failures", str(len(root.findall("testcase/failure"))))
    root.set("errors", "0")
    root.set("skipped", str(len(root.findall("testcase/skipped"))))
    path.parent.mkdir(parents=True, exist_ok=True)
    xml.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
