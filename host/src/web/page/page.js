// The page: what a person sees and types. The protocol is in dialect.js.

import { Client } from "/dialect.js";
import { clean, split } from "/frame.js";
import { element, colour, markElement, memory, pasteAsText } from "/browser.js";
import { People, action, asSaid, isMentioned } from "/people.js";
import { language, words } from "/words.js";

/** Maximum numbers of lines in the page, and of lines that are kept for a reload. */
const LINES_MAX = 2000;
const SAVED_MAX = 200;
/** Number of lines from which on a paste must be confirmed. */
const ASK_FROM = 11;
/** Bounds of the pause between connection attempts, and maximum time of an attempt, in milliseconds. */
const PAUSE_MIN = 500;
const PAUSE_MAX = 10_000;
const CONNECT_MAX = 5000;
/** Time for which a page was hidden after which its connection may be dead, in milliseconds. */
const AWAY_MIN = 2000;
/** Maximum number of buffered bytes. Datagrams beyond that are dropped. */
const BUFFER_MAX = 64 << 10;
const SAVE_PAUSE = 250;
/** Maximum difference of the times of one line in milliseconds: the relay counts whole seconds. */
const SAME_MAX = 5000;

const clockTime = new Intl.DateTimeFormat(navigator.language, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const clockDate = new Intl.DateTimeFormat(navigator.language, { dateStyle: "long" });

const at = (id) => document.getElementById(id);
const [log, lines, text, state] = [at("log"), at("lines"), at("text"), at("state")];

let client = null;
let socket = null;
let isOpen = false;
let pause = PAUSE_MIN;
let retryTimer = 0;
let hiddenAt = 0;
let startedAt = Date.now();
let saveTimer = 0;
let unread = 0;
let newer = 0;
let isAtEnd = true;
/** The last lines, which are shown again after a reload. */
let saved = [];
/** The texts that are not delivered yet: the element of each, by its number. */
const pending = new Map();
/** By sequence number: texts that were reported as said before their line arrived. */
const said = new Map();
/** Own lines that arrived before their text was reported as said. */
const early = new Map();
/** New elements that are not in the page yet, and the last line. */
let fresh = document.createDocumentFragment();
let last = null;
let lastDay = "";
let people = new People();
/** What Tab has put in, and what it puts in next. */
let completed = null;
/** The author of the last message to this client alone. */
let writer = "";
let isWarned = false;

const now = () => performance.now();

// --- time

const clock = (() => {
  let timer = 0;
  try {
    const worker = new Worker("/clock.js");
    worker.onmessage = () => run();
    return (ms) => worker.postMessage(ms);
  } catch {
    return (ms) => {
      clearTimeout(timer);
      timer = setTimeout(run, ms);
    };
  }
})();

/** Runs the client: sends datagrams, handles events, and sets the timer for the next time. */
function run() {
  if (client === null) return;
  if (isOpen) {
    client.handleTimeout(now());
    for (let datagram; (datagram = client.pollTransmit(now())) !== null; )
      if (socket.bufferedAmount <= BUFFER_MAX) socket.send(datagram);
  }
  takeEvents();
  if (client === null || !isOpen) return;
  const due = client.pollTimeout();
  if (due < Infinity) clock(Math.max(due - now(), 0));
}

// --- connection

function connect() {
  clearTimeout(retryTimer);
  const old = socket;
  isOpen = false;
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const mine = new WebSocket(`${scheme}://${location.host}/ws`);
  socket = mine;
  if (old !== null) old.close();
  mine.binaryType = "arraybuffer";
  retryTimer = setTimeout(() => mine === socket && !isOpen && retry(), CONNECT_MAX);
  mine.onopen = () => {
    if (mine !== socket) return;
    clearTimeout(retryTimer);
    isOpen = true;
    client.reconnect(now());
    run();
  };
  mine.onmessage = ({ data }) => {
    if (mine !== socket || client === null) return;
    client.handleDatagram(now(), new Uint8Array(data));
    soon();
  };
  mine.onclose = () => mine === socket && retry();
}

let isSoon = false;
/** Runs the client once for all messages that have arrived. */
function soon() {
  if (isSoon) return;
  isSoon = true;
  queueMicrotask(() => {
    isSoon = false;
    run();
  });
}

function retry() {
  disconnect();
  if (client === null) return;
  client.handleUnreachable(now());
  show(words.offline, true);
  run();
  retryTimer = setTimeout(connect, pause);
  pause = Math.min(pause * 1.7, PAUSE_MAX);
}

function disconnect() {
  clearTimeout(retryTimer);
  const old = socket;
  socket = null;
  isOpen = false;
  if (old !== null) old.close();
}

/** Opens a new connection, because the old one may be dead without a sign. */
function wake() {
  if (client === null) return;
  pause = PAUSE_MIN;
  connect();
}

// --- the client's events

function takeEvents() {
  for (let event; client !== null && (event = client.pollEvent()) !== undefined; ) HANDLERS[event.kind](event);
  if (fresh.childElementCount > 0) paintSoon();
}

let isPainting = false;
/** Adds new lines to the page once for each frame of the screen: once for each datagram would be slow. */
function paintSoon() {
  if (isPainting) return;
  isPainting = true;
  if (document.hidden) setTimeout(paint, 200);
  else requestAnimationFrame(paint);
}

function paint() {
  isPainting = false;
  const count = fresh.querySelectorAll(".line:not(.own)").length;
  while (fresh.childElementCount > LINES_MAX) fresh.firstElementChild.remove();
  lines.append(fresh);
  while (lines.childElementCount > LINES_MAX) lines.firstElementChild.remove();
  if (isAtEnd) log.scrollTop = log.scrollHeight;
  else newer += count;
  showNewer();
  if (document.hidden) unread += count;
  showTitle();
  saveSoon();
}

const HANDLERS = {
  joined({ how, name, text: welcome, uptime }) {
    startedAt = Date.now() - uptime * 1000;
    pause = PAUSE_MIN;
    show(words.you(name));
    memory.write("localStorage", "name", name);
    if (how === "restarted") notice(words.restarted, "bad");
    if (welcome !== "") answer(welcome, "");
    if (at("room").hidden) enterRoom();
  },
  line(line) {
    const time = startedAt + line.at * 1000;
    people.learn(line);
    if (line.isHistory && isShown(line, time)) return;
    if (!line.own && people.isIgnored(line.name)) return;
    if (line.type === 3) {
      addLine({ ...line, time, private: true });
      return;
    }
    if (line.type !== 0) {
      const renamed = line.text.startsWith(`${writer} is now `);
      if (renamed) writer = line.text.slice(writer.length + " is now ".length);
      addLine({ ...line, time, notice: true });
      return;
    }
    if (line.own) {
      settle(line);
    }
    addLine({ ...line, time });
  },
  said({ post, first, lines: count }) {
    for (let sequence = first; sequence < first + count; sequence += 1)
      if (!early.delete(sequence)) said.set(sequence, post);
    if (count === 0 || !said.has(first)) removePending(post);
  },
  lost: ({ lines: count }) => notice(words.lost(count), "bad"),
  answered({ post, text: told }) {
    removePending(post);
    answer(told, "answer");
    if (told.endsWith("anything else is said to all")) notice(words.help, "answer");
  },
  renamed({ name }) {
    show(words.you(name));
    memory.write("localStorage", "name", name);
  },
  refused: ({ post }) => fail(post, words.unsaid),
  doubtful: ({ post }) => fail(post, words.doubtful),
  unsaid: ({ post }) => fail(post, words.unsaid),
  seatLost: ({ why }) => notice(words[why], "bad"),
  noSeat: ({ seconds }) => show(words.full(seconds), true),
  silent() {
    show(words.silent, true);
    // the connection may be dead, too
    setTimeout(wake);
  },
  back: () => show(words.you(client.name)),
  version: () => show(words.version, true),
  ended: ({ why }) => leaveRoom({ full: words.noSeats, nameless: words.nameless, left: words.left }[why] ?? words.refused),
};

/** Shows what the relay says to this client alone. */
function answer(told, className) {
  told.split("\n").forEach((line) => people.learn({ name: "", text: line }));
  notice(told, className, "en");
}

/** Returns whether a line of history was shown before: a relay that keeps its room sends it again after a crash. */
function isShown({ sequence, name, text: content }, time) {
  const isSame = (line) => line.sequence === sequence && line.name === name && line.text === content;
  return saved.some((line) => isSame(line) && Math.abs(line.time - time) <= SAME_MAX);
}

/** Handles an own line that arrived: it is shown in the room's order, not where it was typed any more. */
function settle({ sequence, text: told }) {
  const post = said.get(sequence);
  if (said.delete(sequence)) {
    removePending(post);
    return;
  }
  early.set(sequence, true);
  if (early.size > LINES_MAX) early.delete(early.keys().next().value);
  for (const [number, { text: typed }] of pending) {
    if (clean(typed.replace(/^\/\//u, "/")).trim() === told.trim()) {
      removePending(number);
      return;
    }
  }
}

// --- lines

function notice(content, className = "", lang = language) {
  const made = element("p", `notice ${className}`, content);
  made.dir = "auto";
  if (lang !== language) made.lang = lang;
  fresh.append(made);
  last = null;
  return made;
}

function addLine(line) {
  const day = clockDate.format(line.time);
  if (day !== lastDay && lastDay !== "") notice(day);
  lastDay = day;
  saved.push(line);
  if (line.private) writer = line.name;
  if (saved.length > SAVED_MAX) saved.shift();
  if (line.notice) notice(line.text, "", "en");
  else fresh.append(lineElement(line, "✓", words.delivered));
}

function lineElement({ name, text: content, own, time, private: isPrivate = false }, mark, meaning) {
  const made = element("p", own ? "line own" : "line");
  if (isPrivate) made.classList.add("private", "mention");
  else if (last !== null && last.name === name && time - last.time < 300_000) made.classList.add("same");
  if (!own && isMentioned(content, client.name)) made.classList.add("mention");
  last = isPrivate ? null : { name, time };
  const author = element("span", `name ${colour(name)}`, name);
  author.dir = "auto";
  if (isPrivate) author.append(element("span", "to", ` ${words.toYou}`));
  const done = isPrivate ? null : action(content);
  author.append(done === null ? element("span", "unseen", ": ") : " ");
  if (done !== null) made.classList.add("action");
  const body = element("span", "text", done ?? content);
  body.dir = "auto";
  const when = element("time", "", clockTime.format(time));
  when.dateTime = new Date(time).toISOString();
  made.append(author, body, when);
  if (own) made.append(markElement(mark, meaning));
  return made;
}

function addPending(number, content) {
  const [before, shown] = [last, content.replace(/^\/\//u, "/")];
  const made = lineElement({ name: client.name, text: shown, own: true, time: Date.now() }, "…", words.waiting);
  last = before;
  made.classList.add("pending");
  fresh.append(made);
  pending.set(number, { text: content, element: made });
}

function removePending(number) {
  const entry = pending.get(number);
  if (entry === undefined) return;
  pending.delete(number);
  entry.element.remove();
}

/** Shows that a text was not, or perhaps not, delivered, with a button to say it again. */
function fail(number, meaning) {
  const entry = pending.get(number);
  if (entry === undefined) return;
  pending.delete(number);
  entry.element.classList.add("failed");
  entry.element.classList.remove("pending");
  entry.element.querySelector(".mark").remove();
  const button = element("button", "again", words.again);
  button.type = "button";
  button.onclick = () => {
    entry.element.remove();
    say([entry.text]);
    text.focus();
  };
  entry.element.append(element("span", "mark", ` ${meaning}`), button);
}

// --- lines that are shown again after a reload

function saveSoon() {
  if (document.hidden) save();
  else if (saveTimer === 0) saveTimer = setTimeout(save, SAVE_PAUSE);
}

function save() {
  clearTimeout(saveTimer);
  saveTimer = 0;
  if (client === null) return;
  memory.write("sessionStorage", "session", { client: client.save(), lines: saved, startedAt, ignored: people.ignored });
}

function restore({ client: session, lines: before, startedAt: then, ignored }) {
  client = new Client(session.wanted, random(), session);
  people.ignored = ignored;
  before.forEach((line) => people.learn(line));
  startedAt = then;
  before.forEach(addLine);
  for (const { id, text: waiting } of session.waiting) addPending(id, waiting);
  enterRoom();
  paint();
}

function random() {
  const [high, low] = crypto.getRandomValues(new Uint32Array(2));
  return (BigInt(high) << 32n) | BigInt(low);
}

// --- the room

function enterRoom() {
  at("join").hidden = true;
  at("room").hidden = false;
  at("leave").hidden = false;
  isAtEnd = true;
  text.focus();
}

function leaveRoom(why) {
  disconnect();
  client = null;
  memory.write("sessionStorage", "session", null);
  for (const list of [pending, said, early]) list.clear();
  saved = [];
  people = new People();
  writer = "";
  fresh = document.createDocumentFragment();
  [last, lastDay, unread, newer] = [null, "", 0, 0];
  lines.replaceChildren();
  at("room").hidden = true;
  at("leave").hidden = true;
  at("join").hidden = false;
  at("notice").textContent = why;
  show("");
  showTitle();
  at("name").focus();
}

function show(content, isBad = false) {
  state.textContent = content;
  state.classList.toggle("bad", isBad);
}

function showNewer() {
  at("newer").hidden = newer === 0;
  at("newer").textContent = words.newer(newer);
}

function showTitle() {
  document.title = unread > 0 ? `(${unread}) kilochat` : "kilochat";
}

/** Says texts. */
function say(texts) {
  for (const content of texts) for (const part of split(content)) addPending(client.post(part), part);
  isAtEnd = true;
  newer = 0;
  paint();
  save();
  run();
}

/** Says the typed text. Several lines are several messages, none of which is a command. */
async function sayTyped() {
  if (client === null) return;
  const typed = text.value.split("\n").filter((line) => clean(line).trim() !== "");
  if (typed.length >= ASK_FROM && !(await ask(words.ask(typed.length)))) return;
  const isAlone = typed.length === 1;
  const told = isAlone ? people.obey(typed[0]) : null;
  if (told === null && !prepare(typed)) return;
  text.value = "";
  fit();
  if (told !== null) {
    notice(told, "answer");
    isAtEnd = true;
    return paint();
  }
  say(isAlone ? [asSaid(typed[0])] : typed.map((line) => (line.startsWith("/") ? `/${line}` : line)));
  text.focus();
}

/** Prepares a command, if it is for one peer: finds out to whom, and warns once. Returns false if it cannot be said. */
function prepare(typed) {
  const [, command, content = ""] = /^\s*\/(msg|reply)(?:\s+(.*))?$/isu.exec(typed[0] ?? "") ?? [];
  if (command === undefined) {
    const line = asSaid(typed[0] ?? "");
    const isCut = typed.length === 1 && /^\/(?!\/)/u.test(line) && split(line).length > 1;
    if (isCut) notice(words.tooLong, "answer");
    paintSoon();
    return !isCut;
  }
  const isReply = command.toLowerCase() === "reply";
  const line = isReply ? `/msg ${writer}: ${content}` : typed[0].trim();
  let problem;
  if (typed.length > 1) problem = words.oneLine;
  else if (isReply && writer === "") problem = words.nobody;
  else if (isReply && content.trim() === "") problem = words.noReply;
  // the rest would be said to all
  else if (split(line).length > 1) problem = words.tooLong;
  if (problem !== undefined || !isWarned) notice(problem ?? words.readable, "answer");
  paintSoon();
  isWarned ||= problem === undefined;
  typed[0] = line;
  return problem === undefined;
}

/** Completes the word before the cursor. Returns whether there was something to complete. */
function complete() {
  const cursor = text.selectionEnd;
  if (completed === null || completed.value !== text.value || completed.end !== cursor) {
    const found = people.complete(text.value.slice(0, cursor), client?.name);
    if (found === null) return false;
    completed = { ...found, end: cursor, next: 0 };
  }
  const content = completed.texts[completed.next % completed.texts.length];
  text.setRangeText(content, completed.start, completed.end, "end");
  fit();
  const isOnly = completed.texts.length === 1;
  const end = completed.start + content.length;
  completed = isOnly ? null : { ...completed, value: text.value, end, next: completed.next + 1 };
  return true;
}

function ask(question) {
  const dialog = at("ask");
  at("askTitle").textContent = question;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((answer) => {
    dialog.onclose = () => answer(dialog.returnValue === "yes");
  });
}

function fit() {
  text.style.height = "auto";
  text.style.height = `${text.scrollHeight + 2}px`;
}

async function invite() {
  const path = location.protocol === "https:" ? "/qr.svg?https" : "/qr.svg";
  at("codeImage").src = path;
  at("code").showModal();
  const image = new DOMParser().parseFromString(await (await fetch(path)).text(), "image/svg+xml");
  at("codeAddress").textContent = image.querySelector("title").textContent;
  at("codeImage").alt = at("codeAddress").textContent;
}

// --- start

document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
for (const id of ["enter", "leave", "invite", "send"]) at(id).textContent = words[id];
at("codeClose").textContent = words.close;
at("codeTitle").textContent = words.scan;
at("askNo").textContent = words.no;
at("askYes").textContent = words.yes;
document.querySelector("label[for=name]").textContent = words.name;
document.querySelector("label[for=text]").textContent = words.message;
text.placeholder = words.message;
log.setAttribute("aria-label", words.lines);
at("name").value = memory.read("localStorage", "name") ?? "";

at("join").onsubmit = (event) => {
  event.preventDefault();
  const name = at("name").value.trim();
  if (name === "") return;
  at("notice").textContent = "";
  client = new Client(name, random());
  show(words.joining);
  connect();
};
at("say").onsubmit = (event) => {
  event.preventDefault();
  sayTyped();
};
text.onkeydown = (event) => {
  if (event.key === "Tab" && !event.shiftKey && !event.isComposing && complete()) event.preventDefault();
  // Safari reports the key that ends a composition after the end, with the code 229
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  sayTyped();
};
text.oninput = fit;
text.onpaste = pasteAsText;
log.onscroll = () => {
  isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  if (isAtEnd) newer = 0;
  showNewer();
};
new ResizeObserver(() => {
  if (isAtEnd) log.scrollTop = log.scrollHeight;
}).observe(log);
at("newer").onclick = () => {
  log.scrollTop = log.scrollHeight;
  text.focus();
};
at("invite").onclick = invite;
at("leave").onclick = () => {
  client.leave(now());
  if (isOpen) run();
  else leaveRoom(words.left);
};
document.onvisibilitychange = () => {
  if (document.hidden) {
    hiddenAt = Date.now();
    save();
    return;
  }
  unread = 0;
  showTitle();
  if (Date.now() - hiddenAt > AWAY_MIN) wake();
};
window.ononline = wake;
window.onpageshow = (event) => event.persisted && wake();
window.onpagehide = save;

const before = memory.read("sessionStorage", "session");
if (before === null) {
  at("join").hidden = false;
  at("name").focus();
} else {
  restore(before);
  show(words.joining);
  connect();
}
