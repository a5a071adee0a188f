// Records of a partition, decoded; and one produced.
import { ask, bytes, complain, count, h, link, plain, post, settle, sync, time, to } from "/kit.js";
import { choice } from "/table.js";

const PAGE = 25;

const FROM = [["latest", "the newest"], ["earliest", "the oldest"], ["offset", "an offset"], ["time", "a time"]];
const DECODED = [["auto", "as they look"], ["json", "as JSON"], ["text", "as UTF-8"], ["hex", "in hex"]];

function fromHex(hex) {
  const all = new Uint8Array(hex.length / 2);
  for (let at = 0; at < all.length; at++) all[at] = Number.parseInt(hex.slice(2 * at, 2 * at + 2), 16);
  return all;
}

/** UTF-8 or nothing; where it is cut, its last letter may be. */
function utf8(all, cut) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(all, { stream: cut });
  } catch {
    return null;
  }
}

/** No deeper: each level takes room in each line. */
const DEEPEST = 200;

/** What is JSON, a line for each value. Those are as they were written: numbers keep all their digits, names that come twice come twice. */
function indented(text) {
  const tokens = text.match(/"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],:]|[^\s{}[\],:"]+/g);
  const [opens, closes] = [(token) => token === "{" || token === "[", (token) => token === "}" || token === "]"];
  let [told, depth] = ["", 0];
  const line = () => `\n${"  ".repeat(depth)}`;
  for (const [at, token] of tokens.entries()) {
    if (opens(token) && ++depth > DEEPEST) throw new Error("it is too deep");
    if (closes(token) && (depth--, !opens(tokens[at - 1]))) told += line();
    told += token === ":" ? ": " : token;
    if (token === "," || (opens(token) && !closes(tokens[at + 1]))) told += line();
  }
  return told;
}

function inJson(text) {
  try {
    return { value: JSON.parse(text), text: indented(text) };
  } catch {
    return null;
  }
}

const spaced = (hex) => hex.replace(/../g, "$& ").trim();

/** Bytes in words: `how` they were read, and what they say. */
export function decoded(field, how) {
  if (field === null) return { how: "null", text: null };
  const all = fromHex(field.hex);
  const text = how === "hex" ? null : utf8(all, all.length < field.bytes);
  if (text === null) return { how: "hex", text: spaced(field.hex) };
  const json = how === "text" ? null : inJson(text);
  if (json && (how === "json" || (typeof json.value === "object" && json.value !== null))) return { how: "json", text: json.text, short: text };
  const unreadable = /[\u0000-\u0008\u000e-\u001f]/.test(text);
  return how === "auto" && unreadable ? { how: "hex", text: spaced(field.hex) } : { how: "text", text };
}

/** A key or a value: one line, and folded open all of it. */
function cell(field, how) {
  const told = decoded(field, how);
  if (told.text === null) return h("span", { class: "faint" }, "null");
  if (told.text === "") return h("span", { class: "faint" }, "empty");
  const cut = field.bytes * 2 > field.hex.length;
  const line = (told.short ?? told.text).replace(/\s+/g, " ");
  const size = cut ? h("span", { class: "cut" }, ` … ${bytes(field.bytes)} in all`) : null;
  if (line.length <= 90 && line === told.text) return h("span", { class: "bytes", data: { how: told.how } }, h("bdi", {}, plain(line)), size);
  return h("details", { data: { how: told.how } }, h("summary", { class: "bytes" }, h("bdi", {}, plain(line.slice(0, 90))), line.length > 90 ? "…" : null, size),
    h("pre", {}, plain(told.text)));
}

function headers(record, how) {
  if (!record.header_count) return null;
  const shown = record.headers.map((header) => h("li", { class: "bytes" }, plain(decoded(header.key, "auto").text ?? ""), ": ", cell(header.value, how)));
  const left = record.header_count - record.headers.length;
  return h("details", {}, h("summary", {}, `${record.header_count} header${record.header_count === 1 ? "" : "s"}`), h("ul", {}, shown, left > 0 ? h("li", {}, `${left} more`) : null));
}

export async function records(place, topic, route, signal) {
  const { query } = route;
  const number = (name) => query.get(name) ?? "";
  const partition = h("input", { type: "number", min: 0, value: number("partition") || "0", "aria-label": "Partition", size: 5 });
  const from = choice("from", "From", FROM, query.get("from") ?? "latest");
  const offset = h("input", { type: "number", min: 0, value: number("offset") || "0", "aria-label": "Offset" });
  const moment = h("input", { type: "datetime-local", step: 1, "aria-label": "Time", value: query.get("time") ?? "" });
  const search = h("input", { type: "search", data: { search: "" }, placeholder: "Search in records", "aria-label": "Search in records", value: query.get("search") ?? "" });
  const how = choice("how", "Shown", DECODED, query.get("how") ?? "auto");
  const read = h("button", { type: "submit" }, "Read");
  const told = h("span", { class: "told", role: "status" });
  const older = h("button", { type: "button", click: () => turn(-1) }, "Older");
  const newer = h("button", { type: "button", click: () => turn(1) }, "Newer");
  const label = (text, control) => h("label", {}, `${text} `, control);
  const rest = h("div", { class: "controls" }, search, label("Shown", how), told, older, newer);
  const form = h("form", {}, h("div", { class: "controls" }, label("Partition", partition), label("From", from), offset, moment, read), rest);
  const body = h("tbody");
  const head = ["Offset", "Time", "Key", "Value", "Headers"].map((name, at) => h("th", { scope: "col", class: at === 0 && "number" }, name));
  const shown = h("table", {}, h("caption", {}, "Records, those of transactions that are not committed among them"), h("thead", {}, h("tr", {}, head)), body);
  const empty = h("p", { class: "empty", hidden: true });
  const unread = h("p", { role: "status", hidden: true });
  place.append(form, h("div", { class: "wide" }, shown), unread, empty);

  let page = null;
  let turns = 0;

  function hide() {
    offset.hidden = from.value !== "offset";
    moment.hidden = from.value !== "time";
  }

  function asked() {
    const at = from.value === "time" ? new Date(moment.value).getTime() : null;
    if (Number.isNaN(at)) throw new Error("Choose a time to read from.");
    return { from: from.value === "offset" ? offset.value : from.value, at };
  }

  async function load(where) {
    const mine = ++turns;
    try {
      told.textContent = "reading …";
      const answer = await ask("records", { topic, partition: partition.value || 0, search: search.value.trim(), limit: PAGE, ...where }, signal);
      if (mine !== turns) return;
      page = answer;
      draw();
      settle(load);
    } catch (error) {
      if (signal.aborted || mine !== turns) return;
      told.textContent = "";
      complain(error, load);
    }
  }

  function draw() {
    const { records: all, start, end, next, scanned, stopped } = page;
    sync(body, all, (record) => `${page.partition}/${record.offset}/${how.value}`, (record) => h("tr", {},
      h("td", { class: "number" }, String(record.offset)), h("td", { class: "whole" }, time(record.timestamp)),
      h("td", {}, cell(record.key, how.value)), h("td", { class: "value" }, cell(record.value, how.value), whole(record)), h("td", { class: "whole" }, headers(record, how.value))), () => {});
    told.textContent = `${count(all.length)} of ${count(scanned)} read; offsets ${start} to ${end}${page.at_end ? "" : `, goes on at ${next}`}`;
    unread.hidden = !stopped;
    if (stopped) unread.textContent = plain(`What begins at offset ${stopped.at} cannot be read: ${stopped.why}.${next > stopped.at ? ` Newer goes on behind it, at ${next}.` : ""}`);
    [older.disabled, newer.disabled] = [page.from <= start, page.next >= end];
    empty.hidden = all.length > 0 || Boolean(stopped);
    empty.textContent = search.value.trim() && scanned ? "None of these records has it; Newer searches on." : "There are no records here.";
  }

  /** A value that is cut, asked for alone. */
  function whole(record) {
    if (!record.value || record.value.bytes * 2 <= record.value.hex.length) return null;
    const button = h("button", { type: "button", class: "plain", click: async () => {
      try {
        const alone = await ask("records", { topic, partition: page.partition, from: record.offset, limit: 1 }, signal);
        const found = alone.records.find((one) => one.offset === record.offset);
        if (!found) throw new Error(`There is no record at offset ${record.offset} any more.`);
        const { value } = found;
        const left = value.bytes - value.hex.length / 2;
        const more = left > 0 ? h("span", { class: "cut" }, ` … and ${bytes(left)} more`) : null;
        button.replaceWith(h("pre", { tabindex: "0" }, plain(decoded(value, how.value).text), more));
        settle(whole);
      } catch (error) {
        if (!signal.aborted) complain(error, whole);
      }
    } }, "show more of it");
    return button;
  }

  function turn(by) {
    if (!page) return;
    const at = by > 0 ? page.next : Math.max(page.start, page.from - PAGE);
    from.value = "offset";
    offset.value = at;
    hide();
    remember();
    load(by > 0 ? { from: at } : { from: at, until: page.from });
  }

  function remember() {
    route.remember({
      partition: partition.value || null, from: from.value, offset: from.value === "offset" ? offset.value : null,
      time: from.value === "time" ? moment.value : null, search: search.value.trim() || null, how: how.value === "auto" ? null : how.value,
    });
  }

  function begin() {
    hide();
    remember();
    try {
      return load(asked());
    } catch (error) {
      complain(error, load);
    }
  }

  form.addEventListener("submit", (event) => { event.preventDefault(); begin(); });
  from.addEventListener("change", hide);
  how.addEventListener("change", () => { remember(); if (page) draw(); });
  await begin();
}

const toHex = (text) => [...new TextEncoder().encode(text)].map((byte) => byte.toString(16).padStart(2, "0")).join("");

/** What was typed, as hexadecimal digits. */
function typed(text, how) {
  const hex = how === "hex" ? text.replace(/\s+/g, "").toLowerCase() : toHex(text);
  if (!/^([0-9a-f]{2})*$/.test(hex)) throw new Error("Those are no hexadecimal digits, two for each byte.");
  return hex;
}

export async function produce(place, topic, route, signal) {
  const partition = h("input", { type: "number", min: 0, placeholder: "by the key" });
  const key = h("input", { autocomplete: "off" });
  const value = h("textarea", { rows: 8 });
  const nothing = h("input", { type: "checkbox" });
  const how = choice("how", "Typed", [["text", "as UTF-8"], ["hex", "in hex"]]);
  const given = h("textarea", { rows: 2, placeholder: "name: value, a line each" });
  const told = h("p", { role: "status" });
  const send = h("button", { type: "submit" }, "Produce");
  nothing.addEventListener("change", () => { value.disabled = nothing.checked; });
  const form = h("form", { class: "record" },
    h("label", {}, "Partition", partition), h("label", {}, "Key (left empty: none)", key), h("label", {}, "Value", value),
    h("label", { class: "inline" }, nothing, "no value: a tombstone"), h("label", {}, "Headers", given),
    h("label", { class: "inline" }, "Key and value are typed ", how), h("div", {}, send), told);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    send.disabled = true;
    told.replaceChildren();
    try {
      const lines = given.value.split("\n").filter((line) => line.trim());
      const headers = lines.map((line) => {
        const at = line.indexOf(":");
        if (at < 1) throw new Error(`A header is written as name: value, not as ${line}`);
        return { key: toHex(line.slice(0, at).trim()), value: toHex(line.slice(at + 1).trim()) };
      });
      const written = await post("produce", {
        topic, partition: partition.value === "" ? null : Number(partition.value), key: key.value === "" ? null : typed(key.value, how.value),
        value: nothing.checked ? null : typed(value.value, how.value), headers,
      });
      const where = `${to("topics", topic, "messages")}?partition=${written.partition}&from=offset&offset=${written.offset}`;
      told.replaceChildren("Written: ", link(where, `partition ${written.partition}, offset ${written.offset}`));
      settle(form);
    } catch (error) {
      if (!signal.aborted) complain(error, form);
    }
    send.disabled = false;
  });
  place.append(form);
}
