// The page of a series: what the URL asks for, the points that this needs, what comes in while one looks, and the
// controls around the chart.
"use strict";

{
  const RANGES = { "1h": 3600, "6h": 21600, "1d": 86400, "7d": 604800, "30d": 2592000, "90d": 7776000, "1y": 31536000 };
  const KINDS = ["line", "area", "candles"];
  const WIDE = { line: 2.5, area: 2.5, candles: 7 }; // CSS pixels to a bucket
  const FEWEST = 60; // buckets, also on a narrow screen
  const MOST = 520; // and on a wide one: three times as many of twelve series are what the server gives
  const MARGIN = 1; // times the width of what is shown that is loaded on either side once one has moved
  const AHEAD = 0.02; // of what is shown that is left free after now
  const SETTLED = 220; // ms without a movement before anything is asked for
  const ROLLING = 400; // ms after a touch, or the last movement that came of it, in which the chart still moves by it
  const POLL = 5000; // ms between two looks for new samples where they are not sent
  const AGAIN = 60000; // ms between two looks at what was sent, and two tries to be sent it again
  const RETRY = 2000; // ms after which points are asked for again that could not be had
  const LEAST = 5; // seconds that can be shown

  const box = document.getElementById("chart");
  const nothing = document.getElementById("nothing");
  const said = document.getElementById("said");
  const { symbol } = box.dataset;
  const phases = box.dataset.phases.split(" ").filter(Boolean);
  const pageTitle = document.title.slice(document.title.indexOf(" · "));

  const now = () => Oculus.now() / 1000;
  const seconds = (text) => Date.parse(text) / 1000;

  // -- what is wished, as the URL has it ------------------------------------------------------------------

  const asked = new URLSearchParams(location.search);
  const wish = {
    range: asked.has("from") ? "" : box.dataset.range,
    kind: KINDS.includes(asked.get("type")) ? asked.get("type") : "area",
    log: asked.get("log") === "1",
    ma: Math.min(500, Math.max(0, Number(asked.get("ma")) || 0)),
    samples: asked.get("samples") !== "0",
    phases: phases.length > 0 && asked.get("phases") !== "0",
    others: asked.getAll("with").map((text) => ({ symbol: text.replace(/-right$/, ""), right: text.endsWith("-right") })),
  };
  if (wish.ma === 1) wish.ma = 2;
  let view = { from: seconds(box.dataset.from), to: seconds(box.dataset.to) };

  function address() {
    const url = new URLSearchParams();
    if (wish.range) url.set("range", wish.range);
    else {
      url.set("from", new Date(view.from * 1000).toISOString().replace(/\.\d+/, ""));
      url.set("to", new Date(view.to * 1000).toISOString().replace(/\.\d+/, ""));
    }
    if (wish.kind !== "area") url.set("type", wish.kind);
    if (wish.log) url.set("log", "1");
    if (wish.ma) url.set("ma", wish.ma);
    if (!wish.samples) url.set("samples", "0");
    if (phases.length && !wish.phases) url.set("phases", "0");
    for (const { symbol: other, right } of wish.others) url.append("with", other + (right ? "-right" : ""));
    return `${location.pathname}?${url}`;
  }

  const remember = () => history.replaceState(null, "", address());

  // -- loading --------------------------------------------------------------------------------------------

  const chart = new Oculus.SeriesChart(box, document.getElementById("readout"));
  let loaded = null; // {from, to, step, series by symbol}
  let loading = null; // what is being asked for, or is to be asked for again
  let requests = 0;
  let told = 0; // when the last new sample came, or all was looked at
  let held = false; // whether a pointer is pressed on the chart
  let waiting = null; // what came meanwhile

  const symbols = () => [...new Set([symbol, ...wish.others.map((other) => other.symbol), ...(wish.phases ? phases : [])])];
  const interval = () => loaded?.series.get(symbol)?.interval ?? Number(box.dataset.every);
  const buckets = () => Math.min(MOST, Math.max(FEWEST, Math.floor(box.clientWidth / WIDE[wish.kind])));
  const wanted = () => Oculus.buckets.stepFor(view.to - view.from, buckets(), interval());

  async function ask(from, to, step, signal) {
    const url = new URLSearchParams([...symbols().map((each) => ["symbol", each]), ["from", from], ["to", to], ["step", step]]);
    requests += 1;
    const answer = await fetch(`/api/points?${url}`, { signal });
    if (answer.status === 401) location.assign("/login");
    if (!answer.ok) throw Object.assign(new Error((await answer.json()).error.message), { busy: answer.status === 429 || answer.status === 503 });
    Oculus.connected(true);
    const told = await answer.json();
    return new Map(told.series.map((one) => [one.symbol, Oculus.buckets.read(one, told.resolution)]));
  }

  // Ask for what the view needs, and show it; whatever was asked for before is given up.
  async function load(margin = 0) {
    loading?.abort();
    const mine = (loading = new AbortController());
    const step = wanted();
    const range = Oculus.buckets.around(view, step, margin, now());
    if (range.to <= range.from) range.to = range.from + step;
    try {
      const series = await ask(range.from, range.to, step, mine.signal);
      if (mine !== loading) return;
      loading = null;
      told = Date.now();
      take({ ...range, step, series });
    } catch (error) {
      if (mine !== loading) return;
      if (!loaded) tell(nothing, `The points cannot be read: ${error.message}`);
      const lost = error instanceof TypeError;
      if (lost) Oculus.connected(false);
      if (lost || error.busy) setTimeout(() => mine === loading && load(margin), RETRY);
      else loading = null;
    }
  }

  function take(answer) {
    if (held && loaded) waiting = answer;
    else {
      waiting = null;
      for (const one of answer.series.values()) Oculus.buckets.markGaps(one, answer.step);
      loaded = answer;
      draw();
    }
  }

  function draw() {
    if (!loaded) return;
    const { from, to, step, series } = loaded;
    const main = series.get(symbol);
    const others = wish.others.map((other) => ({ ...empty(other.symbol), ...series.get(other.symbol), right: other.right }));
    const parts = wish.phases ? phases.map((each) => series.get(each)).filter(Boolean) : [];
    const shown = { grid: { from, step, count: Math.ceil((to - from) / step) }, step, main, others, phases: parts };
    chart.show(shown, wish);
    compare.chips(others, turn, remove);
    place();
    const any = main.points.some(({ time }) => time + step > view.from && time < view.to);
    tell(nothing, any ? "" : "No samples in this time.");
    document.getElementById("step").textContent = `A point is ${Oculus.figures.span(step)}${source()}.`;
    document.getElementById("zone").textContent = `Times are of ${Oculus.times.zone()}.`;
    showLast();
  }

  const empty = (name) => ({ symbol: name, unit: "", interval: 0, last: null, resolution: [], points: [], distance: 0 });

  // Where the points come from when samples are gone.
  function source() {
    const found = loaded.series.get(symbol).resolution.find(({ to }) => seconds(to) > view.from)?.source;
    if (found === "1m" && loaded.step < 60) return ", of 1-minute rollups where samples are gone";
    return found === "1h" && loaded.step < 3600 ? ", of 1-hour rollups where finer ones are gone" : "";
  }

  function tell(element, text) {
    element.textContent = text;
    if (element === nothing) element.hidden = !text;
  }

  // -- moving ---------------------------------------------------------------------------------------------

  const logical = (time) => (time - loaded.from) / loaded.step - 0.5;
  const moment = (index) => loaded.from + (index + 0.5) * loaded.step;
  let following = view.to >= now() - 60; // whether what is shown moves on with the time
  let room = following ? AHEAD * (view.to - view.from) : 0; // seconds that are shown beyond it
  let moved = now(); // when it moved on

  function place() {
    chart.scale.setVisibleLogicalRange({ from: logical(view.from), to: logical(view.to + room) });
  }

  // Another width, also of the labels beside it, leaves the same time in sight.
  chart.scale.subscribeSizeChange(() => loaded && place());

  // The range changes for many reasons; it is the visitor's doing right after a touch, and as long as it rolls on.
  let touched = -ROLLING;
  const touch = () => (touched = performance.now());
  for (const name of ["wheel", "pointermove", "touchmove", "dblclick"]) {
    box.addEventListener(name, (event) => (name !== "pointermove" || event.buttons) && touch(), { capture: true, passive: true });
  }
  let settling = 0;
  chart.scale.subscribeVisibleLogicalRangeChange((range) => {
    if (!range || !loaded || performance.now() - touched >= ROLLING) return;
    touch();
    view = { from: moment(range.from), to: Math.max(moment(range.to), moment(range.from) + LEAST) };
    room = 0;
    choose("");
    settle();
  });

  function settle(wait = SETTLED) {
    clearTimeout(settling);
    settling = setTimeout(() => {
      following = view.to >= now() - loaded.step;
      moved = now();
      remember();
      const beyond = view.from < loaded.from || (view.to > loaded.to && loaded.to < now() - loaded.step);
      if (wanted() !== loaded.step || beyond) load(MARGIN);
      describe();
    }, wait);
  }

  // Show another window, from the first sample on as from a new page.
  function go(next, name = "") {
    view = next;
    following = view.to >= now() - 1;
    room = following ? AHEAD * (view.to - view.from) : 0;
    moved = now();
    choose(name);
    remember();
    load(0);
    describe();
  }

  function choose(name) {
    wish.range = name;
    for (const link of document.querySelectorAll(".range")) {
      if (link.dataset.range === name) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }

  function move(by) {
    const width = view.to - view.from;
    go({ from: view.from + by * width, to: view.to + by * width });
  }

  function zoom(by) {
    const [width, middle] = [Math.max(LEAST, (view.to - view.from) * by), (view.from + view.to) / 2];
    const to = Math.min(middle + width / 2, Math.max(now(), view.to));
    go({ from: to - width, to });
  }

  box.addEventListener("pointerdown", () => (held = true));
  for (const name of ["pointerup", "pointercancel"]) {
    addEventListener(name, () => {
      held = false;
      if (waiting) take(waiting);
    });
  }

  const KEYS = {
    ArrowLeft: () => move(-0.25),
    ArrowRight: () => move(0.25),
    "+": () => zoom(0.5),
    "=": () => zoom(0.5),
    "-": () => zoom(2),
    End: () => go({ from: now() - (view.to - view.from), to: now() }),
    Home: () => oldest(),
  };
  box.addEventListener("keydown", (event) => {
    const act = KEYS[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  });

  // The oldest that is kept: found in a few weeks to a point.
  async function oldest() {
    try {
      const found = await ask(now() - 6 * RANGES["1y"], now(), 604800);
      const first = found.get(symbol).points[0];
      if (first) go({ from: first.time, to: first.time + (view.to - view.from) });
    } catch (error) {
      tell(said, error.message);
    }
  }

  // -- figures, thresholds and alerts of what is shown ------------------------------------------------------

  const figures = document.getElementById("window");
  let described = 0;

  function describe(wait = SETTLED) {
    clearTimeout(described);
    described = setTimeout(() => {
      const [from, to] = [view.from, Math.min(view.to, now())].map((time) => new Date(time * 1000).toISOString());
      for (const link of document.querySelectorAll(".export")) link.href = `${link.dataset.export}?from=${from}&to=${to}`;
      fillForm();
      htmx.ajax("GET", `/partials/series/${symbol}/window?from=${from}&to=${to}`, { target: figures, swap: "innerHTML" }).catch(() => {}); // the banner tells
    }, wait);
  }

  function readMarks() {
    const marks = [...figures.querySelectorAll("data.mark")].map(({ value, dataset }) => ({ ...dataset, value: Number(value), ends: "ends" in dataset }));
    const turns = [...figures.querySelectorAll(".turn")].map(({ dataset }) => ({ ...dataset, ts: Number(dataset.ts) }));
    if (chart.shown) chart.mark(marks, turns);
  }

  // Times that are told in full are of the visitor's zone.
  function writeTimes(within) {
    for (const time of within.querySelectorAll("time.at")) {
      const at = seconds(time.dateTime);
      time.title = time.dateTime;
      if (Number.isFinite(at)) time.textContent = Oculus.times.moment(at);
    }
  }

  document.body.addEventListener("htmx:afterSwap", ({ detail }) => {
    writeTimes(detail.target.closest("table") ?? detail.target);
    if (detail.target === figures) readMarks();
  });

  // -- what comes in --------------------------------------------------------------------------------------

  let stream = null;
  let looking = false;

  function sample({ symbol: name, ts, value }) {
    const series = loaded?.series.get(name);
    if (!series || (series.last && seconds(ts) <= seconds(series.last.ts))) return;
    series.last = { ts, value };
    // Where the end of what is loaded lies in the past, this has no place yet.
    if (following || loaded.to >= now() - loaded.step) {
      const bucket = Oculus.buckets.add(series, seconds(ts), value, loaded.step);
      if (bucket) chart.update(name, bucket);
    }
    if (name === symbol) showLast(true);
  }

  // Ask for the last bucket again, and what has come after it. The past changes no more.
  async function tail() {
    if (loaded?.to < now() - Math.max(10 * loaded.step, 600)) return;
    if (!loaded || loading || looking || document.hidden) return;
    looking = true;
    told = Date.now();
    const whole = loaded;
    const last = whole.series.get(symbol).points.at(-1)?.time ?? whole.from;
    const from = Math.max(whole.from, Math.min(last, Oculus.buckets.align(now() - 2 * whole.step, whole.step)));
    try {
      const newer = await ask(from, now(), whole.step);
      if (whole !== loaded) return;
      for (const [name, series] of whole.series) {
        const found = newer.get(name);
        if (!found) continue;
        const before = series.last?.ts;
        Oculus.buckets.take(series, found, whole.step);
        if (name === symbol && series.last?.ts !== before) showLast(true);
      }
      whole.to = now();
      if (!held) draw();
    } catch (error) {
      if (error instanceof TypeError) Oculus.connected(false);
    } finally {
      looking = false;
    }
  }

  function listen() {
    stream?.close();
    stream = null;
    if (!("EventSource" in window)) return;
    const mine = (stream = new EventSource(`/live/series?${new URLSearchParams(symbols().map((each) => ["symbol", each]))}`));
    stream.addEventListener("open", () => (told = 0)); // what came before is not sent: it is looked up
    stream.addEventListener("sample", ({ data }) => {
      Oculus.connected(true);
      told = Date.now();
      sample(JSON.parse(data));
    });
    stream.addEventListener("error", () => {
      if (mine.readyState === EventSource.CLOSED && mine === stream) stream = null;
    });
  }

  const sent = () => stream?.readyState === (window.EventSource?.OPEN ?? 1);
  let tried = Date.now();
  setInterval(() => {
    if (document.hidden) return;
    if (Date.now() - told > (sent() ? AGAIN : POLL - 500)) tail();
    if (!stream && Date.now() - tried > AGAIN) {
      tried = Date.now();
      listen();
    }
  }, POLL / 5);
  // Time passes also where no sample comes.
  setInterval(() => {
    if (!loaded || !following || held || performance.now() - touched < ROLLING) return;
    const { grid } = chart.shown;
    const passed = now() - moved;
    if (passed < Math.min(grid.step, 30) / 2) return;
    moved += passed;
    view = { from: view.from + passed, to: view.to + passed };
    if (grid.count > 2 * ((view.to - view.from) / grid.step) + 600) load(0);
    else {
      chart.extend(moved);
      loaded.to = moved;
      place();
    }
  }, 1000);
  setInterval(() => following && !document.hidden && describe(0), 30000);
  document.addEventListener("visibilitychange", () => !document.hidden && tail());

  // The value in the head of the page, and in its title.
  function showLast(flash = false) {
    const { last, unit } = loaded.series.get(symbol);
    if (!last) return;
    const head = document.querySelector(".headline");
    const output = document.getElementById("now");
    const before = Number(head.dataset.value);
    const [text, behind] = Oculus.figures.measure(last.value, unit);
    document.title = Oculus.figures.full(last.value, unit) + pageTitle;
    const time = head.querySelector("time");
    time.dateTime = last.ts;
    time.then = seconds(last.ts) * 1000;
    head.dataset.value = last.value;
    output.querySelector("b").textContent = text;
    const small = output.querySelector("small");
    if (small) small.textContent = behind;
    if (flash && last.value !== before) {
      output.classList.remove("rose", "fell");
      void output.offsetWidth; // a flash that is under way begins anew
      output.classList.add(last.value > before ? "rose" : "fell");
    }
  }
  let value = ""; // of the head that is about to go, and how it flashes
  let flash = "";
  Oculus.leaving = () => {
    const output = document.getElementById("now");
    value = document.querySelector(".headline").dataset.value;
    flash = output.getAnimations().length ? output.className : "";
  };
  Oculus.arrived = () => {
    const head = document.querySelector(".headline");
    const mine = loaded?.series.get(symbol).last;
    // The fragment may be a moment older than what was sent.
    if (mine && seconds(head.querySelector("time").dateTime) < seconds(mine.ts)) showLast();
    else if (head.dataset.value !== value) flash = Number(head.dataset.value) > Number(value) ? "rose" : "fell";
    document.getElementById("now").className = flash;
  };

  // -- controls -------------------------------------------------------------------------------------------

  function showWish() {
    for (const button of document.querySelectorAll("[data-kind]")) button.ariaPressed = String(button.dataset.kind === wish.kind);
    for (const button of document.querySelectorAll("[data-flag]")) button.ariaPressed = String(Boolean(wish[button.dataset.flag]));
    const points = document.getElementById("ma-points");
    if (wish.ma) points.value = wish.ma;
    points.closest("label").hidden = !wish.ma;
  }

  // Another wish needs other points, or the same ones drawn anew.
  function wished(asks) {
    showWish();
    remember();
    if (asks || (loaded && wanted() !== loaded.step)) load(wish.range ? 0 : MARGIN);
    else draw();
  }

  document.querySelector(".tools").addEventListener("click", (event) => {
    const target = event.target.closest("button, a.range");
    if (!target) return;
    if (target.dataset.range) {
      event.preventDefault();
      const to = now();
      go({ from: to - RANGES[target.dataset.range], to }, target.dataset.range);
    } else if (target.dataset.kind) {
      wish.kind = target.dataset.kind;
      wished(false);
    } else if (target.dataset.flag) {
      const flag = target.dataset.flag;
      wish[flag] = flag === "ma" ? (wish.ma ? 0 : Number(document.getElementById("ma-points").value) || 20) : !wish[flag];
      wished(flag === "phases" && wish.phases);
      if (flag === "phases") listen();
    }
  });
  document.getElementById("ma-points").addEventListener("change", ({ target }) => {
    wish.ma = Math.min(500, Math.max(2, Math.round(Number(target.value)) || 20));
    wished(false);
  });

  const free = document.getElementById("free");
  function fillForm() {
    const form = free.querySelector("form");
    if (form.contains(document.activeElement)) return;
    form.elements.from.value = Oculus.times.field(view.from);
    form.elements.to.value = Oculus.times.field(view.to);
  }
  free.addEventListener("toggle", () => free.open && fillForm());
  free.querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    const [from, to] = ["from", "to"].map((name) => new Date(event.target.elements[name].value).getTime() / 1000);
    event.target.elements.to.setCustomValidity(from < to ? "" : "This must be later than the beginning.");
    if (!event.target.reportValidity()) return;
    free.open = false;
    go({ from, to });
  });
  free.querySelector("[name=to]").addEventListener("input", ({ target }) => target.setCustomValidity(""));
  document.addEventListener("click", (event) => !free.contains(event.target) && (free.open = false));
  document.addEventListener("keydown", (event) => event.key === "Escape" && (free.open = false));

  const compare = new Oculus.Compare(
    (name) => symbols().slice(0, 1).includes(name) || wish.others.some((other) => other.symbol === name),
    (name) => {
      wish.others = [...wish.others.slice(-5), { symbol: name, right: false }];
      wished(true);
      listen();
    },
  );
  function turn(name) {
    wish.others = wish.others.map((other) => (other.symbol === name ? { ...other, right: !other.right } : other));
    wished(false);
  }
  function remove(name) {
    wish.others = wish.others.filter((other) => other.symbol !== name);
    wished(false);
    listen();
    document.getElementById("compare").focus();
  }

  function picture() {
    const [from, to] = [view.from, view.to].map((time) => Oculus.times.moment(time, 60));
    return chart.picture(symbol, `${from} to ${to}, ${Oculus.times.zone()} · Charts by TradingView Lightweight Charts™`);
  }
  document.getElementById("png").addEventListener("click", () => {
    const link = document.createElement("a");
    link.download = `${symbol}.png`;
    link.href = picture().toDataURL("image/png");
    link.click();
    tell(said, "The picture is saved.");
  });
  document.getElementById("share").addEventListener("click", async () => {
    const from = new Date(view.from * 1000).toISOString();
    const url = new URL(address(), location.href).href;
    try {
      await navigator.clipboard.writeText(url);
      tell(said, "The link is copied.");
    } catch {
      // Without a secure connection there is no clipboard; the address bar has the link all the same.
      tell(said, `The link is in the address bar, from ${from} on.`);
    }
  });

  document.addEventListener("oculus:scheme", () => chart.recolour());

  // For tests, which ask the library and not the pixels.
  Oculus.chart = {
    points: (name = symbol) => {
      const place = wish.others.findIndex((other) => other.symbol === name);
      return (place < 0 ? chart.main : chart.others[place])?.data().length ?? 0;
    },
    data: () => chart.main.data(),
    average: () => chart.average?.data() ?? [],
    phases: () => chart.phases.map((one) => one.data()),
    kind: () => chart.main.seriesType(),
    step: () => loaded?.step,
    view: () => ({ ...view }),
    loaded: () => loaded && { from: loaded.from, to: loaded.to },
    gaps: () => loaded.series.get(symbol).points.filter(({ gap }) => gap).length,
    scale: (side) => chart.chart.priceScale(side).options(),
    levels: () => chart.levels(),
    markers: () => chart.markers(),
    requests: () => requests,
    png: () => picture().toDataURL("image/png"),
  };

  showWish();
  fillForm();
  writeTimes(figures);
  load(0).then(readMarks);
  listen();
}
