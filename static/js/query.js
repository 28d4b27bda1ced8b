// The page: runs what the editor holds, shows what comes of it, and keeps the history.
"use strict";

{
  const STORED = "oculus.queries"; // in localStorage: the history
  const DRAFT = "oculus.query"; // in sessionStorage: what this tab's editor holds
  const KEPT = 50; // queries
  const KEPT_LENGTH = 10000; // characters of a query that is kept
  const PATIENCE = 60000; // ms: others' queries may go first, and each has 5 s

  const byId = (id) => document.getElementById(id);
  const { editor, rows, quickChart } = Oculus;
  const { field } = editor;
  const [run, wrong, came, result, clearPast] = ["run", "sql-wrong", "came", "result", "clear-past"].map(byId);

  let answer = null; // the last result
  let plan = null; // how it can be drawn
  let charted = false; // whether the chart is what the visitor chose to see
  let given = new Map(); // parameters by name, as they were typed
  let cleared = null; // the history that was there before it was cleared

  // Tell those who do not see the page.
  Oculus.say = (text) => (byId("said").textContent = text);

  // -- run ----------------------------------------------------------------------------------------------

  async function ask() {
    if (run.disabled) return;
    const sql = field.value;
    remember(sql);
    busy(true);
    try {
      const reply = await fetch("/api/query", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ sql, params: parameters() }),
        signal: AbortSignal.timeout(PATIENCE),
      });
      if (reply.status === 401) return location.assign("/login");
      const body = await reply.json();
      Oculus.connected(true);
      if (reply.ok) show(body);
      else fail(body.error, sql);
      keep({ sql, at: Date.now(), rows: body.row_count ?? null, ms: body.elapsed_ms ?? null });
    } catch (error) {
      fail({ message: error.name === "TimeoutError" ? "No answer came within a minute." : "Oculus does not answer." });
    } finally {
      busy(false);
    }
  }

  function busy(yes) {
    run.disabled = yes;
    run.querySelector("span").textContent = yes ? "Running…" : "Run";
    result.classList.toggle("old", yes);
    if (yes) {
      wrong.hidden = true;
      editor.mark(-1);
    }
  }

  function fail({ message, position }, sql) {
    const line = document.createElement("span");
    line.textContent = message.split(/\n\s*\nLINE /)[0].replace(/\s*\n\s*/g, " ");
    wrong.replaceChildren(line);
    if (position !== undefined && field.value === sql) {
      const place = Oculus.sql.place(sql, position);
      editor.mark(place);
      wrong.prepend(spot(place), " ");
    }
    wrong.hidden = false;
    result.hidden = true;
    byId("before").hidden = false;
  }

  // A button that tells where the mistake is, and puts the caret there.
  function spot(place) {
    const lines = field.value.slice(0, place).split("\n");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "small";
    button.textContent = `line ${lines.length}, column ${[...lines.at(-1)].length + 1}`;
    button.addEventListener("click", () => {
      field.focus();
      field.setSelectionRange(place, place);
    });
    return button;
  }

  // -- the result ---------------------------------------------------------------------------------------

  function show(body) {
    answer = body;
    plan = quickChart.plan(body);
    const count = body.row_count;
    const zoned = body.columns.some(({ type }) => type === "TIMESTAMP WITH TIME ZONE");
    const summary = `${rowsOf(count)} in ${duration(body.elapsed_ms)}${zoned ? ", times in UTC" : ""}`;
    came.textContent = summary;
    Oculus.say(summary);
    byId("before").hidden = true;
    result.hidden = false;
    const undrawn = rows.draw(body, byId("rows"));
    const more = body.truncated ? `There are more: only the first ${rowsOf(count)} are here. Sort and limit in SQL.` : "";
    byId("left-out").textContent = [more, undrawn].filter(Boolean).join(" ");
    byId("left-out").hidden = !more && !undrawn;
    byId("as-chart").disabled = !plan;
    byId("as-chart").title = plan ? "" : "needs a column of times or texts, and one of numbers";
    const several = plan?.measures.length > 1 && ["bars", "split"].includes(plan.kind);
    byId("measured").hidden = !several;
    if (several) {
      byId("measure").replaceChildren(...plan.measures.map((index) => new Option(body.columns[index].name, index)));
      byId("measure").selectedIndex = plan.kind === "bars" ? quickChart.foremost(body, plan) : 0;
    }
    view();
    if (matchMedia("(max-width: 64rem)").matches) result.scrollIntoView({ block: "nearest" });
  }

  function rowsOf(count) {
    return `${count.toLocaleString("en")} row${count === 1 ? "" : "s"}`;
  }

  function duration(ms) {
    return ms < 10 ? `${ms.toFixed(1)} ms` : ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
  }

  // Show the table, or the chart where it is wanted and there is one.
  async function view() {
    const chart = charted && plan !== null;
    byId("as-chart").setAttribute("aria-pressed", chart);
    byId("as-table").setAttribute("aria-pressed", !chart);
    byId("rows").hidden = chart;
    byId("drawn").hidden = !chart;
    if (!chart) return quickChart.clear();
    const measure = plan.measures[byId("measured").hidden ? 0 : Math.max(0, byId("measure").selectedIndex)];
    try {
      await quickChart.draw(answer, plan, measure);
    } catch (error) {
      byId("chart-note").textContent = error.message;
    }
  }

  function save() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([rows.csv(answer)], { type: "text/csv" }));
    link.download = `oculus-${new Date().toISOString().slice(0, 19).replace(/[-:]/g, "").replace("T", "-")}.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  // Copy a text, also where the page did not come over HTTPS.
  async function copy(text, button) {
    const label = button.querySelector("span");
    const before = (label.dataset.own ??= label.textContent);
    label.textContent = (await copied(text)) ? "Copied" : "Not copied";
    Oculus.say(label.textContent);
    setTimeout(() => (label.textContent = before), 2000);
  }

  async function copied(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      const [area, focused] = [document.createElement("textarea"), document.activeElement];
      area.value = text;
      area.className = "sr-only";
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      focused?.focus();
      return done;
    }
  }

  // -- parameters ---------------------------------------------------------------------------------------

  function showParameters() {
    const box = byId("params");
    const names = Oculus.sql.parameters(field.value).slice(0, 20);
    if (names.join() !== [...box.querySelectorAll("input")].map(({ name }) => name).join()) box.replaceChildren(...names.map(parameter));
    box.hidden = !names.length;
  }

  function parameter(name) {
    const [label, input] = [document.createElement("label"), document.createElement("input")];
    Object.assign(input, { name, autocomplete: "off", autocapitalize: "off", spellcheck: false, value: given.get(name) ?? "" });
    input.addEventListener("input", () => given.set(name, input.value));
    label.append(`$${name} `, input);
    return label;
  }

  // Numbers as numbers, nothing as NULL.
  function parameters() {
    const names = Oculus.sql.parameters(field.value);
    if (!names.length) return null;
    const value = (text) => (text === "" ? null : /^-?\d+(\.\d+)?([eE][+-]?\d+)?$/.test(text) ? Number(text) : text);
    return Object.fromEntries(names.map((name) => [name, value(given.get(name) ?? "")]));
  }

  // -- the address, and what the tab held ---------------------------------------------------------------

  // Keep the query in the address, behind the # that is sent to nobody.
  function remember(sql) {
    const kept = new URLSearchParams({ sql });
    for (const name of Oculus.sql.parameters(sql)) if (given.get(name)) kept.set(`$${name}`, given.get(name));
    history.replaceState(null, "", `/query#${kept}`);
    draft();
  }

  const address = () => location.search + location.hash;

  function draft() {
    stored(() => sessionStorage.setItem(DRAFT, JSON.stringify({ address: address(), sql: field.value })));
  }

  // Fill the editor from the address, or with what this tab held; it is not run before the visitor says so.
  function restore() {
    const kept = new URLSearchParams(location.hash.slice(1));
    given = new Map([...kept].filter(([name]) => name.startsWith("$")).map(([name, value]) => [name.slice(1), value]));
    const held = stored(() => JSON.parse(sessionStorage.getItem(DRAFT)));
    const again = /reload|back/.test(performance.getEntriesByType("navigation")[0]?.type) && held?.address === address();
    if (held && (again || !address())) field.value = held.sql;
    else if (kept.get("sql")) field.value = kept.get("sql");
    editor.mark(-1);
    showParameters();
  }

  // A browser may keep nothing; then it is so.
  function stored(work) {
    try {
      return work();
    } catch {
      return null;
    }
  }

  // -- the history --------------------------------------------------------------------------------------

  function past() {
    const found = stored(() => JSON.parse(localStorage.getItem(STORED)));
    return Array.isArray(found) ? found.filter((one) => typeof one?.sql === "string") : [];
  }

  function keep(entry) {
    if (entry.sql.length > KEPT_LENGTH || !entry.sql.trim()) return;
    cleared = null;
    setPast([entry, ...past().filter(({ sql }) => sql !== entry.sql)].slice(0, KEPT));
  }

  function setPast(entries) {
    stored(() => localStorage.setItem(STORED, JSON.stringify(entries)));
    showPast();
  }

  function showPast() {
    const entries = past();
    byId("past-list").replaceChildren(...entries.map(pastEntry));
    byId("past-count").textContent = entries.length || "";
    byId("no-past").hidden = entries.length > 0;
    clearPast.hidden = !entries.length && !cleared;
    clearPast.textContent = cleared ? "Undo" : "Clear";
    Oculus.showAges(byId("past-list"));
  }

  function pastEntry({ sql, at, rows: count, ms }) {
    const [item, button, code, fine, time] = ["li", "button", "code", "small", "time"].map((tag) => document.createElement(tag));
    button.type = "button";
    button.className = "take";
    code.textContent = sql.replace(/\s+/g, " ").slice(0, 300);
    time.dateTime = new Date(at).toISOString();
    const outcome = typeof count === "number" ? `${rowsOf(count)}, ${duration(ms)}` : "failed";
    fine.append(time, ` ago · ${outcome}`);
    button.append(code, fine);
    button.addEventListener("click", () => {
      editor.replace(sql);
      field.focus();
    });
    item.append(button);
    return item;
  }

  // -- what is pressed ----------------------------------------------------------------------------------

  byId("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  field.addEventListener("input", () => {
    showParameters();
    draft();
  });
  for (const [id, chart] of [["as-table", false], ["as-chart", true]]) {
    byId(id).addEventListener("click", () => {
      charted = chart;
      view();
    });
  }
  byId("measure").addEventListener("change", view);
  byId("save-csv").addEventListener("click", save);
  byId("copy-json").addEventListener("click", ({ currentTarget }) => copy(rows.json(answer), currentTarget));
  byId("copy-link").addEventListener("click", ({ currentTarget }) => {
    remember(field.value);
    copy(location.href, currentTarget);
  });
  for (const button of document.querySelectorAll("#examples .take")) {
    button.addEventListener("click", () => {
      editor.replace(button.dataset.sql);
      charted = "chart" in button.dataset;
      byId("ask").scrollIntoView({ block: "nearest" });
      ask();
    });
  }
  for (const button of document.querySelectorAll(".insert")) {
    button.addEventListener("click", () => editor.insert(button.dataset.call));
  }
  clearPast.addEventListener("click", () => {
    const entries = cleared ?? [];
    cleared = cleared ? null : past();
    setPast(entries);
  });
  addEventListener("storage", ({ key }) => key === STORED && showPast());
  addEventListener("hashchange", () => (location.hash.startsWith("#sql=") ? restore() : draft()));

  restore();
  showPast();
}
