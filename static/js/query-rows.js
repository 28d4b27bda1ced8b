// A result as a table that can be sorted, as CSV and as JSON. Rows may hold any text: it is never markup.
"use strict";

Oculus.rows = (() => {
  // What is drawn at once: more would hold the browser. Files have all of it.
  const COLUMNS = 60;
  const CELLS = 30000;
  const LONGEST = 500; // characters of a cell

  const NUMBER = /^(U?(TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT)|FLOAT|DOUBLE|BIGNUM|DECIMAL\(\d+,\d+\))$/;
  const TIME = /^(TIMESTAMP( WITH TIME ZONE|_S|_MS|_NS)?|DATE)$/;
  const SHORT = [[" WITH TIME ZONE", "TZ"]];

  // "number", "time", "text", "plain" for what else is one word, or "other" for what is built of parts.
  function kindOf(type) {
    if (NUMBER.test(type)) return "number";
    if (TIME.test(type)) return "time";
    if (/^(INTERVAL|TIME\b.*|BIT)$/.test(type)) return "plain";
    return /^(VARCHAR|UUID|BOOLEAN|ENUM\(.*\))$/s.test(type) ? "text" : "other";
  }

  // A number that may have come as text, because JavaScript would round it or has none such.
  function numeric(value) {
    if (typeof value === "number" || value === null) return value;
    return { inf: Infinity, "-inf": -Infinity, nan: NaN }[value] ?? Number(value);
  }

  // A value as people read it; what it is in full stands in its title.
  function text(value, kind) {
    if (value === null) return "NULL";
    if (typeof value === "object") return JSON.stringify(value);
    if (kind === "number" && typeof value === "number") return number(value);
    if (kind === "time") return String(value).replace("T", " ").replace(/(\.0+)?Z$|\.0+$/, "");
    return String(value);
  }

  function number(value) {
    const whole = String(value);
    return whole.length <= 12 || Number.isInteger(value) ? whole : String(Number(value.toPrecision(8)));
  }

  // -- the table ----------------------------------------------------------------------------------------

  // Draw a result into `box`; a press on a column's name sorts. Returns what is not drawn, as a text.
  function draw({ columns, rows }, box) {
    const shown = columns.slice(0, COLUMNS);
    const most = Math.max(1, Math.floor(CELLS / Math.max(1, shown.length)));
    const table = document.createElement("table");
    const [head, body] = [table.createTHead().insertRow(), table.createTBody()];
    const kinds = shown.map(({ type }) => kindOf(type));
    const sorting = { column: -1, down: false };
    const cells = shown.map((column, index) => head.appendChild(heading(column, kinds[index], () => sort(index))));

    function sort(index) {
      if (sorting.column !== index) Object.assign(sorting, { column: index, down: false });
      else if (!sorting.down) sorting.down = true;
      else sorting.column = -1;
      cells.forEach((cell, at) => {
        const how = sorting.down ? "descending" : "ascending";
        cell.setAttribute("aria-sort", at === sorting.column ? how : "none");
      });
      fill();
    }

    function fill() {
      const order = sorting.column < 0 ? rows : sorted(rows, sorting, kinds[sorting.column]);
      body.replaceChildren(...order.slice(0, most).map((row) => line(row, kinds)));
    }

    fill();
    box.replaceChildren(table);
    box.scrollTo(0, 0);
    const left = [];
    if (rows.length > most) left.push(`the first ${most.toLocaleString("en")} of ${rows.length.toLocaleString("en")} rows`);
    if (columns.length > COLUMNS) left.push(`${COLUMNS} of ${columns.length.toLocaleString("en")} columns`);
    return left.length ? `The table shows ${left.join(" and ")}; CSV and JSON have all.` : "";
  }

  function heading({ name, type }, kind, sort) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.className = kind;
    cell.setAttribute("aria-sort", "none");
    const button = document.createElement("button");
    button.type = "button";
    button.title = type;
    const [label, small] = [document.createElement("span"), document.createElement("small")];
    label.textContent = name;
    small.textContent = SHORT.reduce((told, [long, short]) => told.replace(long, short), type);
    button.append(label, " ", small);
    button.addEventListener("click", sort);
    cell.append(button);
    return cell;
  }

  function line(row, kinds) {
    const line = document.createElement("tr");
    kinds.forEach((kind, index) => line.append(cell(row[index], kind)));
    return line;
  }

  function cell(value, kind) {
    const cell = document.createElement("td");
    const told = text(value, kind);
    cell.className = value === null ? `${kind} null` : told.includes("\n") ? "block" : kind;
    if (kind === "time" && value !== null && /Z$/.test(value)) {
      const time = document.createElement("time"); // pointed at, it tells the local time
      time.className = "at";
      time.dateTime = value;
      time.textContent = told;
      cell.append(time);
      return cell;
    }
    cell.textContent = told.length > LONGEST ? `${told.slice(0, LONGEST)}…` : told;
    if (kind !== "number" ? told.length > 32 : told !== String(value)) {
      cell.title = kind === "number" ? value : told.slice(0, 4 * LONGEST);
    }
    return cell;
  }

  // What has no order, NULL last of all, stays at the end either way.
  function sorted(rows, { column, down }, kind) {
    const collator = new Intl.Collator(undefined, { numeric: true });
    const keyed = rows.map((row) => {
      const value = kind === "number" ? numeric(row[column]) : row[column] === null ? null : text(row[column], kind);
      return { row, key: value, rank: value === null ? 2 : Number.isNaN(value) ? 1 : 0 };
    });
    const sign = down ? -1 : 1;
    const compare = kind === "number" ? (a, b) => (a < b ? -1 : a > b ? 1 : 0) : collator.compare;
    keyed.sort((a, b) => a.rank - b.rank || (a.rank ? 0 : sign * compare(a.key, b.key)));
    return keyed.map(({ row }) => row);
  }

  // -- files --------------------------------------------------------------------------------------------

  const plain = (value) => (value === null ? "" : typeof value === "string" ? value : JSON.stringify(value));
  const quoted = (part) => (/[",\r\n]/.test(part) ? `"${part.replaceAll('"', '""')}"` : part);

  // RFC 4180 like `oculus query --format csv`: a header, CRLF, NULL is empty.
  function csv({ columns, rows }) {
    const lines = [columns.map(({ name }) => name), ...rows.map((row) => row.map(plain))];
    return lines.map((parts) => `${parts.map(quoted).join(",") || '""'}\r\n`).join("");
  }

  // A list of objects; a name that comes again gets a number behind it.
  function json({ columns, rows }) {
    const names = [];
    for (const { name } of columns) {
      let unique = name;
      for (let count = 2; names.includes(unique); count += 1) unique = `${name}_${count}`;
      names.push(unique);
    }
    const objects = rows.map((row) => JSON.stringify(Object.fromEntries(row.map((value, index) => [names[index], value]))));
    return `[${objects.join(",\n ")}]\n`;
  }

  return { kindOf, numeric, text, number, draw, csv, json };
})();
