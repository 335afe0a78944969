// Figures of the page in chromium, for the benchmark: `node figures.mjs`. The last line is an object.

import { Person, Plain, Program, eventually, launch, sleep } from "./room.mjs";

const PORT = 21898;
const url = `http://127.0.0.1:${PORT}/`;
const ROUNDS = 9;

const relay = new Program("relay", "--bind", `127.0.0.1:${PORT}`, "--quiet", "--rate", "0", "--web");
await relay.line("listening on");
const browser = await launch("chromium");
const bob = new Plain(PORT, "Bob");
await bob.line("welcome");
for (let line = 0; line < 10; line += 1) bob.say(`line ${line}`);

/** Notes when the page shows its first line, in milliseconds since it was loaded. */
function watch(name) {
  const observer = new MutationObserver(() => {
    if (document.querySelector("#lines .line") === null) return;
    globalThis.firstLine = performance.now();
    observer.disconnect();
  });
  observer.observe(document, { childList: true, subtree: true });
  if (name === null) return;
  addEventListener("load", () => {
    document.querySelector("#name").value = name;
    document.querySelector("#join").requestSubmit();
  });
}

const firstLine = (page) => eventually("a line", () => page.evaluate(() => globalThis.firstLine));

const joined = [];
let violations = 0;
for (let round = 0; round < ROUNDS; round += 1) {
  const ada = await Person.open(browser, "about:blank");
  await ada.page.evaluateOnNewDocument(watch, `Ada ${round}`);
  await ada.page.goto(url);
  joined.push(await firstLine(ada.page));
  await ada.context.close();
}
const ada = await Person.open(browser, url);
violations += (await ada.violations()).length;
await ada.enter("Ada");
await ada.line("line 9");
violations += (await ada.violations()).length;
await ada.page.evaluateOnNewDocument(watch, null);
const reloaded = [];
for (let round = 0; round < ROUNDS; round += 1) {
  await sleep(1000); // what is shown is saved
  await ada.page.reload();
  reloaded.push(await firstLine(ada.page));
}
await browser.browser.close();
await Program.killAll();
console.log(JSON.stringify({ joined: Math.min(...joined), reloaded: Math.min(...reloaded), violations }));
process.exit(0);
