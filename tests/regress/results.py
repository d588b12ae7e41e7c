"""What PostgreSQL's tests said: reading it, comparing it with a direct connection, reporting it."""

import json
import re
import xml.etree.ElementTree as xml
from pathlib import Path

KNOWN = Path(__file__).resolve().parent / "known.txt"
# pg_regress's lines: "test name ... ok 12 ms" alone, "     name ... FAILED 12 ms" in a group.
LINE = re.compile(r"^(?:test|    ) (\S+)\s+\.\.\. (ok|FAILED|failed \(ignored\))", re.M)


class Results:
    """Tests in the order in which they ran: whether each passed, and the output of one that did
    not, for a comparison."""

    def __init__(self):
        self.passed = {}
        self.output = {}

    def add(self, log_text, output_directory):
        for name, word in LINE.findall(log_text):
            self.passed[name] = word == "ok"
            file = output_directory / "results" / f"{name}.out"
            if word != "ok":
                self.output[name] = file.read_text(errors="replace") if file.exists() else ""

    def missing(self, names):
        """Tests that never reported (pg_regress itself failed) count as failed."""
        for name in names:
            if name not in self.passed:
                self.passed[name] = False
                self.output[name] = ""

    def save(self, path):
        path.write_text(json.dumps({"passed": self.passed, "output": self.output}))

    @classmethod
    def load(cls, path):
        made = cls()
        content = json.loads(path.read_text())
        made.passed, made.output = content["passed"], content["output"]
        return made

    def count(self):
        return sum(self.passed.values())


def known(suite, mode):
    """{test: reason} of known.txt for this suite and mode."""
    found = {}
    for number, line in enumerate(KNOWN.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        head, colon, reason = line.partition(":")
        words = head.split()
        if not colon or not reason.strip() or len(words) != 3:
            raise ValueError(f"{KNOWN.name}:{number}: expected 'suite mode test: reason'")
        if words[0] == suite and words[1] in (mode, "any"):
            found[words[2]] = reason.strip()
    return found


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
        if name in self.reasons:
            return "known"
        if self.direct.passed.get(name):
            return "failed"
        same = self.results.output[name] == self.direct.output.get(name)
        return "as direct" if same else "otherwise than direct"

    @property
    def failed(self):
        return self.heaps["failed"]

    def needless(self):
        """On the list and passed here."""
        return [name for name in self.heaps["passed"] if name in self.reasons]

    def print(self, title):
        total = len(self.results.passed)
        print(f"{title}: {self.results.count()} of {total} pass; "
              f"directly {sum(1 for n in self.results.passed if self.direct.passed.get(n))}")
        texts = {
            "failed": "pass directly, fail through sluice",
            "known": "fail through sluice and are on the list",
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
                elif heap == "known":
                    xml.SubElement(case, "skipped", message=self.reasons[name])
                elif heap != "passed":
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
