// The page's cases of what people do with each other: messages to one person, names, actions, and reading later.

import { Person, Plain, RELAY, URL_, ensure, eventually, sleep } from "./room.mjs";

export const people = {
  async "a message to one person reaches that person and nobody else"(browser) {
    const ada = await Person.join(browser, URL_, "Ida Solo");
    const cleo = await Person.join(browser, URL_, "Clio Solo");
    const bob = new Plain(RELAY, "Rob Solo");
    await bob.line("welcome");
    await ada.say("/reply nobody yet");
    await ada.line("nobody has written to you alone");
    bob.say("/msg Ida Solo: the key is <b>");
    const line = await ada.line("the key is <b>");
    ensure(line.classes.includes("private") && line.name === "Rob Solo", line);
    await ada.say("/reply it fits");
    await bob.line("* Ida Solo to you: it fits");
    await ada.line("to Rob Solo: it fits");
    await ada.line("not encrypted");
    await ada.say("/msg Clio Solo between pages");
    await cleo.line("between pages");
    await ada.line("to Clio Solo: between pages");
    // what would be said to all in part is not said at all
    await ada.say("/msg Clio Solo first part\nsecond part");
    await ada.line("several lines are said to all");
    await ada.say(`/msg Clio Solo ${"long ".repeat(200)}`);
    await ada.line("too long for one message");
    const warnings = (await ada.lines()).filter((line) => line.text.includes("not encrypted"));
    ensure(warnings.length === 1, warnings);
    bob.say("the end of it");
    for (const person of [ada, cleo]) await person.line("the end of it");
    const texts = async (person) => (await person.lines()).map((line) => line.text).join("\n");
    ensure(!/the key|it fits| part|long/u.test(await texts(cleo)), await cleo.lines());
    ensure(!bob.lines.join("\n").includes("between pages"), bob.lines);
    // what was said to her alone is there after a reload, too, and newcomers are not shown it
    await ada.checkAccess("a private line");
    await sleep(1000);
    await ada.page.reload();
    await ada.line("the key is <b>");
    ensure((await ada.line("the key is <b>")).classes.includes("private"));
    const dan = await Person.join(browser, URL_, "Dan Solo");
    await dan.line("the end of it");
    ensure(!/the key|it fits|between pages/u.test(await texts(dan)), await dan.lines());
    for (const person of [ada, cleo, dan]) await person.close();
    bob.say("/quit");
  },

  async "Tab completes names and commands, and leaves the field where it cannot"(browser) {
    const ming = new Plain(RELAY, "小明 Ming");
    await ming.line("welcome");
    const zoe = new Plain(RELAY, "Zora Tab");
    await zoe.line("welcome");
    const ada = await Person.join(browser, URL_, "Ada Tab");
    const zed = new Plain(RELAY, "Zora Tub");
    await ada.line("Zora Tub joined");
    const press = async (draft, times = 1) => {
      await ada.type(draft);
      for (let count = 0; count < times; count += 1) await ada.page.keyboard.press("Tab");
      return ada.page.$eval("#text", (field) => field.value);
    };
    // the welcome, a line and an answer have told the names; the last one to join is the first
    for (const [draft, times, expected] of [
      ["zor", 1, "Zora Tub: "],
      ["zor", 2, "Zora Tab: "],
      ["zor", 3, "Zora Tub: "],
      ["hello zora ta", 1, "hello Zora Tab "],
      ["/me hugs 小", 1, "/me hugs 小明 Ming "],
      ["你好小", 1, "你好小明 Ming "],
      ["one\n/ig", 1, "one\n/ignore "],
      ["/M", 2, "/msg "],
    ]) {
      const value = await press(draft, times);
      ensure(value === expected, `${draft}, ${times} times:`, value);
      ensure(await ada.page.evaluate(() => document.activeElement.id === "text"), "the field has lost the focus");
    }
    ensure((await press("no such name")) === "no such name");
    ensure(await ada.page.evaluate(() => document.activeElement.id === "send"), "Tab is trapped");
    await ada.say("/ignore Zora Tub");
    await ada.line("Zora Tub is ignored; /ignore Zora Tub once more ends it");
    zed.say("nobody reads this");
    zed.say("/nick Zora Tib");
    await ada.line("Zora Tub is now Zora Tib");
    zed.say("nor this");
    zoe.say("heard, Ada Tab");
    await ada.line("heard");
    await sleep(1000);
    await ada.page.reload();
    await ada.isState("Ada Tab");
    await ada.say("/ignore");
    await ada.line("ignored: Zora Tib");
    ensure((await ada.said("Zora Tib")).length + (await ada.said("Zora Tub")).length === 0, await ada.lines());
    await ada.say("/ignore zora tib");
    await ada.line("zora tib is shown again");
    zed.say("now read");
    await ada.line("now read");
    // what was asked was not said
    ensure(!zoe.lines.join("\n").includes("ignore"), zoe.lines);
    for (const peer of [ming, zoe, zed]) peer.say("/quit");
    await ada.close();
  },

  async "what somebody does is shown as that"(browser) {
    const bob = new Plain(RELAY, "Bob Doer");
    await bob.line("welcome");
    const ada = await Person.join(browser, URL_, "Ada Doer");
    bob.say("//me waves at Ada Doer");
    const line = await ada.line("waves at");
    ensure(line.text === "waves at Ada Doer" && line.name === "Bob Doer" && /action/u.test(line.classes), line);
    ensure(/mention/u.test(line.classes), line);
    await ada.say("/me");
    await ada.line("/me needs a text");
    await ada.say("/me waves back");
    await ada.line("waves back", "delivered");
    await bob.line("waves back");
    const shown = await ada.page.$$eval(".action", (all) =>
      all.map((it) => [...it.querySelectorAll(".name, .text")].map((part) => part.textContent).join("")),
    );
    ensure(JSON.stringify(shown) === JSON.stringify(["Bob Doer waves at Ada Doer", "Ada Doer waves back"]), shown);
    const widths = await ada.page.$$eval(".action .name", (all) => all.map((it) => it.getBoundingClientRect().width));
    ensure(widths.every((width) => width > 20), "the names are hidden", widths);
    // as with netcat and in a terminal
    await ada.say("//me nods");
    await ada.line("nods", "delivered");
    await bob.line("Ada Doer : /me nods");
    await ada.say("  /who Bob");
    await ada.line("1 begins with Bob: Bob Doer");
    await ada.say("/help");
    await ada.line("here also: /me TEXT");
    await ada.checkAccess("actions");
    await ada.screenshot("actions");
    // a later part of a long text is no command, and no part of a command is text
    await ada.say(`${"x".repeat(898)}/quit ${"y".repeat(891)}/who`);
    await bob.line(`Ada Doer : /quit ${"y".repeat(891)}`);
    await bob.line("Ada Doer : /who");
    await ada.say(`/who ${"z".repeat(900)}`);
    await ada.line("not sent: it is too long for one message");
    ensure(!bob.lines.some((line) => line.includes("zz")), "a part was said");
    await ada.page.$eval("#text", (field) => (field.value = ""));
    bob.say("/quit");
    await ada.close();
  },

  async "the title counts what is unread while nobody looks"(browser) {
    const ada = await Person.join(browser, URL_, "Reader");
    const ming = new Plain(RELAY, "小明");
    await ming.line("welcome");
    const look = (isHidden) =>
      ada.page.evaluate((isHidden) => {
        Object.defineProperty(document, "hidden", { configurable: true, get: () => isHidden });
        document.dispatchEvent(new Event("visibilitychange"));
      }, isHidden);
    const isTitle = (title) => eventually(title, async () => (await ada.page.title()) === title);
    ming.say("title 一");
    await ada.line("title 一");
    await isTitle("kilochat");
    await look(true);
    ming.say("title 二");
    ming.say("title 三");
    await isTitle("(2) kilochat");
    await look(false);
    await isTitle("kilochat");
    ming.say("/quit");
    await ada.close();
  },

  async "the date stands where a midnight passed"(browser) {
    for (const seconds of [6, 20, 60]) {
      const ada = await Person.open(browser, URL_, { midnight: seconds });
      const midnight = Date.now() + seconds * 1000;
      await ada.enter("Owl");
      const ming = new Plain(RELAY, "小明");
      await ming.line("welcome");
      ming.say("晚安");
      await ada.line("晚安");
      const isEarly = Date.now() < midnight - 2000;
      await sleep(Math.max(midnight + 2000 - Date.now(), 0));
      ming.say("早上好");
      await ada.line("早上好");
      const texts = (await ada.lines()).map(({ text }) => text);
      const since = texts.slice(texts.lastIndexOf("晚安") + 1, texts.lastIndexOf("早上好"));
      const between = since.filter((text) => !/ (is away|joined|left \(\w+\))$/u.test(text));
      ming.say("/quit");
      await ada.close();
      // repeated if this machine is so slow that midnight came too early
      if (!isEarly) continue;
      ensure(between.length === 1 && /20\d\d/u.test(between[0]), between);
      return;
    }
    ensure(false, "never in time");
  },
};
