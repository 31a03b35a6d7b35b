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
  return Plot.plot({
    width, height: Math.min(460, Math.max(320, width * 0.6)), marginLeft: 50, marginRight: 70, ...fx,
    x: { label: "times as fast as fp32 →", grid: true, type: "log", ticks: 8, tickFormat: "~f" },
    y: { label: "↑ WER", grid: true, zero: false },
    marks: [
      Plot.ruleY(references, { y: (row) => row.wer + data.margin, strokeDasharray: "4 4", stroke: "var(--quiet)", ...facets }),
      Plot.line(shown.filter((row) => row.best).sort((a, b) => a.ratio - b.ratio),
        { x: "ratio", y: "wer", stroke: "var(--good)", strokeWidth: 1.5, z: "run", ...facets }),
      Plot.ruleY(shown.filter((row) => row.low !== null),
        { x1: "low", x2: "high", y: "wer", stroke: color, strokeOpacity: 0.6, ...facets }),
      Plot.ruleX(shown.filter((row) => row.wer_low !== null), { x: "ratio", y1: "wer_low",
        y2: (row) => within(row.wer_high), stroke: color, strokeOpacity: 0.35, ...facets }),
      Plot.dot(shown, { x: "ratio", y: "wer", r: 4.5, stroke: color,
        fill: (row) => row.usable === false ? "var(--back)" : color(row), ...facets }),
      Plot.text(shown, { x: "ratio", y: "wer", text: "name", textAnchor: "start", dx: 7, dy: -7, fontSize: 11,
        fill: "currentColor", stroke: "var(--back)", ...facets }),
      Plot.tip(shown, Plot.pointer({ x: "ratio", y: "wer", title: say, ...facets })),
    ],
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

const charts = { speed: drawSpeed, seconds: drawSeconds, memory: drawMemory, history: drawHistory };
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
