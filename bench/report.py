"""Tables, verdicts and a picture of what poolers.py measured."""

import statistics
from html import escape

COLUMNS = ("tps", "p50", "p99", "cpu", "busy")


def number(value):
    """Three significant digits or the integer, whichever is longer."""
    if value is None:
        return "–"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def medians(rounds):
    """Column by column over the rounds; None where a column was not measured."""
    return {name: None if any(r.get(name) is None for r in rounds) else
            statistics.median(r[name] for r in rounds) for name in (*COLUMNS, "server")}


def paired_ratios(measured, base, name):
    """Round by round, so that a machine that slows down for a while slows both."""
    return sorted(a[name] / b[name] for a, b in zip(measured, base)
                  if a[name] is not None and b[name])


def case_table(case, results, base):
    """`results`: label -> list of rounds, or a text that says why there are none."""
    unit = case.unit
    lines = [f"### {case.name}", "", f"{case.title}. One transaction is {case.transaction}.", "",
             f"| | {unit}/s | p50 ms | p99 ms | proxy CPU µs/{case.short} | proxy CPU, of a core "
             f"| CPU ÷ {base} | {unit}/s ÷ {base} |", "|---|--:|--:|--:|--:|--:|--:|--:|"]
    rounds_of_base = results.get(base)
    with_server = any("server" in r for rounds in results.values() if isinstance(rounds, list)
                      for r in rounds)
    if with_server:
        lines[-2] += f" PostgreSQL CPU µs/{case.short} | ÷ {base} |"
        lines[-1] += "--:|--:|"
    for label, rounds in results.items():
        if isinstance(rounds, str):
            lines.append(f"| {label} | {rounds} " + "| " * (8 if with_server else 6) + "|")
            continue
        median = medians(rounds)
        cells = [number(median[name]) for name in ("tps", "p50", "p99", "cpu")]
        cells.append("–" if median["busy"] is None else f"{median['busy'] * 100:.0f} %")
        for name in ("cpu", "tps", "server") if with_server else ("cpu", "tps"):
            if name == "server":
                cells.append(number(median[name]))
            ratios = (paired_ratios(rounds, rounds_of_base, name)
                      if isinstance(rounds_of_base, list) else [])
            cells.append(f"{statistics.median(ratios):.2f}" if ratios else "–")
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    if case.note:
        lines += ["", case.note]
    return "\n".join(lines) + "\n"


def idle_table(results, clients):
    lines = ["### idle", "", f"{clients} clients that are logged in and do nothing: resident "
             "memory of the pooler for each, after the login and after one query.", "",
             "| | kB/client, logged in | kB/client, after a query | MB before | logins/s "
             "| idle CPU, of a core |", "|---|--:|--:|--:|--:|--:|"]
    for label, result in results.items():
        if isinstance(result, str):
            lines.append(f"| {label} | {result} " + "| " * 4 + "|")
            continue
        lines.append(f"| {label} | {result['after_login']:.2f} | {result['after_query']:.2f} | "
                     f"{result['before'] / 1024:.1f} | {number(result['logins_per_second'])} | "
                     f"{result['busy'] * 100:.1f} % |")
    return "\n".join(lines) + "\n"


def verdicts(cases, results, idle, label, base, idle_limit):
    """One row a case: (name, value, its text, range, limit or None, passed or None). A case without
    a value is a failure, not a gap, unless it has no limit."""
    rows = []
    for case in cases:
        mine, theirs = results[case.name].get(label), results[case.name].get(base)
        limit = case.limit
        if not isinstance(mine, list) or not isinstance(theirs, list):
            why = next((x for x in (mine, theirs) if isinstance(x, str)), "not measured")
            rows.append((case.name, None, why, "", limit, None if limit is None else False))
            continue
        ratios = paired_ratios(mine, theirs, "cpu")
        ratio = statistics.median(ratios)
        rows.append((case.name, ratio, f"{ratio:.2f}", f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
                     limit, None if limit is None else round(ratio, 2) <= limit))
    mine = idle.get(label)
    if isinstance(mine, str):
        rows.append(("idle", None, mine, "", idle_limit, False))
    elif mine:
        for name, key in (("idle, logged in", "after_login"),
                          ("idle, after a query", "after_query")):
            rows.append((name, mine[key], f"{mine[key]:.2f} kB", "", idle_limit,
                         round(mine[key], 2) <= idle_limit))
    return rows


def verdict_table(rows, label, base, title="{label} against its targets"):
    idle = any("idle" in row[0] for row in rows)
    lines = ["## " + title.format(label=label), "",
             f"Processor time of the proxy for each transaction, {label} ÷ {base} (median and "
             f"range of the rounds){', and kilobytes for each idle client' if idle else ''}.", "",
             f"| case | {label} | range | target | |", "|---|--:|---|--:|---|"]
    for name, _, text, spread, limit, passed in rows:
        verdict = {True: "pass", False: "**FAIL**", None: ""}[passed]
        wanted = "–" if limit is None else f"≤ {limit:.2f}" + (" kB" if "idle" in name else "")
        lines.append(f"| {name} | {text} | {spread} | {wanted} | {verdict} |")
    judged = [row[5] for row in rows if row[5] is not None]
    lines += ["", f"{sum(judged)} of {len(judged)} targets are met."]
    return "\n".join(lines) + "\n"


def bars(rows):
    """The ratios as text: # up to the value, | where the target is; 40 characters are 1.0."""
    if all(row[1] is None or "idle" in row[0] for row in rows):
        return ""
    lines = ["```", f"{'':<12} {'1.00':>41}"]
    for name, value, text, _, limit, _ in rows:
        if value is None or "idle" in name:
            continue
        length = min(round(value * 40), 72)
        line = "#" * length + " " * (74 - length)
        if limit is not None:
            mark = round(limit * 40)
            line = line[:mark] + "|" + line[mark + 1:]
        lines.append(f"{name:<12} {line.rstrip()} {text}")
    return "\n".join([*lines, "```"]) + "\n"


def svg(rows, label, base):
    """The same as a picture; written by hand, so that nothing has to be installed."""
    shown = [row for row in rows if row[1] is not None and "idle" not in row[0]]
    left, width, row_height, top = 130, 480, 26, 48
    height = top + row_height * len(shown) + 30
    scale = width / max(1.5, *(min(row[1], 3) for row in shown)) if shown else width
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 70}" '
           f'height="{height}" font-family="sans-serif" font-size="13">',
           '<rect width="100%" height="100%" fill="#ffffff"/>',
           f'<text x="{left}" y="20" font-weight="bold">{escape(label)}: processor time for each '
           f'transaction, {escape(base)} = 1</text>']
    for index, (name, value, text, _, limit, passed) in enumerate(shown):
        y = top + index * row_height
        colour = {True: "#3a7d44", False: "#b5402f", None: "#7a7f87"}[passed]
        out.append(f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{escape(name)}</text>')
        out.append(f'<rect x="{left}" y="{y}" width="{min(value, 3) * scale:.1f}" height="17" '
                   f'fill="{colour}"/>')
        out.append(f'<text x="{left + min(value, 3) * scale + 6:.1f}" y="{y + 13}">{text}</text>')
        if limit is not None:
            x = left + limit * scale
            out.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y - 3}" y2="{y + 20}" '
                       'stroke="#222222" stroke-width="2"/>')
    x = left + scale
    out.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top - 12}" y2="{height - 24}" '
               'stroke="#222222" stroke-dasharray="3 3"/>')
    out.append(f'<text x="{left}" y="{height - 8}" fill="#555555">black mark: the target; '
               'dashed line: as much as the base</text></svg>')
    return "\n".join(out) + "\n"
