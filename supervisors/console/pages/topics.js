// Topics, and one of them: its partitions, its records, its configs.
import { ask, count, h, heading, keep, link, plain, state, to } from "/kit.js";
import { choice, list, table } from "/table.js";
import { produce, records } from "/records.js";

const TABS = [["partitions", "Partitions"], ["messages", "Messages"], ["produce", "Produce"], ["configs", "Configs"]];

export async function show(main, route, signal) {
  if (route.parts.length < 2) return topics(main, route, signal);
  const name = route.parts[1];
  const tab = TABS.some(([id]) => id === route.parts[2]) ? route.parts[2] : "partitions";
  const tabs = TABS.map(([id, text]) => link(to("topics", name, id), text, { "aria-current": id === tab && "page" }));
  const place = h("div");
  main.append(heading(name), h("nav", { class: "tabs", "aria-label": "Of this topic" }, tabs), place);
  return { partitions, messages: records, produce, configs }[tab](place, name, route, signal);
}

async function topics(main, route, signal) {
  const shown = list({
    path: "topics", rows: "topics", caption: "Topics by name; records: what lies between the logs' beginnings and their ends.", search: "Search topics", route, signal,
    key: (topic) => topic.id,
    more: [choice("only", "Show", [["", "all"], ["trouble", "those with trouble"]]), choice("internal", "Internal", [["", "too"], ["no", "not"]])],
    columns: [
      { name: "Topic", cell: (topic) => link(to("topics", topic.name), topic.name) },
      { name: "State", cell: health },
      { name: "Partitions", number: true, cell: (topic) => count(topic.partitions) },
      { name: "Replicas", number: true, cell: (topic) => count(topic.replicas) },
      { name: "Records", number: true, cell: (topic) => count(topic.records) },
      { name: "", cell: (topic) => link(to("topics", topic.name, "messages"), "messages") },
    ],
  });
  main.append(heading("Topics"), shown.shown);
  await shown.ready;
}

function health(topic) {
  if (topic.without_leader) return state("down", `${count(topic.without_leader)} without a leader`);
  if (topic.under_replicated) return state("troubled", `${count(topic.under_replicated)} under-replicated`);
  return state("ok", topic.internal ? "in order, internal" : "in order");
}

const ofPartition = (partition) => {
  if (partition.without_leader) return state("down", "no leader");
  if (partition.under_replicated) return state("troubled", "under-replicated");
  return state("ok", partition.reassigning ? "being moved" : "in order");
};

async function partitions(place, name, route, signal) {
  const shown = list({
    path: "topic", rows: "partitions", caption: "Partitions", route, signal, asked: { name }, key: (partition) => partition.partition,
    columns: [
      { name: "Partition", number: true, cell: (p) => link(`${to("topics", name, "messages")}?partition=${p.partition}`, String(p.partition)) },
      { name: "State", cell: ofPartition },
      { name: "Leader", number: true, cell: (p) => (p.without_leader ? "none" : String(p.leader)) },
      { name: "Epoch", number: true, cell: (p) => String(p.leader_epoch) },
      { name: "Replicas", cell: (p) => p.replicas.join(", ") },
      { name: "In sync", cell: (p) => p.isr.join(", ") },
      { name: "Begins at", number: true, cell: (p) => count(p.start) },
      { name: "Ends at", number: true, cell: (p) => count(p.end) },
      { name: "Records", number: true, cell: (p) => (p.start === null || p.end === null ? "?" : count(p.end - p.start)) },
    ],
  });
  place.append(shown.shown);
  await shown.ready;
}

/** What somebody set first; values as Kafka has them. */
export function configTable(caption) {
  return table(caption, [
    { name: "Config", cell: (config) => h("code", {}, plain(config.name)) },
    { name: "Value", cell: (config) => (config.secret ? h("span", { class: "faint" }, "secret") : h("code", {}, plain(config.value ?? ""))) },
    { name: "Set by", cell: (config) => (config.is_default ? h("span", { class: "faint" }, "default") : config.source) },
  ]);
}

async function configs(place, name, route, signal) {
  const shown = configTable("Configs of the topic, those that somebody has set first");
  place.append(shown.shown);
  await keep(signal, 10000, async () => shown.fill((await ask("topic/configs", { name }, signal)).configs, (config) => config.name));
}
