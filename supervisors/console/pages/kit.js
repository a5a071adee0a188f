// What all pages use. Text becomes text: nothing here, or in any page, makes markup of it.

/** An element. Properties that are functions listen, `data` sets data attributes; children are nodes, text, or nothing. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

let node = null;

export function chooseNode(id) {
  node = id;
}

/** What the console's server answers. Its connections end after a while: what was asked on one that just ended is asked once more. */
export async function ask(path, asked = {}, signal = undefined) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries({ node, ...asked })) {
    if (value !== null && value !== undefined && value !== "") query.set(name, value);
  }
  const once = () => fetch(`/api/${path}?${query}`, { signal, cache: "no-store" });
  const failed = (error) => {
    if (signal?.aborted) throw error;
  };
  const answer = await once().catch((error) => failed(error) ?? once()).catch((error) => {
    failed(error);
    throw new Error("The console does not answer.");
  });
  return told(answer);
}

/** Once, whatever comes of it. */
export async function post(path, body) {
  const query = node === null ? "" : `?node=${node}`;
  const headers = { "Content-Type": "application/json" };
  const answer = await fetch(`/api/${path}${query}`, { method: "POST", headers, body: JSON.stringify(body) }).catch(() => {
    throw new Error("The console did not answer: whether it is done is not known.");
  });
  return told(answer);
}

async function told(answer) {
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, body.error ?? `the console answers ${answer.status}`);
  return body;
}

/** What is wrong, by what it is of. */
const troubles = new Map();

function showTroubles() {
  const place = document.getElementById("trouble");
  setText(place, [...new Set(troubles.values())].join(" "));
  place.hidden = !troubles.size;
}

/** Is said until what it is `of` goes well, or the page is left. */
export function complain(error, of) {
  troubles.set(of, plain(error.message));
  showTroubles();
}

export function settle(of) {
  if (troubles.delete(of)) showTroubles();
}

/** Another page is shown: of the last one nothing is said any more. */
export function settleAllBut(kept) {
  for (const of of [...troubles.keys()]) if (of !== kept) troubles.delete(of);
  showTroubles();
}

/** Does it now, and again and again while somebody looks; until the page is left. Answers how to do it at once. */
export function keep(signal, milliseconds, work) {
  let timer = 0;
  let turn = 0;
  const again = async () => {
    clearTimeout(timer);
    const mine = ++turn;
    try {
      if (!document.hidden) {
        await work();
        if (!signal.aborted) settle(work);
      }
    } catch (error) {
      if (!signal.aborted && error.name !== "AbortError") complain(error, work);
    }
    if (!signal.aborted && mine === turn) timer = setTimeout(again, milliseconds);
  };
  signal.addEventListener("abort", () => clearTimeout(timer));
  document.addEventListener("visibilitychange", () => document.hidden || again(), { signal });
  return again();
}

/** Makes the children of `parent` those of `items`, by key. Those that stay are not touched, so that clicks are not lost, nor the focus. */
export function sync(parent, items, key, make, update) {
  const focus = parent.contains(document.activeElement) ? document.activeElement : null;
  const there = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let before = parent.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    let element = there.get(name);
    there.delete(name);
    if (!element) {
      element = make(item);
      element.dataset.key = name;
    }
    update(element, item);
    if (element === before) before = before.nextElementSibling;
    else parent.insertBefore(element, before);
  }
  for (const gone of there.values()) gone.remove();
  // One that was moved has lost it.
  if (focus?.isConnected && document.activeElement !== focus) focus.focus({ preventScroll: true });
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Names and records are whatever somebody wrote: what is not seen, looks like a space and is none, turns the reading direction, or is no
// character yet, is shown by its number.
const UNSEEN = /(?![\t\n ])[\p{C}\p{Z}\p{Default_Ignorable_Code_Point}\u2800]/gu;

export function plain(text) {
  return String(text).replace(UNSEEN, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
}

export function link(href, text, properties = {}) {
  return h("a", { href, ...properties }, plain(text));
}

/** The address of a page, its parts escaped. */
export function to(...parts) {
  return `#/${parts.map(encodeURIComponent).join("/")}`;
}

export const count = (number) => (number === null || number === undefined ? "?" : Math.round(number).toLocaleString("en"));

export function bytes(number) {
  if (number === null || number === undefined) return "?";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (number >= 1024 && at < units.length - 1) [number, at] = [number / 1024, at + 1];
  return `${number >= 100 || at === 0 ? Math.round(number) : number.toFixed(1)} ${units[at]}`;
}

export function micros(number) {
  if (number === null || number === undefined) return "?";
  if (number < 1000) return `${Math.round(number)} µs`;
  return number < 1e6 ? `${(number / 1e3).toFixed(1)} ms` : `${(number / 1e6).toFixed(1)} s`;
}

export function lasting(seconds) {
  if (seconds === null || seconds === undefined) return "?";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
}

export const ago = (milliseconds) => (milliseconds === null || milliseconds === undefined ? "never" : `${lasting(milliseconds / 1000)} ago`);

export const percent = (share) => `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;

/** In the reader's time zone, to the millisecond. */
export function time(milliseconds) {
  const date = new Date(milliseconds);
  if (Number.isNaN(date.getTime())) return String(milliseconds);
  const two = (number, length = 2) => String(number).padStart(length, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${two(date.getMilliseconds(), 3)}`;
}

/** A state in words, and in a colour beside them. */
export const state = (health, words) => h("span", { class: `state ${health}` }, plain(words));

export function facts(pairs) {
  return h("dl", {}, pairs.filter(([, value]) => value !== null && value !== undefined && value !== "").map(([name, value]) =>
    [h("dt", {}, name), h("dd", {}, value instanceof Node ? value : plain(value))]));
}

export function heading(text) {
  document.title = `${plain(text)} · Ottla`;
  return h("h1", { tabindex: "-1" }, plain(text));
}
