// What the page has of the browser: its storage and elements.

/** The browser's storage, which may be forbidden. */
export const memory = {
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
      // the storage is full or forbidden: after a reload the page joins again
    }
  },
};

export function element(tag, className, content) {
  const made = document.createElement(tag);
  made.className = className;
  if (content !== undefined) made.textContent = content;
  return made;
}

/** Returns the class of a name's colour, which depends only on the name. */
export function colour(name) {
  let hash = 0;
  for (const character of name) hash = (hash * 31 + character.codePointAt(0)) >>> 0;
  return `n${hash % 6}`;
}

export function markElement(mark, meaning) {
  const made = element("span", "mark", ` ${mark}`);
  made.setAttribute("role", "img");
  made.setAttribute("aria-label", meaning);
  made.title = meaning;
  return made;
}

/** Doubles the slash of a pasted line that would begin a command, unless that is for one peer. The person sees
    it, and can delete it. */
export function pasteAsText(event) {
  const field = event.target;
  const [start, end] = [field.selectionStart, field.selectionEnd];
  const before = field.value.slice(0, start);
  const pasted = event.clipboardData.getData("text/plain").replaceAll("\r", "");
  const isAlone = !`${before}${pasted}${field.value.slice(end)}`.trimEnd().includes("\n");
  if (before.trim() !== "" || !isAlone || !/^\s*\/(?!msg\s|reply\s)/iu.test(pasted)) return;
  event.preventDefault();
  field.setRangeText(pasted.replace("/", "//"), start, end, "end");
  field.dispatchEvent(new Event("input"));
}
