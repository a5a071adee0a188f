// The supervision tree: a level at a time as it is expanded, and one actor looked into.
import { ago, ask, bytes, complain, count, facts, h, heading, keep, lasting, micros, percent, plain, setText, settle, state, sync } from "/kit.js";
import { choice } from "/table.js";

const EVERY = 2000;
/** How many children of an actor are shown, and how many more at each wish. */
const SHARE = 50;
const WORDS = { ok: "in order", behind: "does not keep up", troubled: "troubled", down: "down" };

export async function show(main, route, signal) {
  const search = h("input", { type: "search", data: { search: "" }, "aria-label": "Search actors", placeholder: "Search actors", value: route.query.get("search") ?? "" });
  const sort = choice("sort", "Order", [
    ["name", "name"], ["load", "load"], ["health", "health"], ["depth", "mailbox"], ["slow", "slowest messages"], ["restarts", "restarts"], ["handled", "handled"],
  ]);
  const told = h("span", { class: "told", role: "status" });
  const rows = h("ul", { role: "tree", "aria-label": "Actors" });
  const aside = h("aside", { "aria-label": "Actor" }, h("p", { class: "faint" }, "Choose an actor by click or Enter to look into it."));
  main.append(heading("Supervision tree"), h("div", { class: "controls" }, search, h("label", {}, "Order ", sort), told), h("div", { class: "split" }, rows, aside));

  const open = new Map();
  let items = [];
  let current = null;
  let turns = 0;
  let chosen = route.query.get("actor");

  async function level(path, depth, parent) {
    const limit = Math.min(200, open.get(path));
    const shown = [];
    let total = 1;
    for (let offset = 0; offset < Math.min(open.get(path), total); offset += limit) {
      const answer = await ask("actors", { path, sort: sort.value, offset, limit }, signal);
      total = answer.total;
      shown.push(...answer.actors);
    }
    const below = [];
    for (const [place, actor] of shown.entries()) {
      const item = { actor, depth, parent, place: place + 1, of: total };
      below.push(item);
      if (open.has(actor.path)) below.push(...await level(actor.path, depth + 1, item));
    }
    if (shown.length < total) below.push({ more: path, left: total - shown.length, depth, parent });
    return below;
  }

  async function load() {
    const mine = ++turns;
    const wanted = search.value.trim();
    const top = await ask("actors", { search: wanted, sort: sort.value, limit: wanted ? 200 : 1 }, signal);
    if (mine !== turns) return;
    if (wanted) {
      items = top.actors.map((actor, place) => ({ actor, depth: 0, parent: null, place: place + 1, of: top.total, found: true }));
      setText(told, `${count(top.total)} found${top.total > 200 ? ", 200 shown" : ""}`);
    } else {
      if (!open.size) open.set(top.of.path, SHARE);
      const root = { actor: top.of, depth: 0, parent: null, place: 1, of: 1 };
      const below = open.has(top.of.path) ? await level(top.of.path, 1, root).catch(gone) : [];
      if (mine !== turns) return;
      items = [root, ...below];
      setText(told, `${count(top.of.actors)} actors`);
    }
    draw();
    if (chosen) await inspect();
  }

  /** What was open may have ended meanwhile. */
  function gone(error) {
    if (error.status !== 404) throw error;
    return [];
  }

  const nameOf = (item) => item.more ? `more ${item.more}` : item.actor.path;

  function draw() {
    if (!items.some((item) => nameOf(item) === current)) current = items.length ? nameOf(items[0]) : null;
    sync(rows, items, nameOf, make, update);
  }

  function make(item) {
    const row = h("li", { role: "treeitem" });
    row.addEventListener("focus", () => {
      current = row.dataset.key;
      for (const other of rows.children) other.tabIndex = other === row ? 0 : -1;
    });
    if (item.more) {
      row.append(h("span", { class: "twisty" }, "⋯"), h("span", { class: "faint" }));
      row.addEventListener("click", () => act(row.item));
      return row;
    }
    const twisty = h("span", { class: "twisty", "aria-hidden": "true", click: (event) => { event.stopPropagation(); toggle(row.item); } });
    row.append(twisty, h("span", { class: "size" }, h("span", { class: "dot" })), h("span", { class: "who" }), h("span", { class: "line" }), h("span", { class: "load" }));
    row.addEventListener("click", () => { row.focus(); act(row.item); });
    return row;
  }

  function update(row, item) {
    row.item = item;
    row.style.setProperty("--level", item.depth);
    row.setAttribute("aria-level", item.depth + 1);
    row.tabIndex = row.dataset.key === current ? 0 : -1;
    if (item.more) return setText(row.lastElementChild, `${count(item.left)} more`);
    const { actor } = item;
    const [twisty, size, who, line, load] = row.children;
    const expanded = open.has(actor.path) && !item.found;
    row.setAttribute("aria-posinset", item.place);
    row.setAttribute("aria-setsize", item.of);
    row.setAttribute("aria-selected", String(actor.path === chosen));
    if (actor.children && !item.found) row.setAttribute("aria-expanded", String(expanded));
    else row.removeAttribute("aria-expanded");
    setText(twisty, actor.children && !item.found ? (expanded ? "▾" : "▸") : "");
    // One that is closed shows what is wrong below it.
    const health = expanded ? actor.health : actor.worst;
    size.firstElementChild.className = `dot ${health}`;
    size.style.setProperty("--size", `${Math.round(7 + 15 * Math.cbrt(Math.min(1, expanded ? actor.own_load : actor.load)))}px`);
    setText(who, `${plain(actor.name)}${actor.kind === actor.name ? "" : ` (${actor.kind})`}`);
    who.title = plain(actor.path);
    const words = [
      health === "ok" ? null : actor.health === "ok" && health !== "ok" ? `${WORDS[health]} below` : WORDS[health],
      plain(actor.state), actor.mailbox ? `${count(actor.mailbox)} waiting` : null, actor.restarts ? `${count(actor.restarts)} restarts` : null,
      actor.actors > 1 && !expanded ? `${count(actor.actors - 1)} below` : null,
    ];
    setText(line, words.filter(Boolean).join(", "));
    setText(load, percent(actor.load));
    load.title = "Load of it and all below it: threads that they kept busy of late";
  }

  function toggle(item) {
    if (!item.actor?.children || item.found) return;
    if (open.has(item.actor.path) && item.depth > 0) open.delete(item.actor.path);
    else open.set(item.actor.path, SHARE);
    again();
  }

  function act(item) {
    if (item.more) {
      open.set(item.more, open.get(item.more) + SHARE * 2);
      return again();
    }
    chosen = item.actor.path;
    route.remember({ actor: chosen });
    draw();
    inspect().catch(() => {});
  }

  async function inspect() {
    const path = chosen;
    const actor = await ask("actor", { path }, signal).catch((error) => {
      if (error.status !== 404) throw error;
      return null;
    });
    if (path === chosen) look(aside, actor, path);
  }

  function move(row) {
    if (!row) return;
    row.focus();
    row.scrollIntoView({ block: "nearest" });
  }

  rows.addEventListener("keydown", (event) => {
    const row = event.target.closest("[role=treeitem]");
    if (!row) return;
    const { item } = row;
    const expanded = row.getAttribute("aria-expanded");
    const keys = {
      ArrowDown: () => move(row.nextElementSibling),
      ArrowUp: () => move(row.previousElementSibling),
      Home: () => move(rows.firstElementChild),
      End: () => move(rows.lastElementChild),
      ArrowRight: () => expanded === "false" ? toggle(item) : expanded === "true" && move(row.nextElementSibling),
      ArrowLeft: () => expanded === "true" && item.depth > 0 ? toggle(item)
        : move([...rows.children].find((other) => item.parent && other.dataset.key === item.parent.actor.path)),
      Enter: () => act(item),
      " ": () => act(item),
    };
    if (keys[event.key]) {
      event.preventDefault();
      keys[event.key]();
    }
  });
  const again = () => load().then(() => signal.aborted || settle(load), (error) => signal.aborted || complain(error, load));
  search.addEventListener("input", () => {
    route.remember({ search: search.value.trim() || null });
    again();
  });
  sort.addEventListener("change", again);
  await keep(signal, EVERY, load);
}

/** All that is known of one actor. What is folded open stays so. */
function look(aside, actor, path) {
  if (!actor) {
    aside.replaceChildren(h("h2", {}, plain(path)), h("p", { class: "empty" }, "It is no longer there."));
    return;
  }
  const unfolded = new Set([...aside.querySelectorAll("details[open]")].map((details) => details.dataset.name));
  const scrolled = aside.querySelector("pre")?.scrollTop ?? 0;
  const focused = aside.contains(document.activeElement) ? document.activeElement.closest("details")?.dataset.name : null;
  const fold = (name, ...content) => h("details", { data: { name }, open: unfolded.has(name) }, h("summary", {}, name), ...content);
  const messages = [...actor.messages].filter((message) => message.handled).sort((a, b) => b.handled - a.handled);
  const numbers = Object.entries(actor.numbers);
  aside.replaceChildren(
    h("h2", {}, plain(actor.name)),
    facts([
      ["Health", state(actor.health, WORDS[actor.health])],
      ["State", actor.state],
      ["Path", actor.path], ["Kind", actor.kind], ["Threads", actor.bulkhead],
      ["Status", actor.status === "running" ? null : actor.status],
      ["Fault set", actor.fault],
      ["Mailbox", `${count(actor.mailbox)} waiting, once ${count(actor.mailbox_high)}`],
      ["In hand", actor.in_hand && `${actor.in_hand} for ${lasting(actor.in_hand_ms / 1000)}${actor.stuck ? ": it is stuck" : ""}`],
      ["Handled", `${count(actor.handled)} messages`],
      ["Handling time", `p50 ${micros(actor.p50_micros)}, p99 ${micros(actor.p99_micros)}, most ${micros(actor.max_micros)}`],
      ["Busy", `${percent(actor.own_load)} of late, ${percent(actor.busy_share)} of its age`],
      ["Credits", actor.credits ? bytes(actor.credits) : null],
      ["Age", `${lasting(actor.age_ms / 1000)}${actor.generation > 1 ? `, generation ${actor.generation}, its place ${lasting(actor.place_age_ms / 1000)}` : ""}`],
      ["Restarts", count(actor.restarts)],
      ["Below it", actor.below ? `${count(actor.below)} actors, load of all ${percent(actor.load)}` : null],
      ["Last failure", actor.last_failure && `${actor.last_failure} (${ago(actor.last_failure_ago_ms)})`],
    ]),
    ...(actor.restarted.length ? [h("h2", {}, "Restarts"), h("ol", {}, [...actor.restarted].reverse().map((restart) =>
      h("li", {}, `generation ${restart.generation}, ${ago(restart.ago_ms)}: ${plain(restart.cause)}`)))] : []),
    ...(actor.backtrace ? [fold("Backtrace of the last failure", h("pre", { tabindex: "0" }, plain(actor.backtrace)))] : []),
    ...(numbers.length ? [h("h2", {}, "Its own numbers"), facts(numbers.map(([name, value]) => [name, count(value)]))] : []),
    ...(messages.length ? [h("h2", {}, "Messages"), facts(messages.map((message) => [message.name, count(message.handled)]))] : []),
  );
  if (focused) [...aside.querySelectorAll("details")].find((details) => details.dataset.name === focused)?.querySelector("summary").focus();
  const trace = aside.querySelector("pre");
  if (trace) trace.scrollTop = scrolled;
}
