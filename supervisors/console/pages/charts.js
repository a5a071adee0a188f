// The last hour in curves.
import { ask, bytes, count, h, heading, keep, micros, percent, svg, time } from "/kit.js";

const WIDTH = 600;
const HEIGHT = 100;

const WORDS = {
  microseconds: micros, bytes, "bytes per second": (value) => `${bytes(value)}/s`, "percent of a core": (value) => percent(value / 100),
  "per second": (value) => `${value < 10 ? value.toFixed(1) : count(value)}/s`,
};

const words = (unit, value) => (value === null || value === undefined ? "?" : (WORDS[unit] ?? count)(value));

/** Samples by their times; an hour of them. */
class Kept {
  constructor() {
    this.at = [];
    this.values = [];
  }

  add(at, values, most) {
    this.at.push(...at);
    this.values.push(...values);
    const over = Math.max(0, this.at.length - most);
    this.at.splice(0, over);
    this.values.splice(0, over);
  }
}

/** One curve. The pointer, and the arrow keys where it has the focus, choose a moment. */
function chart(name, unit) {
  const kept = new Kept();
  const line = svg("path", { class: "curve" });
  const area = svg("path", { class: "area" });
  const cursor = svg("line", { class: "cursor", y1: 0, y2: HEIGHT, visibility: "hidden" });
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" }, area, line, cursor);
  const now = h("b");
  const [least, most] = [h("span"), h("span")];
  const shown = h("figure", { tabindex: "0", role: "img" }, h("figcaption", {}, h("span", {}, name), now), picture, h("div", { class: "scale" }, least, most));
  let [span, chosen] = [1, null];

  const x = (at) => WIDTH - ((kept.at.at(-1) - at) / span) * WIDTH;

  function draw(milliseconds) {
    span = milliseconds;
    const known = kept.values.filter((value) => value !== null);
    const top = Math.max(1e-9, ...known) * 1.05;
    // A gap where nothing is known.
    let [path, fill, begun] = ["", "", null];
    kept.values.forEach((value, at) => {
      if (value === null) {
        if (begun !== null) fill += `V${HEIGHT}H${begun}Z`;
        begun = null;
        return;
      }
      const place = `${x(kept.at[at]).toFixed(1)} ${(HEIGHT - (value / top) * HEIGHT).toFixed(1)}`;
      path += `${begun === null ? "M" : "L"}${place}`;
      fill += begun === null ? `M${x(kept.at[at]).toFixed(1)} ${HEIGHT}L${place}` : `L${place}`;
      begun ??= x(kept.at[at]).toFixed(1);
    });
    if (begun !== null) fill += `V${HEIGHT}H${begun}Z`;
    line.setAttribute("d", path);
    area.setAttribute("d", fill);
    const range = known.length ? [Math.min(...known), Math.max(...known)] : [null, null];
    least.textContent = `least ${words(unit, range[0])}`;
    most.textContent = `most ${words(unit, range[1])}`;
    tell(range);
  }

  function tell(range = null) {
    const at = chosen === null ? kept.at.length - 1 : kept.at.findLastIndex((when) => when <= chosen);
    const value = words(unit, kept.values[at]);
    now.textContent = chosen === null || at < 0 ? value : `${value} at ${time(kept.at[at]).slice(11, 19)}`;
    cursor.setAttribute("visibility", chosen === null || at < 0 ? "hidden" : "visible");
    if (chosen !== null && at >= 0) [cursor.setAttribute("x1", x(kept.at[at])), cursor.setAttribute("x2", x(kept.at[at]))];
    const said = range ? `${least.textContent}, ${most.textContent}` : shown.said;
    shown.said = said;
    shown.setAttribute("aria-label", `${name}: ${now.textContent}; in the last hour ${said}`);
  }

  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    chosen = kept.at.at(-1) - (1 - (event.clientX - box.left) / box.width) * span;
    tell();
  });
  picture.addEventListener("pointerleave", () => { chosen = null; tell(); });
  shown.addEventListener("blur", () => { chosen = null; tell(); });
  shown.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || !kept.at.length) return;
    event.preventDefault();
    const from = chosen === null ? kept.at.length - 1 : kept.at.findLastIndex((when) => when <= chosen);
    chosen = kept.at[Math.min(kept.at.length - 1, Math.max(0, from + by))];
    tell();
  });
  return { shown, kept, draw };
}

export async function show(main, route, signal) {
  const range = h("span", { class: "told", role: "status" });
  const place = h("div", { class: "charts" });
  const empty = h("p", { class: "empty" }, "The first samples come in a few seconds.");
  main.append(heading("The last hour"), h("div", { class: "controls" }, range), empty, place);
  const charts = new Map();
  let since = 0;
  await keep(signal, 5000, async () => {
    const told = await ask("history", { since }, signal);
    since = told.at.at(-1) ?? since;
    empty.hidden = since > 0;
    for (const { name, unit, values } of told.series) {
      if (!charts.has(name)) {
        charts.set(name, chart(name, unit));
        place.append(charts.get(name).shown);
      }
      const { kept } = charts.get(name);
      kept.add(told.at, values, told.kept);
    }
    const [first] = charts.values();
    if (!first.kept.at.length) return;
    const begun = first.kept.at[0];
    // As much of an hour as there is, but not so little that a few samples look like a history.
    const span = Math.max(since - begun, 60_000);
    for (const each of charts.values()) each.draw(span);
    range.textContent = `${time(begun).slice(0, 19)} to ${time(since).slice(11, 19)}, a sample each ${told.step_ms / 1000} s`;
  });
}
