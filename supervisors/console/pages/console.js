// The shell around the pages: which one is shown, what is on top of each, keys.
import { ask, chooseNode, complain, count, h, keep, plain, setText, settleAllBut } from "/kit.js";
import * as charts from "/charts.js";
import * as cluster from "/cluster.js";
import * as groups from "/groups.js";
import * as topics from "/topics.js";
import * as tree from "/tree.js";

const PAGES = { tree: tree.show, topics: topics.show, groups: groups.show, brokers: cluster.brokers, quorum: cluster.quorum, charts: charts.show };
const main = document.getElementById("main");
let leave = new AbortController();
let last = null;

/** `#/topics/orders?tab=messages`: parts, and a query that pages write what they show to. */
function route() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const parts = path.split("/").filter(Boolean).map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
  const found = { path, parts, query: new URLSearchParams(query ?? "") };
  found.remember = (changes) => {
    for (const [name, value] of Object.entries(changes)) {
      if (value === null) found.query.delete(name);
      else found.query.set(name, value);
    }
    const text = found.query.toString();
    last = `#/${path}${text ? `?${text}` : ""}`;
    history.replaceState(null, "", last);
  };
  return found;
}

async function show() {
  if (location.hash === "#main") return main.focus();
  if (location.hash === last) return;
  last = location.hash;
  leave.abort();
  leave = new AbortController();
  const { signal } = leave;
  const to = route();
  const name = to.parts[0] in PAGES ? to.parts[0] : "tree";
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#/${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  settleAllBut(look);
  main.replaceChildren();
  main.setAttribute("aria-busy", "true");
  try {
    await PAGES[name](main, to, signal);
    if (!signal.aborted) main.querySelector("h1")?.focus({ preventScroll: true });
  } catch (error) {
    if (!signal.aborted) complain(error, show);
  }
  if (!signal.aborted) main.removeAttribute("aria-busy");
}

function overview(told) {
  const wrong = told.without_leader > 0 ? "down" : told.under_replicated > 0 || told.alive < told.brokers ? "troubled" : "ok";
  const words = [
    `${count(told.topics)} topics`, `${count(told.partitions)} partitions`,
    told.alive < told.brokers ? `${told.alive} of ${told.brokers} brokers` : `${told.brokers} broker${told.brokers === 1 ? "" : "s"}`,
    told.without_leader > 0 && `${count(told.without_leader)} without a leader`,
    told.under_replicated > 0 && `${count(told.under_replicated)} under-replicated`,
  ].filter(Boolean).join(", ");
  const place = document.getElementById("overview");
  place.className = `state ${wrong}`;
  place.title = `cluster ${plain(told.cluster_id)}, metadata ${told.metadata_version}, Ottla ${told.version}`;
  setText(place, words);
  const nodes = document.getElementById("nodes");
  if (told.nodes.length > 1 && nodes.hidden) {
    const select = nodes.querySelector("select");
    select.append(...told.nodes.map((id) => h("option", { value: id }, String(id))));
    select.addEventListener("change", () => {
      chooseNode(Number(select.value));
      last = null;
      show();
    });
    nodes.hidden = false;
  }
}

/** What is on top of each page. */
async function look() {
  overview(await ask("overview"));
}

function key(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches("input, textarea, select")) return;
  const links = [...document.querySelectorAll("nav a")];
  if (/^[1-9]$/.test(event.key) && links[event.key - 1]) {
    location.hash = links[event.key - 1].hash;
  } else if (event.key === "/") {
    const search = main.querySelector("[data-search]");
    if (!search) return;
    event.preventDefault();
    search.focus();
    search.select();
  }
}

addEventListener("hashchange", show);
addEventListener("keydown", key);
keep(new AbortController().signal, 5000, look);
if (!location.hash) history.replaceState(null, "", "#/tree");
show();
