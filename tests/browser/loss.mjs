// Two browsers talk over a network with faults: `node loss.mjs URL`. Each says LINES lines. Both must show
// each line once, in the same order, and their own lines as delivered.

import { Person, ensure, eventually, launch, sleep } from "./room.mjs";

const LINES = 100;
const url = process.argv[2];

async function talk(browsers) {
  const people = await Promise.all(
    browsers.map(async (browser) => ({ kind: browser.kind, page: await Person.join(browser, url, browser.kind) })),
  );
  for (let line = 0; line < LINES; line += 1) {
    for (const { kind, page } of people) await page.say(`${kind} says ${line}`);
    await sleep(50);
  }
  const end = Date.now();
  const shown = await Promise.all(
    people.map(({ page }) =>
      eventually("all lines", async () => {
        const lines = (await page.lines()).filter((line) => line.text.includes(" says "));
        return lines.length >= 2 * LINES && lines.every((line) => line.mark === undefined || line.mark === "delivered") && lines;
      }),
    ),
  );
  console.log(`the last line was shown everywhere ${Date.now() - end} ms after it was said`);
  const texts = shown.map((lines) => lines.map((line) => line.text));
  for (const own of texts) {
    ensure(own.length === 2 * LINES, `${own.length} lines`);
    for (const { kind } of people) {
      const order = own.filter((text) => text.startsWith(kind));
      ensure(order.every((text, line) => text === `${kind} says ${line}`) && order.length === LINES, order);
    }
  }
  ensure(JSON.stringify(texts[0]) === JSON.stringify(texts[1]), "orders:", texts);
  for (const { page } of people) {
    const all = await page.lines();
    ensure(!all.some((line) => /lost|missing/u.test(line.text)), "gaps", all);
    await page.close();
  }
}

const browsers = await Promise.all(["chromium", "firefox"].map(launch));
try {
  await talk(browsers);
} finally {
  // firefox-esr would outlive this program
  await Promise.all(browsers.map(({ browser }) => browser.close()));
}
console.log(`${LINES} of ${LINES} lines each way, in order, once`);
process.exit(0);
