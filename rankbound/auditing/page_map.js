// The map: a cell for each head of a window, coloured over the range of the record.

const map = byId("map");
const cells = new Map(); // row of the record -> its cell
let grid = { layers: [], heads: 0 };

function drawMap(window_) {
  map.replaceChildren();
  cells.clear();
  const mine = everyRow().filter((row) => get(row, "window") === window_);
  const layers = unique(mine.map((row) => get(row, "layer")));
  const heads = mine.reduce((most, row) => Math.max(most, get(row, "head") + 1), 0);
  const where = new Map(mine.map((row) => [`${get(row, "layer")} ${get(row, "head")}`, row]));
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
  const [share, colour] = [record.shares[row], record.colours[row]];
  const cell = make("div", {
    class: "cell", role: "gridcell", tabindex: -1, "aria-selected": "false", "data-row": row,
    "aria-label": `${place(row)}: ${inWords(row)}`,
  }, null, parent);
  make("span", { "aria-hidden": "true" }, share === null ? NONE : share.toFixed(2), cell);
  cell.style.setProperty("--share", `${100 * (colour ?? 0)}%`);
  cell.classList.toggle("unknown", share === null);
  cell.classList.toggle("past-43", colour > 0.43); // where the other ink reads better: dark, light
  cell.classList.toggle("past-62", colour > 0.62);
  cell.classList.toggle("ring", record.rings[row]);
  cell.classList.toggle("corner", record.corners[row]);
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
  const numbered = (node, number, skip) => {
    node.textContent = number % skip === 0 ? number : "";
  };
  map.querySelectorAll("[role=columnheader]").forEach((node, i) => i && numbered(node, i - 1, skipHeads));
  map.querySelectorAll("[role=rowheader]").forEach((node, i) => numbered(node, grid.layers[i], skipLayers));
}

const rowOf = (event) => {
  const node = event.target.closest("[data-row]");
  return node === null ? null : Number(node.dataset.row);
};

const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

// Where a key leads from a head: arrows one on, Home and End along the layer, with Ctrl to the corners.
function led(row, event) {
  const all = [...cells.keys()];
  const layer = (other) => get(other, "layer");
  if (event.key in ARROWS) {
    const [down, across] = ARROWS[event.key];
    const target = grid.layers[grid.layers.indexOf(layer(row)) + down];
    return all.find((other) => layer(other) === target && get(other, "head") === get(row, "head") + across);
  }
  if (event.key !== "Home" && event.key !== "End") return undefined;
  const line = event.ctrlKey ? all : all.filter((other) => layer(other) === layer(row));
  return event.key === "Home" ? line[0] : line.at(-1);
}

map.addEventListener("click", (event) => {
  if (rowOf(event) !== null) choose(rowOf(event)).focus();
});
map.addEventListener("keydown", (event) => {
  const row = rowOf(event);
  if (row === null) return;
  const next = led(row, event);
  if (event.key === "Enter" || event.key === " ") choose(row);
  else if (next !== undefined) choose(next).focus();
  else if (!(event.key in ARROWS)) return;
  event.preventDefault();
});
map.addEventListener("pointerover", (event) => {
  const row = rowOf(event) ?? state.row;
  byId("under").textContent = `${place(row)}: ${inWords(row)}.`;
});
