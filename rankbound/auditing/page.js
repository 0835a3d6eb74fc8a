// What is chosen, and the address that says so.

const state = { row: null, sort: null, order: "ascending", filter: "" };

function choose(row, keep = true) {
  if (state.row === null || get(state.row, "window") !== get(row, "window")) {
    drawMap(get(row, "window"));
    byId("window").value = get(row, "window");
  } else {
    cells.get(state.row).setAttribute("aria-selected", "false");
    cells.get(state.row).tabIndex = -1;
  }
  if (state.row !== null) {
    lines.get(state.row).removeAttribute("aria-current");
    lines.get(state.row).tabIndex = -1;
  }
  state.row = row;
  cells.get(row).setAttribute("aria-selected", "true");
  lines.get(row).setAttribute("aria-current", "true");
  cells.get(row).tabIndex = lines.get(row).tabIndex = 0;
  byId("chosen").textContent = place(row);
  byId("readout").textContent = `${inWords(row)}.`.replace(/^e/, "E");
  byId("under").textContent = `${place(row)}: ${inWords(row)}.`;
  draw();
  if (keep) remember();
  return cells.get(row);
}

function draw() {
  drawSpectrum(byId("spectrum"), {
    title: place(state.row),
    spectrum: record.spectra[state.row],
    threshold: record.thresholds[state.row],
    size: get(state.row, "head_size"),
  });
}

function remember() {
  const chosen = Object.fromEntries(["window", "layer", "head"].map((n) => [n, get(state.row, n)]));
  const sorted = state.sort === null ? {} : { sort: state.sort, order: state.order };
  const filtered = state.filter === "" ? {} : { filter: state.filter };
  const address = new URLSearchParams({ ...chosen, ...sorted, ...filtered });
  try {
    history.replaceState(null, "", `#${address}`);
  } catch {
    // some viewers forbid it; the page works without
  }
}

function recall() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const says = (row, name) => !asked.has(name) || String(get(row, name)) === asked.get(name);
  const wanted = everyRow().find((row) => ["window", "layer", "head"].every((name) => says(row, name)));
  choose(wanted ?? state.row ?? 0, false);
  const name = asked.get("sort");
  if (columns.includes(name)) {
    sort(name, asked.get("order") === "descending" ? "descending" : "ascending");
  }
  byId("filter").value = asked.get("filter") ?? "";
  filter(byId("filter").value);
}

function start() {
  const windows = unique(everyRow().map((row) => get(row, "window")));
  for (const w of windows) make("option", { value: w }, w, byId("window"));
  byId("window-choice").hidden = windows.length < 2;
  byId("window").addEventListener("change", (event) => {
    const same = (row, name) => get(row, name) === get(state.row, name);
    const mine = everyRow().filter((row) => get(row, "window") === Number(event.target.value));
    choose(mine.find((row) => same(row, "layer") && same(row, "head")) ?? mine[0]);
  });
  recall();
  window.addEventListener("hashchange", recall);
  new ResizeObserver(() => { fitMap(); draw(); }).observe(map);
}

drawTable();
if (rows.length) start();
