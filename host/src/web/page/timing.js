// The timers of a client of the framed dialect. The numbers in brackets are rules of
// PROTOCOL.md. Times are in milliseconds.

/** The smoothed round-trip time and the retransmission time-out. (RFC 6298 section 2) */
export class RoundTrip {
  smoothed = null;
  variation = 0;
  sample(ms) {
    if (ms > 10_000) return;
    if (this.smoothed === null) {
      this.smoothed = ms;
      this.variation = ms / 2;
    } else {
      this.variation += (Math.abs(this.smoothed - ms) - this.variation) / 4;
      this.smoothed += (ms - this.smoothed) / 8;
    }
  }
  /** Returns the time-out of an attempt; the number of the first one is 0. [U5] */
  timeout(tries) {
    const once = Math.max(this.smoothed === null ? 1000 : this.smoothed + 4 * this.variation, 50);
    const most = Math.min(Math.max(3 * once, 1000), 3000);
    return Math.min(once * 1.5 ** tries, most);
  }
}

/** The handshake of HELLO, COOKIE, HELLO, WELCOME. [S1] [S3] [S8] */
export class Greeting {
  cookie = null;
  unanswered = 0;
  isAnswered = false;
  welcomed = null;
  short = 0;
  /** Whether the last run of the relay has announced that it is stopping. */
  expectsNextRun = false;
  due = 0;
  sentAt = -Infinity;
  cookieSentAt = null;
  constructor(nonce) {
    this.nonce = nonce;
  }
  /** Makes a new HELLO due, after a pause that doubles with each consecutive short session. */
  begin(now) {
    this.nonce = BigInt.asUintN(64, this.nonce + 1n);
    this.unanswered = 0;
    this.isAnswered = false;
    this.expectsNextRun = false;
    this.cookieSentAt = null;
    if (this.welcomed !== null) {
      this.short = now < this.welcomed + 5000 ? this.short + 1 : 0;
      this.welcomed = null;
    }
    this.due = Math.max(now, this.sentAt + Greeting.pause(Math.max(this.short - 1, 0)));
  }
  poll(now) {
    if (now < this.due) return false;
    const isAnswer = this.isAnswered && this.cookieSentAt === null;
    this.cookieSentAt = isAnswer ? now : null;
    if (!isAnswer) {
      this.isAnswered = false;
      this.unanswered += 1;
    }
    this.sentAt = now;
    const pause = Greeting.pause(Math.max(this.unanswered - 1, 0), this.expectsNextRun ? 250 : 500);
    this.due = now + pause;
    return true;
  }
  handleCookie(now, nonce, cookie) {
    if (this.welcomed !== null || nonce !== this.nonce || cookie === this.cookie) return;
    this.cookie = cookie;
    this.unanswered = 0;
    this.cookieSentAt = null;
    if (!this.isAnswered) {
      this.isAnswered = true;
      this.due = now;
    }
  }
  isCurrent(nonce) {
    return this.welcomed === null && nonce === this.nonce;
  }
  /** Returns the number of HELLO without an answer after which the relay counts as silent. */
  patience() {
    return this.expectsNextRun ? 4 : 3;
  }
  /** Returns a random part of a pause, so that the clients of a room do not all ask at the same time. [P4] */
  spread() {
    return Number(this.nonce & 127n);
  }
  static pause(doublings, first = 500) {
    return Math.min(first * 2 ** doublings, 5000);
  }
}

/** When to acknowledge, and which time stamp to echo. [D3] [D4] */
export class Acknowledging {
  due = Infinity;
  again = Infinity;
  unacked = 0;
  small = 40;
  echo = null;
  repeats = 0;
  constructor(window, repeats) {
    this.most = Math.max(Math.floor(window / 4), 1);
    this.repeats = repeats;
  }
  received(now, sentAt, atOnce) {
    this.echo ??= sentAt;
    this.unacked += 1;
    this.small = atOnce ? 40 : Math.max(this.small - 1, 0);
    const most = this.small > 0 ? Math.min(2, this.most) : this.most;
    if (atOnce || this.unacked >= most || this.repeats > 0) this.due = now;
    else this.due = Math.min(this.due, now + 100);
  }
  /** Records a question whether the client is there, which the ACK echoes. */
  asked(now, sentAt) {
    this.echo = sentAt;
    this.received(now, sentAt, true);
  }
  repeated(now, sentAt) {
    this.repeats = 32;
    this.received(now, sentAt, true);
  }
  timeout() {
    return Math.min(this.due, this.again);
  }
  /** Records that an ACK is sent. Returns the time stamp that it echoes, or null. */
  sent(now) {
    this.again = Infinity;
    if (this.due <= now && this.repeats > 0) {
      this.repeats -= 1;
      this.again = now + 50;
    }
    this.due = Infinity;
    this.unacked = 0;
    const echo = this.echo;
    this.echo = null;
    return echo;
  }
}

/** Detects a relay that does not respond. [P1] */
export class Pulse {
  asked = 0;
  owed = null;
  constructor(now, keepalive) {
    this.sent = now;
    this.keepalive = Math.max(keepalive, 1) * 1000;
  }
  heard() {
    this.asked = 0;
    this.owed = null;
  }
  demanded(now) {
    this.sent = now;
    this.owed ??= now;
  }
  question() {
    if (this.owed === null) return this.sent + this.keepalive;
    return this.asked < 9 ? this.sent + 1000 : Infinity;
  }
  patience() {
    return this.owed === null ? Infinity : this.owed + 10_000;
  }
}
