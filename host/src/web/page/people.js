// The people of a room: their names, to complete them and to find them in a text, and those whose messages
// are not shown.

import { words } from "/words.js";

const COMMANDS = ["/help", "/ignore", "/me", "/msg", "/nick", "/quiet", "/quit", "/reply", "/who"];
/** Maximum number of names that are remembered. The least recent one is forgotten. */
const NAMES_MAX = 4096;

const isSpace = (character) => /\s/u.test(character);
const isPart = (character) => character !== undefined && /[\p{Script=Latin}\p{N}]/u.test(character);

/** Returns the text of a message that says what its author does, or null. */
export function action(content) {
  return content.startsWith("/me ") ? content.slice("/me ".length) : null;
}

/** Returns a typed line as it is said: a command without spaces before it; /me TEXT is a message for all relays. */
export function asSaid(line) {
  const [, done] = /^\s*\/me\s+(\S.*)$/isu.exec(line) ?? [];
  return done === undefined ? line.replace(/^\s+(?=\/(?!\/))/u, "") : `//me ${done.trim()}`;
}

/** Returns the names in a welcome, or in an answer to /who. */
function list(content) {
  const [, names] =
    /^welcome [^:]*: \d+ here \((.*?)\); /su.exec(content) ?? /^\d+ (?:here|begins? with [^:]*): (.*)$/su.exec(content) ?? [];
  const all = names === undefined ? [] : names.split(", ").filter((name) => !name.startsWith("... and "));
  return all.map((name) => name.replace(/ \(away\)$/u, ""));
}

export class People {
  /** The most recent one last. */
  names = new Set();
  ignored = [];

  /** Remembers the names in a line, and forgets those that have left. */
  learn({ name, text: content }) {
    if (name !== "") return this.add(name);
    list(content).forEach((known) => this.add(known));
    const [, old, renamed] = /^(.*?) is now (.*)$/su.exec(content) ?? [];
    const [, joined] = /^(.*) joined$/su.exec(content) ?? [];
    const [, left] = /^(.*) left \([^(]*$/su.exec(content) ?? [];
    if (renamed !== undefined) {
      this.names.delete(old);
      this.add(renamed);
      if (this.isIgnored(old)) this.ignored = this.ignored.map((it) => (it.toLowerCase() === old.toLowerCase() ? renamed : it));
    } else if (joined !== undefined) this.add(joined);
    else if (left !== undefined) this.names.delete(left);
  }

  add(name) {
    this.names.delete(name);
    this.names.add(name);
    if (this.names.size > NAMES_MAX) this.names.delete(this.names.values().next().value);
  }

  isIgnored(name) {
    return this.ignored.some((known) => known.toLowerCase() === name.toLowerCase());
  }

  /** Obeys a line if it is a command of the page itself, and returns the answer; otherwise null. */
  obey(line) {
    const [, command, argument] = /^\s*\/(me|ignore)(?:\s+(.*?))?\s*$/isu.exec(line) ?? [];
    if (command === undefined) return null;
    if (command.toLowerCase() === "me") return argument ? null : words.me;
    if (!argument) return this.ignored.length > 0 ? words.ignored(this.ignored.join(", ")) : words.nobodyIgnored;
    if (!this.isIgnored(argument)) {
      this.ignored.push(argument);
      return words.ignores(argument);
    }
    this.ignored = this.ignored.filter((name) => name.toLowerCase() !== argument.toLowerCase());
    return words.shows(argument);
  }

  /**
   * Returns how the end of `draft` can be completed, with a command or a name: where it starts, and the texts. Returns
   * null if it cannot. Scripts without spaces have no words, so a name may begin at any character that is not ASCII.
   */
  complete(draft, own) {
    const offset = draft.lastIndexOf("\n") + 1;
    const line = draft.slice(offset).toLowerCase();
    if (/^\/\S*$/u.test(line)) {
      const found = COMMANDS.filter((command) => command.startsWith(line));
      return found.length > 0 ? { start: offset, texts: found.map((command) => `${command} `) } : null;
    }
    const word = line.length - /\S*$/u.exec(line)[0].length;
    const names = [...this.names].reverse().filter((name) => name !== own);
    for (let start = 0; start < line.length; start += 1) {
      const isStart = start === 0 || isSpace(line[start - 1]);
      if (!isStart && (start < word || line.charCodeAt(start) < 128)) continue;
      const found = names.filter((name) => name.toLowerCase().startsWith(line.slice(start)));
      const end = start === 0 ? ": " : " ";
      if (found.length > 0) return { start: offset + start, texts: found.map((name) => `${name}${end}`) };
    }
    return null;
  }
}

/** Returns whether a text contains a name. */
export function isMentioned(content, own) {
  if (own === "") return false;
  const [inside, name] = [content.toLowerCase(), own.toLowerCase()];
  for (let found = inside.indexOf(name); found >= 0; found = inside.indexOf(name, found + 1))
    if (!isPart(inside[found - 1]) && !isPart(inside[found + name.length])) return true;
  return false;
}
