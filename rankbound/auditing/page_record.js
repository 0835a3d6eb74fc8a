"use strict";
// The record that stands in the page as JSON, and how its values are said.

const make = (tag, attributes = {}, text = null, parent = null) => {
  const svg = parent && parent.namespaceURI.endsWith("svg");
  const node = svg || tag === "svg"
    ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== null) node.textContent = text;
  if (parent) parent.append(node);
  return node;
};
// A text with its symbols in italics, as the page's own texts have them.
const setWords = (node, text) => text.split(/\b([knjLPC]|\u03c4)(?!\w)/).forEach((part, i) => {
  if (i % 2) make("i", {}, part, node);
  else node.append(part);
});
const byId = (id) => document.getElementById(id);
const unique = (values) => [...new Set(values)].sort((a, b) => a - b);

const record = JSON.parse(byId("data").textContent);
const { columns, words, rows } = record;
const at = Object.fromEntries(columns.map((name, i) => [name, i]));
const get = (row, name) => rows[row][at[name]];
const everyRow = () => rows.map((_, row) => row);
const NONE = "\u2013";

const short = (x) => x === 0 ? "0"
  : Math.abs(x) >= 0.001 && Math.abs(x) < 1e6 ? String(Number(x.toPrecision(3)))
  : x.toExponential(1);

const logRank = (row) => {
  const [low, high] = [get(row, "log_rank_lower"), get(row, "log_rank_upper")];
  if (low === null || high === null) return NONE;
  return low === high ? String(low) : `${low}\u2013${high}`;
};
const place = (row) => `Layer ${get(row, "layer")}, head ${get(row, "head")}`;
const inWords = (row) => {
  const [share, value] = [record.shares[row], get(row, "log_effective_rank")];
  const used = share === null ? "effective log-rank unknown"
    : `effective log-rank ${short(value)} of ${get(row, "head_size")} (${share.toFixed(2)})`;
  const bound = get(row, "log_rank_bound");
  return `${used}; log-rank ${logRank(row)}, bound ${bound === null ? NONE : bound}`;
};

const decimals = Object.fromEntries(columns.map((name, i) => {
  const found = rows.map((row) => row[i]).filter((v) => typeof v === "number");
  const most = found.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
  return [name, found.every(Number.isInteger) ? 0 : most >= 100 ? 1 : most >= 10 ? 2 : most >= 1 ? 3 : 4];
}));

function shown(row, name) {
  const value = get(row, name);
  if (name === "log_rank") return logRank(row);
  if (value === null) return NONE;
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value !== "number") return value;
  const [size, places] = [Math.abs(value), decimals[name]];
  if (value !== 0 && places && size < 10 ** (1 - places)) { // which would leave less than two digits
    return size < 0.001 ? value.toExponential(1) : value.toPrecision(2);
  }
  return size < 1e9 ? value.toFixed(places) : value.toExponential(2);
}
