"""docs/prometheus/alerts.yml and docs/grafana/sluice.json: promtool has no findings, each alert fires
when it should, what they ask for is what the binary exports, and a real Prometheus runs them."""

import json
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
import wire
import yaml
from postgres import free_port
from targets import SCALE, Process
from wire import eventually

ROOT = Path(__file__).resolve().parents[2]
ALERTS = ROOT / "docs/prometheus/alerts.yml"
TESTS = ROOT / "tests/prometheus/alerts_test.yml"
DASHBOARD = ROOT / "docs/grafana/sluice.json"
HANDBOOK = ROOT / "docs/operations.md"
METRICS = ROOT / "docs/metrics.md"

# Labels that Prometheus gives, not sluice.
OUTSIDE = {"instance", "job", "le"}
PARTS = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count", "")}


def promtool(*arguments):
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True,
                          timeout=60 * SCALE)
    return done.returncode, done.stdout + done.stderr


def alerts():
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard_queries():
    board = json.loads(DASHBOARD.read_text())
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for note in board["annotations"]["list"]:
        yield note["name"], note["expr"]
    for variable in board["templating"]["list"]:
        found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable.get("definition", ""))
        if found:
            yield variable["name"], f"sum by ({found[2]}) ({found[1]})"


def queries():
    return [(rule["alert"], rule["expr"]) for rule in alerts()] + list(dashboard_queries())


def documented():
    """Series name -> labels, of docs/metrics.md (a unit test compares that with the binary)."""
    out = {}
    row = re.compile(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \|", re.MULTILINE)
    for name, kind, labels in row.findall(METRICS.read_text()):
        for part in PARTS.get(kind, ("",)):
            out[name + part] = set(re.findall(r"`(\w+)`", labels))
    return out


def selectors(expr):
    """(series, labels in its braces) of each of our series in a query."""
    for name, braces in re.findall(r"\b((?:sluice|process)_\w+)\s*(?:\{([^}]*)\})?", expr):
        yield name, re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", re.sub(r'"[^"]*"', '""', braces))


def grouped(expr):
    for words in re.findall(r"\b(?:by|on|ignoring|without)\s*\(([^)]*)\)", expr):
        yield from (word.strip() for word in words.split(","))


def test_promtool_finds_nothing_in_the_rules():
    code, said = promtool("check", "rules", "--lint-fatal", ALERTS)
    assert code == 0, said


def test_each_alert_is_quiet_and_fires_when_it_should():
    code, said = promtool("test", "rules", TESTS)
    assert code == 0, said


def test_each_alert_has_a_unit_test():
    tested = {test["name"] for test in yaml.safe_load(TESTS.read_text())["tests"]}
    assert tested == {rule["alert"] for rule in alerts()}


def test_a_wrong_threshold_fails_the_unit_tests(tmp_path):
    """The tests above can fail."""
    (tmp_path / "alerts.yml").write_text(ALERTS.read_text().replace("> 0.9\n", "> 0.99\n"))
    tests = TESTS.read_text().replace("../../docs/prometheus/alerts.yml", "alerts.yml")
    (tmp_path / "tests.yml").write_text(tests)
    code, said = promtool("test", "rules", tmp_path / "tests.yml")
    assert code != 0
    assert "SluicePoolUtilization" in said


def test_each_alert_leads_to_its_paragraph():
    headings = {line[4:].strip().lower() for line in HANDBOOK.read_text().splitlines()
                if line.startswith("### ")}
    for rule in alerts():
        assert rule["annotations"]["runbook_url"] == f"operations.md#{rule['alert'].lower()}"
        assert rule["alert"].lower() in headings
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in ("critical", "warning", "info")


def test_handbook_has_no_paragraph_of_an_alert_that_is_gone():
    named = set(re.findall(r"^### (Sluice\w+)$", HANDBOOK.read_text(), re.MULTILINE))
    assert named == {rule["alert"] for rule in alerts()}


def test_queries_ask_for_series_and_labels_that_there_are():
    known = documented()
    for where, expr in queries():
        labels = set(OUTSIDE)
        for name, used in selectors(expr):
            assert name in known, f"{where}: {name}"
            labels |= known[name]
            for label in used:
                assert label in known[name] | OUTSIDE, f"{where}: {name}{{{label}}}"
        for label in grouped(expr):
            assert label in labels | {"alertname"}, f"{where}: {label} in {expr}"


def test_values_of_labels_are_ones_that_there_are():
    """kind="resourcs" would be silent for ever."""
    text = METRICS.read_text()
    kinds = set(re.findall(r"^\| (\w+) \| [\w,]+ \|", text, re.MULTILINE))
    values = {"kind": kinds, "peer": {"client", "server"}, "job": {"sluice"}}
    assert "resources" in kinds
    for where, expr in queries():
        for label, value in re.findall(r'(\w+)\s*=~?\s*"([^"$]*)"', expr):
            if label in values:
                assert set(value.split("|")) <= values[label], f"{where}: {label}={value}"


def test_running_daemon_exports_each_series(make_sluice):
    sluice = make_sluice(kv={"listen": [f"127.0.0.1:{free_port()}"], "directory": "kv"})
    sluice.psycopg().execute("select 1")
    families = set(re.findall(r"^# TYPE (\S+) ", sluice.http("/metrics")[2], re.MULTILINE))
    for where, expr in queries():
        for name, _ in selectors(expr):
            family = re.sub(r"_(bucket|sum|count)$", "", name)
            assert name in families or family in families, f"{where}: {name}"


def test_key_metrics_are_watched():
    names = {rule["alert"] for rule in alerts()}
    assert {"SluicePoolUtilization", "SluiceQuerySlow", "SluiceKvStoreLarge", "SluiceQueryErrors",
            "SluiceBackupOld", "SluiceBackupFailed"} <= names


def test_dashboard_is_one_that_grafana_takes():
    board = json.loads(DASHBOARD.read_text())
    assert board["uid"] == "sluice"
    assert board["schemaVersion"] >= 36
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    taken = set()
    for panel in board["panels"]:
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24, panel["title"]
        cells = {(x, y) for x in range(grid["x"], grid["x"] + grid["w"])
                 for y in range(grid["y"], grid["y"] + grid["h"])}
        assert not cells & taken, f"{panel['title']} lies on another"
        taken |= cells
        if panel["type"] != "row":
            assert panel["description"], panel["title"]
            assert panel["targets"], panel["title"]


# -- with Prometheus itself


class Prometheus(Process):
    name = "prometheus"

    def __init__(self, directory, target):
        super().__init__(directory)
        self.target = target
        self.port = free_port()

    def start(self):
        # The rules as they are, and once more without their patience.
        shutil.copy(ALERTS, self.directory / "alerts.yml")
        hasty = re.sub(r"for: \w+", "for: 1s", ALERTS.read_text()).replace("name: sluice-",
                                                                            "name: hasty-")
        (self.directory / "hasty.yml").write_text(hasty)
        config = {"global": {"scrape_interval": "500ms", "scrape_timeout": "500ms",
                             "evaluation_interval": "500ms"},
                  "rule_files": ["alerts.yml", "hasty.yml"],
                  "scrape_configs": [{"job_name": "sluice", "static_configs": [
                      {"targets": [f"127.0.0.1:{self.target}"]}]}]}
        (self.directory / "prometheus.yml").write_text(yaml.safe_dump(config))
        self._spawn(["prometheus", f"--config.file={self.directory}/prometheus.yml",
                     f"--storage.tsdb.path={self.directory}/data",
                     f"--web.listen-address=127.0.0.1:{self.port}"])
        self.wait_listening([self.address], 30)
        eventually(self._ready, 30 * SCALE, "Prometheus ready")
        return self

    def _ready(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=10):
                return True
        except urllib.error.HTTPError:  # 503 while it reads its own files
            return False

    def ask(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}",
                                    timeout=10 * SCALE) as answer:
            return json.load(answer)["data"]

    def groups(self):
        return self.ask("rules?type=alert")["groups"]

    def rules(self, kind="sluice-"):
        return [rule for group in self.groups() if group["name"].startswith(kind)
                for rule in group["rules"]]

    def state(self, alert, kind):
        return next(rule["state"] for rule in self.rules(kind) if rule["name"] == alert)


@pytest.fixture
def watched(make_sluice, tmp_path):
    """(sluice with one server connection, a Prometheus that scrapes it)."""
    sluice = make_sluice(postgres={"pool_size": 1, "query_wait_timeout": "120s"})
    prometheus = Prometheus(tmp_path / "prometheus", sluice.monitoring_port).start()
    yield sluice, prometheus
    assert prometheus.stop() == ""


def test_prometheus_scrapes_and_evaluates_without_errors(watched):
    sluice, prometheus = watched
    sluice.psycopg().execute("select 1")
    eventually(lambda: prometheus.ask("query?query=sum(sluice_queries_total)")["result"],
               20 * SCALE, "a first scrape")
    eventually(lambda: all(rule["health"] == "ok" for rule in prometheus.rules()), 20 * SCALE,
               "each rule evaluated")
    assert {rule["name"] for rule in prometheus.rules()} == {rule["alert"] for rule in alerts()}
    target = prometheus.ask("targets")["activeTargets"][0]
    assert target["health"] == "up", target["lastError"]


def test_dashboard_queries_are_understood(watched):
    _, prometheus = watched
    board = json.loads(DASHBOARD.read_text())
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            expr = target["expr"].replace("$__rate_interval", "1m")
            for name in ("$instance", "$database", "$user"):
                expr = expr.replace(name, ".*")
            query = urllib.parse.urlencode({"query": expr})
            prometheus.ask("query?" + query)  # an error is HTTP 400


@pytest.mark.slow
def test_waiting_clients_fire_an_alert_that_ends_with_them(watched):
    sluice, prometheus = watched
    holder = sluice.psycopg(autocommit=False)
    holder.execute("select 1")
    waiter = sluice.connect()
    waiter.send(wire.query("select 1"))
    eventually(lambda: prometheus.state("SluiceClientsWaiting", "hasty-") == "firing",
               20 * SCALE, "SluiceClientsWaiting fires")
    firing = [alert for alert in prometheus.ask("alerts")["alerts"]
              if alert["labels"]["alertname"] == "SluiceClientsWaiting"]
    assert firing[0]["labels"]["database"] == "app"
    assert firing[0]["annotations"]["summary"] == "1 clients wait for pool app/app"
    # The same rule with its own patience is only on its way.
    assert prometheus.state("SluiceClientsWaiting", "sluice-") == "pending"
    assert prometheus.state("SluicePoolUtilization", "sluice-") == "pending"
    holder.rollback()
    waiter.recv_until("Z")
    eventually(lambda: prometheus.state("SluiceClientsWaiting", "hasty-") == "inactive",
               20 * SCALE, "SluiceClientsWaiting ends")


@pytest.mark.slow
def test_stopped_daemon_fires_an_alert(watched):
    sluice, prometheus = watched
    eventually(lambda: prometheus.ask("query?query=up==1")["result"], 20 * SCALE, "a scrape")
    sluice.stop()
    eventually(lambda: prometheus.state("SluiceDown", "hasty-") == "firing", 20 * SCALE,
               "SluiceDown fires")
    sluice.start()
    eventually(lambda: prometheus.state("SluiceDown", "hasty-") == "inactive", 20 * SCALE,
               "SluiceDown ends")
