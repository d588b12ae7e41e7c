// Tables whose rows are kept from one answer to the next, and only the cells that differ change.

// `columns`: functions (cell, item); the first cell is the row's header.
function showRows(table, items, columns) {
  const body = table.tBodies[0];
  while (body.rows.length > items.length) body.deleteRow(-1);
  items.forEach((item, i) => {
    let row = body.rows[i];
    if (!row) {
      row = body.insertRow();
      columns.forEach((column, at) => {
        const cell = element(at === 0 ? "th" : "td");
        if (at === 0) cell.scope = "row";
        row.append(cell);
      });
    }
    columns.forEach((column, at) => column(row.cells[at], item));
  });
}

function textCell(get, className) {
  return (cell, item) => {
    setClass(cell, className || "");
    setText(cell, get(item));
  };
}

function numberCell(get) {
  return textCell(get, "number");
}

function levelOf(share) {
  return share >= 0.9 ? "critical" : share >= 0.7 ? "warning" : "fine";
}

// A bar with its figure in words beside it.
function barCell(get) {
  return (cell, item) => {
    const [share, words] = get(item);
    let bar = cell.firstElementChild;
    if (!bar) {
      bar = element("div", "bar");
      const track = element("span", "track");
      track.setAttribute("aria-hidden", "true");
      track.append(element("span", "fill"));
      bar.append(track, element("span"));
      cell.append(bar);
    }
    bar.dataset.level = levelOf(share);
    bar.children[0].hidden = !known(share);
    bar.children[0].firstElementChild.style.width = Math.min(100, (share || 0) * 100) + "%";
    setText(bar.children[1], words);
  };
}

function sum(counts) {
  return Object.values(counts).reduce((all, one) => all + one, 0);
}

const STATE_MARKS = { awake: "●", waking: "◐", asleep: "○", failing: "✕" };

function upstreamCell(cell, pool) {
  setClass(cell, "words");
  if (!cell.firstElementChild) {
    cell.append(element("span"), element("span", "small"));
    cell.lastElementChild.classList.add("muted");
  }
  const { state, last_error: error } = pool.upstream;
  setClass(cell.children[0], "state state-" + state);
  setText(cell.children[0], STATE_MARKS[state] + " " + state);
  setText(cell.children[1], error === null ? "" :
    (state === "failing" ? " since " : "; last error ") + moment(error.time) + ": " +
    error.sqlstate + " " + error.message);
}

function poolColumns(seriesOf) {
  const spark = (key, options) => (cell, pool) => {
    const { times, columns } = seriesOf(pool);
    drawSpark(cell, times, columns[key] || [], options);
  };
  return [
    textCell((pool) => pool.database, "name"),
    textCell((pool) => pool.user, "name"),
    upstreamCell,
    barCell((pool) => [pool.utilization, percent(pool.utilization)]),
    spark("utilization", { most: 1, label: "Utilization", style: "s0" }),
    numberCell((pool) => count(pool.connections.active + pool.connections.cancelling)),
    numberCell((pool) => count(pool.connections.idle)),
    numberCell((pool) => count(pool.size) + (pool.reserve ? " + " + count(pool.reserve) : "")),
    numberCell((pool) => count(pool.clients.active + pool.clients.waiting + pool.clients.idle)),
    numberCell((pool) => count(pool.clients.waiting)),
    spark("waiting", { most: 2, label: "Waiting clients", style: "s1" }),
    numberCell((pool) => (pool.clients.waiting ? duration(pool.oldest_wait) : NONE)),
    numberCell((pool) => rate(pool.now.queries_per_second)),
    numberCell((pool) => duration(pool.now.p50)),
    numberCell((pool) => duration(pool.now.p95)),
    numberCell((pool) => duration(pool.now.p99)),
    numberCell((pool) => count(sum(pool.errors))),
  ];
}

const SQLSTATE_CLASSES = {
  connection: "08", authorization: "28", resources: "53", intervention: "57", syntax: "42",
  integrity: "23", transaction: "25, 40", other: "other",
};
const PIN_WORDS = {
  prepared: "statements prepared with SQL", temporary: "temporary tables", cursor: "held cursors",
  lock: "session locks", listening: "LISTEN that cannot be shared", setting: "settings that cannot travel",
  sequence: "values of sequences (currval)", library: "loaded libraries", seed: "a random seed",
  process_id: "its process id, written down", unknown: "something unknown",
};

function showErrors(totals) {
  showRows(byId("errors"), Object.keys(totals.errors), [
    textCell((kind) => kind),
    textCell((kind) => SQLSTATE_CLASSES[kind] || ""),
    numberCell((kind) => count(totals.recent_errors[kind])),
    numberCell((kind) => count(totals.errors[kind])),
  ]);
}

function showPins(totals) {
  showRows(byId("pins"), Object.keys(totals.pins), [
    textCell((reason) => reason),
    textCell((reason) => PIN_WORDS[reason] || ""),
    numberCell((reason) => count(totals.pinned[reason])),
    numberCell((reason) => count(totals.pins[reason])),
  ]);
}

function showStatements(statements) {
  const all = statements || [];
  setText(byId("statements-note"), statements === null
    ? "Shown to those who have logged in, or who come over loopback."
    : all.length === 0 ? "None has been counted yet." : "By total time, without their constants.");
  byId("statements").hidden = all.length === 0;
  showRows(byId("statements"), all, [
    textCell((one) => one.text, "code"),
    textCell((one) => one.database, "name"),
    textCell((one) => one.user, "name"),
    numberCell((one) => count(one.calls)),
    numberCell((one) => duration(one.total)),
    numberCell((one) => duration(one.calls ? one.total / one.calls : null)),
    numberCell((one) => duration(one.slowest)),
    numberCell((one) => count(one.errors)),
  ]);
}

function showProjects(kv) {
  byId("projects").hidden = kv.projects.length === 0;
  byId("projects-title").hidden = kv.projects.length === 0;
  showRows(byId("projects"), kv.projects, [
    numberCell((one) => String(one.id)),
    numberCell((one) => count(one.keys)),
    numberCell((one) => bytes(one.bytes)),
    barCell((one) => kv.max_project_size
      ? [one.bytes / kv.max_project_size, percent(one.bytes / kv.max_project_size) + " of " + bytes(kv.max_project_size)]
      : [null, "no limit"]),
  ]);
}
