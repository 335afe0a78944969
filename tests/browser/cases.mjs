// The page in one browser: `node cases.mjs chromium|firefox [CASE]`.

import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { people } from "./people.mjs";
import { Person, Plain, Program, RELAY, URL_, ensure, eventually, launch, sleep } from "./room.mjs";

const RELAY_TO_KILL = 21889;
const GATEWAY = 21890;
const CHANGED = ["WebSocket", "establish a connection", "connection to the server", "interrupted while"];

async function startRelay(port, ...words) {
  const relay = new Program("relay", "--bind", `127.0.0.1:${port}`, "--quiet", "--rate", "0", ...words);
  await relay.line("listening on");
  return relay;
}

async function startGateway() {
  const gateway = new Program("web", `127.0.0.1:${RELAY_TO_KILL}`, "--listen", `127.0.0.1:${GATEWAY}`, "--quiet");
  await gateway.line("page for browsers");
  return gateway;
}

const cases = {
  async "people at pages, in terminals and with netcat talk to each other"(browser) {
    const ada = await Person.join(browser, URL_, "Ada");
    const bob = new Program("chat", `127.0.0.1:${RELAY}`, "--name", "Bob", "--json", "--stay");
    await bob.line("welcome");
    const eve = new Plain(RELAY, "Eve");
    await eve.line("welcome");
    await ada.line("Eve joined");
    await ada.say("hello from a page");
    await bob.line("hello from a page");
    await eve.line("Ada : hello from a page");
    await ada.line("hello from a page", "delivered");
    bob.say("hello from a terminal");
    eve.say("hello from netcat");
    for (const part of ["hello from a terminal", "hello from netcat"]) await ada.line(part);
    await ada.say("/who");
    await ada.line("3 here: ");
    await ada.say("//slash");
    await eve.line("Ada : /slash");
    await ada.line("/slash", "delivered");
    await ada.say("/nick Ada Lovelace");
    await ada.isState("Ada Lovelace");
    const cleo = await Person.join(browser, URL_, "Cleo");
    await cleo.line("hello from netcat"); // history
    await cleo.page.click("#leave");
    await eve.line("Cleo left (quit)");
    ensure((await cleo.text("#notice")) === "you have left");
    await cleo.close();
    await ada.close();
    await bob.kill();
    eve.say("/quit");
  },

  async "what was sent to the former client of an address is dropped"(browser) {
    const ada = await Person.open(browser, URL_);
    const told = await ada.page.evaluate(async () => {
      const { Client } = await import("/dialect.js");
      const hear = (author, text) => {
        const client = new Client("Ada", 1n);
        Object.assign(client, { phase: "joined", session: 1n, epoch: 7, authors: [3, 4], next: 10, head: 10 });
        const line = new TextEncoder().encode(text);
        const entry = [0, 10 + line.length, 0, 0, 0, author, 0, 0, 0, 60, 3, 0, ...line];
        client.handleDatagram(0, new Uint8Array([1, 0x44, 0, 0, 0, 7, 0, 1, 0, 0, 0, 0, 0, 0, 0, 10, ...entry]));
        const events = client.events.map((event) => `${event.kind} ${event.name ?? ""} ${event.text ?? event.lines}`);
        return `${client.next} ${events.join()}`;
      };
      return [hear(3, ""), hear(9, "* Bob to you: no"), hear(9, ""), hear(4, ""), hear(3, "* Bob to you: hi: there")];
    });
    const expected = ["10 ", "10 ", "11 ", "11 lost  1", "11 line Bob hi: there"];
    ensure(JSON.stringify(told) === JSON.stringify(expected), told);
    await ada.close();
  },

  async "time-outs back off, further if the round trip is long"(browser) {
    const ada = await Person.open(browser, URL_);
    const told = await ada.page.evaluate(async () => {
      const { RoundTrip } = await import("/timing.js");
      return [[], [0, 200], new Array(99).fill(10), [2000]].map((samples) => {
        const roundTrip = new RoundTrip();
        samples.forEach((sample) => roundTrip.sample(sample));
        return [0, 1, 2, 3, 9].map((tries) => Math.floor(roundTrip.timeout(tries))).join(" ");
      });
    });
    // no sample; the handshake took 0 ms and a POST 200; a short round trip; a long one
    const expected = ["1000 1500 2250 3000 3000", "225 337 506 759 1000", "50 75 112 168 1000", "3000 3000 3000 3000 3000"];
    ensure(JSON.stringify(told) === JSON.stringify(expected), told);
    await ada.close();
  },

  async "a reload keeps the seat and shows what was there"(browser) {
    const ada = await Person.join(browser, URL_, "Reloader");
    const eve = new Plain(RELAY, "Witness");
    await eve.line("welcome");
    for (const text of ["one", "two", "three"]) {
      await ada.say(text);
      await ada.line(text, "delivered");
    }
    eve.say("four");
    await ada.line("four");
    await ada.line("four");
    const before = (await ada.lines()).filter((line) => line.classes.includes("line"));
    await ada.page.reload();
    await ada.isState("Reloader");
    const after = (await ada.lines()).filter((line) => line.classes.includes("line"));
    ensure(JSON.stringify(after) === JSON.stringify(before), "before and after:", before, after);
    await ada.say("five");
    await ada.line("five", "delivered");
    await eve.line("Reloader : five");
    const since = eve.lines.slice(eve.lines.indexOf("* Witness joined"));
    ensure(!since.some((line) => /Reloader (left|joined|is away)/u.test(line)), since);
    ensure((await ada.said("Witness")).length === 1);
    eve.say("/quit");
    await ada.close();
  },

  async "hostile names and texts are text"(browser) {
    const ada = await Person.join(browser, URL_, "Ada");
    const name = "<img src=x onerror=boom()>";
    const eve = new Plain(RELAY, name);
    const texts = ["<script>boom()</script>", "<b>bold</b>&amp;", "שלום עולם \u202Eabc", "javascript:boom()", "a\u0007b"];
    texts.forEach((text) => eve.say(text));
    await ada.line("a?b");
    const said = await ada.said(name);
    ensure(JSON.stringify(said) === JSON.stringify(texts.map((text) => text.replace("\u202E", "\uFFFD").replace("\u0007", "?"))), said);
    ensure((await ada.page.$("#log img, #log script, #log b, #log a")) === null, "there are elements");
    const direction = await ada.page.$$eval(".text", (all) =>
      all.filter((it) => it.textContent.includes("שלום")).map((it) => [it.dir, getComputedStyle(it).direction]),
    );
    ensure(direction[0][0] === "auto" && direction[0][1] === "rtl", direction);
    eve.say("/quit");
    await ada.close();
  },

  async "scripts that are not the page's own are refused"(browser) {
    const ada = await Person.join(browser, URL_, "Ada");
    const ran = await ada.page.evaluate(() => {
      const script = document.createElement("script");
      script.textContent = "globalThis.ran = true";
      document.body.append(script);
      return globalThis.ran === true;
    });
    ensure(!ran, "an inline script ran");
    await ada.close("Content Security Policy", "Content-Security-Policy");
    const foreign = await browser.browser.newPage();
    await foreign.goto("data:text/html,<title>foreign</title>");
    const opened = await foreign.evaluate(
      (url) =>
        new Promise((done) => {
          const socket = new WebSocket(url);
          socket.onopen = () => done("open");
          socket.onclose = () => done("refused");
        }),
      `${URL_.replace("http", "ws")}ws`,
    );
    ensure(opened === "refused", opened);
    await foreign.close();
  },

  async "several lines are several messages, and many are asked about"(browser) {
    const ada = await Person.join(browser, URL_, "Paster");
    await ada.say("first\n/who is no command here\n\nthird");
    await ada.line("third", "delivered");
    ensure(JSON.stringify(await ada.said("Paster")) === JSON.stringify(["first", "/who is no command here", "third"]));
    const many = Array.from({ length: 300 }, (_, number) => `pasted ${number}`);
    await ada.say(many.join("\n"));
    await ada.page.waitForSelector("#ask[open]");
    ensure((await ada.text("#askTitle")) === "Say 300 lines?");
    await ada.page.click("#askNo");
    await sleep(200);
    ensure((await ada.said("Paster")).length === 3, "they were said");
    await ada.page.focus("#text");
    await ada.page.keyboard.press("Enter");
    await ada.page.waitForSelector("#ask[open]");
    await ada.page.click("#askYes");
    await ada.line("pasted 299", "delivered");
    const said = await ada.said("Paster");
    ensure(JSON.stringify(said.slice(3)) === JSON.stringify(many), said);
    const marks = (await ada.lines()).filter((line) => line.name === "Paster");
    ensure(marks.every((line) => line.mark === "delivered"), marks);
    await ada.page.keyboard.down("Shift");
    await ada.type("shift and enter is a line break");
    await ada.page.keyboard.press("Enter");
    await ada.page.keyboard.up("Shift");
    ensure((await ada.page.$eval("#text", (field) => field.value)).endsWith("\n"), "it was sent");
    await ada.close();
  },

  async "a pasted line is no command"(browser) {
    const ada = await Person.join(browser, URL_, "Clipper");
    const paste = (pasted) =>
      ada.page.$eval(
        "#text",
        (field, pasted) => {
          // firefox-esr takes no data for a clipboard event that a script makes
          const event = new Event("paste", { bubbles: true, cancelable: true });
          event.clipboardData = { getData: () => pasted };
          field.focus();
          // what is not handled would be put in by the browser
          return field.dispatchEvent(event);
        },
        pasted,
      );
    for (const other of ["and/or", "/one\n/two", "\n/one", "/msg Bob 1234"]) ensure(await paste(other), other);
    ensure(!(await paste("/quit smoking")), "it is put in as it is");
    await ada.page.keyboard.press("Enter");
    await ada.line("/quit smoking", "delivered");
    await ada.type("/me ");
    ensure(await paste("/home"), "the command was typed");
    await ada.close();
  },

  async "long Chinese text arrives whole"(browser) {
    const name = "一二三四五六七八九十ab"; // 32 bytes
    const ada = await Person.join(browser, URL_, name, { language: "zh-CN" });
    ensure((await ada.text("#send")) === "发送");
    const text = Array.from({ length: 700 }, (_, number) => String.fromCodePoint(0x4e00 + number)).join("");
    await ada.say(text);
    await eventually("all of it", async () => {
      const lines = (await ada.lines()).filter((line) => line.name === name && line.mark === "已送达");
      return lines.map((line) => line.text).join("") === text;
    });
    await ada.checkLayout("Chinese");
    await ada.close();
  },

  async "a composition is not sent before it is complete"(browser) {
    const ada = await Person.join(browser, URL_, "Composer");
    await ada.page.focus("#text");
    if (browser.kind === "chromium") {
      const session = await ada.page.createCDPSession();
      await session.send("Input.imeSetComposition", { text: "ni", selectionStart: 2, selectionEnd: 2 });
      const key = { key: "Enter", code: "Enter", windowsVirtualKeyCode: 229 };
      await session.send("Input.dispatchKeyEvent", { type: "rawKeyDown", ...key });
      await session.send("Input.dispatchKeyEvent", { type: "keyUp", ...key });
      await sleep(200);
      ensure((await ada.said("Composer")).length === 0, "it was sent early");
      await session.send("Input.insertText", { text: "你" });
    } else {
      await ada.page.$eval("#text", (field) => {
        const event = (kind, more) => field.dispatchEvent(new KeyboardEvent(kind, { bubbles: true, cancelable: true, ...more }));
        field.dispatchEvent(new CompositionEvent("compositionstart", { bubbles: true }));
        field.value = "ni";
        event("keydown", { key: "Enter", isComposing: true });
        event("keydown", { key: "Enter", keyCode: 229 });
        field.dispatchEvent(new CompositionEvent("compositionend", { bubbles: true, data: "你" }));
        field.value = "你";
      });
      await sleep(200);
      ensure((await ada.said("Composer")).length === 0, "it was sent early");
    }
    await ada.page.keyboard.press("Enter");
    await ada.line("你", "delivered");
    ensure((await ada.said("Composer")).length === 1);
    await ada.close();
  },

  async "what was said without a connection arrives once"(browser) {
    const relay = await startRelay(RELAY_TO_KILL);
    let gateway = await startGateway();
    const ada = await Person.join(browser, `http://127.0.0.1:${GATEWAY}/`, "Ada");
    const eve = new Plain(RELAY_TO_KILL, "Eve");
    await eve.line("welcome");
    await ada.say("before");
    await ada.line("before", "delivered");
    await gateway.kill();
    await ada.isState("no connection");
    await ada.say("while away");
    eve.say("meanwhile");
    await ada.line("while away", "not delivered yet");
    await ada.screenshot("offline");
    gateway = await startGateway();
    await ada.line("while away", "delivered");
    await ada.line("meanwhile");
    await ada.isState("you are Ada");
    for (const text of ["before", "while away", "meanwhile"]) {
      const count = (await ada.lines()).filter((line) => line.text === text).length;
      ensure(count === 1, text, count);
    }
    ensure(eve.lines.filter((line) => line === "Ada : while away").length === 1, eve.lines);
    // the relay is restarted as after a power failure, with a line in flight
    await relay.kill();
    await ada.say("in flight");
    await sleep(1000);
    const again = await startRelay(RELAY_TO_KILL);
    await ada.line("the relay was restarted; lines may be missing");
    const line = await ada.line("in flight");
    ensure(["perhaps not delivered", "delivered"].includes(line.mark), line);
    if (line.mark !== "delivered") {
      ensure((await ada.text(".again")) === "say it again");
      await ada.checkAccess("a line that was not delivered");
      await ada.page.click(".again");
    }
    await ada.line("in flight", "delivered");
    // ... and as its operator restarts it
    await again.kill("SIGTERM");
    await ada.line("relay is stopping");
    const third = await startRelay(RELAY_TO_KILL);
    await ada.say("after all");
    await ada.line("after all", "delivered");
    eve.close();
    await ada.close(...CHANGED);
    await gateway.kill();
    await third.kill();
  },

  async "a line is shown once, also over a crash of a relay that keeps the room"(browser) {
    const folder = mkdtempSync(`${tmpdir()}/kilochat-kept-`);
    const start = () => startRelay(RELAY_TO_KILL, "--web", "--keep", folder);
    const relay = await start();
    const ada = await Person.join(browser, `http://127.0.0.1:${RELAY_TO_KILL}/`, "Ada");
    const eve = new Plain(RELAY_TO_KILL, "Eve");
    await eve.line("welcome");
    eve.say("before the crash");
    await ada.say("and mine");
    await ada.line("and mine", "delivered");
    const kept = (part) =>
      eventually(`${part} in a file`, () => readdirSync(folder).some((name) => readFileSync(`${folder}/${name}`, "utf8").includes(part)));
    await kept("and mine");
    await kept('"Eve"');
    await relay.kill();
    const again = await start();
    await eve.line("relay is back");
    eve.say("before she was back");
    await ada.line("the relay was restarted; lines may be missing");
    await ada.line("before she was back");
    await ada.say("after");
    await ada.line("after", "delivered");
    const count = async (text) => (await ada.lines()).filter((line) => line.text === text).length;
    for (const text of ["Eve joined", "before the crash", "and mine", "before she was back", "after"])
      ensure((await count(text)) === 1, text, await ada.lines());
    // ... and after a reload, too
    await sleep(1000);
    await ada.page.reload();
    await ada.line("after");
    for (const text of ["before the crash", "and mine"]) ensure((await count(text)) === 1, text, await ada.lines());
    eve.close();
    await ada.close(...CHANGED);
    await again.kill();
    rmSync(folder, { recursive: true });
  },

  async "a room without a free seat says so"(browser) {
    const relay = await startRelay(RELAY_TO_KILL, "--seats", "2", "--web");
    // no address has more than half of the seats
    const plain = [1, 2].map((host) => new Plain(RELAY_TO_KILL, `host ${host}`, `127.0.0.${host}`));
    for (const peer of plain) await peer.line("welcome");
    const ada = await Person.open(browser, `http://127.0.0.1:${RELAY_TO_KILL}/`);
    await ada.page.type("#name", "Ada");
    await ada.page.click("#enter");
    await ada.isState("all seats are taken; trying again in 60 s");
    await ada.close();
    plain.forEach((peer) => peer.close());
    await relay.kill();
  },

  async "5,000 lines are read without delay, and the page stays small"(browser) {
    const ada = await Person.join(browser, URL_, "Ada");
    const bob = new Program("chat", `127.0.0.1:${RELAY}`, "--name", "Bob", "--json");
    await bob.line("welcome");
    const lines = Array.from({ length: 5000 }, (_, number) => `number ${number}`);
    bob.child.stdin.end(`${lines.join("\n")}\n`);
    await ada.line("number 4999");
    const said = await ada.said("Bob");
    ensure(said.length <= 2000 && said.length > 1900, `${said.length} lines`);
    ensure(JSON.stringify(said) === JSON.stringify(lines.slice(-said.length)), "order");
    await bob.ended;
    // a reader stays where it is
    await ada.page.$eval("#log", (log) => (log.scrollTop = 1000));
    await sleep(200);
    const eve = new Plain(RELAY, "Eve");
    await eve.line("welcome");
    eve.say("news");
    await ada.page.waitForSelector("#newer:not([hidden])");
    ensure((await ada.text("#newer")) === "1 new line", await ada.text("#newer"));
    await ada.page.click("#newer");
    await eventually("the end", () => ada.page.$eval("#log", (log) => log.scrollHeight - log.scrollTop - log.clientHeight < 2));
    await ada.page.waitForSelector("#newer[hidden]");
    eve.say("/quit");
    await ada.close();
  },

  async "the keyboard is enough"(browser) {
    const ada = await Person.open(browser, URL_);
    await ada.page.keyboard.type("Keys");
    await ada.page.keyboard.press("Enter");
    await ada.isState("Keys");
    await ada.page.keyboard.type("typed");
    await ada.page.keyboard.press("Enter");
    await ada.line("typed", "delivered");
    for (let presses = 0; presses < 10; presses += 1) {
      await ada.page.keyboard.down("Shift");
      await ada.page.keyboard.press("Tab");
      await ada.page.keyboard.up("Shift");
      if (await ada.page.evaluate(() => document.activeElement.id === "invite")) break;
    }
    await ada.page.keyboard.press("Enter");
    await ada.page.waitForSelector("#code[open]");
    await eventually("an address", async () => (await ada.text("#codeAddress")).startsWith("http://"));
    await eventually("a code", () => ada.page.$eval("#codeImage", (image) => image.complete && image.naturalWidth > 0));
    await ada.checkAccess("invitation");
    await ada.screenshot("invite");
    await ada.page.keyboard.press("Escape");
    await ada.page.waitForSelector("#code:not([open])");
    await ada.close();
  },

  async "it looks well on telephones and desks, in light and dark"(browser) {
    const relay = await startRelay(RELAY_TO_KILL, "--web", "--history", "50", "--motd", "welcome to the boat");
    const url = `http://127.0.0.1:${RELAY_TO_KILL}/`;
    const [bob, ming] = ["Bob", "小明"].map((name) => new Plain(RELAY_TO_KILL, name));
    await ming.line("welcome");
    bob.say("is anybody there?");
    await sleep(100);
    ming.say("在！晚饭七点，码头见。");
    for (const [look, options] of Object.entries({
      phone: { phone: true },
      "phone-dark": { phone: true, dark: true },
      desktop: {},
      "desktop-dark": { dark: true },
      zoomed: { scale: 2 },
      "phone-zoomed": { phone: true, scale: 1.5, language: "zh-CN" },
    })) {
      if (browser.kind === "firefox" && look.includes("dark")) continue;
      const ada = await Person.open(browser, url, options);
      await ada.page.waitForSelector("#join:not([hidden])");
      await ada.checkAccess(`${look}, joining`);
      await ada.screenshot(`${look}-join`);
      await ada.enter("Ada");
      await ada.line("码头见");
      bob.say("Ada, bring the long rope and the blue bucket, please; the forecast says wind from the north-west");
      bob.say("and tea");
      await ada.line("and tea");
      await ada.say("on board in ten minutes");
      await ada.line("on board", options.language ? "已送达" : "delivered");
      await ada.checkLayout(look);
      await ada.checkAccess(look);
      await ada.screenshot(look);
      await ada.page.click("#leave");
      await ada.page.waitForSelector("#join:not([hidden])");
      await ada.close();
    }
    bob.close();
    ming.close();
    await relay.kill();
  },

  ...people,
};

const [kind, only = ""] = process.argv.slice(2);
const relay = await startRelay(RELAY, "--web", "--web-per-address", "100");
const browser = await launch(kind);
let failed = 0;
for (const [name, run] of Object.entries(cases)) {
  if (!name.includes(only)) continue;
  const start = Date.now();
  try {
    await run(browser);
    console.log(`${kind}: ${name}: well, ${Date.now() - start} ms`);
  } catch (error) {
    failed += 1;
    console.log(`${kind}: ${name}: FAILED\n${error.stack}`);
    await Promise.all(Program.all.filter((program) => program !== relay).map((program) => program.kill()));
  }
}
await browser.browser.close();
await Program.killAll();
process.exit(failed > 0 ? 1 : 0);
