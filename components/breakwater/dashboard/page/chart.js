// The equity curve: one SVG path over market time, with the day's baseline and the equity at which the stop trips.
import { usd } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 220, TOP = 12, BOTTOM = 24, RIGHT = 84;

function draw(parent, name, attributes, text) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
}

function steps(low, high) {
  const raw = (high - low) / 4, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
  const found = [];
  for (let y = Math.ceil(low / step) * step; y <= high; y += step) found.push(y);
  return found;
}

// points: [number, time in ms, equity text]; baseline, trip: equity or null. Returns a note in words.
export function drawCurve(box, points, baseline, trip) {
  const width = Math.max(280, box.clientWidth);
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  svg.setAttribute("role", "img");
  if (points.length < 2) {
    draw(svg, "text", { x: 8, y: HEIGHT / 2, class: "axis" }, "The curve begins with the first snapshots.");
    svg.setAttribute("aria-label", "Equity curve: no points yet");
    box.replaceChildren(svg);
    return "";
  }
  const values = points.map((p) => Number(p[2]));
  let low = Math.min(...values), high = Math.max(...values);
  // The trip line joins the picture once a quarter of the way to it is used; before, it would flatten the curve.
  const near = trip !== null && baseline !== null && low <= baseline - (baseline - trip) / 4;
  if (baseline !== null) { low = Math.min(low, baseline); high = Math.max(high, baseline); }
  if (near) low = Math.min(low, trip);
  const pad = Math.max((high - low) * 0.08, high * 0.0002, 0.01);
  low -= pad; high += pad;
  const from = points[0][1], to = points.at(-1)[1];
  const x = (t) => ((t - from) / Math.max(1, to - from)) * (width - RIGHT - 4) + 2;
  const y = (v) => TOP + ((high - v) / (high - low)) * (HEIGHT - TOP - BOTTOM);

  for (const value of steps(low, high)) {
    draw(svg, "line", { x1: 0, x2: width - RIGHT, y1: y(value), y2: y(value), class: "grid" });
    draw(svg, "text", { x: width - RIGHT + 6, y: y(value) + 4, class: "axis" }, usd(value));
  }
  const labels = width < 480 ? 2 : 4;
  for (let i = 0; i <= labels; i++) {
    const at = from + ((to - from) * i) / labels;
    const anchor = i === 0 ? "start" : i === labels ? "end" : "middle";
    draw(svg, "text", { x: x(at), y: HEIGHT - 6, class: "axis", "text-anchor": anchor }, new Date(at).toISOString().slice(11, 19));
  }
  const path = points.map((p, i) => `${i ? "L" : "M"}${x(p[1]).toFixed(1)} ${y(values[i]).toFixed(1)}`).join("");
  draw(svg, "path", { d: `${path}L${x(to).toFixed(1)} ${HEIGHT - BOTTOM}L${x(from).toFixed(1)} ${HEIGHT - BOTTOM}Z`, class: "area" });
  if (baseline !== null) {
    draw(svg, "line", { x1: 0, x2: width - RIGHT, y1: y(baseline), y2: y(baseline), class: "baseline" });
    draw(svg, "text", { x: 4, y: y(baseline) - 4, class: "axis" }, "day's baseline");
  }
  if (near) {
    draw(svg, "line", { x1: 0, x2: width - RIGHT, y1: y(trip), y2: y(trip), class: "trip-line" });
    draw(svg, "text", { x: 4, y: y(trip) - 4, class: "trip-text" }, `stop trips at ${usd(trip)}`);
  }
  draw(svg, "path", { d: path, class: "line" });
  draw(svg, "circle", { cx: x(to), cy: y(values.at(-1)), r: 3.5, class: "dot" });
  svg.setAttribute("aria-label", `Equity from ${usd(values[0])} to ${usd(values.at(-1))} USDT over the time shown`);
  box.replaceChildren(svg);
  return trip !== null && !near ? `the stop trips at ${usd(trip)}, below this picture` : "";
}
