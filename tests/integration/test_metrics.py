"""What Prometheus and a load balancer see on the monitoring port."""

import shutil
import subprocess
import threading

import pytest

import targets
import wire
from postgres import free_port

SCALARS = ["client_connections", "pool_connections", "pool_size", "pool_utilization_ratio",
           "pool_waiting_clients", "queries_total", "transactions_total",
           "client_received_bytes_total", "client_sent_bytes_total", "errors_total",
           "upstream_logins_total", "upstream_login_failures_total",
           "prepared_statement_hits_total", "prepared_statement_misses_total",
           "upstream_cancels_total"]
HISTOGRAMS = ["wait_duration_seconds", "query_duration_seconds", "transaction_duration_seconds",
              "upstream_login_duration_seconds"]


def counter(sluice, name, suffix="", **labels):
    families = sluice.metrics()
    return families["sluice_" + name].total(suffix, **labels)


def grown(sluice, name, by, work, suffix="", **labels):
    """`work()` makes the counter grow by `by` (it may be told a moment later)."""
    before = counter(sluice, name, suffix, **labels)
    work()
    wire.eventually(lambda: counter(sluice, name, suffix, **labels) - before == by, 3,
                    f"{name} grown by {by}")


def test_metrics_pass_promtool(sluice):
    if not shutil.which("promtool"):
        pytest.fail("no promtool: scripts/install-packages brings it")
    conn = sluice.connect()
    conn.query("select 1")
    conn.query("select 1/0", check=False)
    conn.execute("select 2")
    body = sluice.http("/metrics")[2]
    done = subprocess.run(["promtool", "check", "metrics"], input=body, text=True,
                          capture_output=True)
    assert done.returncode == 0 and not (done.stdout + done.stderr).strip(), \
        done.stdout + done.stderr


def test_metrics_have_what_the_contract_names(sluice):
    sluice.connect().query("select 1")
    families = sluice.metrics()
    missing = [n for n in SCALARS + HISTOGRAMS if "sluice_" + n not in families]
    assert not missing, sorted(families)
    for name in HISTOGRAMS:
        assert families["sluice_" + name].kind == "histogram"
    assert families["process_resident_memory_bytes"].total() > 100_000
    assert families["process_cpu_seconds_total"].kind == "counter"
    assert families["process_open_fds"].total() > 3


def test_metrics_have_the_right_content_type(sluice):
    status, kind, _ = sluice.http("/metrics")
    assert status == 200 and kind.startswith("text/plain") and "version=0.0.4" in kind


def test_pool_labels_are_the_database_and_the_user(sluice):
    sluice.connect().query("select 1")
    family = sluice.metrics()["sluice_pool_connections"]
    assert family.label_values("database") == {"app"}
    assert family.label_values("user") == {"app"}
    assert {"active", "idle"} <= family.label_values("state")


def test_pool_gauges_follow_what_happens(make_sluice):
    sluice = make_sluice(postgres={"pool_size": 2})
    a, b, c = (sluice.connect() for _ in range(3))
    a.query("begin"), b.query("begin")
    c.send(wire.query("select 1"))
    sluice.wait_waiting(1)
    assert counter(sluice, "pool_connections", state="active") == 2
    assert counter(sluice, "pool_connections", state="idle") == 0
    assert counter(sluice, "pool_size") == 2
    assert counter(sluice, "pool_utilization_ratio") == 1
    assert counter(sluice, "client_connections", state="waiting") == 1
    assert counter(sluice, "client_connections") == 3
    a.query("commit"), b.query("commit")
    c.recv_until("Z")
    wire.eventually(lambda: counter(sluice, "pool_connections", state="idle") == 2, 3, "idle")
    assert counter(sluice, "pool_waiting_clients") == 0
    assert counter(sluice, "pool_utilization_ratio") == 0
    c.terminate()
    wire.eventually(lambda: counter(sluice, "client_connections") == 2, 3, "one client less")


def test_queries_and_transactions_are_counted(sluice):
    conn = sluice.connect()
    conn.query("select 1")
    grown(sluice, "queries_total", 10, lambda: [conn.query("select 1") for _ in range(10)])
    grown(sluice, "queries_total", 10, lambda: [conn.execute("select 1") for _ in range(10)])

    def transaction():
        for sql in ("begin", "select 1", "commit"):
            conn.query(sql)
    grown(sluice, "transactions_total", 1, transaction)
    grown(sluice, "query_duration_seconds", 5, lambda: [conn.query("select 1")
                                                        for _ in range(5)], "_count")


def test_durations_are_in_seconds(sluice):
    conn = sluice.connect()
    before = counter(sluice, "query_duration_seconds", "_sum")
    conn.query("select pg_sleep(0.3)")
    wire.eventually(lambda: counter(sluice, "query_duration_seconds", "_sum") > before, 3, "sum")
    after = counter(sluice, "query_duration_seconds", "_sum")
    assert 0.29 < after - before < 2 * targets.SCALE


def test_waiting_time_is_recorded(make_sluice):
    sluice = make_sluice(postgres={"pool_size": 1})
    a, b = sluice.connect(), sluice.connect()
    a.query("begin")
    b.send(wire.query("select 1"))
    sluice.wait_waiting(1)
    wire.eventually(lambda: counter(sluice, "pool_oldest_wait_seconds") > 0.05, 3, "a wait")
    a.query("commit")
    b.recv_until("Z")
    wire.eventually(lambda: counter(sluice, "wait_duration_seconds", "_sum") > 0.05, 3, "a wait")


def test_histogram_buckets_are_cumulative_and_end_in_infinity(sluice):
    sluice.connect().query("select 1")
    for name in HISTOGRAMS:
        family = sluice.metrics()["sluice_" + name]
        series = {}
        for sample, labels, value in family.samples:
            if sample.endswith("_bucket"):
                key = tuple(sorted((k, v) for k, v in labels.items() if k != "le"))
                series.setdefault(key, []).append((float(labels["le"]), value))
        assert series
        for key, buckets in series.items():
            bounds = [b for b, _ in buckets]
            counts = [c for _, c in buckets]
            assert bounds == sorted(bounds) and bounds[-1] == float("inf")
            assert counts == sorted(counts)
            assert counts[-1] == family.total("_count", **dict(key))


def test_bytes_are_counted(sluice):
    conn = sluice.connect()
    before = counter(sluice, "client_sent_bytes_total")
    conn.query("select repeat('x', 1000000)")
    wire.eventually(lambda: counter(sluice, "client_sent_bytes_total") - before > 1_000_000, 3,
                    "a megabyte sent")
    assert counter(sluice, "client_sent_bytes_total") - before < 1_010_000


def test_errors_are_counted_by_class(sluice):
    conn = sluice.connect()
    before = sluice.metrics()["sluice_errors_total"].total()
    conn.query("select 1/0", check=False)
    conn.query("selekt", check=False)
    wire.eventually(lambda: counter(sluice, "errors_total") - before == 2, 3, "two errors")


def test_failed_logins_are_counted(sluice):
    def wrong():
        with pytest.raises(wire.PgError):
            sluice.connect(secret="wrong")
    grown(sluice, "client_login_failures_total", 1, wrong)


def test_refused_clients_are_counted(make_sluice):
    sluice = make_sluice(postgres={"max_client_conn": 1})
    sluice.connect()

    def refused():
        with pytest.raises(wire.PgError):
            sluice.connect()
    grown(sluice, "clients_refused_total", 1, refused)


def test_logins_upstream_are_counted(sluice, pg):
    conn = sluice.connect()
    conn.query("select 1")
    before = counter(sluice, "upstream_logins_total")
    pg.kill_sessions()
    conn.query("select 1")
    assert counter(sluice, "upstream_logins_total") == before + 1


def test_failed_logins_upstream_are_counted(make_sluice, pg):
    sluice = make_sluice(postgres={"databases": {"app": {"url": pg.url(secret="wrong")}}})

    def wrong():
        with pytest.raises(wire.PgError):
            sluice.connect().query("select 1")
    before = counter(sluice, "upstream_login_failures_total")
    wrong()
    assert counter(sluice, "upstream_login_failures_total") > before


def test_prepared_statement_hits_and_misses_are_counted(make_sluice):
    sluice = make_sluice(postgres={"pool_size": 1})
    conn = sluice.connect()
    conn.run(wire.parse("s", "select 1"), wire.SYNC)
    before = counter(sluice, "prepared_statement_hits_total")
    for _ in range(10):
        conn.run(wire.bind("", "s"), wire.execute(), wire.SYNC)
    wire.eventually(
        lambda: counter(sluice, "prepared_statement_hits_total") - before == 10, 3, "ten hits")
    assert counter(sluice, "prepared_statement_misses_total") >= 1


def test_cancels_are_counted(sluice, pg):
    conn = sluice.connect()

    def cancelled():
        conn.send(wire.query("select pg_sleep(60)"))
        wire.eventually(lambda: [s for s in pg.sessions() if s["state"] == "active"], 5, "work")
        conn.cancel()
        conn.recv_until("Z")
    grown(sluice, "cancel_requests_total", 1, cancelled)
    assert counter(sluice, "upstream_cancels_total") == 1


def test_rescued_connections_are_counted(sluice):
    def leave():
        conn = sluice.connect()
        conn.query("begin")
        conn.close()
    grown(sluice, "rescued_connections_total", 1, leave)


def test_no_metric_holds_a_secret_or_sql(sluice):
    sluice.connect(application_name="app-name-in-metrics").query("select 'sql-in-metrics'")
    body = sluice.http("/metrics")[2]
    assert "sql-in-metrics" not in body and "app-name-in-metrics" not in body


def test_unknown_users_and_databases_make_no_series(sluice):
    before = sum(len(f.samples) for f in sluice.metrics().values())
    for i in range(30):
        with pytest.raises(wire.PgError):
            sluice.connect(user=f"ghost{i}", database=f"nowhere{i}", secret="x")
    assert sum(len(f.samples) for f in sluice.metrics().values()) <= before + 5


def test_healthz_says_alive(sluice):
    status, _, body = sluice.http("/healthz")
    assert status == 200 and body.strip()


def test_readyz_says_ready(sluice):
    sluice.connect().query("select 1")
    assert sluice.http("/readyz")[0] == 200


def test_readyz_says_why_not(make_sluice):
    port = free_port()
    sluice = make_sluice(postgres={"query_wait_timeout": "300ms", "databases": {
        "app": {"url": f"postgresql://app:hush-hush@127.0.0.1:{port}/app?sslmode=disable"}}})
    with pytest.raises((wire.PgError, wire.Closed)):
        sluice.connect().query("select 1")
    status, _, body = wire.eventually(
        lambda: (lambda got: got if got[0] == 503 else None)(sluice.http("/readyz")), 5, "503")
    assert "app" in body and "hush-hush" not in body
    assert sluice.http("/healthz")[0] == 200


def test_readyz_recovers(make_sluice, pg):
    sluice = make_sluice()
    client = sluice.connect()
    client.query("select 1")
    pg.stop()
    client.send(wire.query("select 2"))
    wire.eventually(lambda: sluice.http("/readyz")[0] == 503, 10, "not ready")
    pg.start()
    assert client.recv_until("Z").value == "2"
    wire.eventually(lambda: sluice.http("/readyz")[0] == 200, 5, "ready")


def test_unknown_path_is_404(sluice):
    assert sluice.http("/nowhere")[0] == 404


def test_broken_http_disturbs_nobody(sluice):
    for data in (b"\0" * 100, b"GET /metrics\r\n\r\n", b"GET " + b"/" * 100_000, b"POST /metrics "
                 b"HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n"):
        conn = sluice.raw(("127.0.0.1", sluice.monitoring_port))
        try:
            conn.send(data)
        except wire.Closed:
            pass
        conn.close()
    assert sluice.http("/healthz")[0] == 200
    assert sluice.connect().query("select 1").value == "1"


def test_scrapes_under_load_are_consistent(sluice):
    sluice.connect().query("select 1")  # thirty scrapes may be over before the load begins
    stop = threading.Event()

    def work():
        conn = sluice.connect()
        while not stop.is_set():
            conn.query("select 1")
    threads = [threading.Thread(target=work, daemon=True) for _ in range(6)]
    for thread in threads:
        thread.start()
    last = 0
    for _ in range(30):
        now = counter(sluice, "queries_total")
        assert now >= last
        last = now
    stop.set()
    for thread in threads:
        thread.join(10)
    assert last > 0
