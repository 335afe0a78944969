// Texts and frames of the framed dialect of kilochat. The numbers in brackets are rules of PROTOCOL.md.

export const DATAGRAM_MAX = 1024;
export const TEXTS_MAX = 900;
/** Maximum length of a text in bytes. */
export const TEXT_MAX = TEXTS_MAX - 2;

export const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

const REPLACED =
  /[\u0080-\u009F\u202A-\u202E\u2066-\u2069\uFEFF\uFFF9-\uFFFB\u{E0000}-\u{E007F}\p{Noncharacter_Code_Point}\p{Surrogate}]/gu;
const MARKS = /([\u0300-\u036F\u1AB0-\u1AFF\u1DC0-\u1DFF\u20D0-\u20FF\uFE20-\uFE2F]{4})[\u0300-\u036F\u1AB0-\u1AFF\u1DC0-\u1DFF\u20D0-\u20FF\uFE20-\uFE2F]+/gu;

/** Returns a text as it may be shown. [X1] */
export function clean(text) {
  return text
    .replace(/[\t\r\n\u0085\u2028\u2029]/gu, " ")
    .replace(/[\u0000-\u001F\u007F]/gu, "?")
    .replace(REPLACED, "\uFFFD")
    .replace(MARKS, "$1");
}

/** Splits a text between characters into parts of at most `limit` bytes. */
export function split(text, limit = TEXT_MAX) {
  const parts = [];
  const room = new Uint8Array(limit);
  for (let rest = text; rest !== ""; ) {
    // only the first part may be a command
    if (parts.length > 0 && rest.startsWith("/")) rest = `/${rest}`;
    const { read } = encoder.encodeInto(rest, room);
    parts.push(rest.slice(0, read));
    rest = rest.slice(read);
  }
  return parts;
}
/** The error of a frame that does not conform to the protocol. */
export class Malformed extends Error {}

export function ensure(condition) {
  if (!condition) throw new Malformed();
}

/** Reads the fields of a frame. Reading beyond the end throws `Malformed`. */
export class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = 2;
  }
  take(length) {
    const at = this.at;
    ensure(at + length <= this.bytes.length);
    this.at = at + length;
    return at;
  }
  get left() {
    return this.bytes.length - this.at;
  }
  u8() {
    return this.view.getUint8(this.take(1));
  }
  u16() {
    return this.view.getUint16(this.take(2));
  }
  u32() {
    return this.view.getUint32(this.take(4));
  }
  u64() {
    return this.view.getBigUint64(this.take(8));
  }
  sequence() {
    const number = Number(this.u64());
    ensure(Number.isSafeInteger(number));
    return number;
  }
  text(length) {
    const at = this.take(length);
    try {
      return decoder.decode(this.bytes.subarray(at, at + length));
    } catch {
      throw new Malformed();
    }
  }
  end() {
    ensure(this.left === 0);
  }
}

export class Writer {
  constructor(letter) {
    this.bytes = new Uint8Array(DATAGRAM_MAX);
    this.view = new DataView(this.bytes.buffer);
    this.bytes[0] = 1;
    this.bytes[1] = letter.charCodeAt(0);
    this.at = 2;
  }
  u8(number) {
    this.view.setUint8(this.at, number);
    this.at += 1;
    return this;
  }
  u16(number) {
    this.view.setUint16(this.at, number);
    this.at += 2;
    return this;
  }
  u64(number) {
    this.view.setBigUint64(this.at, BigInt(number));
    this.at += 8;
    return this;
  }
  raw(bytes) {
    this.bytes.set(bytes, this.at);
    this.at += bytes.length;
    return this;
  }
  done() {
    return this.bytes.subarray(0, this.at);
  }
}
/** Splits a message to this client alone into author and text; for all others it is empty. [M3] */
function readPrivate(text) {
  const [, name, said] = /^([^:]*?) to you: (.*)$/su.exec(text) ?? ["", "", text];
  return { name, text: said };
}

/** Reads the entries of a DATA. [F10] */
export function readEntries(frame, first) {
  const lines = [];
  while (frame.left > 0) {
    if (frame.left === 1) {
      ensure(frame.u8() === 0);
      break;
    }
    const length = frame.u16();
    if (length === 0) break;
    const end = frame.at + length;
    const [author, at, type, named] = [frame.u32(), frame.u32(), frame.u8(), frame.u8()];
    ensure(end >= frame.at + named && end - frame.at <= 960);
    const name = clean(frame.text(named));
    const text = clean(frame.text(end - frame.at).replace(named > 0 ? /^ : /u : /^\* /u, ""));
    const line = { sequence: first + lines.length, author, at, type: type > 3 ? 2 : type, name, text };
    lines.push(type === 3 ? { ...line, ...readPrivate(text) } : line);
  }
  ensure(Number.isSafeInteger(first + lines.length));
  return lines;
}
