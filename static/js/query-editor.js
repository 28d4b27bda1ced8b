// The editor: a text field over its own coloured copy, and a list of what may come next.
"use strict";

Oculus.editor = (() => {
  const LONGEST = 20000; // characters: longer texts stay without colours, since each key would take too long
  const OPTIONS = 12; // in the list at once
  const PAUSE = 200; // ms without a key before series are asked for

  const field = document.getElementById("sql");
  const shown = document.getElementById("sql-shown");
  const list = document.getElementById("sql-options");
  const known = new Map(); // symbols by what was typed

  let fault = -1; // where the server found a mistake
  let quiet = false; // while this script writes
  let asked; // what the list is for
  let options = [];
  let active = -1;
  let waiting = 0;

  // -- the coloured copy --------------------------------------------------------------------------------

  function draw() {
    const text = field.value;
    const parts = text.length > LONGEST ? [text] : Oculus.sql.tokens(text).map((token) => piece(text, token));
    if (fault >= text.trimEnd().length && fault >= 0) parts.push(marked(" "));
    shown.replaceChildren(...parts, "\n");
  }

  function piece(text, { kind, from, to }) {
    const hit = fault >= from && fault < to && fault < text.trimEnd().length;
    const part = text.slice(from, to);
    if (!kind && !hit) return part;
    const span = hit ? marked(part) : document.createElement("span");
    if (!hit) span.textContent = part;
    if (kind) span.classList.add(`sql-${kind}`);
    return span;
  }

  function marked(text) {
    const span = document.createElement("span");
    span.className = "fault";
    span.textContent = text;
    return span;
  }

  // Colour the text, and mark what lies at a place; -1 marks nothing.
  function mark(place) {
    fault = place;
    if (place < 0) field.removeAttribute("aria-invalid");
    else field.setAttribute("aria-invalid", "true");
    draw();
  }

  // -- writing, in a way that Ctrl+Z undoes -------------------------------------------------------------

  function write(text, from, to, caret = text.length) {
    quiet = true;
    field.focus();
    field.setSelectionRange(from, to);
    if (!document.execCommand("insertText", false, text)) {
      field.setRangeText(text, from, to, "end");
      changed();
    }
    field.setSelectionRange(from + caret, from + caret);
    quiet = false;
  }

  function changed() {
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }

  // Take the place of the whole text. A phone must not open its keyboard for that.
  function replace(text) {
    if (text === field.value) return;
    if (!matchMedia("(pointer: coarse)").matches) return write(text, 0, field.value.length);
    field.value = text;
    changed();
  }

  // Write a name or call; the caret goes to where something must be filled in.
  function call(text, from, to) {
    const gap = text.indexOf("…");
    write(text.replace("…", ""), from, to, gap < 0 ? text.length : gap);
  }

  // Write at the caret, apart from the word before it.
  function insert(text) {
    const [from, to] = [field.selectionStart, field.selectionEnd];
    call((/[\w'")]$/.test(field.value.slice(0, from)) ? " " : "") + text, from, to);
  }

  // -- the list -----------------------------------------------------------------------------------------

  // What the page tells of tables, columns and functions: {kind, name, call, what, table}.
  const names = [...document.querySelectorAll(".insert")].map((button) => {
    const { kind, call, table } = button.dataset;
    const what = kind === "column" ? button.querySelector("small").textContent : button.querySelector(".gloss")?.textContent;
    return { kind, name: call.replace(/\(.*/, ""), call, table, what: what ?? kind };
  });

  function complete(explicit) {
    clearTimeout(waiting);
    const [caret, end] = [field.selectionStart, field.selectionEnd];
    const next = caret === end && field.value.length <= LONGEST ? Oculus.sql.wanted(field.value, caret, explicit) : null;
    if (!next) return close();
    if (next.kind !== "symbol") return open(next, fitting(next), explicit);
    waiting = setTimeout(() => symbols(next, explicit), explicit ? 0 : PAUSE);
  }

  function fitting({ kind, word }) {
    const start = word.toLowerCase();
    const fits = names.filter((one) => one.name.toLowerCase().startsWith(start));
    const tables = fits.filter((one) => one.kind === "table");
    if (kind === "table") return [...tables, ...fits.filter(({ name }) => name === "series" || name === "range")];
    const columns = columnsOf(fits);
    if (kind === "column") return columns;
    return [...columns, ...fits.filter((one) => one.kind === "function"), ...(start ? tables : [])];
  }

  // The columns of the tables that the text names, or of the samples.
  function columnsOf(fits) {
    const said = new Set(field.value.toLowerCase().match(/\w+/g));
    const some = names.some((one) => one.kind === "table" && said.has(one.name));
    if (!some || said.has("series")) said.add("metrics");
    const columns = fits.filter((one) => one.kind === "column" && said.has(one.table));
    return [...new Map(columns.map((one) => [one.name, one])).values()];
  }

  async function symbols(next, explicit) {
    const found = (await ask(`${next.word}*`)) ?? [];
    const more = found.length || !next.wide || !next.word ? found : ((await ask(`*${next.word}*`)) ?? []);
    const still = Oculus.sql.wanted(field.value, field.selectionStart, explicit);
    if (document.activeElement !== field || still?.kind !== "symbol" || still.word !== next.word) return;
    open(next, more, explicit);
  }

  async function ask(pattern) {
    if (known.has(pattern)) return known.get(pattern);
    try {
      const answer = await fetch(`/api/metrics?limit=20&symbol=${encodeURIComponent(pattern)}`);
      if (!answer.ok) return null;
      const { metrics } = await answer.json();
      const found = metrics.map(({ symbol, unit }) => ({ name: symbol, call: symbol, what: unit }));
      known.set(pattern, found);
      return found;
    } catch {
      return null;
    }
  }

  function open(next, found, explicit) {
    const exact = found.some(({ name }) => name.toLowerCase() === next.word.toLowerCase());
    if (!found.length || (exact && !explicit)) return close();
    asked = next;
    options = found.slice(0, OPTIONS);
    list.replaceChildren(...options.map(option));
    list.hidden = false;
    Oculus.say(`${options.length} suggestion${options.length > 1 ? "s" : ""}`);
    move(next.word || explicit ? 0 : -1);
    stand(next.from);
  }

  function option({ kind, name, what }, index) {
    const item = document.createElement("li");
    item.setAttribute("role", "option");
    item.id = `sql-option-${index}`;
    const [code, told] = [document.createElement("code"), document.createElement("span")];
    code.textContent = kind === "function" ? `${name}()` : name;
    told.textContent = what;
    item.append(code, " ", told);
    item.addEventListener("mousedown", (event) => event.preventDefault());
    item.addEventListener("click", () => accept(index));
    return item;
  }

  function move(to) {
    active = to;
    [...list.children].forEach((item, index) => item.setAttribute("aria-selected", index === to));
    if (to < 0) field.removeAttribute("aria-activedescendant");
    else {
      field.setAttribute("aria-activedescendant", `sql-option-${to}`);
      const { offsetTop, offsetHeight } = list.children[to];
      if (offsetTop < list.scrollTop) list.scrollTop = offsetTop;
      else if (offsetTop + offsetHeight > list.scrollTop + list.clientHeight) {
        list.scrollTop = offsetTop + offsetHeight - list.clientHeight;
      }
    }
  }

  // Put the list below a place in the text, within the editor's width.
  function stand(place) {
    const walker = document.createTreeWalker(shown, NodeFilter.SHOW_TEXT);
    let left = place;
    while (walker.nextNode() && left > walker.currentNode.length) left -= walker.currentNode.length;
    const range = document.createRange();
    range.setStart(walker.currentNode, Math.min(left, walker.currentNode.length));
    const [spot, frame] = [range.getBoundingClientRect(), list.parentElement.getBoundingClientRect()];
    list.style.top = `${spot.bottom - frame.top + 2}px`;
    list.style.left = `${Math.max(0, Math.min(spot.left - frame.left - 8, frame.width - list.offsetWidth))}px`;
  }

  function accept(index) {
    const { from, to } = asked;
    const chosen = options[index];
    close();
    call(chosen.call, from, to);
  }

  function close() {
    clearTimeout(waiting);
    list.hidden = true;
    options = [];
    move(-1);
  }

  // -- keys ---------------------------------------------------------------------------------------------

  field.addEventListener("input", (event) => {
    mark(-1);
    // A phone's keyboard composes each word.
    if (quiet || !/^insert(Composition)?Text|^deleteContentBackward/.test(event.inputType ?? "")) return close();
    if (event.inputType.startsWith("delete") && list.hidden) return;
    complete(false);
  });
  field.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    const { key } = event;
    if (key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      close();
      field.form.requestSubmit();
    } else if (key === " " && event.ctrlKey) {
      event.preventDefault();
      complete(true);
    } else if (!list.hidden) inList(event, key);
  });
  field.addEventListener("blur", close);
  field.addEventListener("click", close);

  function inList(event, key) {
    const last = options.length - 1;
    if (key === "ArrowDown") move(active >= last ? 0 : active + 1);
    else if (key === "ArrowUp") move(active <= 0 ? last : active - 1);
    else if (key === "Enter" && active >= 0) accept(active);
    else {
      if (["Escape", "ArrowLeft", "ArrowRight", "Home", "End", "Enter"].includes(key)) close();
      if (key !== "Escape") return;
    }
    event.preventDefault();
  }

  mark(-1);
  return { field, mark, replace, insert, close };
})();
