// Plots over the last 15 minutes, drawn as SVG. A plot is a slider for the keyboard and for screen
// readers: the arrow keys go through its points and read them out; its description sums it up.

const WINDOW_SECONDS = 900;
const HEIGHT = 150;
const MARGIN = { left: 52, right: 8, top: 8, bottom: 20 };

// A round number at or above the value, and half of it is round too.
function roundUp(value) {
  if (!(value > 0)) return 1;
  const power = Math.pow(10, Math.floor(Math.log10(value)));
  for (const step of [1, 2, 4, 6, 8, 10]) {
    if (value <= step * power * 1.0000001) return step * power;
  }
  return 10 * power;
}

// Runs of points that follow each other; a gap in time or figures ends a run.
function runs(times, values, x, y) {
  const out = [];
  let run = null;
  times.forEach((time, i) => {
    const gap = i > 0 && time - times[i - 1] > 12;
    if (!known(values[i]) || gap) run = null;
    if (!known(values[i])) return;
    if (!run) out.push((run = []));
    run.push([x(time), y(values[i])]);
  });
  return out;
}

function pathOf(points) {
  return points.map(([x, y], i) => (i === 0 ? "M" : "L") + x.toFixed(1) + " " + y.toFixed(1)).join("");
}

function drawSeries(group, times, values, x, y, className) {
  for (const run of runs(times, values, x, y)) {
    if (run.length === 1) {
      group.append(svgElement("circle", { class: "dot " + className, cx: run[0][0], cy: run[0][1], r: 2 }));
    } else {
      group.append(svgElement("path", { class: "line " + className, d: pathOf(run) }));
    }
  }
}

function summed(values, format) {
  const all = values.filter(known);
  if (all.length === 0) return "no figures";
  const last = values[values.length - 1];
  return "now " + (known(last) ? format(last) : "none") + ", lowest " + format(Math.min(...all)) +
    ", highest " + format(Math.max(...all));
}

class Plot {
  // `series`: [{ key, label }], without a label where the title says it; data comes as { times, columns: { key: values } }.
  constructor(parent, { id, title, format, series, most }) {
    Object.assign(this, { id, title, format, series, most });
    this.data = { times: [], columns: {} };
    this.at = null;  // the point that is read out, or null
    const figure = element("figure");
    figure.id = id;
    const caption = element("figcaption");
    const heading = element("h3", "", title);
    this.legend = element("div", "legend");
    caption.append(heading, this.legend);
    this.area = element("div", "plot");
    this.svg = svgElement("svg", { "aria-hidden": "true", focusable: "false" });
    this.area.append(this.svg);
    this.readout = element("p", "readout");
    this.readout.setAttribute("aria-hidden", "true");
    this.description = element("p", "hidden");
    this.description.id = id + "-description";
    figure.append(caption, this.area, this.readout, this.description);
    parent.append(figure);
    this.area.tabIndex = 0;
    for (const [name, value] of [["role", "slider"], ["aria-label", title + ", last 15 minutes"],
      ["aria-describedby", this.description.id], ["aria-valuemin", "0"]]) {
      this.area.setAttribute(name, value);
    }
    this.listen();
    this.drawLegend();
    new ResizeObserver(() => this.draw()).observe(this.area);
  }

  styleOf(i) {
    return "s" + (i % 8) + (i % 4 === 0 ? "" : " d" + (i % 4));
  }

  listen() {
    this.area.addEventListener("pointermove", (event) => {
      const { times } = this.data;
      if (times.length === 0) return;
      const left = this.svg.getBoundingClientRect().left;
      const wanted = this.timeAt(event.clientX - left);
      let best = 0;
      times.forEach((time, i) => {
        if (Math.abs(time - wanted) < Math.abs(times[best] - wanted)) best = i;
      });
      this.read(best);
    });
    this.area.addEventListener("pointerleave", () => this.read(null));
    this.area.addEventListener("blur", () => this.read(null));
    this.area.addEventListener("keydown", (event) => {
      const last = this.data.times.length - 1;
      if (last < 0) return;
      const from = this.at === null ? last : this.at;
      const to = {
        ArrowLeft: this.at === null ? last : from - 1, ArrowDown: from - 1, ArrowRight: from + 1,
        ArrowUp: from + 1, Home: 0, End: last, PageUp: from + 12, PageDown: from - 12, Escape: null,
      }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      this.read(to === null ? null : Math.max(0, Math.min(last, to)));
    });
  }

  read(at) {
    if (at === this.at) return;
    this.at = at;
    this.draw();
  }

  drawLegend() {
    this.legend.replaceChildren();
    if (this.series.length < 2 && this.series[0].label === "") return;
    this.series.forEach((one, i) => {
      const entry = element("span");
      const mark = svgElement("svg", { viewBox: "0 0 24 10", "aria-hidden": "true" });
      mark.append(svgElement("path", { class: "line " + this.styleOf(i), d: "M0 5L24 5" }));
      entry.append(mark, one.label);
      this.legend.append(entry);
    });
  }

  show(data, series) {
    if (this.at !== null && data.times.length > 0) {
      // The ring moves on under the point that is being read.
      const time = this.data.times[this.at];
      const at = data.times.indexOf(time);
      this.at = at < 0 ? 0 : at;
    } else {
      this.at = null;
    }
    this.data = data;
    if (series && series.map((one) => one.key).join() !== this.series.map((one) => one.key).join()) {
      this.series = series;
      this.drawLegend();
    }
    setText(this.description, this.series.map((one) =>
      (one.label ? one.label + ": " : "") +
      summed(data.columns[one.key] || [], this.format)).join("; "));
    this.draw();
  }

  words(at) {
    return clock(this.data.times[at]) + ": " + this.series.map((one) => {
      const value = (this.data.columns[one.key] || [])[at];
      return (one.label ? one.label + " " : "") + (known(value) ? this.format(value) : NONE);
    }).join(", ");
  }

  timeAt(x) {
    const width = this.area.clientWidth - MARGIN.left - MARGIN.right;
    return this.end - WINDOW_SECONDS * (1 - (x - MARGIN.left) / width);
  }

  draw() {
    const { times, columns } = this.data;
    const width = Math.max(200, this.area.clientWidth);
    const all = this.series.flatMap((one) => (columns[one.key] || []).filter(known));
    const top = roundUp(Math.max(this.most || 0, ...all));
    this.end = times.length ? times[times.length - 1] : Date.now() / 1000;
    const x = (time) => width - MARGIN.right -
      (this.end - time) / WINDOW_SECONDS * (width - MARGIN.left - MARGIN.right);
    const y = (value) => MARGIN.top + (1 - value / top) * (HEIGHT - MARGIN.top - MARGIN.bottom);
    const parts = svgElement("g");
    for (const value of [0, top / 2, top]) {
      parts.append(svgElement("path", { class: "grid", d: `M${MARGIN.left} ${y(value)}H${width - MARGIN.right}` }));
      const label = svgElement("text", { x: MARGIN.left - 6, y: y(value) + 4, "text-anchor": "end" });
      label.textContent = this.format(value);
      parts.append(label);
    }
    for (const minutes of [15, 10, 5, 0]) {
      const label = svgElement("text", { x: x(this.end - minutes * 60), y: HEIGHT - 5,
        "text-anchor": minutes === 15 ? "start" : minutes === 0 ? "end" : "middle" });
      label.textContent = minutes === 0 ? "now" : "−" + minutes + " min";
      parts.append(label);
    }
    this.series.forEach((one, i) =>
      drawSeries(parts, times, columns[one.key] || [], x, y, this.styleOf(i)));
    if (this.at !== null && this.at < times.length) {
      parts.append(svgElement("path", { class: "cross", d: `M${x(times[this.at])} ${MARGIN.top}V${HEIGHT - MARGIN.bottom}` }));
    }
    this.svg.replaceChildren(parts);
    this.tell();
  }

  tell() {
    const last = this.data.times.length - 1;
    const at = this.at === null ? last : Math.min(this.at, last);
    setText(this.readout, this.at === null || last < 0 ? "" : this.words(at));
    this.area.setAttribute("aria-valuemax", String(Math.max(0, last)));
    this.area.setAttribute("aria-valuenow", String(Math.max(0, at)));
    this.area.setAttribute("aria-valuetext", last < 0 ? "no figures yet" : this.words(at));
  }
}

// A plot the size of a word, in a cell of a table.
function drawSpark(cell, times, values, { most, label, style }) {
  let svg = cell.firstElementChild;
  if (!svg) {
    svg = svgElement("svg", { class: "spark", role: "img", viewBox: "0 0 90 22" });
    cell.append(svg);
  }
  const text = label + ": " + summed(values, most === 1 ? percent : count);
  if (svg.getAttribute("aria-label") !== text) svg.setAttribute("aria-label", text);
  const top = Math.max(most, ...values.filter(known));
  const end = times.length ? times[times.length - 1] : 0;
  const group = svgElement("g");
  group.append(svgElement("path", { class: "grid", d: "M0 21H90" }));
  drawSeries(group, times, values, (time) => 90 - (end - time) / WINDOW_SECONDS * 90,
    (value) => 20 - value / top * 18, style);
  svg.replaceChildren(group);
}
