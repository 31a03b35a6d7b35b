// WER and speed, each over fp32's, over the share of the model's weights that is removed; a line per kind of cut.
const panels = { wer: "WER over fp32's", speed: "speed over fp32's" };
const limit = 2.2, half = Math.ceil(data.lines.length / 2), legend = 17 * half;
const points = data.points.flatMap((point) =>
  Object.entries(panels).map(([key, panel]) => ({ ...point, panel, value: point[key] })));
const shown = points.filter((point) => point.value <= limit);
const at = { x: "removed", y: "value", z: "line", fx: "panel" };
const colors = ["#0969da", "#2da44e", "#cf222e", "#bf8700", "#8250df", "#bf3989", "#1b7c83", "#bc4c00", "#6e7781",
  "#a0552d", "#7d8590", "#d4a72c", "#e16f24", "#57606a"];
const named = data.lines.map((line, place) => Plot.text([Object.values(panels)[Math.floor(place / half)]], {
  fx: (panel) => panel, frameAnchor: "bottom-left", textAnchor: "start", lineAnchor: "top", dy: 52 + 17 * (place % half),
  text: () => `${place + 1}  ${line}`, fill: () => line, fontSize: 11,
}));
return Plot.plot({
  width, height: 460 + legend, marginBottom: 60 + legend, marginLeft: 45, marginRight: 30,
  fx: { label: null, domain: Object.values(panels), padding: 0.08 },
  x: { label: "% of the model's weights removed →", grid: true, labelOffset: 36, type: "sqrt", ticks: [0, 1, 2, 5, 10, 20, 30, 40] },
  y: { label: null, grid: true, domain: [0.75, limit] },
  color: { domain: data.lines, range: colors },
  marks: [
    Plot.ruleY([1]),
    Plot.ruleY([{ panel: panels.wer, value: data.usable }], { y: "value", fx: "panel", strokeDasharray: "4 4", stroke: "var(--quiet)" }),
    Plot.line(shown, { ...at, stroke: "line" }),
    Plot.dot(shown, { ...at, fill: "line", r: 3 }),
    Plot.text(shown, Plot.selectLast({ ...at, text: (point) => data.lines.indexOf(point.line) + 1,
      fill: "line", textAnchor: "start", dx: 7, fontWeight: "bold" })),
    ...named,
  ],
});
