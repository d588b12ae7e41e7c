"use strict";
// Figures as words. Whatever comes from the daemon reaches the page by textContent only: names and
// statements are other people's.

const NONE = "–";

function known(value) {
  return value !== null && value !== undefined && Number.isFinite(value);
}

function count(value) {
  return known(value) ? Math.round(value).toLocaleString("en-US") : NONE;
}

function rate(value) {
  if (!known(value)) return NONE;
  if (value === 0 || value >= 100) return count(value);
  return value.toLocaleString("en-US", { maximumSignificantDigits: 3 });
}

function duration(seconds) {
  if (!known(seconds)) return NONE;
  const digits = { maximumSignificantDigits: 3 };
  if (seconds === 0) return "0 s";
  if (seconds < 1e-3) return (seconds * 1e6).toLocaleString("en-US", digits) + " µs";
  if (seconds < 1) return (seconds * 1e3).toLocaleString("en-US", digits) + " ms";
  if (seconds < 120) return seconds.toLocaleString("en-US", digits) + " s";
  return span(seconds);
}

// A long time: 3 d 4 h.
function span(seconds) {
  if (!known(seconds)) return NONE;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 1) return Math.floor(seconds) + " s";
  if (minutes < 60) return minutes + " min";
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return hours + " h " + (minutes % 60) + " min";
  return Math.floor(hours / 24) + " d " + (hours % 24) + " h";
}

function bytes(value) {
  if (!known(value)) return NONE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (value >= 1024 && at + 1 < units.length) {
    value /= 1024;
    ++at;
  }
  const text = at === 0 ? count(value) : value.toLocaleString("en-US", { maximumSignificantDigits: 3 });
  return text + " " + units[at];
}

function percent(share) {
  return known(share) ? Math.round(share * 100) + " %" : NONE;
}

function clock(unixTime) {
  return new Date(unixTime * 1000).toLocaleTimeString("en-GB");
}

function moment(unixTime) {
  const at = new Date(unixTime * 1000);
  const day = at.toDateString() === new Date().toDateString() ? "" : at.toLocaleDateString("en-GB") + " ";
  return day + clock(unixTime);
}

// --- the document ---

function byId(id) {
  return document.getElementById(id);
}

// Only what has changed is touched, so that a selection and the reading position stay.
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function setClass(node, name) {
  if (node.className !== name) node.className = name;
}

function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function svgElement(tag, attributes) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
  return node;
}

// `items`: [label, value, remark].
function showTiles(list, items) {
  while (list.children.length > items.length) list.lastElementChild.remove();
  items.forEach(([label, value, remark], i) => {
    let tile = list.children[i];
    if (!tile) {
      tile = element("div");
      const what = element("dd");
      what.append(element("span"), element("small"));
      tile.append(element("dt"), what);
      list.append(tile);
    }
    setText(tile.children[0], label);
    setText(tile.children[1].children[0], value);
    setText(tile.children[1].children[1], remark ? " " + remark : "");
  });
}
