// Everything that is said in a clip goes through textContent: a transcript is never markup.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const make = (tag, text, name) => {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (name) element.className = name;
  return element;
};

// --- the table --------------------------------------------------------------------------------------------
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.querySelectorAll("th")];
  heads.forEach((head, column) => head.firstChild.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    heads.forEach((other) => other.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const text = (row) => row.cells[column].textContent.trim();
    const rows = [...table.tBodies[0].rows].sort((a, b) => {
      const [x, y] = [parseFloat(text(a)), parseFloat(text(b))];
      if (isNaN(x) !== isNaN(y)) return isNaN(x) - isNaN(y); // what has no number stays below
      return (isNaN(x) ? text(a).localeCompare(text(b)) : x - y) * (up ? 1 : -1);
    });
    table.tBodies[0].append(...rows);
  }));
}

// --- the charts -------------------------------------------------------------------------------------------
const color = (row) => row.word === "PASS" || row.word === "IMPROVED" ? "var(--good)"
  : row.word === "INCONCLUSIVE" || !row.word ? "var(--warn)" : "var(--bad)";
const several = data.runs.length > 1;
const fixed = (value, digits) => value === null ? "-" : value.toFixed(digits);
const facets = several ? { fx: (row) => data.runs[row.run] } : {};
const fx = several ? { fx: { label: null } } : {};

function drawSpeed(width) {
  const rows = data.rows.filter((row) => row.wer !== null && row.ratio !== null);
  if (!rows.length) return null;
  const references = rows.filter((row) => row.reference);
  const lowest = Math.min(...references.map((row) => row.wer));
  const limit = Math.max(...references.map((row) => row.wer), 0) + 0.06;
  const shown = references.length ? rows.filter((row) => row.wer <= limit) : rows;
  const within = (wer) => Math.min(wer, limit);
  const beyond = rows.filter((row) => !shown.includes(row)).map((row) => `${row.name} (WER ${fixed(row.wer, 3)})`);
  at("speed-caption").textContent = "To the right is faster, below are fewer errors; bars are 95 % intervals, upright ones of the difference to fp32; the dashed "
    + "line is the margin of what is usable, the solid one joins the best usable rows."
    + (beyond.length ? ` Beyond the chart: ${beyond.join(", ")}.` : "");
  const say = (row) => `${row.name}\n${row.words}\n`
    + `${fixed(row.ratio, 2)}x fp32${row.low === null ? "" : ` [${fixed(row.low, 2)}, ${fixed(row.high, 2)}]`}\n`
    + `${fixed(row.mean, 3)} s/audio\n${row.shown}`;
  const frame = (marks, x = {}, y = {}) => Plot.plot({
    width, height: Math.min(460, Math.max(320, width * 0.6)), marginLeft: 50, marginRight: 70, ...fx,
    x: { label: "times as fast as fp32 →", grid: true, type: "log", tickFormat: "~r", ...x },
    y: { label: "↑ WER", grid: true, zero: false, ...y },
    marks,
  });
  const marks = [
    Plot.ruleY(references, { y: (row) => row.wer + data.margin, strokeDasharray: "4 4", stroke: "var(--quiet)", ...facets }),
    Plot.line(shown.filter((row) => row.best).sort((a, b) => a.ratio - b.ratio),
      { x: "ratio", y: "wer", stroke: "var(--good)", strokeWidth: 1.5, z: "run", ...facets }),
    Plot.ruleY(shown.filter((row) => row.low !== null),
      { x1: "low", x2: "high", y: "wer", stroke: color, strokeOpacity: 0.6, ...facets }),
    Plot.ruleX(shown.filter((row) => row.wer_low !== null), { x: "ratio", y1: "wer_low",
      y2: (row) => within(row.wer_high), stroke: color, strokeOpacity: 0.35, ...facets }),
    Plot.dot(shown, { x: "ratio", y: "wer", r: 4.5, stroke: color,
      fill: (row) => row.usable === false ? "var(--back)" : color(row), ...facets }),
  ];
  const bare = frame(marks), [x, y] = [bare.scale("x"), bare.scale("y")];
  const labels = placed(shown, x, y);
  const written = (anchor) => Plot.text(labels.filter((label) => label.anchor === anchor), { x: "x", y: "y", text: "name",
    textAnchor: anchor, fontSize: 11, fill: "currentColor", stroke: "var(--back)", ...facets });
  return frame([
    Plot.link(labels.filter((label) => label.far),
      { x1: "ratio", y1: "wer", x2: "x", y2: "y", stroke: "var(--quiet)", strokeWidth: 0.6, ...facets }),
    ...marks, written("start"), written("end"),
    Plot.tip(shown, Plot.pointer({ x: "ratio", y: "wer", title: say, ...facets })),
  ], { domain: x.domain, ticks: apart(x) }, { domain: y.domain });
}

// Round ratios that have room for their numbers: d3's logarithmic ticks leave a single decade nearly empty.
function apart(scale) {
  const [low, high] = scale.domain, kept = [];
  for (const tick of [1, 2, 3, 5, 10, 0.5, 1.5, 0.7, 1.2, 4, 7, 0.3, 0.9, 0.8, 1.1, 1.3, 1.7, 2.5, 0.6, 0.4, 0.2, 0.1]) {
    if (tick >= low && tick <= high && kept.every((other) => Math.abs(scale.apply(other) - scale.apply(tick)) >= 36)) kept.push(tick);
  }
  return kept;
}

// Where each name stands: the nearest place around its dot that no dot and no other name of its run has taken.
function placed(rows, x, y) {
  const [letter, line] = [6.2, 13]; // pixels
  const taken = rows.map((row) => ({ run: row.run, left: x.apply(row.ratio) - 5, right: x.apply(row.ratio) + 5,
    top: y.apply(row.wer) - 5, bottom: y.apply(row.wer) + 5 }));
  const free = (box) => box.left >= x.range[0] && box.right <= x.range[1] + 70
    && box.top >= y.range[1] - 10 && box.bottom <= y.range[0]
    && !taken.some((other) => other.run === box.run && box.left < other.right && other.left < box.right
      && box.top < other.bottom && other.top < box.bottom);
  const around = [-0.6, 0.6, 0, -2.5, 2.5, Math.PI, -1.2, 1.2, -1.9, 1.9]; // radians, to the right of it first
  return rows.map((row) => {
    const boxes = [8, 16, 26, 38, 52, 68, 86].flatMap((distance) => around.map((angle) => {
      const [start, middle] = [x.apply(row.ratio) + distance * Math.cos(angle), y.apply(row.wer) + distance * Math.sin(angle)];
      const [anchor, size] = [Math.cos(angle) < 0 ? "end" : "start", letter * row.name.length];
      const left = anchor === "end" ? start - size : start;
      return { run: row.run, left, right: left + size, top: middle - line / 2, bottom: middle + line / 2,
        label: { ...row, anchor, far: distance > 20, x: x.invert(start), y: y.invert(middle) } };
    }));
    const box = boxes.find(free) ?? boxes[0];
    taken.push(box);
    return box.label;
  });
}

const names = (rows) => [...new Set(rows.map((row) => row.name))];
const longest = (rows) => 14 + 6.6 * Math.max(4, ...names(rows).map((name) => name.length));

function drawSeconds(width) {
  const rows = data.rows.filter((row) => row.seconds.length);
  if (!rows.length) return null;
  const points = rows.flatMap((row) => row.seconds.map((seconds, n) => ({ ...row, value: seconds, clip: row.clips[n] })));
  return Plot.plot({
    width, height: 40 + 22 * names(rows).length, marginLeft: longest(rows), ...fx,
    x: { label: "seconds →", type: "log", grid: true, tickFormat: "~g", ticks: 5 },
    y: { label: null, domain: names(rows) },
    marks: [
      Plot.boxX(points, { x: "value", y: "name", fill: "var(--line)", stroke: "currentColor", r: 1.5, ...facets }),
      Plot.tip(points, Plot.pointer({ x: "value", y: "name",
        title: (p) => `${p.name}\n${data.clips[p.clip].id}\n${fixed(p.value, 3)} s`, ...facets })),
    ],
  });
}

function drawParts(width) {
  const timed = data.rows.filter((row) => row.parts);
  if (!timed.length) return null;
  const limit = 4 * d3.median(timed, (row) => row.mean); // one ruined row would make all others invisible
  const rows = timed.filter((row) => row.mean <= limit);
  const beyond = timed.filter((row) => row.mean > limit).map((row) => `${row.name} (${fixed(row.mean, 1)} s)`);
  at("parts-caption").textContent = beyond.length ? ` Beyond the chart: ${beyond.join(", ")}.` : "";
  const kinds = Object.keys(rows[0].parts);
  const bars = rows.flatMap((row) => kinds.map((kind) => ({ ...row, kind, value: row.parts[kind] })));
  const say = (row) => `${row.name}\n` + kinds.map((kind) =>
    `${kind} ${fixed(row.parts[kind], 3)} s, ${fixed(100 * row.parts[kind] / row.mean, 0)} %`).join("\n");
  return Plot.plot({
    width, height: 40 + 22 * names(rows).length, marginLeft: longest(rows), ...fx,
    x: { label: "seconds per audio →", grid: true }, y: { label: null, domain: names(rows) },
    color: { domain: kinds, range: kinds.map((kind) => `var(--${kind})`), legend: true },
    marks: [
      Plot.barX(bars, Plot.stackX({ x: "value", y: "name", fill: "kind", order: kinds, ...facets })),
      Plot.tip(rows, Plot.pointerY({ x: "mean", y: "name", title: say, ...facets })),
    ],
  });
}

function drawMemory(width) {
  const rows = data.rows.filter((row) => row.peak !== null || row.size !== null);
  if (!rows.length) return null;
  const bars = rows.flatMap((row) => [
    { ...row, kind: "size", value: row.size ?? 0 }, { ...row, kind: "peak", value: row.peak ?? 0 },
  ]);
  return Plot.plot({
    width, height: 40 + 22 * names(rows).length, marginLeft: longest(rows), ...fx,
    x: { label: "MiB →", grid: true }, y: { label: null, domain: names(rows) },
    color: { domain: ["peak", "size"], range: ["var(--line)", "var(--accent)"], legend: true },
    marks: [
      Plot.barX(bars.filter((bar) => bar.kind === "peak"), { x: "value", y: "name", fill: "kind", ...facets }),
      Plot.barX(bars.filter((bar) => bar.kind === "size"), { x: "value", y: "name", fill: "kind", insetTop: 5, insetBottom: 5, ...facets }),
      Plot.tip(bars, Plot.pointerY({ x: "value", y: "name",
        title: (bar) => `${bar.name}\npeak ${fixed(bar.peak, 0)} MiB\nsize ${fixed(bar.size, 0)} MiB`, ...facets })),
    ],
  });
}

function drawHistory(width) {
  const points = data.history.map((point) => ({ ...point, at: new Date(point.at) }));
  if (new Set(points.map((point) => point.at.getTime())).size < 2) return null; // one run is no history
  return Plot.plot({
    width, height: 360, marginRight: 110,
    x: { type: "utc", label: null }, y: { label: "↑ times as fast as fp32", grid: true, zero: false },
    marks: [
      Plot.line(points, { x: "at", y: "ratio", z: "name", stroke: "name", strokeOpacity: 0.7 }),
      Plot.dot(points, { x: "at", y: "ratio", fill: "name", r: 2.5 }),
      Plot.text(points, Plot.selectLast({ x: "at", y: "ratio", z: "name", text: "name", textAnchor: "start", dx: 6 })),
      Plot.tip(points, Plot.pointer({ x: "at", y: "ratio",
        title: (p) => `${p.name} ${fixed(p.ratio, 2)}x\n${p.at.toISOString().slice(0, 16)}\n${p.commit ?? "commit unknown"}` })),
    ],
  });
}

const charts = { speed: drawSpeed, seconds: drawSeconds, parts: drawParts, memory: drawMemory, history: drawHistory };
function draw() {
  for (const [id, chart] of Object.entries(charts)) {
    const figure = at(id).closest("figure");
    figure.hidden = false; // A hidden one has no width.
    const drawn = chart(Math.max(320, at(id).clientWidth));
    at(id).replaceChildren(drawn ?? "");
    figure.hidden = drawn === null;
  }
}
let waiting;
addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(draw, 150); });
draw();

// --- the clips --------------------------------------------------------------------------------------------
const PAGE = 50;
let found = [], listed = 0;

data.rows.forEach((row, index) => at("variant").append(Object.assign(make("option", row.label), { value: index })));

function wanted(said, which, variant) {
  const rows = variant === "" ? said.rows : said.rows.filter((row) => row === Number(variant));
  if (!rows.length) return false;
  return which === "all" || (which === "wrong" && said.edits > 0)
    || (which === "changed" && rows.some((row) => said.changed.includes(row)))
    || (which === "differs" && rows.some((row) => said.differs.includes(row)));
}

function filter() {
  const [query, which, variant] = ["query", "which", "variant"].map((id) => at(id).value.toLowerCase());
  found = data.clips.filter((clip) => clip.said.some((said) => wanted(said, which, variant))
    && (!query || clip.search.includes(query)));
  at("count").textContent = `${found.length} of ${data.clips.length} clips`;
  at("list").replaceChildren();
  listed = 0;
  more();
}

function difference(said) {
  const words = make("span");
  words.title = said.text;
  if (!said.edits) {
    words.textContent = said.text;
    return words;
  }
  for (const [kind, reference, hypothesis] of said.diff) {
    if (kind === "=") words.append(reference, " ");
    if (kind !== "=" && reference) words.append(make("del", reference), " ");
    if (kind !== "=" && hypothesis) words.append(make("ins", hypothesis), " ");
  }
  if (!said.text) words.append(make("em", " (silence)"));
  return words;
}

function show(clip) {
  const [which, variant] = ["which", "variant"].map((id) => at(id).value);
  const block = make("div", undefined, "clip"), head = make("h3", clip.id);
  head.append(make("span", `${clip.seconds.toFixed(1)} s`, "quiet"));
  if (clip.audio) head.append(Object.assign(make("audio"), { controls: true, preload: "none", src: clip.audio }));
  block.append(head, make("p", clip.text, "reference"));
  for (const said of clip.said.filter((each) => wanted(each, which, variant))) {
    const line = make("div", undefined, "say"), who = make("span", undefined, "who");
    who.append(said.rows.map((row) => data.rows[row].label).join(", "));
    if (said.changed.length) who.append(" ", make("b", `changed: ${said.changed.map((row) => data.rows[row].label).join(", ")}`));
    line.append(difference(said), who);
    block.append(line);
  }
  return block;
}

function more() {
  at("list").append(...found.slice(listed, listed + PAGE).map(show));
  listed = Math.min(found.length, listed + PAGE);
  at("more").hidden = listed >= found.length;
}

at("query").addEventListener("input", filter);
for (const id of ["which", "variant"]) at(id).addEventListener("change", filter);
document.querySelector(".filters").addEventListener("submit", (event) => event.preventDefault());
at("more").addEventListener("click", more);
new IntersectionObserver((seen) => { if (seen[0].isIntersecting && !at("more").hidden) more(); }).observe(at("more"));
filter();
