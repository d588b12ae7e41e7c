"""Tables and verdicts of what stores.py measured."""

import statistics

from report import number, paired_ratios

PASSED, UNSURE, FAILED = "pass", "missed, within the range", "**FAIL**"
COLUMNS = ("ops", "p50", "p99", "p999", "cpu", "busy")


def median_of(rounds, name):
    return statistics.median(r[name] for r in rounds)


def cases_head(fsync, base):
    return "\n".join([
        f"## fsync {fsync}", "",
        f"| case | | ops/s | p50 ms | p99 ms | p99.9 ms | CPU µs/op | CPU, of a core "
        f"| ops/s ÷ {base} | CPU ÷ {base} | p99 ÷ {base} |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"])


def cases_rows(case, results, base):
    """`results`: label -> list of rounds, or a text that says why there are none."""
    lines = []
    of_base = results.get(base)
    for label, rounds in results.items():
        if isinstance(rounds, str):
            lines.append(f"| {case.short} | {label} | {rounds} " + "| " * 8 + "|")
            continue
        values = {name: median_of(rounds, name) for name in COLUMNS}
        cells = [number(values[name]) for name in ("ops", "p50", "p99", "p999", "cpu")]
        cells.append(f"{values['busy'] * 100:.0f} %")
        for name in ("ops", "cpu", "p99"):
            ratios = paired_ratios(rounds, of_base, name) if isinstance(of_base, list) else []
            cells.append(f"{statistics.median(ratios):.2f}" if ratios else "–")
        lines.append(f"| {case.short} | {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def trial_table(trial, title, results, base):
    """One line for each figure, since there are more of them than stores."""
    labels = list(results)
    of_base = results.get(base)
    others = [label for label in labels if label != base]
    lines = [f"## {trial.name}", "", title + ".", "",
             "| | " + " | ".join(labels) + " | "
             + " | ".join(f"{label} ÷ {base}" for label in others) + " |",
             "|---|" + "--:|" * (len(labels) + len(others))]
    for figure in trial.figures:
        cells = [number(median_of(results[label], figure.key))
                 if isinstance(results[label], list) else "–" for label in labels]
        for label in others:
            cells.append(ratio_text(results[label], of_base, figure.key))
        lines.append(f"| {figure.title} | " + " | ".join(cells) + " |")
    for label in labels:
        if isinstance(results[label], str):
            lines += ["", f"{label}: {results[label]}"]
    if trial.note:
        lines += ["", trial.note]
    return "\n".join(lines) + "\n"


def ratio_text(mine, theirs, name):
    if isinstance(mine, str) or not isinstance(theirs, list):
        return "–"
    ratios = paired_ratios(mine, theirs, name)
    return f"{statistics.median(ratios):.2f}" if ratios else "–"


# ---- verdicts ----------------------------------------------------------------------------------


def verdict(name, what, mine, theirs, key, least=None, most=None):
    """(case, what, text, range, wanted, outcome) of one ratio; no value is a failure, not a gap."""
    wanted = f"≥ {least:.2f}" if least is not None else f"≤ {most:.2f}"
    if isinstance(mine, str) or isinstance(theirs, str):
        return name, what, mine if isinstance(mine, str) else theirs, "", wanted, FAILED
    ratios = [round(ratio, 2) for ratio in paired_ratios(mine, theirs, key)]
    if not ratios:
        return name, what, "not measured", "", wanted, FAILED
    return (name, what, f"{statistics.median(ratios):.2f}", f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
            wanted, outcome(ratios, least, most))


def outcome(values, least=None, most=None):
    """By the median of sorted values; a miss that some round did not show is called so."""
    def meets(value):
        return value >= least if least is not None else value <= most

    if meets(statistics.median(values)):
        return PASSED
    return UNSURE if meets(values[0]) or meets(values[-1]) else FAILED


def case_verdicts(case, results, label, base, workers):
    """With more than one worker only the throughput is judged: Redis has one thread for it. A
    single writer that waits for each fsync measures the disk."""
    mine, theirs = results.get(label), results.get(base)
    if mine is None or theirs is None or (case.fsync == "always" and case.clients < 50):
        return []
    rows = [verdict(case.name, "ops/s", mine, theirs, "ops", least=1.0)]
    if workers == 1 and case.fsync != "always":
        rows.append(verdict(case.name, "CPU", mine, theirs, "cpu", most=1.0))
        rows.append(verdict(case.name, "p99", mine, theirs, "p99", most=1.0))
    return rows


def trial_verdicts(trial, results, label, base):
    mine, theirs = results.get(label), results.get(base)
    rows = []
    for figure in trial.figures:
        if figure.ratio is not None and mine is not None and theirs is not None:
            rows.append(verdict(trial.name, figure.title, mine, theirs, figure.key,
                                most=figure.ratio))
        elif figure.most is not None and isinstance(mine, list):
            values = sorted(r[figure.key] for r in mine)
            rows.append((trial.name, f"{figure.title}, itself", number(statistics.median(values)),
                         f"{number(values[0])} to {number(values[-1])}",
                         f"≤ {figure.most:g}", outcome(values, most=figure.most)))
    return rows


def verdict_table(rows, label, base):
    lines = [f"## {label} against its targets", "",
             f"Ratios {label} ÷ {base}, median and range of the rounds; \"itself\" is no ratio.",
             "",
             f"| case | | {label} | range | target | |", "|---|---|--:|---|--:|---|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    outcomes = [row[5] for row in rows]
    lines += ["", f"{outcomes.count(PASSED)} of {len(rows)} targets are met, "
              f"{outcomes.count(FAILED)} are missed in every round, "
              f"{outcomes.count(UNSURE)} in the median only."]
    return "\n".join(lines) + "\n"
