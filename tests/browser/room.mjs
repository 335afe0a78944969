// Shared parts of the page's tests: programs, browsers, and the page as a person sees it.

import { spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import puppeteer from "puppeteer-core";

export const PROGRAM = process.env.KILOCHAT_PROGRAM;
/** The port of the relay that all cases share, and its page. */
export const RELAY = 21888;
export const URL_ = `http://127.0.0.1:${RELAY}/`;
export const SCREENSHOTS = process.env.KILOCHAT_SCREENSHOTS;
/** A bug in the served page: { file, text, replacement }. A test must notice it. */
const PLANTED = JSON.parse(process.env.KILOCHAT_PLANTED ?? "null");
const PATIENCE = PLANTED ? 10_000 : 30_000;
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export function ensure(condition, ...what) {
  if (!condition) throw new Error(what.map((it) => (typeof it === "string" ? it : JSON.stringify(it, null, 1))).join(" "));
}

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** Waits until `probe` returns a true value, and returns that. */
export async function eventually(what, probe) {
  const deadline = Date.now() + PATIENCE;
  for (;;) {
    const found = await probe();
    if (found) return found;
    ensure(Date.now() < deadline, "it did not happen:", what);
    await sleep(50);
  }
}

/** A program of kilochat, whose lines of output are kept. */
export class Program {
  lines = [];
  constructor(...words) {
    this.child = spawn(PROGRAM, words, { stdio: ["pipe", "pipe", "inherit"] });
    this.ended = new Promise((done) => this.child.on("exit", done));
    createInterface({ input: this.child.stdout }).on("line", (line) => this.lines.push(line));
    Program.all.push(this);
  }
  static all = [];
  line(part) {
    return eventually(`${part} in ${this.lines.join("\n")}`, () => this.lines.find((line) => line.includes(part)));
  }
  say(text) {
    this.child.stdin.write(`${text}\n`);
  }
  async kill(signal = "SIGKILL") {
    this.child.kill(signal);
    await this.ended;
  }
  static async killAll() {
    for (const program of Program.all) await program.kill();
  }
}

/** A plain peer, such as netcat. */
export class Plain {
  lines = [];
  constructor(port, name, own = "127.0.0.1") {
    this.port = port;
    this.socket = createSocket("udp4");
    this.socket.on("message", (message) => this.lines.push(...message.toString().split("\n")));
    this.socket.bind(0, own, () => this.say(name));
  }
  say(text) {
    this.socket.send(text, this.port, "127.0.0.1");
  }
  line(part) {
    return eventually(`${part} in ${this.lines.join("\n")}`, () => this.lines.find((line) => line.includes(part)));
  }
  close() {
    this.socket.close();
  }
}

export async function launch(kind) {
  const options = {
    chromium: {
      browser: "chrome",
      executablePath: "/usr/bin/chromium",
      args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--lang=en-US"],
    },
    firefox: { browser: "firefox", executablePath: "/usr/bin/firefox-esr" },
  };
  const browser = await puppeteer.launch({ headless: true, protocolTimeout: 60_000, ...options[kind] });
  return { kind, browser };
}

/** A person at a page. */
export class Person {
  /** Messages on the console, and requests to other hosts. */
  complaints = [];

  static async open({ kind, browser }, url, { language = "en-US", phone = false, dark = false, scale = 1, midnight = null } = {}) {
    const person = new Person();
    person.kind = kind;
    person.url = url;
    person.context = await browser.createBrowserContext();
    const page = (person.page = await person.context.newPage());
    page.on("console", (message) => person.complaints.push(`console: ${message.text()}`));
    page.on("pageerror", (error) => person.complaints.push(`error: ${error}`));
    page.on("request", (request) => {
      if (new URL(request.url()).host !== new URL(url).host) person.complaints.push(`request: ${request.url()}`);
    });
    const [width, height] = (phone ? [375, 667] : [1100, 720]).map((size) => Math.floor(size / scale));
    const touch = phone && kind === "chromium" ? { isMobile: true, hasTouch: true } : {};
    await page.setViewport({ width, height, deviceScaleFactor: (phone ? 2 : 1) * scale, ...touch });
    if (kind === "chromium")
      await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: dark ? "dark" : "light" }]);
    await page.evaluateOnNewDocument((language) => {
      Object.defineProperty(navigator, "language", { get: () => language });
    }, language);
    // a clock that reaches midnight after this number of seconds
    if (midnight !== null)
      await page.evaluateOnNewDocument((ms) => {
        const [now, next] = [Date.now, new Date()];
        const shift = next.setHours(24, 0, 0, 0) - now() - ms;
        Date.now = () => now() + shift;
      }, midnight * 1000);
    if (PLANTED && kind === "chromium") await person.plant();
    await page.goto(url);
    return person;
  }

  /** Replaces a text in a file of the page before the browser receives it. */
  async plant() {
    await this.page.setRequestInterception(true);
    this.page.on("request", async (request) => {
      if (!request.url().endsWith(PLANTED.file)) return request.continue();
      const source = await (await fetch(request.url())).text();
      ensure(source.split(PLANTED.text).length === 2, "not once:", PLANTED);
      const body = source.replace(PLANTED.text, () => PLANTED.replacement);
      await request.respond({ body, contentType: "text/javascript" });
    });
  }

  static async join(browser, url, name, options) {
    const person = await Person.open(browser, url, options);
    await person.enter(name);
    return person;
  }

  async enter(name) {
    await this.page.waitForSelector("#join:not([hidden])");
    await this.page.$eval("#name", (input) => (input.value = ""));
    await this.page.type("#name", name);
    await this.page.keyboard.press("Enter");
    await this.isState(name);
  }

  async isState(part) {
    await eventually(`state ${part}`, async () => (await this.text("#state")).includes(part));
  }

  text(selector) {
    return this.page.$eval(selector, (element) => element.textContent);
  }

  /** Puts a text into the input field, as typing or pasting does. */
  async type(text) {
    await this.page.$eval(
      "#text",
      (field, text) => {
        field.value = text;
        field.dispatchEvent(new Event("input", { bubbles: true }));
        field.focus();
      },
      text,
    );
  }

  async say(text) {
    await this.type(text);
    await this.page.keyboard.press("Enter");
  }

  /** The lines in the order of the page. */
  lines() {
    return this.page.evaluate(() =>
      [...document.querySelectorAll("#lines > *")].map((line) => ({
        name: line.querySelector(".name")?.firstChild.data ?? "",
        text: line.querySelector(".text")?.textContent ?? line.textContent,
        mark: line.querySelector(".mark")?.getAttribute("aria-label") ?? line.querySelector(".mark")?.textContent.trim(),
        classes: line.className,
      })),
    );
  }

  async line(part, mark) {
    let lines;
    return eventually(`a line ${part} ${mark ?? ""}`, async () => {
      lines = await this.lines();
      return lines.find((line) => line.text.includes(part) && (mark === undefined || line.mark === mark));
    });
  }

  /** The messages by `name`, as texts. */
  async said(name) {
    return (await this.lines()).filter((line) => line.name === name).map((line) => line.text);
  }

  async violations() {
    await this.page.evaluate(AXE);
    return (await this.page.evaluate(() => globalThis.axe.run())).violations;
  }

  async checkAccess(what) {
    const violations = await this.violations();
    ensure(violations.length === 0, `axe, ${what}:`, violations.map(({ id, nodes }) => [id, nodes.map((node) => node.html)]));
  }

  /** Checks that nothing is wider than the window, and that the necessary elements are visible. */
  async checkLayout(what) {
    const found = await this.page.evaluate(() => {
      const box = (selector) => document.querySelector(selector).getBoundingClientRect();
      const targets = [...document.querySelectorAll("button, input, textarea")].filter((it) => it.checkVisibility());
      return {
        overflow: document.documentElement.scrollWidth - innerWidth,
        below: box("#send").bottom - innerHeight,
        small: targets.filter((it) => it.getBoundingClientRect().height < 44).map((it) => it.id || it.className),
        log: box("#log").height,
        overlap: ["h1", "#state", "#invite", "#leave"].some((one, index, all) =>
          all.slice(index + 1).some((other) => {
            const [a, b] = [box(one), box(other)];
            return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
          }),
        ),
      };
    });
    ensure(found.overflow <= 0 && found.below <= 0 && found.small.length === 0 && found.log > 100 && !found.overlap, `layout, ${what}:`, found);
  }

  async screenshot(name) {
    mkdirSync(SCREENSHOTS, { recursive: true });
    await this.page.screenshot({ path: `${SCREENSHOTS}/${this.kind}-${name}.png` });
  }

  /** Checks that there were no messages on the console and no requests to other hosts, except those that the test provoked. */
  async close(...provoked) {
    const rest = this.complaints.filter((complaint) => !provoked.some((part) => complaint.includes(part)));
    ensure(rest.length === 0, "complaints:", rest);
    await this.context.close();
  }
}
