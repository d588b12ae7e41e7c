"""The dashboard in a real browser, with a real load behind it.

SLUICE_TEST_SCREENSHOTS=<directory> keeps the two pictures of docs/dashboard.md there.
"""

import json
import os
import subprocess
import threading
import urllib.request
from pathlib import Path

import psycopg
import pytest
import redis

import targets
import wire
from browser import Browser
from postgres import free_port

HOSTILE = "<script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\">"
CELLS = """
const rows = [...document.querySelectorAll(arguments[0] + ' tbody tr')];
return rows.map((row) => [...row.cells].map((cell) => cell.textContent));
"""
POINTS = """
const lines = [...document.querySelectorAll(arguments[0] + ' .plot path.line')];
const d = lines.map((e) => e.getAttribute('d'));
return [d.length, d.join('').length];
"""


@pytest.fixture
def browser():
    made = Browser()
    yield made
    made.close()


@pytest.fixture
def make_watched(make_sluice, tmp_path):
    """make_watched(...): a sluice with a key-value store whose page can be opened."""
    def make(**changes):
        kv = {"listen": [f"127.0.0.1:{free_port()}"], "directory": str(tmp_path / "kv"),
              "max_project_size": "1MiB",
              "backup": {"directory": str(tmp_path / "backups"), "every": "1h"}}
        sluice = make_sluice(**targets.merge({"kv": kv}, changes))
        sluice.kv_port = int(sluice.config["kv"]["listen"][0].rsplit(":", 1)[1])
        sluice.page = f"http://127.0.0.1:{sluice.monitoring_port}/"
        return sluice
    return make


class Load:
    """Clients that keep both ports busy until `stop`."""

    def __init__(self, sluice):
        self.ending = threading.Event()
        self.sluice = sluice
        self.threads = [threading.Thread(target=work, daemon=True)
                        for work in (self.query, self.query, self.fail, self.store)]
        for thread in self.threads:
            thread.start()

    def query(self):
        with psycopg.connect(self.sluice.dsn(), autocommit=True) as conn:
            while not self.ending.wait(0.004):
                conn.execute("select count(*) from generate_series(1, 2000)")

    def fail(self):
        with psycopg.connect(self.sluice.dsn(), autocommit=True) as conn:
            while not self.ending.wait(0.05):
                try:
                    conn.execute("select no_such_column")
                except psycopg.Error:
                    pass

    def store(self):
        client = redis.Redis(port=self.sluice.kv_port)
        for i in range(1 << 30):
            if self.ending.wait(0.004):
                return
            client.set(f"key:{i % 500}", "v" * (i % 800))
            client.get(f"key:{i % 700}")

    def stop(self):
        self.ending.set()
        for thread in self.threads:
            thread.join(20)


@pytest.fixture
def load():
    made = []

    def start(sluice):
        made.append(Load(sluice))
        return made[-1]

    yield start
    for one in made:
        one.stop()


def open_page(browser, sluice, path=""):
    browser.get(sluice.page + path)
    browser.wait("return document.getElementById('freshness').textContent.startsWith('live')",
                 what="figures on the page")


def is_quiet(browser):
    said = [line for line in browser.console() if not line.startswith("DEBUG")]
    assert not said, said


def rows(browser, table):
    return browser.run(CELLS, table)


def total(families, name, suffix="", **labels):
    return families["sluice_" + name].total(suffix, **labels)


def number(text):
    return float(text.replace(",", ""))


def tiles(browser, selector):
    return dict(browser.run("return [...document.querySelectorAll(arguments[0] + ' > div')].map("
                            "(e) => [e.children[0].textContent, e.children[1].textContent])",
                            selector))


def test_page_shows_the_figures_of_the_metrics(browser, make_watched):
    sluice = make_watched(postgres={"pool_size": 4})
    conn = sluice.psycopg()
    for _ in range(30):
        conn.execute("select 1")
    with pytest.raises(psycopg.Error):
        conn.execute("select no_such_column")
    conn.execute("create temporary table mine (id int)")
    client = redis.Redis(port=sluice.kv_port, db=7)
    client.mset({f"k{i}": "x" * 1000 for i in range(20)})
    open_page(browser, sluice)
    families = sluice.metrics()
    assert int(total(families, "errors_total", kind="syntax")) == 1

    pool = browser.wait("const r = document.querySelector('#pools tbody tr'); return r &&"
                        "[...r.cells].map((cell) => cell.textContent)")
    assert pool[:2] == ["app", "app"] and pool[2].startswith("● awake")
    ratio = total(families, "pool_utilization_ratio")
    assert pool[3] == f"{round(ratio * 100)} %" == "25 %"
    assert number(pool[5]) == total(families, "pool_connections", state="active") == 1
    assert number(pool[7]) == total(families, "pool_size") == 4
    assert number(pool[8]) == total(families, "client_connections") == 1
    errors = {row[0]: row[2:] for row in rows(browser, "#errors")}
    for kind, (_, since_start) in errors.items():
        assert number(since_start) == total(families, "errors_total", kind=kind), kind
    pins = {row[0]: [number(cell) for cell in row[2:]] for row in rows(browser, "#pins")}
    for reason, (now, all_of_them) in pins.items():
        assert now == total(families, "pinned_clients", reason=reason), reason
        assert all_of_them == total(families, "pins_total", reason=reason), reason
    assert pins["temporary"] == [1, 1]
    assert all(row[1] for row in rows(browser, "#errors") + rows(browser, "#pins"))
    store = tiles(browser, "#store-tiles")
    assert number(store["Keys"]) == total(families, "kv_keys") == 20
    project = rows(browser, "#projects")[0]
    assert project[:2] == ["7", "20"] and project[3].endswith("of 1 MiB")
    process = tiles(browser, "#process")
    assert process["Version"] in families["sluice_build_info"].label_values("version")
    assert process["Ready"] == "yes"
    assert browser.text("#summary-text").startswith("All is well: 1 pool, 1 of 4 server")
    is_quiet(browser)


def test_plots_move_while_there_is_load(browser, make_watched, load):
    sluice = make_watched()
    open_page(browser, sluice)
    load(sluice)
    for plot in ("#plot-queries", "#plot-duration", "#plot-utilization", "#plot-errors",
                 "#plot-commands"):
        browser.wait(POINTS.replace("return [", "return d.length > 0 && ["), plot, timeout=40,
                     what=f"lines in {plot}")
    lines, before = browser.run(POINTS, "#plot-duration")
    assert lines == 3
    wire.eventually(lambda: browser.run(POINTS, "#plot-duration")[1] > before + 10,
                    20 * targets.SCALE, "the plot to go on")
    assert "highest" in browser.text("#plot-queries-description")
    busy = browser.wait("const r = document.querySelector('#pools tbody tr');"
                        "return r && r.cells[12].textContent !== '–' && r.cells[12].textContent")
    assert number(busy) > 1
    # A page that is opened later has the past.
    open_page(browser, sluice)
    assert browser.run(POINTS, "#plot-queries")[1] > 20
    is_quiet(browser)


def test_nothing_is_asked_of_anybody_else(browser, make_watched):
    sluice = make_watched()
    sluice.psycopg().execute("select 1")
    open_page(browser, sluice)
    browser.wait("return performance.getEntriesByName(location.origin + '/api/status').length > 1")
    outside = [url for url in browser.requested()
               if not url.startswith((sluice.page, "data:", "chrome", "about:"))]
    assert not outside
    with urllib.request.urlopen(sluice.page, timeout=10) as answer:
        policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    # What is not of the page does not run.
    assert browser.run("""
        const script = document.createElement('script');
        script.textContent = "window.injected = true";
        document.body.append(script);
        return window.injected === undefined""")


def test_hostile_names_are_shown_as_text(browser, make_watched, pg):
    url = pg.url()
    sluice = make_watched(postgres={
        "databases": {"app": {"url": url}, HOSTILE: {"url": url}},
        "users": {"app": {"password": "app-secret-7Kq"}}})
    sluice.psycopg(database=HOSTILE).execute("select 1")
    open_page(browser, sluice)
    browser.wait("return document.querySelector('#pools tbody th').textContent === arguments[0]",
                 HOSTILE)
    assert browser.run("return [...document.getElementById('plot-pool').options].some("
                       "(one) => one.textContent === arguments[0] + ' / app')", HOSTILE)
    assert browser.run("return document.querySelectorAll('main script, main img').length") == 0
    assert "pwned" not in browser.run("return document.title")
    is_quiet(browser)


def test_hostile_statements_findings_and_errors_are_shown_as_text(browser, make_watched):
    sluice = make_watched()
    open_page(browser, sluice)
    browser.run("""
        paused = true;
        const name = arguments[0];
        current.statements = [{ text: name, database: name, user: name, calls: 2, errors: 0,
                                total: 1, slowest: 0.5 }];
        current.pools = [{ database: name, user: name, size: 1, reserve: 0, utilization: 1,
          connections: { active: 1, idle: 0, cancelling: 0 }, oldest_wait: 0,
          clients: { active: 1, waiting: 0, idle: 0 }, now: {}, errors: {},
          upstream: { state: 'failing',
                      last_error: { sqlstate: '08006', message: name, time: 1 } } }];
        current.health = { level: 'critical', summary: name,
                           findings: [{ level: 'critical', what: name, advice: name }] };
        showStatus();""", HOSTILE)
    assert rows(browser, "#statements")[0][:3] == [HOSTILE] * 3
    assert HOSTILE in browser.text("#findings") and HOSTILE in browser.text("#announcement")
    assert HOSTILE in rows(browser, "#pools")[0][2]
    assert browser.run("return document.querySelectorAll('main script, main img').length") == 0
    assert "pwned" not in browser.run("return document.title")
    is_quiet(browser)


def test_first_glance_says_what_is_wrong_and_what_to_do(browser, make_watched, pg):
    sluice = make_watched(postgres={"query_wait_timeout": "1s"})
    sluice.psycopg().execute("select 1")
    open_page(browser, sluice)
    assert browser.run("return document.getElementById('health').dataset.level") == "fine"
    announced = browser.text("#announcement")
    pg.stop("immediate")
    with pytest.raises(wire.PgError):
        sluice.connect().query("select 1")
    browser.wait("return document.getElementById('health').dataset.level === 'critical'")
    assert "Something is wrong" in browser.text("#summary-text")
    finding = browser.text("#findings li")
    assert "cannot log in to PostgreSQL" in finding and "tried again" in finding
    assert browser.text("#announcement") != announced
    assert browser.run("return document.title").startswith("✕")
    assert "failing" in rows(browser, "#pools")[0][2]
    pg.start()
    wire.eventually(lambda: _works(sluice), 20 * targets.SCALE, "a query")
    browser.wait("return document.getElementById('health').dataset.level === 'fine'")


def _works(sluice):
    try:
        sluice.connect().query("select 1")
    except (wire.PgError, ConnectionError, TimeoutError):
        return False
    return True


def test_daemon_that_is_gone_is_told(browser, make_watched):
    sluice = make_watched()
    open_page(browser, sluice)
    assert not sluice.stop()
    browser.wait("return document.getElementById('summary-text').textContent === "
                 "'No answer from sluice.'")
    sluice.start()
    browser.wait("return document.getElementById('health').dataset.level === 'fine'")


def test_dark_and_light_follow_the_system_and_the_switch(browser, make_watched):
    sluice = make_watched()
    background = "return getComputedStyle(document.body).backgroundColor"
    browser.prefer("light")
    open_page(browser, sluice)
    light = browser.run(background)
    browser.prefer("dark")
    dark = browser.run(background)
    assert light == "rgb(244, 246, 249)" and dark == "rgb(17, 21, 27)"
    choose = ("const s = document.getElementById('theme'); s.value = arguments[0];"
              "s.dispatchEvent(new Event('change'))")
    browser.run(choose, "light")
    assert browser.run(background) == light
    open_page(browser, sluice)  # it is remembered
    assert browser.run(background) == light
    browser.run(choose, "dark")
    browser.prefer("light")
    assert browser.run(background) == dark
    browser.run(choose, "")
    assert browser.run(background) == light


# WCAG's contrast of each text with what is behind it.
CONTRAST = """
const channel = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
const luminance = ([red, green, blue]) =>
  0.2126 * channel(red) + 0.7152 * channel(green) + 0.0722 * channel(blue);
const parse = (text) => text.match(/[0-9.]+/g).map(Number);
const behind = (node) => {
  for (let at = node; at; at = at.parentElement) {
    const colour = parse(getComputedStyle(at).backgroundColor);
    if (colour.length < 4 || colour[3] === 1) return colour;
  }
  return [255, 255, 255];
};
const bad = [];
for (const node of document.querySelectorAll('body *')) {
  const own = [...node.childNodes].some((c) => c.nodeType === 3 && c.textContent.trim());
  if (!own || !node.checkVisibility()) continue;
  const style = getComputedStyle(node);
  const text = luminance(parse(node instanceof SVGElement ? style.fill : style.color));
  const back = luminance(behind(node));
  const contrast = (Math.max(text, back) + 0.05) / (Math.min(text, back) + 0.05);
  if (contrast < 4.5) bad.push([node.tagName, node.className.baseVal ?? node.className,
                                node.textContent.slice(0, 40), contrast.toFixed(2)]);
}
return bad;
"""
LEVELS = """
paused = true;
const of = (state) => ({ ...current.pools[0], upstream: { ...current.pools[0].upstream, state } });
current.pools = ['asleep', 'waking', 'awake', 'failing'].map(of);
showPools(current);
showHealth(arguments[0], 'A summary.', [{ level: 'critical', what: 'One.', advice: 'Do.' },
                                        { level: 'warning', what: 'Two.', advice: 'Do.' }]);
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_enough(browser, make_watched, scheme):
    sluice = make_watched()
    sluice.psycopg().execute("select 1")
    browser.prefer(scheme)
    open_page(browser, sluice)
    browser.wait("return document.querySelector('#pools tbody tr') !== null")
    assert browser.run(CONTRAST) == []
    for level in ("fine", "warning", "critical"):
        browser.run(LEVELS, level)
        assert browser.run(CONTRAST) == [], level


def test_keyboard_reaches_everything_and_reads_plots(browser, make_watched, load):
    sluice = make_watched()
    load(sluice)
    open_page(browser, sluice)
    browser.wait("return past.times.length >= 3", timeout=40)
    tab, left, home, escape = "\ue004", "\ue012", "\ue011", "\ue00c"
    browser.run("document.activeElement.blur()")
    reached = []
    for _ in range(60):
        browser.press(tab)
        where = browser.run("""
            const e = document.activeElement;
            const outline = getComputedStyle(e);
            return [e.id || e.closest('figure')?.id || e.getAttribute('aria-labelledby') ||
                    e.getAttribute('href') || e.tagName,
                    outline.outlineStyle !== 'none' && parseFloat(outline.outlineWidth) >= 2]""")
        if where[0] == "BODY":
            break
        assert where[1], f"the focus cannot be seen at {where[0]}"
        reached.append(where[0])
    assert reached[0] == "#main"
    for wanted in ("pause", "theme", "plot-pool", "plot-queries", "plot-waiting", "pools-title",
                   "statements-title", "plot-commands", "/metrics"):
        assert wanted in reached, reached
    browser.run("document.querySelector('#plot-queries .plot').focus()")
    value = "return document.querySelector('#plot-queries .plot').getAttribute('aria-valuetext')"
    at = "return +document.querySelector('#plot-queries .plot').getAttribute('aria-valuenow')"
    browser.press(left)
    last = browser.run(at)
    browser.press(left)
    assert browser.run(at) == last - 1
    assert browser.text("#plot-queries .readout") == browser.run(value) != ""
    browser.press(home)
    assert browser.run(at) == 0
    browser.press(escape)
    assert browser.text("#plot-queries .readout") == ""


def test_page_makes_sense_to_a_screen_reader(browser, make_watched):
    sluice = make_watched()
    sluice.psycopg().execute("select 1")
    open_page(browser, sluice)
    browser.wait("return document.querySelector('#pools tbody tr') !== null")
    assert browser.run("return document.documentElement.lang") == "en"
    for landmark in ("header", "main", "footer", "nav"):
        assert browser.run("return document.querySelectorAll(arguments[0]).length", landmark) == 1
    nodes = browser.devtools("Accessibility.getFullAXTree")["nodes"]
    tree = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes
            if not node["ignored"] and "role" in node]
    roles = {role for role, _ in tree}
    assert {"banner", "main", "contentinfo", "navigation", "status", "slider", "columnheader",
            "rowheader"} <= roles, roles
    unnamed = [role for role, name in tree
               if role in ("slider", "image", "button", "combobox", "textbox", "region", "link")
               and not name]
    assert not unnamed
    headings = browser.run("return [...document.querySelectorAll('h1, h2, h3')]"
                           ".filter((e) => e.checkVisibility()).map((e) => +e.tagName[1])")
    assert headings[0] == 1 and headings.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(headings, headings[1:]))
    assert browser.run("return [...document.querySelectorAll('thead th')].every((e) => e.scope)")


@pytest.mark.parametrize("width", [320, 768, 1920])
def test_page_fits_the_window(browser, make_watched, width):
    sluice = make_watched()
    sluice.psycopg().execute("select 1")
    browser.resize(width, 800)
    open_page(browser, sluice)
    browser.wait("return document.querySelector('#pools tbody tr') !== null")
    assert browser.run("return document.documentElement.scrollWidth") <= width


def log_in(browser, fields):
    browser.wait("return !document.getElementById('login').hidden")
    browser.run("""
        for (const [id, value] of Object.entries(arguments[0])) {
          document.getElementById(id).value = value;
        }
        document.querySelector('#login-form button').click();""", fields)


def test_token_is_asked_for_once(browser, make_watched):
    sluice = make_watched(monitoring={"token": "the token"[4:]})
    browser.get(sluice.page)
    log_in(browser, {"token": "wrong"})
    browser.wait("return document.getElementById('login-message').textContent === "
                 "'That was not right.'")
    assert browser.run("return document.getElementById('figures').hidden")
    log_in(browser, {"token": "token"})
    browser.wait("return !document.getElementById('figures').hidden")
    open_page(browser, sluice)
    assert browser.run("return document.getElementById('login').hidden")
    assert browser.run("return Object.keys(localStorage).length") == 0
    assert browser.run("return sessionStorage.length") == 1


def test_user_logs_in_on_the_page_or_with_the_browser(browser, make_watched):
    users = {"alice": {"password": "pässword: of alice"}}
    both = make_watched(monitoring={"token": "token", "users": users})
    browser.get(both.page)
    log_in(browser, {"user": "alice", "password": "pässword: of alice"})
    browser.wait("return !document.getElementById('figures').hidden")
    users = {"bob": {"password": "simple"}}
    only_users = make_watched(
        monitoring={"users": users}, kv={"directory": str(both.directory / "kv2"),
                                         "backup": None})
    browser.get(f"http://bob:simple@127.0.0.1:{only_users.monitoring_port}/")
    browser.wait("return !document.getElementById('figures').hidden && "
                 "document.getElementById('freshness').textContent.startsWith('live')")


def test_pause_holds_the_figures(browser, make_watched):
    sluice = make_watched()
    open_page(browser, sluice)
    browser.run("document.getElementById('pause').click()")
    assert browser.text("#freshness").startswith("paused")
    assert browser.run("return document.getElementById('pause').getAttribute('aria-pressed')") \
        == "true"
    browser.run("document.getElementById('pause').click()")
    assert browser.text("#freshness").startswith("live")


def test_history_is_complete_and_bounded_with_many_pools(make_watched, pg):
    url = pg.url()
    names = [f"d{i}" for i in range(130)]
    sluice = make_watched(
        postgres={"databases": {name: {"url": url} for name in names}, "pool_size": 1,
                  "server_idle_timeout": "1s", "users": {"app": {"password": "app-secret-7Kq"}}})
    for name in names:
        wire.eventually(lambda: pg.session_count() < 60, 20 * targets.SCALE, "room on the server")
        with psycopg.connect(sluice.dsn(database=name), autocommit=True) as conn:
            conn.execute("select 1")
    status = json.loads(sluice.http("/api/status")[2])
    assert status["pool_count"] == 130 and len(status["pools"]) == 100
    history = wire.eventually(lambda: _history_with(sluice, 100), 20 * targets.SCALE, "100 pools")
    for pool in history["pools"]:
        assert {len(values) for key, values in pool.items() if key not in ("database", "user")} \
            == {len(history["times"])}


def _history_with(sluice, pools):
    history = json.loads(sluice.http("/api/history")[2])
    return history if len(history["pools"]) == pools else None


def run_pgbench(sluice, *arguments):
    return subprocess.Popen(["pgbench", "--no-vacuum", *arguments], env=sluice.environment(),
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.slow
def test_screenshots_under_load(browser, make_watched, load, tmp_path, pg):
    """The pictures of docs/dashboard.md."""
    out = Path(os.environ.get("SLUICE_TEST_SCREENSHOTS", tmp_path))
    seconds = 240 if "SLUICE_TEST_SCREENSHOTS" in os.environ else 12
    sluice = make_watched(postgres={"pool_size": 3, "users": {
        name: {"password": f"{name}-secret-{end}"}
        for name, end in (("app", "7Kq"), ("alice", "9Zp"))},
        "databases": {"app": {"url": pg.url()}, "reports": {"url": pg.url(user="alice")}}})
    subprocess.run(["pgbench", "--initialize", "--quiet"], env=pg_environment(pg), check=True,
                   capture_output=True)
    busy = load(sluice)
    slow = tmp_path / "slow.sql"
    slow.write_text("select pg_sleep(0.2);\n")
    benches = [run_pgbench(sluice, "--client=4", f"--time={seconds * 2}", "--rate=60"),
               run_pgbench(sluice, f"--file={slow}", "--client=8", f"--time={seconds * 2}",
                           "--rate=6")]
    try:
        keeper = sluice.psycopg(database="reports")
        keeper.execute("create temporary table kept (id int)")
        open_page(browser, sluice)
        browser.wait("return past.times.length >= arguments[0]", seconds // 5, timeout=seconds * 2)
        browser.resize(1280, 900)
        for scheme in ("light", "dark"):
            browser.prefer(scheme)
            browser.wait("return document.querySelectorAll('#plots .plot path.line').length > 5")
            browser.screenshot(out / f"dashboard-{scheme}.png", height=1500, scale=0.7)
            assert (out / f"dashboard-{scheme}.png").stat().st_size > 20_000
    finally:
        for bench in benches:
            bench.terminate()
            bench.wait()
        busy.stop()
        pg.in_app("drop table if exists pgbench_accounts, pgbench_branches, pgbench_history, "
                  "pgbench_tellers")
    is_quiet(browser)


def pg_environment(pg):
    return {**os.environ, "PGHOST": pg.host, "PGPORT": str(pg.port), "PGUSER": "app",
            "PGDATABASE": "app", "PGPASSWORD": "app-secret-7Kq", "LC_ALL": "C.UTF-8"}
