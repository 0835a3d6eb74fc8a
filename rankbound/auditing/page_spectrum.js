// A head's singular values on a log axis, as SVG.

function drawSpectrum(box, { title, spectrum, size, threshold }) {
  box.replaceChildren();
  const values = spectrum.filter((s) => s !== null);
  const top = values[0] ?? 0;
  if (!(top > 0)) {
    make("p", { class: "caption" }, "All singular values are 0.", box);
    return;
  }
  const tails = []; // relative to the largest, so that squares stay in range
  values.reduceRight((sum, s, k) => (tails[k] = Math.sqrt(sum * sum + (s / top) ** 2)), 0);
  const line = tails.map((t) => t * top);
  const rounding = threshold ?? 0;
  const floor = Math.min(Math.max(rounding / 10, line[0] * 1e-300), 0.009 * line[0]);
  const least = values.reduce((low, s) => (s >= floor && s < low ? s : low), 0.009 * line[0]);
  plot(box, { title, values, line, size, rounding, low: least, high: line[0] });
}

function plot(box, { title, values, line, size, rounding, low, high }) {
  const [width, height] = [Math.max(box.clientWidth, 260), 300];
  const [left, right, above, below] = [48, width - 14, 22, height - 36];
  const end = Math.max(size, values.length);
  const [bottom, peak] = [Math.log10(low) - 0.08, Math.log10(high) + 0.08];
  const x = (k) => left + (k / end) * (right - left);
  const y = (s) => below - ((Math.log10(s) - bottom) / (peak - bottom)) * (below - above);
  const svg = make("svg", {
    viewBox: `0 0 ${width} ${height}`, width, height, role: "img",
    "aria-label": `Singular values of the centred logits, ${title}`,
  }, null, box);
  const rule = (name, x1, y1, x2, y2) => make("line", { class: name, x1, y1, x2, y2 }, null, svg);
  const write = (text, px, py, anchor, name = "") =>
    make("text", { x: px, y: py, "text-anchor": anchor, class: name }, text, svg);
  const decades = Math.floor(peak) - Math.ceil(bottom);
  const skip = Math.max(1, Math.ceil(decades / 7));
  for (let e = Math.floor(bottom); e <= peak; e++) {
    for (const m of decades < 2 ? [1, 2, 5] : [1]) {
      const s = m * 10 ** e;
      if (e % skip || Math.log10(s) < bottom || Math.log10(s) > peak) continue;
      rule("grid", left, y(s), right, y(s));
      write(short(s), left - 6, y(s) + 4, "end");
    }
  }
  const rough = end / Math.max(2, (right - left) / 60);
  const ten = 10 ** Math.floor(Math.log10(rough));
  const every = Math.max(1, [1, 2, 5, 10].map((m) => m * ten).find((m) => m >= rough));
  for (let k = 0; k <= end; k += every) {
    rule("grid", x(k), below, x(k), below + 4);
    write(k, x(k), below + 17, "middle");
  }
  write("r, j", right, height - 2, "end", "symbol");
  rule("grid", left, below, right, below);
  const seen = (s) => s > 0 && Math.log10(s) >= bottom;
  if (seen(rounding) && Math.log10(rounding) <= peak) {
    rule("rounding", left, y(rounding), right, y(rounding));
    write("rounding", left + 4, y(rounding) - 4, "start");
  }
  rule("share", left, y(0.01 * high), right, y(0.01 * high));
  rule("size", x(size), above, x(size), below);
  const path = line.flatMap((t, k) => (seen(t) ? [`${x(k).toFixed(1)},${y(t).toFixed(1)}`] : []));
  make("polyline", { class: "line", points: path.join(" ") }, null, svg);
  const radius = Math.min(3, Math.max(1, (0.4 * (right - left)) / end));
  const dots = make("g", { class: "dots" }, null, svg);
  values.forEach((s, i) => {
    if (seen(s)) make("circle", { cx: x(i + 1).toFixed(1), cy: y(s).toFixed(1), r: radius }, null, dots);
  });
  write("1 % of \u03c4\u2080", left + 4, y(0.01 * high) - 5, "start", "marked");
  write(`head size ${size}`, x(size), above - 8, x(size) > 110 ? "end" : "start", "marked");
}
