// Draws the map, the spectrum and the table of the record that stands in the page as JSON.
(() => {
  const { columns, rows, spectra, thresholds, share: MARKED } = JSON.parse(
    document.getElementById("data").textContent,
  );
  const at = Object.fromEntries(columns.map((name, i) => [name, i]));
  const get = (row, name) => rows[row][at[name]];
  const TEXT = new Set(["masked", "at_bottleneck", "storage_dtype", "compute_dtype"]);
  const PINNED = ["layer", "head"];
  // what all rows agree in stands last
  const differs = (name) => name === "log_rank" || rows.some((row) => row[at[name]] !== rows[0][at[name]]);
  const others = columns.filter((name) => !PINNED.includes(name));
  const SHOWN = [...PINNED, ...others.filter(differs), ...others.filter((name) => !differs(name))];
  const NONE = "\u2013";
  const state = { row: null, sort: null, order: "ascending" };
  const cells = new Map(); // row of the record -> its cell in the map
  const lines = new Map(); // row of the record -> its line in the table

  const byId = (id) => document.getElementById(id);
  const unique = (values) => [...new Set(values)].sort((a, b) => a - b);
  const shareOf = (row) => {
    const value = get(row, "log_effective_rank") / get(row, "head_size");
    return get(row, "log_effective_rank") === null || !Number.isFinite(value) ? null : value;
  };
  const logRank = (row) => {
    const [low, high] = [get(row, "log_rank_lower"), get(row, "log_rank_upper")];
    if (low === null || high === null) return NONE;
    return low === high ? String(low) : `${low}\u2013${high}`;
  };
  const place = (row) => `Layer ${get(row, "layer")}, head ${get(row, "head")}`;
  const inWords = (row) => {
    const [share, value] = [shareOf(row), get(row, "log_effective_rank")];
    const used = share === null ? "effective log-rank unknown"
      : `effective log-rank ${short(value)} of ${get(row, "head_size")} (${share.toFixed(2)})`;
    const bound = get(row, "log_rank_bound");
    return `${used}; log-rank ${logRank(row)}, bound ${bound === null ? NONE : bound}`;
  };

  // The map

  const map = byId("map");
  let grid = { layers: [], heads: 0 };

  function drawMap(window_) {
    map.replaceChildren();
    cells.clear();
    const mine = rows.map((_, i) => i).filter((i) => get(i, "window") === window_);
    const layers = unique(mine.map((i) => get(i, "layer")));
    const heads = mine.reduce((most, i) => Math.max(most, get(i, "head") + 1), 0);
    const where = new Map(mine.map((i) => [`${get(i, "layer")} ${get(i, "head")}`, i]));
    grid = { layers, heads };
    const line = () => make("div", { role: "row" }, null, map);
    const top = line();
    make("span", { role: "columnheader", "aria-label": "Layer" }, "", top);
    for (let h = 0; h < heads; h++) {
      make("span", { role: "columnheader", "aria-label": `Head ${h}` }, h, top);
    }
    for (const layer of layers) {
      const parent = line();
      make("span", { role: "rowheader", "aria-label": `Layer ${layer}` }, layer, parent);
      for (let h = 0; h < heads; h++) {
        const row = where.get(`${layer} ${h}`);
        if (row === undefined) make("span", { role: "gridcell" }, "", parent);
        else drawCell(row, parent);
      }
    }
    fitMap();
  }

  function drawCell(row, parent) {
    const share = shareOf(row);
    const low = get(row, "log_rank_lower");
    const cell = make("div", {
      class: "cell", role: "gridcell", tabindex: -1, "aria-selected": "false", "data-row": row,
      "aria-label": `${place(row)}: ${inWords(row)}`,
    }, null, parent);
    make("span", { "aria-hidden": "true" }, share === null ? NONE : share.toFixed(2), cell);
    cell.style.setProperty("--share", `${100 * Math.min(share ?? 0, 1)}%`);
    cell.classList.toggle("unknown", share === null);
    cell.classList.toggle("past-44", share > 0.44); // where the other ink reads better: dark, light
    cell.classList.toggle("past-58", share > 0.58);
    cell.classList.toggle("ring", share >= MARKED);
    cell.classList.toggle("corner", low !== null && low === get(row, "log_rank_bound"));
    cells.set(row, cell);
  }

  function fitMap() {
    const label = 30;
    const width = Math.min((map.clientWidth - label) / Math.max(grid.heads, 1), 48);
    const height = Math.max(Math.min(width, 30), grid.layers.length > 40 ? 9 : 12);
    map.style.setProperty("--size", `${height}px`);
    map.classList.toggle("values", width >= 30);
    map.classList.toggle("dense", width < 14);
    const [skipHeads, skipLayers] = [Math.ceil(18 / width), Math.ceil(12 / height)];
    for (const line of map.children) {
      line.style.gridTemplateColumns = `${label}px repeat(${grid.heads}, minmax(0, 48px))`;
    }
    const shown = (node, number, skip) => {
      node.textContent = number % skip === 0 ? number : "";
    };
    map.querySelectorAll("[role=columnheader]").forEach((node, i) => i && shown(node, i - 1, skipHeads));
    map.querySelectorAll("[role=rowheader]").forEach((node, i) => shown(node, grid.layers[i], skipLayers));
  }

  const rowOf = (event) => {
    const node = event.target.closest("[data-row]");
    return node === null ? null : Number(node.dataset.row);
  };

  function step(row, down, across) {
    const layer = grid.layers[grid.layers.indexOf(get(row, "layer")) + down];
    const head = get(row, "head") + across;
    const found = [...cells.keys()].find((i) => get(i, "layer") === layer && get(i, "head") === head);
    if (found !== undefined) choose(found).focus();
  }

  const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  map.addEventListener("click", (event) => {
    if (rowOf(event) !== null) choose(rowOf(event)).focus();
  });
  map.addEventListener("keydown", (event) => {
    const row = rowOf(event);
    if (row === null) return;
    if (event.key === "Enter" || event.key === " ") choose(row);
    else if (event.key in ARROWS) step(row, ...ARROWS[event.key]);
    else return;
    event.preventDefault();
  });
  map.addEventListener("pointerover", (event) => {
    const row = rowOf(event) ?? state.row;
    byId("under").textContent = `${place(row)}: ${inWords(row)}.`;
  });

  // The table

  const [head, body] = [byId("table").tHead, byId("table").tBodies[0]];
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
    const text = Math.abs(value) < 1e9 ? value.toFixed(decimals[name]) : value.toExponential(2);
    return value !== 0 && Number(text) === 0 ? value.toExponential(1) : text;
  }

  function styleOf(name) {
    const pin = PINNED.indexOf(name);
    return (TEXT.has(name) ? "text" : "") + (pin >= 0 ? ` pinned pinned-${pin}` : "");
  }

  function drawTable() {
    const line = make("tr", {}, null, head);
    for (const name of SHOWN) {
      const cell = make("th", { scope: "col", class: styleOf(name), "data-column": name }, null, line);
      const meaning = byId(`column-${name}`);
      const button = make("button", { type: "button", title: meaning ? meaning.textContent : "" }, null, cell);
      name.split("_").forEach((part, i) => {
        if (i) button.append("_", document.createElement("wbr"));
        button.append(part);
      });
    }
    rows.forEach((_, i) => {
      const row = make("tr", { "data-row": i, tabindex: -1 }, null, body);
      for (const name of SHOWN) make("td", { class: styleOf(name) }, shown(i, name), row);
      lines.set(i, row);
    });
  }

  const key = (row, name) =>
    name === "log_rank" ? get(row, "log_rank_lower") : get(row, name);

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
    const next = { ArrowUp: line.previousElementSibling, ArrowDown: line.nextElementSibling }[event.key];
    if (!next) return;
    choose(Number(next.dataset.row));
    next.focus();
    event.preventDefault();
  });

  // What is chosen, and the address that says so

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
    byId("readout").textContent = `${inWords(row)}.`
      .replace(/^e/, "E");
    byId("under").textContent = `${place(row)}: ${inWords(row)}.`;
    draw();
    if (keep) remember();
    return cells.get(row);
  }

  function draw() {
    drawSpectrum(byId("spectrum"), {
      title: place(state.row),
      spectrum: spectra[state.row],
      threshold: thresholds[state.row],
      size: get(state.row, "head_size"),
    });
  }

  function remember() {
    const chosen = Object.fromEntries(["window", "layer", "head"].map((n) => [n, get(state.row, n)]));
    const sorted = state.sort === null ? {} : { sort: state.sort, order: state.order };
    const address = new URLSearchParams({ ...chosen, ...sorted });
    try {
      history.replaceState(null, "", `#${address}`);
    } catch {
      // some viewers forbid it; the page works without
    }
  }

  function recall() {
    const asked = new URLSearchParams(location.hash.slice(1));
    const says = (row, name) => !asked.has(name) || String(get(row, name)) === asked.get(name);
    const wanted = rows.findIndex((_, i) => ["window", "layer", "head"].every((name) => says(i, name)));
    choose(wanted < 0 ? state.row ?? 0 : wanted, false);
    const name = asked.get("sort");
    if (columns.includes(name)) {
      sort(name, asked.get("order") === "descending" ? "descending" : "ascending");
    }
  }

  drawTable();
  if (!rows.length) return;
  const windows = unique(rows.map((row) => row[at.window]));
  for (const w of windows) make("option", { value: w }, w, byId("window"));
  byId("window-choice").hidden = windows.length < 2;
  byId("window").addEventListener("change", (event) => {
    const same = (i, name) => get(i, name) === get(state.row, name);
    const mine = rows.map((_, i) => i).filter((i) => get(i, "window") === Number(event.target.value));
    choose(mine.find((i) => same(i, "layer") && same(i, "head")) ?? mine[0]);
  });
  recall();
  window.addEventListener("hashchange", recall);
  new ResizeObserver(() => { fitMap(); draw(); }).observe(byId("map"));
})();
