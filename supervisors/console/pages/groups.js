// Consumer groups, and how far behind they are.
import { count, facts, h, heading, lasting, link, plain, state, to } from "/kit.js";
import { list, table } from "/table.js";

const HEALTH = { Stable: "ok", Empty: "behind", PreparingRebalance: "troubled", CompletingRebalance: "troubled", Dead: "down" };
const behind = (row) => (row.lag === null ? "?" : row.lag === 0 ? "none" : lasting(row.seconds));

export async function show(main, route, signal) {
  if (route.parts.length > 1) return group(main, route.parts[1], route, signal);
  const untold = h("p", { class: "faint", hidden: true });
  const shown = list({
    path: "groups", rows: "groups", caption: "Groups of all coordinators; behind by: the age of the oldest record that is not read yet.", search: "Search groups", route, signal, every: 4000,
    key: (row) => row.group,
    columns: [
      { name: "Group", cell: (row) => link(to("groups", row.group), row.group) },
      { name: "State", cell: (row) => state(HEALTH[row.state] ?? "ok", row.state) },
      { name: "Type", cell: (row) => [row.type, row.protocol].filter(Boolean).join(", ") },
      { name: "Coordinator", number: true, cell: (row) => String(row.coordinator) },
      { name: "Partitions", number: true, cell: (row) => count(row.partitions) },
      { name: "Lag in records", number: true, cell: (row) => count(row.lag) },
      { name: "Behind by", number: true, cell: behind },
    ],
    told(answer) {
      untold.hidden = !answer.untold.length;
      untold.textContent = plain(`Not all is known: ${answer.untold.join("; ")}`);
    },
  });
  main.append(heading("Consumer groups"), shown.shown, untold);
  await shown.ready;
}

async function group(main, name, route, signal) {
  const about = h("div");
  const members = table("Members", [
    { name: "Member", cell: (row) => row.member },
    { name: "Client", cell: (row) => row.client },
    { name: "Host", cell: (row) => row.host },
    { name: "Assigned", cell: (row) => (row.assigned ?? []).map((of) => `${of.topic}: ${of.partitions.join(", ")}`).join("; ") },
  ]);
  const nobody = h("p", { class: "empty", hidden: true }, "It has no members.");
  const shown = list({
    path: "group", rows: "partitions", caption: "Partitions that it has committed offsets of, those furthest behind first", route, signal, every: 4000, asked: { group: name },
    key: (row) => `${row.topic}/${row.partition}`,
    columns: [
      { name: "Topic", cell: (row) => link(to("topics", row.topic), row.topic) },
      { name: "Partition", number: true, cell: (row) => String(row.partition) },
      { name: "Committed", number: true, cell: (row) => link(`${to("topics", row.topic, "messages")}?partition=${row.partition}&from=offset&offset=${row.committed}`, String(row.committed)) },
      { name: "End", number: true, cell: (row) => count(row.end) },
      { name: "Lag in records", number: true, cell: (row) => count(row.lag) },
      { name: "Behind by", number: true, cell: behind },
    ],
    told(answer) {
      about.replaceChildren(facts([
        ["State", state(HEALTH[answer.state] ?? "ok", answer.state)], ["Lag", `${count(answer.lag)} records`],
        ["Behind by", behind(answer)], ["Protocol", [answer.protocol, answer.assignor].filter(Boolean).join(", ")],
        ["Coordinator", String(answer.coordinator)], ["Members", count(answer.member_count)],
      ]));
      members.fill(answer.members, (row) => row.member);
      members.shown.hidden = !answer.members.length;
      nobody.hidden = answer.members.length > 0;
    },
  });
  main.append(heading(name), about, h("h2", {}, "Lag"), shown.shown, h("h2", {}, "Members"), members.shown, nobody);
  await shown.ready;
}
