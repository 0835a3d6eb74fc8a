// The table: sorted, filtered, saved.

const TEXT = new Set(["masked", "at_bottleneck", "storage_dtype", "compute_dtype"]);
const PINNED = ["layer", "head"];
const lines = new Map(); // row of the record -> its line
const [head, body] = [byId("table").tHead, byId("table").tBodies[0]];

// what all rows agree in stands last
const differs = (name) => name === "log_rank" || rows.some((row) => row[at[name]] !== rows[0][at[name]]);
const others = columns.filter((name) => !PINNED.includes(name));
const SHOWN = [...PINNED, ...others.filter(differs), ...others.filter((name) => !differs(name))];

function styleOf(name) {
  const pin = PINNED.indexOf(name);
  return (TEXT.has(name) ? "text" : "") + (pin >= 0 ? ` pinned pinned-${pin}` : "");
}

function drawTable() {
  const line = make("tr", {}, null, head);
  for (const name of SHOWN) {
    const cell = make("th", { scope: "col", class: styleOf(name), "data-column": name }, null, line);
    const meaning = byId(`column-${name}`);
    const title = `${name}: ${meaning ? meaning.textContent : ""}`;
    setWords(make("button", { type: "button", title }, null, cell), words[at[name]]);
  }
  for (const i of everyRow()) {
    const row = make("tr", { "data-row": i, tabindex: -1 }, null, body);
    for (const name of SHOWN) {
      const header = PINNED.includes(name);
      make(header ? "th" : "td", { ...(header && { scope: "row" }), class: styleOf(name) }, shown(i, name), row);
    }
    lines.set(i, row);
  }
}

const key = (row, name) => name === "log_rank" ? get(row, "log_rank_lower") : get(row, name);

function sort(name, order) {
  [state.sort, state.order] = [name, order];
  const sign = order === "descending" ? -1 : 1;
  const compare = (a, b) => {
    const [u, v] = [key(a, name), key(b, name)];
    if (u === null || v === null) return (u === null) - (v === null); // empty ones last
    return sign * ((u > v) - (u < v)) || a - b;
  };
  body.append(...[...lines.keys()].sort(compare).map((i) => lines.get(i)));
  for (const cell of head.querySelectorAll("th")) {
    if (cell.dataset.column === name) cell.setAttribute("aria-sort", order);
    else cell.removeAttribute("aria-sort");
  }
}

// Conditions between commas: `layer = 3, KL at k/2 > 0.1`.
const SIGNS = {
  "=": (u, v) => u === v, "!=": (u, v) => u !== v,
  "<": (u, v) => u < v, ">": (u, v) => u > v, "<=": (u, v) => u <= v, ">=": (u, v) => u >= v,
};
const plain = (name) => name.toLowerCase().replace(/[\s_]+/g, "");

function condition(text) {
  const found = /^(.*?)(!=|<=|>=|=|<|>)(.*)$/.exec(text);
  if (found === null) return null;
  const [name, sign, wanted] = [plain(found[1]), found[2], found[3].trim()];
  const column = columns.find((other, i) => [other, words[i]].some((said) => plain(said) === name));
  if (column === undefined || wanted === "") return null;
  return (row) => {
    const value = key(row, column);
    if (value === null) return false;
    if (typeof value === "number") return SIGNS[sign](value, Number(wanted));
    const said = typeof value === "boolean" ? (value ? "yes" : "no") : value;
    return SIGNS[sign](said, wanted);
  };
}

function filter(text) {
  state.filter = text.trim();
  const asked = state.filter ? state.filter.split(",").map(condition) : [];
  const bad = asked.indexOf(null);
  if (bad < 0) {
    let count = 0;
    for (const [row, line] of lines) {
      line.hidden = !asked.every((holds) => holds(row));
      count += !line.hidden;
    }
    byId("count").textContent = state.filter ? `${count} of ${rows.length} rows` : "";
  } else {
    byId("count").textContent = `not understood: ${state.filter.split(",")[bad].trim()}; ` +
      "expected a column, one of = != < > <= >=, and a value";
  }
}

const visible = () => [...body.rows].filter((line) => !line.hidden).map((line) => Number(line.dataset.row));

function asCsv() {
  const field = (value) => value === null ? ""
    : typeof value === "string" ? `"${value.replaceAll('"', '""')}"` : String(value);
  return [columns, ...visible().map((row) => rows[row])].map((line) => `${line.map(field).join(",")}\n`).join("");
}

function asJson() {
  const said = (row) => Object.fromEntries(columns.map((name) => [name, get(row, name)]));
  return JSON.stringify(visible().map(said), null, 1);
}

function save(text, type, name) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

head.addEventListener("click", (event) => {
  const cell = event.target.closest("th");
  if (cell === null) return;
  const again = state.sort === cell.dataset.column && state.order === "ascending";
  sort(cell.dataset.column, again ? "descending" : "ascending");
  remember();
});
body.addEventListener("click", (event) => rowOf(event) !== null && choose(rowOf(event)));
body.addEventListener("keydown", (event) => {
  const line = event.target.closest("tr");
  const all = [...body.rows].filter((other) => !other.hidden);
  const i = all.indexOf(line);
  const next = all[{ ArrowUp: i - 1, ArrowDown: i + 1, Home: 0, End: all.length - 1 }[event.key]];
  if (!next) return;
  choose(Number(next.dataset.row));
  next.focus();
  event.preventDefault();
});
byId("filter").addEventListener("input", (event) => {
  filter(event.target.value);
  remember();
});
byId("save-csv").addEventListener("click", () => save(asCsv(), "text/csv", "audit.csv"));
byId("save-json").addEventListener("click", () => save(asJson(), "application/json", "audit.json"));
