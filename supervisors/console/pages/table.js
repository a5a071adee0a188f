// A list that the server pages and searches.
import { ask, complain, count, h, keep, plain, settle, sync } from "/kit.js";

export const PAGE = 50;

/** Columns: `name`, `cell(row)`, `number` where it is one. */
export function table(caption, columns) {
  const head = columns.map((column) => h("th", { scope: "col", class: column.number && "number" }, column.name));
  const body = h("tbody");
  const shown = h("div", { class: "wide" }, h("table", {}, h("caption", {}, caption), h("thead", {}, h("tr", {}, head)), body));
  return {
    shown,
    fill(rows, key) {
      sync(body, rows, key, () => h("tr"), (element, row) => {
        const told = JSON.stringify(row);
        if (element.told === told) return;
        element.told = told;
        const focusable = () => [...element.querySelectorAll("a, button")];
        const focus = focusable().indexOf(document.activeElement);
        element.replaceChildren(...columns.map((column) => {
          const value = column.cell(row);
          return h("td", { class: column.number && "number" }, value instanceof Node || value === null ? value : plain(value));
        }));
        if (focus >= 0) focusable()[focus]?.focus();
      });
    },
  };
}

/**
 * A page of a list from `path`, whose answer has its rows under `rows`, kept up to date. `search` names what is searched for; `more` are
 * further controls, whose values go along by their names; `told(answer)` sees each answer.
 */
export function list({ path, rows, caption, columns, key, route, signal, asked = {}, search = null, more = [], every = 3000, told = null }) {
  const shown = table(caption, columns);
  const query = route.query;
  const at = { offset: Number(query.get("offset") ?? 0), search: query.get("search") ?? "" };
  const input = search && h("input", { type: "search", value: at.search, "aria-label": search, placeholder: search, data: { search: "" } });
  const range = h("span", { class: "told", role: "status" });
  const back = h("button", { type: "button", click: () => turn(-PAGE) }, "Previous");
  const on = h("button", { type: "button", click: () => turn(PAGE) }, "Next");
  const empty = h("p", { class: "empty", hidden: true }, "Nothing is there.");
  let newest = 0;

  async function load() {
    const mine = ++newest;
    const chosen = Object.fromEntries(more.map((control) => [control.dataset.asks, control.value]));
    const answer = await ask(path, { ...asked, ...chosen, search: at.search, offset: at.offset, limit: PAGE }, signal);
    if (mine !== newest) return;
    if (at.offset > 0 && at.offset >= answer.total) {
      at.offset = Math.max(0, Math.floor((answer.total - 1) / PAGE) * PAGE);
      return load();
    }
    const found = answer[rows];
    shown.fill(found, key);
    const first = found.length ? at.offset + 1 : 0;
    range.textContent = `${count(first)}–${count(at.offset + found.length)} of ${count(answer.total)}`;
    [back.disabled, on.disabled] = [at.offset === 0, at.offset + found.length >= answer.total];
    empty.hidden = found.length > 0;
    told?.(answer);
  }

  const again = () => load().then(() => signal.aborted || settle(load), (error) => signal.aborted || complain(error, load));
  function turn(by) {
    at.offset = Math.max(0, at.offset + by);
    route.remember({ offset: at.offset || null });
    again();
  }
  function anew() {
    at.search = input?.value.trim() ?? "";
    at.offset = 0;
    route.remember({ search: at.search || null, offset: null });
    again();
  }
  input?.addEventListener("input", anew);
  for (const control of more) control.addEventListener("change", anew);
  const controls = h("div", { class: "controls" }, input, more.map((control) => h("label", {}, `${control.dataset.label} `, control)), range, back, on);
  const ready = keep(signal, every, load);
  return { shown: h("section", {}, controls, shown.shown, empty), ready, again };
}

export function choice(name, label, options, chosen = "") {
  const select = h("select", { data: { asks: name, label } }, options.map(([value, text]) => h("option", { value }, text)));
  select.value = chosen || options[0][0];
  return select;
}
