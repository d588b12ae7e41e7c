"""A reader of the Prometheus text format, strict enough to notice nonsense."""

import re
from dataclasses import dataclass, field

_SAMPLE = re.compile(r'^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)(?: \d+)?$')
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"(?:,|$)')


@dataclass
class Family:
    name: str
    kind: str
    help: str = ""
    samples: list = field(default_factory=list)  # (name, labels, value)

    def total(self, suffix="", **labels):
        """Sum of the samples that carry these labels."""
        return sum(value for name, has, value in self.samples
                   if name == self.name + suffix
                   and all(has.get(k) == v for k, v in labels.items()))

    def label_values(self, label):
        return {has[label] for _, has, _ in self.samples if label in has}


class Families(dict):
    def matching(self, pattern, kind=None):
        return [f for name, f in self.items()
                if re.search(pattern, name) and (kind is None or f.kind == kind)]

    def one(self, pattern, kind=None):
        """The first family whose name matches; an AssertionError names what there is."""
        found = self.matching(pattern, kind)
        assert found, f"no {kind or 'metric'} /{pattern}/ among {sorted(self)}"
        return found[0]


def parse(text):
    families = Families()
    for line in text.splitlines():
        if line.startswith("# HELP "):
            _, _, name, help_text = line.split(" ", 3)
            families.setdefault(name, Family(name, "untyped")).help = help_text
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            families.setdefault(name, Family(name, kind)).kind = kind
        elif line and not line.startswith("#"):
            match = _SAMPLE.match(line)
            assert match, f"not a sample: {line!r}"
            name, labels, value = match.groups()
            owner = name
            if owner not in families:
                owner = re.sub(r"_(bucket|sum|count)$", "", name)
            assert owner in families, f"{name} has no TYPE line"
            families[owner].samples.append(
                (name, dict(_LABEL.findall(labels or "")), float(value)))
    return families
