// A client of the framed dialect of kilochat as a state machine: datagrams and time in, datagrams and
// events out. The numbers in brackets are rules of PROTOCOL.md. Times are in milliseconds.

import { Malformed, Reader, TEXTS_MAX, Writer, clean, encoder, ensure, readEntries, split } from "/frame.js";
import { Acknowledging, Greeting, Pulse, RoundTrip } from "/timing.js";

const HELLO_MIN = 128;
const NAME_MAX = 32;
const RANGES_MAX = 8;
/** Maximum number of lines that wait for an earlier one. */
const HELD_MAX = 32 * 60;
/** Maximum distance of the end of a GAP from the last line that the relay has named. [D2] */
const UNNAMED_MAX = 2 ** 20;

const hex = (number, digits) => BigInt(number).toString(16).padStart(digits, "0");
const wrapped = (now) => Math.floor(now) & 0xffff;

export class Client {
  phase = "joining";
  name = "";
  session = null;
  epoch = 0;
  /** The author numbers of this seat and of the last one. */
  authors = [0, 0];
  historyEnd = 0;
  head = 0;
  next = 0;
  /** Lines that arrived early, by sequence number: an earlier one is missing. */
  held = new Map();
  resumed = -Infinity;
  /** When the last line of this run arrived, which says that the relay is stopping. */
  stopped = null;
  leaves = 0;
  leaveDue = 0;
  isQuiet = false;
  isSilent = false;
  events = [];
  /** Texts that are in flight (the first `flight.count`) or queued. */
  waiting = [];
  flight = null;
  hold = 0;
  number = 0;
  nextId = 0;
  roundTrip = new RoundTrip();
  acknowledging = new Acknowledging(4, 0);
  pulse = new Pulse(0, 1);
  dropped = 0;

  /** `random` is an unpredictable BigInt of 64 bits; `saved` is what `save` of an earlier client returned. */
  constructor(name, random, saved = null) {
    this.wanted = name;
    this.greeting = new Greeting(random);
    if (saved === null) return;
    for (const key of ["wanted", "epoch", "authors", "historyEnd", "head", "next", "isQuiet", "number", "nextId"])
      this[key] = saved[key];
    this.waiting = saved.waiting.map(({ id, text }) => ({ id, text }));
    if (saved.session === null) return;
    this.session = BigInt(saved.session);
    this.phase = "severed";
    if (saved.count > 0) this.flight = { count: saved.count, since: 0, due: 0, tries: 1 };
  }

  /** Returns the state by which another client resumes the session after a reload, as a value for JSON. */
  save() {
    const { wanted, epoch, authors, historyEnd, head, next, isQuiet, number, nextId } = this;
    return {
      wanted, epoch, authors, historyEnd, head, next, isQuiet, number, nextId,
      session: this.session === null ? null : String(this.session),
      waiting: this.waiting.map(({ id, text }) => ({ id, text })),
      count: this.flight === null ? 0 : this.flight.count,
    };
  }

  /** Queues a text of at most TEXT_MAX bytes and returns its number. */
  post(text) {
    const id = this.nextId++;
    const quiet = /^\/quiet(?:\s+(.*))?$/isu.exec(text);
    if (quiet) {
      const word = (quiet[1] ?? "").trim().toLowerCase();
      if (word === "on" || word === "off") this.isQuiet = word === "on";
      const told = this.isQuiet ? "quiet is on: you are not told" : "quiet is off: you are told";
      this.events.push({ kind: "answered", post: id, text: `${told} who joins, leaves or is renamed` });
    } else {
      this.waiting.push({ id, text });
    }
    return id;
  }

  leave(now) {
    if (this.phase === "leaving" || this.phase === "ended") return;
    if (this.session === null || this.session === 0n) return this.finish("left");
    this.phase = "leaving";
    this.leaveDue = now;
  }

  /** A new connection leads to the relay: requests the seat again, at once. */
  reconnect(now) {
    this.greeting.cookie = null;
    if (this.phase === "joined" || this.phase === "silent" || this.phase === "severed") this.lose(now, "severed");
    if (this.phase !== "ended") this.greeting.due = now;
  }

  /** No connection leads to the relay. */
  handleUnreachable(now) {
    if (this.phase === "joined" || this.phase === "silent") this.lose(now, "severed");
  }

  lose(now, phase) {
    this.phase = phase;
    this.greeting.begin(now);
    this.greeting.expectsNextRun = this.stopped !== null;
    this.stopped = null;
  }

  /** Returns when to request a seat in the next run, if the relay is stopping. [P4] */
  nextRun() {
    if (this.stopped === null) return Infinity;
    const lacks = this.held.size > 0 || this.flight !== null;
    return this.stopped + (lacks ? 1000 : 250 + this.greeting.spread());
  }

  finish(why) {
    this.phase = "ended";
    this.endFlight();
    for (const { id } of this.waiting) this.events.push({ kind: "unsaid", post: id });
    this.waiting = [];
    this.events.push({ kind: "ended", why });
  }

  pollEvent() {
    return this.events.shift();
  }

  /** Returns when to call `handleTimeout` and `pollTransmit`, or Infinity. */
  pollTimeout() {
    switch (this.phase) {
      case "joining":
      case "silent":
      case "severed":
        return this.greeting.due;
      case "leaving":
        return this.leaveDue;
      case "joined":
        return Math.min(
          this.acknowledging.timeout(),
          this.stopped === null ? this.postDue() : Infinity,
          this.flight === null ? Infinity : this.flight.since + 30_000,
          this.pulse.question(),
          this.pulse.patience(),
          this.nextRun(),
        );
      default:
        return Infinity;
    }
  }

  handleTimeout(now) {
    if (this.phase === "joined") {
      if (now >= this.pulse.patience()) {
        this.becomeSilent();
        this.lose(now, "silent");
      } else if (this.flight !== null && now >= this.flight.since + 30_000) {
        // unanswered for the second time: another client has posted in this session [U5]
        if (this.flight.isOverdue) this.session = 0n;
        this.flight.isOverdue = true;
        this.lose(now, "severed");
      } else if (now >= this.nextRun()) {
        this.lose(now, "severed");
      }
    } else if (this.phase === "leaving") {
      if (this.leaves >= 3 && now >= this.leaveDue) this.finish("left");
    } else if (this.phase !== "ended" && this.greeting.unanswered >= this.greeting.patience()) {
      this.becomeSilent();
    }
  }

  becomeSilent() {
    if (!this.isSilent) this.events.push({ kind: "silent" });
    this.isSilent = true;
  }

  hear() {
    this.pulse.heard();
    if (this.isSilent) this.events.push({ kind: "back" });
    this.isSilent = false;
    if (this.phase === "silent") this.phase = "joined";
  }

  /** Returns the next datagram to send, or null. */
  pollTransmit(now) {
    switch (this.phase) {
      case "joining":
      case "silent":
      case "severed":
        return this.greeting.poll(now) ? this.hello() : null;
      case "joined":
        return this.speak(now);
      case "leaving":
        if (this.leaves >= 3 || now < this.leaveDue) return null;
        this.leaveDue = now + Math.min(Math.max(this.roundTrip.timeout(this.leaves), 200), 1000);
        this.leaves += 1;
        return new Writer("L").u64(this.session).u8(0).done();
      default:
        return null;
    }
  }

  hello() {
    const { nonce, cookie } = this.greeting;
    const resume =
      this.session === null ? "-" : hex(this.session, 16) + hex(this.epoch, 8) + hex(this.next, 16);
    const name = split(this.wanted.trim(), NAME_MAX)[0] ?? "";
    const bytes = encoder.encode(`\u0001H KC1 00000000 ${hex(nonce, 16)} ${cookie ?? "-"} ${resume} ${name}`);
    const padded = new Uint8Array(Math.max(bytes.length, HELLO_MIN)).fill(0x20);
    padded.set(bytes);
    return padded;
  }

  speak(now) {
    if (this.stopped === null && now >= this.postDue()) return this.sendPost(now);
    const isAckDue = now >= this.acknowledging.timeout();
    const isQuestion = now >= this.pulse.question();
    if (!isAckDue && !isQuestion) return null;
    if (isQuestion) {
      this.pulse.asked += 1;
      this.pulse.demanded(now);
    } else {
      this.pulse.sent = now;
    }
    const echo = this.acknowledging.sent(now);
    const flags = (isQuestion ? 1 : 0) | (echo === null ? 0 : 2);
    const ack = new Writer("K").u64(this.session).u16(echo ?? 0).u8(flags).u64(this.next);
    for (const [skip, run] of this.ranges()) ack.u16(skip).u16(run);
    return ack.done();
  }

  /** Returns the last ranges of lines after `next` that have arrived. [F12] */
  ranges() {
    const runs = [];
    for (const sequence of [...this.held.keys()].sort((a, b) => a - b)) {
      const last = runs.at(-1);
      if (last && last[1] === sequence) last[1] += 1;
      else runs.push([sequence, sequence + 1]);
    }
    let end = this.next;
    return runs.slice(-RANGES_MAX).map(([first, after]) => {
      const range = [first - end, after - first];
      end = after;
      return range;
    });
  }

  postDue() {
    if (this.flight !== null) return this.flight.due;
    return this.waiting.length > 0 ? this.hold : Infinity;
  }

  /** Returns a POST: the first texts, as many as fit, or a command alone; or the POST in flight again. [U1] [U3] */
  sendPost(now) {
    if (this.flight === null) {
      this.number = (this.number + 1) & 0xffff;
      this.flight = { count: this.batch(), since: now, due: 0, tries: 0 };
    } else {
      this.flight.tries += 1;
    }
    this.flight.due = now + this.roundTrip.timeout(this.flight.tries);
    this.pulse.demanded(now);
    const post = new Writer("P").u64(this.session).u16(this.number).u16(wrapped(now));
    for (const { text } of this.waiting.slice(0, this.flight.count)) {
      const bytes = encoder.encode(text);
      post.u16(bytes.length).raw(bytes);
    }
    return post.done();
  }

  /** Returns the number of texts in the next POST. */
  batch() {
    const isCommand = (text) => /^\/(?!\/)/u.test(text);
    if (isCommand(this.waiting[0].text)) return 1;
    let [count, length] = [0, 0];
    for (const { text } of this.waiting.slice(0, 255)) {
      length += 2 + encoder.encode(text).length;
      if (isCommand(text) || length > TEXTS_MAX) break;
      count += 1;
    }
    return count;
  }

  /** A datagram arrived. */
  handleDatagram(now, bytes) {
    if (bytes[0] !== 1 || bytes.length < 2 || this.phase === "ended") return;
    const handle = Client.HANDLERS[String.fromCharCode(bytes[1])];
    try {
      ensure(handle !== undefined);
      handle.call(this, now, new Reader(bytes));
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      this.dropped += 1;
    }
  }

  static HANDLERS = {
    C(now, frame) {
      this.handleCookie(now, frame);
    },
    W(now, frame) {
      this.handleWelcome(now, frame);
    },
    R(now, frame) {
      this.handleRefused(now, frame);
    },
    A(now, frame) {
      this.handlePosted(now, frame);
    },
    D(now, frame) {
      this.handleData(now, frame);
    },
    G(now, frame) {
      this.handleGap(now, frame);
    },
    B(now, frame) {
      this.handleBye(now, frame);
    },
  };

  isGreeting() {
    return this.phase === "joining" || this.phase === "silent" || this.phase === "severed";
  }

  /** Returns whether a frame belongs to this session, and that has not ended. */
  isMine(session) {
    return session === this.session && this.phase !== "severed" && this.phase !== "joining";
  }

  handleCookie(now, frame) {
    const [start, version, , nonce, cookie] = frame.text(frame.left).split(" ");
    ensure(start === "" && /^KC\d+$/u.test(version));
    if (!this.isGreeting()) return;
    if (version !== "KC1") {
      this.events.push({ kind: "version" });
      return;
    }
    ensure(/^[\da-f]{16}$/iu.test(nonce) && /^[\da-f]{32}$/iu.test(cookie));
    this.greeting.handleCookie(now, BigInt(`0x${nonce}`), cookie);
  }

  handleWelcome(now, frame) {
    const nonce = frame.u64();
    const welcome = {
      session: frame.u64(),
      epoch: frame.u32(),
      author: frame.u32(),
      first: frame.sequence(),
      head: frame.sequence(),
      uptime: frame.u32(),
      window: frame.u8(),
      keepalive: frame.u8(),
    };
    const name = frame.text(frame.u8());
    const text = frame.text(frame.left);
    ensure(welcome.session !== 0n && welcome.head >= welcome.first && name !== "");
    if (!this.isGreeting() || !this.greeting.isCurrent(nonce)) return;
    if (this.greeting.cookieSentAt !== null) this.roundTrip.sample(now - this.greeting.cookieSentAt);
    this.greeting.welcomed = now;
    this.greeting.unanswered = 0;
    let how = "restarted";
    if (this.session === null) how = "new";
    else if (this.session === welcome.session) how = "resumed";
    else if (this.epoch === welcome.epoch) how = "continued";
    this.takeSeat(now, how, welcome, name, text);
  }

  takeSeat(now, how, welcome, name, text) {
    this.phase = "joined";
    if (this.isSilent) this.events.push({ kind: "back" });
    this.isSilent = false;
    this.session = welcome.session;
    this.epoch = welcome.epoch;
    this.resumed = how === "resumed" ? now : -Infinity;
    this.acknowledging = new Acknowledging(welcome.window, this.acknowledging.repeats);
    this.pulse = new Pulse(now, welcome.keepalive);
    if (how === "resumed") {
      if (this.flight !== null) Object.assign(this.flight, { since: now, due: now });
    } else {
      this.endFlight();
    }
    if (how === "new" || how === "restarted") {
      this.skipTo(Math.max(this.next, ...this.held.keys()) + (this.held.size > 0 ? 1 : 0));
      this.next = welcome.first;
      this.historyEnd = welcome.head;
      this.head = welcome.head;
      this.stopped = null;
      this.authors = [welcome.author, welcome.author];
    } else {
      if (this.authors[0] !== welcome.author) this.authors = [welcome.author, this.authors[0]];
      this.skipTo(welcome.first);
      this.head = Math.max(this.head, welcome.head);
      if (this.held.size > 0) this.acknowledging.due = now;
    }
    if (how === "resumed" && this.name !== "" && this.name !== name) this.wanted = name;
    this.name = clean(name);
    this.events.push({
      kind: "joined",
      how,
      name: this.name,
      text: clean(text.replace(/^\* /u, "")),
      uptime: welcome.uptime,
    });
  }

  handleRefused(now, frame) {
    const [nonce, reason, seconds] = [frame.u64(), frame.u8(), frame.u16()];
    frame.end();
    if (!this.isGreeting() || !this.greeting.isCurrent(nonce)) return;
    if (seconds === 0) return this.finish(["", "full", "nameless"][reason] || "refused");
    if (this.phase === "silent") this.phase = "severed";
    this.greeting.begin(now);
    this.greeting.due = Math.max(this.greeting.due, now + seconds * 1000);
    if (this.isSilent) this.events.push({ kind: "back" });
    this.isSilent = false;
    this.events.push({ kind: "noSeat", reason, seconds });
  }

  handleData(now, frame) {
    const [epoch, sentAt, first] = [frame.u32(), frame.u16(), frame.sequence()];
    const lines = readEntries(frame, first);
    if (!this.isMine(this.session) || epoch !== this.epoch) return;
    this.hear();
    // it was sent to this address for the client that had it before [M7]
    const isOfFormer = (line) => line.type === 3 && (line.author === this.authors[0]) === (line.text === "");
    if (lines.some(isOfFormer)) {
      this.dropped += 1;
      return;
    }
    const end = first + lines.length;
    this.head = Math.max(this.head, end);
    if (lines.length === 0) return;
    const isNew = (line) => line.sequence >= this.next && !this.held.has(line.sequence);
    if (!lines.some(isNew)) return this.acknowledging.repeated(now, sentAt);
    const isFull = first > this.next && this.held.size + lines.length > HELD_MAX;
    if (isFull || end - this.next > 0xffff) {
      this.dropped += 1;
      return;
    }
    const highest = Math.max(this.next, ...[...this.held.keys()].map((key) => key + 1));
    for (const line of lines.filter(isNew)) this.held.set(line.sequence, line);
    this.skipTo(this.next);
    const isStop = (line) =>
      line.type === 2 && line.sequence >= this.historyEnd && line.text === "relay is stopping";
    const isStopping = lines.some(isStop);
    this.acknowledging.received(now, sentAt, isStopping || first !== highest);
    if (isStopping) this.stopped ??= now;
  }

  handleGap(now, frame) {
    const [session, sentAt, from, until] = [frame.u64(), frame.u16(), frame.sequence(), frame.sequence()];
    frame.end();
    ensure(until > from);
    if (!this.isMine(session)) return;
    this.hear();
    if (until > this.head + UNNAMED_MAX || from > this.next) return;
    if (until <= this.next) {
      this.acknowledging.asked(now, sentAt);
      return;
    }
    this.skipTo(until);
    this.acknowledging.received(now, sentAt, true);
  }

  /** Missing lines before `until` are lost; shows the lines that follow, up to the next missing one. */
  skipTo(until) {
    const early = [...this.held.keys()].filter((sequence) => sequence < until).sort((a, b) => a - b);
    for (const sequence of early) {
      this.loseUntil(sequence);
      this.show(sequence);
    }
    this.loseUntil(until);
    while (this.held.has(this.next)) this.show(this.next);
  }

  loseUntil(until) {
    if (until <= this.next) return;
    this.events.push({ kind: "lost", from: this.next, lines: until - this.next });
    this.next = until;
  }

  show(sequence) {
    const line = this.held.get(sequence);
    this.held.delete(sequence);
    this.next = sequence + 1;
    if (this.isQuiet && line.type === 1) return;
    const isNumbered = line.author !== 0 && this.authors.includes(line.author);
    if (line.type === 3 && line.text === "") {
      // for another client, or for the seat that this one had before
      if (isNumbered) this.events.push({ kind: "lost", from: sequence, lines: 1 });
      return;
    }
    const own = isNumbered && line.type !== 3;
    this.events.push({ ...line, kind: "line", own, isHistory: sequence < this.historyEnd });
  }

  handlePosted(now, frame) {
    const [session, number, echo, outcome] = [frame.u64(), frame.u16(), frame.u16(), frame.u8()];
    ensure(outcome <= 2);
    const answer = {};
    if (outcome === 0) Object.assign(answer, { first: frame.sequence(), lines: frame.u8(), texts: frame.u8() });
    else if (outcome === 1) Object.assign(answer, { reason: frame.u8(), retry: frame.u16() });
    else answer.text = frame.text(frame.left);
    frame.end();
    if (!this.isMine(session)) return;
    this.hear();
    if (this.flight === null || number !== this.number) return;
    const sample = (wrapped(now) - echo) & 0xffff;
    if (sample <= now - this.flight.since) this.roundTrip.sample(sample);
    this.takeAnswer(now, outcome, answer);
  }

  takeAnswer(now, outcome, answer) {
    this.hold = 0;
    const { count } = this.flight;
    this.flight = null;
    if (outcome === 1 && answer.retry > 0) {
      this.hold = now + Math.max(answer.retry, 50);
    } else if (outcome === 1) {
      this.events.push({ kind: "refused", post: this.waiting.shift().id, reason: answer.reason });
    } else if (outcome === 2) {
      const { id, text } = this.waiting.shift();
      const lines = answer.text.split("\n").map((line) => clean(line.replace(/^\* /u, "")));
      const renamed = /^you are (?:now (.*)|(.*) already)$/u.exec(lines[0]);
      if (/^\/nick\b/iu.test(text) && renamed) {
        this.wanted = this.name = renamed[1] ?? renamed[2];
        this.events.push({ kind: "renamed", name: this.name });
      }
      this.events.push({ kind: "answered", post: id, text: lines.join("\n") });
    } else if (answer.texts === 0) {
      this.hold = now + this.roundTrip.timeout(0);
    } else {
      this.takeSaid(answer, Math.min(answer.texts, count));
    }
  }

  /** Counts one line for each text: with the name it is never too long for one. */
  takeSaid({ first, lines }, texts) {
    for (let sequence = first; texts > 0; texts -= 1) {
      const own = texts === 1 ? first + lines - sequence : Math.min(1, first + lines - sequence);
      this.events.push({ kind: "said", post: this.waiting.shift().id, first: sequence, lines: own });
      sequence += own;
    }
  }

  /** The session ended: the POST in flight was perhaps said. [U6] */
  endFlight() {
    this.number = 0;
    this.hold = 0;
    const count = this.flight === null ? 0 : this.flight.count;
    this.flight = null;
    for (const { id } of this.waiting.splice(0, count)) this.events.push({ kind: "doubtful", post: id });
  }

  handleBye(now, frame) {
    const [session, reason] = [frame.u64(), frame.u8()];
    frame.end();
    if (this.session === null || session !== this.session) return;
    if (this.phase === "leaving") return this.finish("left");
    // the BYE was for the old address [S6]
    if (reason === 3 && (now < this.resumed + 1000 || this.isGreeting())) return;
    if (this.phase === "severed") return;
    if (reason === 3) {
      this.events.push({ kind: "seatLost", why: "takenOver" });
      this.session = 0n;
    } else if (reason === 4) {
      this.events.push({ kind: "seatLost", why: "givenAway" });
    }
    this.lose(now, "severed");
  }
}
