// Asks the daemon, keeps its history, and shows both.

const STATUS_EVERY = 2000;
const HISTORY_EVERY = 5000;
const PATIENCE = 10000;
const STORED_LOGIN = "sluice.authorization";
const STORED_THEME = "sluice.theme";

const past = { times: [], whole: {}, pools: new Map() };
let current = null;
let plots = [];
let storePlots = [];
let paused = false;
let loggedOut = false;
let lastAnswer = 0;
let announced = "";

// --- what outlives a reload of the page ---

function recall(storage, name) {
  try {
    return storage.getItem(name);
  } catch (error) {
    return null;  // forbidden in this browser
  }
}

function keep(storage, name, value) {
  try {
    if (value) storage.setItem(name, value);
    else storage.removeItem(name);
  } catch (error) {
    // forbidden in this browser: it works without
  }
}

// --- asking ---

class NotAllowed extends Error {
  constructor(answer, wanted) {
    super("not allowed");
    this.tooMany = answer.status === 429;
    this.wanted = wanted;
  }
}

let authorization = recall(sessionStorage, STORED_LOGIN);

async function ask(path) {
  const headers = { "X-Requested-With": "sluice-dashboard" };
  if (authorization) headers.Authorization = authorization;
  const answer = await fetch(location.origin + path, { headers, cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
  if (answer.status === 401 || answer.status === 429) {
    throw new NotAllowed(answer, answer.status === 401 ? await answer.json() : {});
  }
  if (!answer.ok) throw new Error("status " + answer.status);
  return answer.json();
}

function showLogin(refusal) {
  const wasWrong = authorization !== null && !refusal.tooMany;
  authorization = refusal.tooMany ? authorization : null;
  if (!refusal.tooMany) keep(sessionStorage, STORED_LOGIN, null);
  loggedOut = true;
  byId("login").hidden = false;
  byId("figures").hidden = true;
  byId("health").hidden = true;
  if (!refusal.tooMany) {
    byId("login-token").hidden = !refusal.wanted.token;
    byId("login-password").hidden = !refusal.wanted.password;
  }
  setText(byId("login-message"), refusal.tooMany
    ? "Too many wrong answers came from your address: wait a minute."
    : wasWrong ? "That was not right." : "This sluice asks who you are.");
  const field = byId(refusal.wanted.token || refusal.tooMany ? "token" : "user");
  if (!byId("login").contains(document.activeElement)) field.focus();
}

byId("login-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const token = byId("token").value.trim();
  const user = byId("user").value;
  const bytesOf = new TextEncoder().encode(user + ":" + byId("password").value);
  authorization = token ? "Bearer " + token : "Basic " + btoa(String.fromCharCode(...bytesOf));
  keep(sessionStorage, STORED_LOGIN, authorization);
  byId("password").value = "";
  byId("token").value = "";
  loggedOut = false;
  refresh();
});

// --- the history ---

function append(columns, figures, before, added, dropped) {
  for (const [key, values] of Object.entries(figures)) {
    if (!Array.isArray(values)) {
      columns[key] = append(columns[key] || {}, values, before, added, dropped);
    } else {
      const old = columns[key] || new Array(before).fill(null);
      columns[key] = old.concat(values.slice(values.length - added)).slice(dropped);
    }
  }
  return columns;
}

function addHistory(answer) {
  const last = past.times.length ? past.times[past.times.length - 1] : 0;
  const fresh = answer.times.filter((time) => time > last);
  const times = past.times.concat(fresh);
  const newest = times.length ? times[times.length - 1] : 0;
  const dropped = Math.max(0, times.findIndex((time) => time > newest - answer.seconds));
  const before = past.times.length;
  past.times = times.slice(dropped);
  append(past.whole, answer.whole, before, fresh.length, dropped);
  const pools = new Map();
  for (const { database, user, ...figures } of answer.pools) {
    const key = JSON.stringify([database, user]);
    pools.set(key, append(past.pools.get(key) || {}, figures, before, fresh.length, dropped));
  }
  past.pools = pools;
}

async function loadHistory() {
  const last = past.times.length ? past.times[past.times.length - 1] : 0;
  addHistory(await ask("/api/history?since=" + last));
  showPlots();
}

// --- showing ---

const MARKS = { fine: "✓", warning: "!", critical: "✕" };

function showHealth(level, summary, findings) {
  byId("health").dataset.level = level;
  setText(byId("mark"), MARKS[level] || "?");
  setText(byId("summary-text"), summary);
  const list = byId("findings");
  while (list.children.length > findings.length) list.lastElementChild.remove();
  findings.forEach((one, i) => {
    let entry = list.children[i];
    if (!entry) {
      entry = element("li");
      entry.append(element("strong"), element("span"));
      list.append(entry);
    }
    entry.dataset.level = one.level;
    setText(entry.children[0], one.what);
    setText(entry.children[1], " " + one.advice);
  });
  document.title = (level === "fine" ? "" : (MARKS[level] || "?") + " ") + "sluice";
  // Figures that move are not read out again and again, only what is new.
  const meaning = level + findings.map((one) => one.what.replace(/[0-9.]+/g, "")).join();
  if (meaning === announced) return;
  announced = meaning;
  setText(byId("announcement"), [summary, ...findings.map((one) => one.what + " " + one.advice)].join(" "));
}

function showNow({ totals, clients }) {
  const { now } = totals;
  showTiles(byId("tiles"), [
    ["Queries per second", rate(now.queries_per_second)],
    ["Duration p50", duration(now.p50)],
    ["p95", duration(now.p95)],
    ["p99", duration(now.p99)],
    ["Server connections in use", count(totals.busy), "of " + count(totals.size)],
    ["Waiting clients", count(totals.waiting), totals.waiting ? "for " + duration(totals.oldest_wait) : ""],
    ["Clients", count(clients.open), "of " + count(clients.max)],
    ["Errors per second", rate(now.errors_per_second)],
    ["Clients refused", count(clients.refused), "since the start"],
    ["Failed client logins", count(clients.login_failures), "since the start"],
  ]);
}

function seriesOf(pool) {
  return { times: past.times, columns: past.pools.get(JSON.stringify([pool.database, pool.user])) || {} };
}

function showPools({ pools, pool_count: all }) {
  setText(byId("pools-note"), all > pools.length
    ? "The " + pools.length + " busiest of " + count(all) + " pools, and those in trouble. All are in /metrics."
    : pools.length === 0 ? "No client has come yet." : "A pool is a database and the user that sluice logs in as.");
  byId("pools").hidden = pools.length === 0;
  showRows(byId("pools"), pools, poolColumns(seriesOf));
  const select = byId("plot-pool");
  const keys = pools.map((pool) => JSON.stringify([pool.database, pool.user]));
  const shown = [...select.options].slice(1).map((option) => option.value);
  if (keys.join() === shown.join()) return;
  const chosen = select.value;
  const options = pools.map((pool, i) => {
    const option = element("option", "", pool.database + " / " + pool.user);
    option.value = keys[i];
    return option;
  });
  select.replaceChildren(select.options[0], ...options);
  select.value = keys.includes(chosen) ? chosen : "";
}

function showStore(kv) {
  for (const id of ["store-tiles", "store-plots", "projects", "projects-title"]) byId(id).hidden = kv === null;
  setText(byId("store-note"), kv === null ? "It is off (kv.listen)." :
    "Keys and sizes are of the projects in memory.");
  if (kv === null) return;
  const { backup } = kv;
  const latest = (name) => (past.whole[name] || []).at(-1);
  showTiles(byId("store-tiles"), [
    ["Commands per second", rate(latest("kv_commands_per_second"))],
    ["Duration p99", duration(latest("kv_p99"))],
    ["Clients", count(kv.clients.open), "of " + count(kv.clients.max)],
    ["Projects in memory", count(kv.projects_in_memory), kv.damaged_projects ? count(kv.damaged_projects) + " damaged" : ""],
    ["Keys", count(kv.keys)],
    ["Keys and values", bytes(kv.stored_bytes)],
    ["Memory", bytes(kv.memory), kv.max_memory ? "of " + bytes(kv.max_memory) : ""],
    ["Quota of a project", kv.max_project_size ? bytes(kv.max_project_size) : "none"],
    ["Writes", kv.writes_refused ? "refused" : "taken"],
    ["Log on the disk", bytes(kv.log_bytes)],
    ["Last backup", backup.last_success ? span(Math.max(0, current.time - backup.last_success)) + " ago" : "none yet",
      backup.last_success ? bytes(backup.last_bytes) : ""],
    ["Backups", backup.every ? "every " + span(backup.every) : "not scheduled",
      backup.failures ? count(backup.failures) + " failed" : ""],
  ]);
  showProjects(kv);
}

function showProcess({ process }) {
  setText(byId("version"), process.version);
  showTiles(byId("process"), [
    ["Version", process.version],
    ["Up for", span(process.uptime)],
    ["Memory", bytes(process.resident_bytes)],
    ["File descriptors", count(process.open_fds), "of " + count(process.max_fds)],
    ["Threads", count(process.threads)],
    ["Processor time", duration(process.cpu_seconds)],
    ["Ready", process.ready ? "yes" : "no"],
  ]);
}

function makePlots() {
  const all = byId("plots");
  plots = [
    new Plot(all, { id: "plot-queries", title: "Queries per second", format: rate, series: [{ key: "queries_per_second", label: "" }] }),
    new Plot(all, { id: "plot-duration", title: "Duration of queries", format: duration,
      series: [{ key: "p50", label: "p50" }, { key: "p95", label: "p95" }, { key: "p99", label: "p99" }] }),
    new Plot(all, { id: "plot-utilization", title: "Utilization", format: percent, most: 1, series: [{ key: "utilization", label: "" }] }),
    new Plot(all, { id: "plot-waiting", title: "Waiting clients", format: rate, series: [{ key: "waiting", label: "" }] }),
    new Plot(all, { id: "plot-wait", title: "Time waited for a connection", format: duration,
      series: [{ key: "oldest_wait", label: "longest now" }, { key: "wait_p99", label: "p99 of those served" }] }),
    new Plot(all, { id: "plot-errors", title: "Errors per second", format: rate, series: [{ key: "errors_per_second", label: "" }] }),
  ];
  storePlots = [
    new Plot(byId("store-plots"), { id: "plot-commands", title: "Commands per second", format: rate, series: [{ key: "kv_commands_per_second", label: "" }] }),
    new Plot(byId("store-plots"), { id: "plot-commands-p99", title: "Duration of commands, p99", format: duration, series: [{ key: "kv_p99", label: "" }] }),
    new Plot(byId("store-plots"), { id: "plot-stored", title: "Keys and values", format: bytes, series: [{ key: "kv_stored_bytes", label: "" }] }),
  ];
}

function showPlots() {
  const key = byId("plot-pool").value;
  const columns = key ? past.pools.get(key) || {} : past.whole;
  for (const plot of plots) {
    if (plot.id === "plot-errors" && !key && past.whole.errors) {
      // Only the kinds that there were; all of them would be a heap of lines at zero.
      const kinds = Object.keys(past.whole.errors).filter((kind) => past.whole.errors[kind].some((value) => value > 0));
      const series = kinds.map((kind) => ({ key: kind, label: kind }));
      plot.show({ times: past.times, columns: kinds.length ? past.whole.errors : past.whole },
        series.length ? series : [{ key: "errors_per_second", label: "" }]);
    } else if (plot.id === "plot-errors") {
      plot.show({ times: past.times, columns }, [{ key: "errors_per_second", label: "" }]);
    } else {
      plot.show({ times: past.times, columns });
    }
  }
  for (const plot of storePlots) plot.show({ times: past.times, columns: past.whole });
}

function showStatus() {
  byId("login").hidden = true;
  byId("figures").hidden = false;
  byId("health").hidden = false;
  showHealth(current.health.level, current.health.summary, current.health.findings);
  showNow(current);
  showPools(current);
  showErrors(current.totals);
  showPins(current.totals);
  showStatements(current.statements);
  showStore(current.kv);
  showProcess(current);
  showFreshness();
}

function showFreshness() {
  setText(byId("freshness"), current === null ? "" :
    (paused ? "paused; figures of " : "live; figures of ") + clock(current.time));
}

function showLost(error) {
  const since = lastAnswer ? " The figures are of " + clock(lastAnswer / 1000) + "." : "";
  showHealth("critical", "No answer from sluice.", [{
    level: "critical", what: "It does not answer (" + error.message + ")." + since,
    advice: "Check that it runs (systemctl status sluice) and that this address is still reached.",
  }]);
}

// --- the clock of the page ---

let nextHistory = 0;

async function refresh() {
  try {
    current = await ask("/api/status");
    lastAnswer = Date.now();
    if (Date.now() >= nextHistory) {
      nextHistory = Date.now() + HISTORY_EVERY - 200;
      await loadHistory();
    }
    showStatus();
  } catch (error) {
    if (error instanceof NotAllowed) showLogin(error);
    else showLost(error);
  }
}

async function turn() {
  if (!paused && !loggedOut && !document.hidden) await refresh();
  setTimeout(turn, STATUS_EVERY);
}

byId("pause").addEventListener("click", () => {
  paused = !paused;
  byId("pause").setAttribute("aria-pressed", String(paused));
  showFreshness();
});

byId("plot-pool").addEventListener("change", showPlots);

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !paused && !loggedOut) refresh();
});

function useTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  byId("theme").value = theme;
}

byId("theme").addEventListener("change", () => {
  keep(localStorage, STORED_THEME, byId("theme").value);
  useTheme(byId("theme").value);
});

useTheme(recall(localStorage, STORED_THEME) || "");
makePlots();
turn();
