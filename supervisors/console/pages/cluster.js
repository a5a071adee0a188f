// Brokers, and the quorum that has the metadata log.
import { ago, ask, bytes, count, facts, h, heading, keep, link, plain, state, to } from "/kit.js";
import { list, table } from "/table.js";
import { configTable } from "/topics.js";

const HEALTH = { serving: "ok", stopping: "troubled", fenced: "down" };

export async function brokers(main, route, signal) {
  if (route.parts.length > 1) return broker(main, route.parts[1], signal);
  const shown = list({
    path: "brokers", rows: "brokers", caption: "Brokers that are registered", route, signal, key: (row) => row.broker,
    columns: [
      { name: "Broker", number: true, cell: (row) => link(to("brokers", String(row.broker)), String(row.broker)) },
      { name: "State", cell: (row) => state(HEALTH[row.state], row.state) },
      { name: "Rack", cell: (row) => row.rack ?? "" },
      { name: "Listeners", cell: (row) => row.listeners.join(", ") },
      { name: "Leads", number: true, cell: (row) => count(row.leaders) },
      { name: "Replicas", number: true, cell: (row) => count(row.replicas) },
      { name: "Out of sync", number: true, cell: (row) => count(row.behind) },
      { name: "Log directories", number: true, cell: (row) => count(row.directories) },
      { name: "Epoch", number: true, cell: (row) => String(row.epoch) },
    ],
  });
  main.append(heading("Brokers"), shown.shown);
  await shown.ready;
}

async function broker(main, id, signal) {
  const dirs = table("Log directories", [
    { name: "Directory", cell: (row) => h("code", {}, plain(row.dir)) },
    { name: "State", cell: (row) => (row.error ? state("down", row.error) : state(row.cordoned ? "behind" : "ok", row.cordoned ? "takes no more replicas" : "in order")) },
    { name: "Room left", number: true, cell: (row) => bytes(row.usable_bytes) },
    { name: "Of", number: true, cell: (row) => bytes(row.total_bytes) },
  ]);
  const configs = configTable("Configs, those that somebody has set first");
  main.append(heading(`Broker ${id}`), dirs.shown, h("h2", {}, "Configs"), configs.shown);
  await keep(signal, 10000, async () => {
    const told = await ask("broker", { broker: id }, signal);
    dirs.fill(told.dirs, (row) => row.dir);
    configs.fill(told.configs, (row) => row.name);
  });
}

export async function quorum(main, route, signal) {
  const about = h("div");
  const replicas = table("Who has the metadata log", [
    { name: "Node", number: true, cell: (row) => String(row.node) },
    { name: "Role", cell: (row) => row.role },
    { name: "State", cell: (row) => state(row.lag === 0 ? "ok" : "behind", row.lag === 0 ? "has all" : `${count(row.lag)} records behind`) },
    { name: "Ends at", number: true, cell: (row) => count(row.end) },
    { name: "Fetched", number: true, cell: (row) => (row.role === "leader" ? "" : ago(row.fetched_ms_ago)) },
    { name: "Had all", number: true, cell: (row) => (row.role === "leader" ? "" : ago(row.caught_up_ms_ago)) },
    { name: "Directory", cell: (row) => h("code", {}, row.directory ?? "") },
  ]);
  const features = table("Features", [{ name: "Feature", cell: (row) => row.feature }, { name: "Level", number: true, cell: (row) => row.level }]);
  const nodes = table("Controllers", [{ name: "Node", number: true, cell: (row) => String(row.node) }, { name: "Listeners", cell: (row) => row.listeners.join(", ") }]);
  main.append(heading("Quorum"), about, h("h2", {}, "Replicas"), replicas.shown, h("h2", {}, "Controllers"), nodes.shown, h("h2", {}, "Features"), features.shown);
  await keep(signal, 2000, async () => {
    const told = await ask("quorum", {}, signal);
    about.replaceChildren(facts([
      ["Leader", told.leader < 0 ? state("down", "none") : state("ok", `node ${told.leader}`)], ["Epoch", String(told.epoch)],
      ["Committed up to", count(told.high_watermark)], ["Metadata version", told.metadata_version],
    ]));
    replicas.fill(told.replicas, (row) => `${row.node}/${row.directory}`);
    features.fill(told.features, (row) => row.feature);
    nodes.fill(told.nodes, (row) => row.node);
  });
}
