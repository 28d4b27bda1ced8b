// SQL as a text: its tokens, and what may be written at a place in it.
"use strict";

Oculus.sql = (() => {
  const words = (text) => new Set(text.trim().split(/\s+/));
  const KEYWORDS = words(`
    all analyze and anti any array as asc asof between both by case cast collate cross cube default desc describe
    distinct else end escape except exclude exists explain false fetch filter first following for from full glob group
    grouping having ilike in inner intersect interval is isnull join lambda last lateral leading left like limit
    materialized natural not notnull null nulls offset on only or order outer over partition pivot positional preceding
    qualify range recursive replace right rollup rows sample select semi sets show similar some summarize symmetric table
    tablesample then ties to trailing true try_cast unbounded union unpivot using values variadic when where window with
    within`);
  // Keywords that are functions as well.
  const CALLED = words("left replace right range");
  // What a name follows that is not one of the store's: an alias.
  const NAMING = words("as");
  const TABLES = words("from join describe summarize show");

  // One alternative for each kind, in this order; what is left are spaces and signs. Unclosed ones go to the end.
  const KINDS = ["comment", "string", "string", "quoted", "param", "number", "word"];
  const TOKEN = new RegExp(
    [
      String.raw`(--[^\n]*|\/\*[^]*?(?:\*\/|$))`,
      String.raw`([eE]'[^'\\]*(?:(?:\\[^]|'')[^'\\]*)*(?:'|$)|'[^']*(?:''[^']*)*(?:'|$))`,
      String.raw`(\$(?:[A-Za-z_]\w*)?\$[^]*?(?:\$(?:[A-Za-z_]\w*)?\$|$))`,
      String.raw`("[^"]*(?:""[^"]*)*(?:"|$))`,
      String.raw`(\$\w+)`,
      String.raw`(\d[\d_]*(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)`,
      String.raw`([\p{L}_][\p{L}\p{N}_]*)`,
      String.raw`\s+|[^]`,
    ].join("|"),
    "yu",
  );

  // The tokens of a text without gaps: {kind, from, to}; kind is "" for spaces and signs.
  function tokens(text) {
    const found = [];
    TOKEN.lastIndex = 0;
    for (let match; TOKEN.lastIndex < text.length && (match = TOKEN.exec(text)); ) {
      const group = match.findIndex((part, index) => index > 0 && part !== undefined);
      const from = match.index;
      found.push({ kind: group < 0 ? "" : kindOf(KINDS[group - 1], match[0], text, from), from, to: from + match[0].length });
    }
    return found;
  }

  function kindOf(kind, part, text, from) {
    if (kind !== "word") return kind;
    const called = text[from + part.length] === "(";
    if (KEYWORDS.has(part.toLowerCase()) && !(called && CALLED.has(part.toLowerCase()))) return "keyword";
    return called ? "function" : "word";
  }

  // The names of the parameters in a text, each once.
  function parameters(text) {
    const found = tokens(text).filter(({ kind }) => kind === "param");
    return [...new Set(found.map(({ from, to }) => text.slice(from + 1, to)))];
  }

  // What may be completed at `caret`: {kind, word, from, to}, or null. `kind` is "symbol" in quotes, "table" where one
  // must stand, "column" behind a dot, else "name". Unless it is asked for, not where a new name is made up.
  function wanted(text, caret, asked) {
    const all = tokens(text);
    const index = all.findIndex(({ from, to }) => from < caret && caret <= to);
    const here = all[index];
    if (here?.kind === "string") return inQuotes(text, here, caret, asked, before(text, all, index, 2));
    if (["comment", "quoted", "param", "number"].includes(here?.kind)) return null;
    const inWord = ["word", "keyword", "function"].includes(here?.kind);
    const [last] = before(text, all, inWord ? index : index + 1, 1);
    const [from, to] = inWord ? [here.from, here.to] : [caret, caret];
    const word = text.slice(from, caret);
    const kind = last === "." ? "column" : TABLES.has(last) ? "table" : "name";
    const open = last === "." || last === undefined || KEYWORDS.has(last) || /^[^\w\s)"'\]:;]$/.test(last);
    const enough = word.length > 1 || kind === "column" || (kind === "table" && last !== word.toLowerCase());
    if (!asked && (!open || !enough || NAMING.has(last))) return null;
    return { kind, word, from, to };
  }

  function inQuotes(text, here, caret, asked, [last, first]) {
    const close = here.to > here.from + 1 && text[here.to - 1] === "'" ? here.to - 1 : here.to;
    const word = text.slice(here.from + 1, caret);
    if (text[here.from] !== "'" || caret > close || !/^[a-z0-9_.]*$/.test(word)) return null;
    const series = last === "(" && /^(series|shard_of)$/.test(first ?? "");
    if (!asked && word.length < (series ? 1 : 2)) return null;
    const rest = /^[a-z0-9_.]*/.exec(text.slice(caret, close))[0].length;
    return { kind: "symbol", word, from: here.from + 1, to: caret + rest, wide: asked || series };
  }

  // The last `count` tokens before one, nearest first, in lower case.
  function before(text, all, index, count) {
    const told = all.slice(0, index).filter(({ kind, from, to }) => kind !== "comment" && text.slice(from, to).trim());
    return told.slice(-count).reverse().map(({ from, to }) => text.slice(from, to).toLowerCase());
  }

  // The place in a JavaScript text of a place that is counted in whole characters.
  function place(text, characters) {
    let at = 0;
    for (let left = characters; left > 0 && at < text.length; left -= 1) at += text.codePointAt(at) > 0xffff ? 2 : 1;
    return at;
  }

  return { tokens, parameters, wanted, place };
})();
