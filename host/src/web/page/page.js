// The page: what a person sees and types. What is said on the wire is in dialect.js.

import { Client, clean, split } from "/dialect.js";

/** Maximum numbers of lines in the page, and of those that a reload shows again. */
const LINES_MAX = 2000;
const SAVED_MAX = 200;
/** Number of lines in a paste from which on it is asked about. */
const ASK_FROM = 11;
/** Pauses between connections, and the time for one, in milliseconds. */
const PAUSE_MIN = 500;
const PAUSE_MAX = 10_000;
const CONNECT_MAX = 5000;
/** Time in which the page was hidden after which its connection may be dead, in milliseconds. */
const AWAY_MIN = 2000;
/** Bytes that wait for the network before datagrams count as lost. */
const BUFFER_MAX = 64 << 10;
const SAVE_PAUSE = 250;

const WORDS = {
  en: {
    name: "Your name", enter: "Join", leave: "Leave", invite: "Invite", send: "Send", message: "Message",
    lines: "Lines of the room", joining: "joining …", you: (name) => `you are ${name}`,
    offline: "no connection; trying again …", silent: "the relay does not answer; trying again …",
    full: (seconds) => `all seats are taken; trying again in ${seconds} s`,
    restarted: "the relay was restarted; lines may be missing",
    lost: (n) => (n === 1 ? "1 line lost" : `${n} lines lost`),
    givenAway: "your seat was given away", takenOver: "another page took over this seat",
    waiting: "not delivered yet", delivered: "delivered", unsaid: "not delivered", doubtful: "perhaps not delivered",
    again: "say it again", newer: (n) => (n === 1 ? "1 new line" : `${n} new lines`),
    ask: (n) => `Say ${n} lines?`, yes: "Say them", no: "Cancel", close: "Close",
    scan: "Scan it to join", left: "you have left", nameless: "this name has no visible character",
    refused: "the relay refuses", version: "the relay has another version: reload this page",
    noSeats: "all seats are taken",
  },
  zh: {
    name: "你的名字", enter: "加入", leave: "离开", invite: "邀请", send: "发送", message: "消息",
    lines: "聊天记录", joining: "正在加入…", you: (name) => `你是 ${name}`,
    offline: "没有连接，正在重试…", silent: "中继没有回应，正在重试…",
    full: (seconds) => `座位已满，${seconds} 秒后重试`,
    restarted: "中继已重启，可能缺少几行",
    lost: (n) => `丢失 ${n} 行`,
    givenAway: "你的座位已让给别人", takenOver: "另一个页面接管了这个座位",
    waiting: "尚未送达", delivered: "已送达", unsaid: "未送达", doubtful: "可能未送达",
    again: "再说一次", newer: (n) => `${n} 行新消息`,
    ask: (n) => `发送 ${n} 行？`, yes: "发送", no: "取消", close: "关闭",
    scan: "扫码加入", left: "你已离开", nameless: "这个名字没有可见字符",
    refused: "中继拒绝了", version: "中继版本不同，请刷新页面",
    noSeats: "座位已满",
  },
};
const language = navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
const words = WORDS[language];
const clockTime = new Intl.DateTimeFormat(navigator.language, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const clockDate = new Intl.DateTimeFormat(navigator.language, { dateStyle: "long" });

const at = (id) => document.getElementById(id);
const [log, lines, text, state] = [at("log"), at("lines"), at("text"), at("state")];

/** What the browser remembers; a browser may forbid it. */
const memory = {
  read(storage, key) {
    try {
      return JSON.parse(window[storage].getItem(key));
    } catch {
      return null;
    }
  },
  write(storage, key, value) {
    try {
      if (value === null) window[storage].removeItem(key);
      else window[storage].setItem(key, JSON.stringify(value));
    } catch {
      // it is full or forbidden: a reload then joins again
    }
  },
};

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
/** The last lines that a reload shows again. */
let saved = [];
/** The lines that are not delivered yet: the number of the text, and its element. */
const pending = new Map();
/** Sequence numbers of own lines whose text is known to be said before they arrived. */
const said = new Map();
/** Own lines that have arrived before it was known that they were said. */
const early = new Map();
/** New elements of this turn, and the last line that was made. */
let fresh = document.createDocumentFragment();
let last = null;
let lastDay = "";

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

/** Lets the client send and tell what is due, and wakes it when something is due next. */
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
/** Runs once for all messages that have arrived. */
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

/** The old connection may be dead without a sign: takes a new one. */
function wake() {
  if (client === null) return;
  pause = PAUSE_MIN;
  connect();
}

// --- what the client tells

function takeEvents() {
  for (let event; client !== null && (event = client.pollEvent()) !== undefined; ) HANDLERS[event.kind](event);
  if (fresh.childElementCount > 0) paintSoon();
}

let isPainting = false;
/** Puts new lines into the page once for each frame: it is slow to do so for each datagram. */
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
    if (welcome !== "") notice(welcome, "", "en");
    if (at("room").hidden) enterRoom();
  },
  line(line) {
    const time = startedAt + line.at * 1000;
    if (line.type !== 0) {
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
  answered({ post, text: answer }) {
    removePending(post);
    notice(answer, "answer", "en");
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

/** An own line has come back: its place is here, and no longer where it was typed. */
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

function element(tag, className, content) {
  const made = document.createElement(tag);
  made.className = className;
  if (content !== undefined) made.textContent = content;
  return made;
}

function notice(content, className = "", lang = language) {
  const made = element("p", `notice ${className}`, content);
  made.dir = "auto";
  if (lang !== language) made.lang = lang;
  fresh.append(made);
  last = null;
  return made;
}

function colour(name) {
  let hash = 0;
  for (const character of name) hash = (hash * 31 + character.codePointAt(0)) >>> 0;
  return `n${hash % 6}`;
}

function addLine(line) {
  const day = clockDate.format(line.time);
  if (day !== lastDay && lastDay !== "") notice(day);
  lastDay = day;
  saved.push(line);
  if (saved.length > SAVED_MAX) saved.shift();
  if (line.notice) notice(line.text, "", "en");
  else fresh.append(lineElement(line, "✓", words.delivered));
}

function lineElement({ name, text: content, own, time }, mark, meaning) {
  const made = element("p", own ? "line own" : "line");
  if (last !== null && last.name === name && time - last.time < 300_000) made.classList.add("same");
  if (!own && isMentioned(content)) made.classList.add("mention");
  last = { name, time };
  const author = element("span", `name ${colour(name)}`, name);
  author.dir = "auto";
  author.append(element("span", "unseen", ": "));
  const body = element("span", "text", content);
  body.dir = "auto";
  const when = element("time", "", clockTime.format(time));
  when.dateTime = new Date(time).toISOString();
  made.append(author, body, when);
  if (own) made.append(markElement(mark, meaning));
  return made;
}

function markElement(mark, meaning) {
  const made = element("span", "mark", ` ${mark}`);
  made.setAttribute("role", "img");
  made.setAttribute("aria-label", meaning);
  made.title = meaning;
  return made;
}

function isMentioned(content) {
  const own = client?.name ?? "";
  if (own === "") return false;
  const [inside, name] = [content.toLowerCase(), own.toLowerCase()];
  const isPart = (character) => character !== undefined && /[\p{Script=Latin}\p{N}]/u.test(character);
  for (let found = inside.indexOf(name); found >= 0; found = inside.indexOf(name, found + 1))
    if (!isPart(inside[found - 1]) && !isPart(inside[found + name.length])) return true;
  return false;
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

/** A text was not delivered, or nobody knows: says so, with a button to say it again. */
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

// --- what a reload shows again

function saveSoon() {
  if (document.hidden) save();
  else if (saveTimer === 0) saveTimer = setTimeout(save, SAVE_PAUSE);
}

function save() {
  clearTimeout(saveTimer);
  saveTimer = 0;
  if (client === null) return;
  memory.write("sessionStorage", "session", { client: client.save(), lines: saved, startedAt });
}

function restore({ client: session, lines: before, startedAt: then }) {
  client = new Client(session.wanted, random(), session);
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

/** Says what was typed. Several lines are several messages, and none of them is a command. */
async function sayTyped() {
  if (client === null) return;
  const typed = text.value.split("\n").filter((line) => clean(line).trim() !== "");
  if (typed.length >= ASK_FROM && !(await ask(words.ask(typed.length)))) return;
  const isAlone = typed.length === 1;
  text.value = "";
  fit();
  say(typed.map((line) => (!isAlone && line.startsWith("/") ? `/${line}` : line)));
  text.focus();
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
  // Safari ends a composition before the key that ends it; its code is 229
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  sayTyped();
};
text.oninput = fit;
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
