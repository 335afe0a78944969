// A telephone joins at an address: `node join.mjs URL`.

import { Person, launch } from "./room.mjs";

const [url] = process.argv.slice(2);
const browser = await launch("chromium");
const start = Date.now();
const ada = await Person.join(browser, url, "Ada", { phone: true });
await ada.say("I am in the room");
await ada.line("I am in the room", "delivered");
console.log(`joined ${url} and said a line in ${Date.now() - start} ms`);
await ada.close();
await browser.browser.close();
