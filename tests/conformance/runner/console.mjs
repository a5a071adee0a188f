// Opens each page of a console in Chromium: DRIVER CONSOLE PICTURES TOPICS. Fails where a page lacks what it should show, is slow, or
// lets what somebody wrote become part of it.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const [driver, console_, pictures, topics] = process.argv.slice(2);
const { chromium } = createRequire(import.meta.url)(driver);
const count = Number(topics).toLocaleString("en");
const LIMIT = 15_000;
/** A page has its contents within this, with all topics and under load. */
const SOON = 3_000;

const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu", "--disable-lcd-text"] });
const faults = [];
const slowest = { name: "", took: 0 };

async function opened(colorScheme) {
  const page = await browser.newPage({ viewport: { width: 1100, height: 640 }, colorScheme, reducedMotion: "reduce" });
  page.setDefaultTimeout(LIMIT);
  page.on("pageerror", (error) => faults.push(`${page.url()}: ${error}`));
  page.on("console", (message) => {
    // What is asked for and is not there is answered so, and told by the browser.
    if (message.type() === "error" && !message.text().includes("status of 404")) faults.push(`${page.url()}: ${message.text()}`);
  });
  page.on("request", (request) => request.url().startsWith(console_) || faults.push(`loads ${request.url()}`));
  return page;
}

/** Goes there and waits for it; how long that takes is part of what is judged. The machine may be busy: the best of three counts. */
async function go(page, hash, ready) {
  let best = Infinity;
  for (let tries = 0; tries < 3 && best >= SOON; tries++) {
    const begin = Date.now();
    if (tries === 0) await page.goto(`${console_}/#/${hash}`);
    else await page.reload();
    await ready().first().waitFor();
    best = Math.min(best, Date.now() - begin);
  }
  if (best > slowest.took) Object.assign(slowest, { name: hash, took: best });
  assert.ok(best < SOON, `${hash} takes ${best} ms`);
  assert.equal(await page.locator("#trouble:visible").count(), 0, `${hash}: ${await page.locator("#trouble").textContent()}`);
}

const picture = (page, name, height = 640) => page.screenshot({ path: `${pictures}/${name}.png`, clip: { x: 0, y: 0, width: 1100, height } });
const row = (page, text) => page.locator("tr", { hasText: text });

async function tree(page) {
  const items = page.getByRole("treeitem");
  await go(page, "tree", () => items.filter({ hasText: "partitions" }));
  await items.filter({ hasText: "node-1" }).focus();
  await page.keyboard.press("End");
  const last = await items.count();
  assert.ok(last > 5 && last < 40, `${last} actors are shown at first`);
  await page.keyboard.press("Home");
  const partitions = items.filter({ hasText: /^▸partitions/ });
  for (let steps = 0; !(await partitions.evaluate((item) => item === document.activeElement)); steps++) {
    assert.ok(steps < last, "the arrow keys do not get to partitions");
    await page.keyboard.press("ArrowDown");
  }
  await page.keyboard.press("ArrowRight");
  const more = items.filter({ hasText: /more$/ });
  await items.filter({ hasText: "__consumer_offsets-0" }).waitFor();
  assert.equal(await items.filter({ hasText: "orders-0" }).count(), 0, "all actors are loaded at once");
  await more.press("Enter");
  await items.filter({ hasText: "orders-0" }).waitFor();
  assert.ok(await items.count() < 200 && await more.isVisible(), "all actors are loaded at once");
  await items.filter({ hasText: "orders-0" }).focus();
  await page.keyboard.press("Enter");
  const aside = page.locator("aside");
  for (const text of ["leader epoch", "p99", "once", "Append", "batches_appended", "Restarts"]) await aside.getByText(text).first().waitFor();
  const size = items.filter({ hasText: "orders-0" }).locator(".dot");
  assert.ok(await size.evaluate((dot) => dot.offsetWidth >= 7));
  // What is looked at is not torn away as it is kept up to date.
  const before = await aside.textContent();
  while ((await aside.textContent()) === before) await page.waitForTimeout(50);
  assert.ok(await items.filter({ hasText: "orders-0" }).evaluate((item) => item === document.activeElement));
  await page.getByLabel("Order").selectOption("load");
  await page.waitForFunction(() => [...document.querySelectorAll("[role=treeitem][aria-level='3'] .who")].slice(0, 5)
    .some((who) => who.textContent.startsWith("orders-0")));
  await page.evaluate(() => scrollTo(0, 0));
  await picture(page, "tree", 480);
  await page.getByLabel("Order").selectOption("name");
  await items.filter({ hasText: "orders-0" }).focus();
  await page.keyboard.press("ArrowLeft");
  await page.keyboard.press("ArrowLeft");
  await items.filter({ hasText: "orders-0" }).waitFor({ state: "detached" });
  await failing(page, items, aside);
  await page.keyboard.press("/");
  await page.keyboard.type("sensor-00042");
  await page.getByText("1 found").waitFor();
  await items.filter({ hasText: "sensor-00042-0" }).waitFor();
  assert.equal(await items.count(), 1);
}

/** One that fails is seen in its colour, and so is what is above it. */
async function failing(page, items, aside) {
  const set = { actor: "orders-1", fault: { fail: { message: "salted" } } };
  const answer = await page.request.post(`${console_}/fault`, { data: set });
  assert.ok(answer.ok(), await answer.text());
  await items.filter({ hasText: /partitions/ }).locator(".dot.troubled").waitFor();
  await go(page, "tree?search=orders-1&actor=node-1%2Fpartitions%2Forders-1", () => aside.getByText("salted"));
  await aside.getByText("troubled").waitFor();
}

async function topicPages(page) {
  await go(page, "topics", () => page.getByText(`1–50 of ${(Number(topics) + 2).toLocaleString("en")}`));
  await page.keyboard.press("/");
  await page.keyboard.type("SENSOR-01");
  await page.getByText("1–50 of 1,000").waitFor();
  await page.getByRole("button", { name: "Next" }).press("Enter");
  await page.getByText("51–100 of 1,000").waitFor();
  await row(page, "sensor-01050").waitFor();
  assert.equal(await page.locator("tbody tr").count(), 50);
  await go(page, "topics", () => row(page, "orders"));
  await picture(page, "topics");
  await page.getByRole("link", { name: "orders", exact: true }).focus();
  await page.keyboard.press("Enter");
  await page.getByText("1–3 of 3").waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.tagName), "H1");
  await picture(page, "topic");
  await page.getByRole("link", { name: "Configs" }).press("Enter");
  await row(page, "retention.ms").first().waitFor();
  assert.match(await page.locator("tbody tr").first().textContent(), /retention\.ms86400000topic/);
}

async function messages(page) {
  await go(page, "topics/orders/messages?partition=0&from=earliest", () => row(page, "<img src=x"));
  const shown = await row(page, "<img src=x").textContent();
  assert.ok(shown.includes("\\u{202e}") && !shown.includes("\u202e"), shown);
  assert.equal(await page.locator("main img").count(), 0);
  await row(page, "null").waitFor();
  assert.match(await row(page, "binary").textContent(), /00 01 02 03/);
  await row(page, "19.5 KiB in all").getByRole("button").press("Enter");
  await page.locator("pre", { hasText: "x".repeat(20_000) }).first().waitFor();
  await page.getByLabel("Shown").selectOption("hex");
  await page.locator("tr", { hasText: "3c 69 6d 67" }).waitFor();
  await page.getByLabel("Shown").selectOption("auto");
  await page.getByRole("button", { name: "Newer" }).press("Enter");
  await page.getByRole("status").getByText("25 of 25 read").waitFor();
  await row(page, "customer").first().locator("summary").first().press("Enter");
  await page.locator("pre", { hasText: '"items": [' }).first().waitFor();
  await picture(page, "messages");
  await page.keyboard.press("/");
  await page.keyboard.type("CUSTOMER 4\"");
  await page.keyboard.press("Enter");
  await page.getByText(/^25 of [\d,]{3,} read/).waitFor();
  assert.equal(await page.locator("tbody tr").filter({ hasNotText: "customer 4" }).count(), 0);
  await page.getByRole("link", { name: "Produce" }).press("Enter");
  // The page that is left has a Partition of its own.
  const typed = page.locator("form.record");
  await typed.getByLabel("Partition").fill("2");
  await typed.getByLabel("Key (left").fill("typed");
  await typed.getByLabel("Value", { exact: true }).fill('{"typed": "<b>by hand</b> äöü"}');
  await typed.getByLabel("Headers").fill("who: me");
  await typed.getByRole("button", { name: "Produce" }).press("Enter");
  await page.getByRole("link", { name: /partition 2, offset \d+/ }).press("Enter");
  await row(page, "<b>by hand</b> äöü").first().waitFor();
}

async function groups(page) {
  await go(page, "groups", () => row(page, "left-behind"));
  const cells = await row(page, "left-behind").locator("td").allTextContents();
  assert.equal(cells[1], "Empty");
  assert.ok(Number(cells[5].replaceAll(",", "")) > 3 && /\d s|min/.test(cells[6]), cells.join());
  await row(page, "billing").getByText("Stable").waitFor();
  await picture(page, "groups");
  await go(page, "groups/billing", () => page.getByText("1–3 of 3"));
  await row(page, "billing-1").getByText("orders: 0, 1, 2").waitFor();
  await picture(page, "group");
}

async function cluster(page) {
  await go(page, "brokers", () => row(page, "PLAINTEXT://"));
  await picture(page, "brokers");
  await page.locator("tbody a").first().press("Enter");
  await row(page, "GiB").first().waitFor();
  await row(page, "log.dirs").first().waitFor();
  await go(page, "quorum", () => row(page, "leader"));
  await page.getByText("node 1").first().waitFor();
  await picture(page, "quorum");
}

async function charts(page, name) {
  const chart = (of) => page.getByRole("img", { name: of });
  await go(page, "charts", () => chart(/^Bytes appended: [\d.]+ .*B\/s; in the last hour least/));
  await page.waitForFunction(() => document.querySelectorAll("figure .curve[d*=L]").length > 5, undefined, { timeout: LIMIT }).catch(async () => {
    assert.fail(`no curves: ${await page.locator("figure").allTextContents()}`);
  });
  await chart(/^Requests/).focus();
  await page.keyboard.press("ArrowLeft");
  await chart(/^Requests: .* at \d\d:\d\d:\d\d/).waitFor();
  await page.keyboard.press("Tab");
  await picture(page, name);
}

async function keys(page) {
  for (const [key, text] of [["2", "Topics"], ["3", "Consumer groups"], ["4", "Brokers"], ["5", "Quorum"], ["6", "The last hour"], ["1", "Supervision tree"]]) {
    await page.keyboard.press(key);
    await page.getByRole("heading", { level: 1, name: text }).waitFor();
  }
}

/** What somebody wrote is shown as it is; what is wrong is said until it is right. */
async function whatIsSaid(page) {
  await go(page, "topics", () => row(page, "orders"));
  const [plain, json, deep] = await page.evaluate(async () => {
    const [{ plain }, { decoded }] = [await import("/kit.js"), await import("/records.js")];
    const field = (text) => {
      const bytes = [...new TextEncoder().encode(text)];
      return { hex: bytes.map((byte) => byte.toString(16).padStart(2, "0")).join(""), bytes: bytes.length };
    };
    const unseen = "\u00a0\u00ad\u034f\u061c\u115f\u180e\u200b\u2028\u202e\u2069\u206a\u2800\u3164\ufe0f\ufeff\ufff9\u{e0041}\ud800\ue000";
    const wrong = [...unseen].filter((c) => plain(c) !== `\\u{${c.codePointAt(0).toString(16)}}`).map((c) => c.codePointAt(0).toString(16));
    const digits = '{"id": 12345678901234567890, "a": {}, "id": [1e400, -0, []], "s": "{\\"\\\\"}';
    return [
      [wrong, plain("a b\n\tü文字🙂")], decoded(field(digits), "auto"), decoded(field("[".repeat(5000) + "]".repeat(5000)), "auto").how,
    ];
  });
  assert.deepEqual(plain, [[], "a b\n\tü文字🙂"]);
  assert.equal(json.text, '{\n  "id": 12345678901234567890,\n  "a": {},\n  "id": [\n    1e400,\n    -0,\n    []\n  ],\n  "s": "{\\"\\\\"\n}');
  assert.equal(deep, "text");

  const trouble = page.locator("#trouble");
  await go(page, "topics/orders/produce", () => page.getByRole("button", { name: "Produce" }));
  await page.route("**/api/produce*", (route) => route.abort());
  await page.getByLabel("Value", { exact: true }).fill("perhaps");
  await page.getByRole("button", { name: "Produce" }).click();
  await trouble.getByText("whether it is done is not known").waitFor();
  // What else goes well does not take it back.
  for (let turns = 0; turns < 2; turns++) await page.waitForResponse(/api\/overview/);
  assert.ok(await trouble.isVisible() && (await trouble.textContent()).includes("whether it is done is not known"), await trouble.textContent());
  await page.unroute("**/api/produce*");
  await page.getByRole("button", { name: "Produce" }).click();
  await page.getByRole("link", { name: /partition \d, offset \d+/ }).waitFor();
  assert.equal(await trouble.isVisible(), false);
  faults.splice(0, faults.length, ...faults.filter((fault) => !fault.includes("ERR_FAILED")));

  // A record that is gone is not shown as the next one.
  await go(page, "topics/orders/messages?partition=0&from=earliest", () => row(page, "19.5 KiB in all"));
  const other = { offset: 1e6, value: { hex: "6f74686572", bytes: 5 } };
  await page.route("**/api/records*limit=1", (route) => route.fulfill({ json: { records: [other] } }));
  await row(page, "19.5 KiB in all").getByRole("button").click();
  await trouble.getByText(/There is no record at offset \d+ any more/).waitFor();
  await page.unroute("**/api/records*limit=1");
}

const ground = (page) => page.evaluate(() => getComputedStyle(document.body).backgroundColor);

try {
  const [page, dark] = [await opened("light"), await opened("dark")];
  await tree(page);
  await topicPages(page);
  await messages(page);
  await whatIsSaid(page);
  await groups(page);
  await cluster(page);
  await charts(page, "charts");
  await keys(page);
  await go(dark, "tree", () => dark.getByRole("treeitem").filter({ hasText: "partitions" }));
  await dark.getByRole("treeitem").filter({ hasText: /^▸partitions/ }).click();
  await dark.locator("aside dl").first().waitFor();
  assert.deepEqual([await ground(page), await ground(dark)], ["rgb(255, 255, 255)", "rgb(20, 24, 29)"]);
  await picture(dark, "tree-dark");
  await charts(dark, "charts-dark");
  assert.match(await page.locator("#overview").textContent(), new RegExp(`${(Number(topics) + 2).toLocaleString("en")} topics`));
  assert.deepEqual(faults, []);
  console.log(`${count} topics, the slowest page after ${slowest.took} ms: ${slowest.name}`);
} finally {
  await browser.close();
}
