// A quick chart of a result: candles, lines over time, or bars. The library is loaded with the first chart over time.
"use strict";

Oculus.quickChart = (() => {
  const LINES = 12; // as many as can be told apart
  const BARS = 50;
  const COLOURS = ["--network", "--crypto", "--stocks", "--predictions", "--warn", "--bad", "--custom", "--text"];
  const CANDLE = ["open", "high", "low", "close"];
  const FEW = 40; // points of a line that are drawn as such: a line of one would not be seen
  const FAR = 20; // times as large: such lines get the axis on the left

  const drawing = document.getElementById("drawing");
  const legend = document.getElementById("legend");
  const note = document.getElementById("chart-note");
  const credit = document.getElementById("chart-credit");
  const { kindOf, numeric, text, number } = Oculus.rows;

  let chart = null;
  let lines = []; // {name, colour, points, left, series, label}
  let loading;

  // -- what there is to draw ----------------------------------------------------------------------------

  // How a result can be drawn: {kind, time, text, measures}, or null. `measures` are columns of numbers; of bars, and of
  // lines for each value of a text, one is drawn at a time.
  function plan({ columns, rows }) {
    const kinds = columns.map(({ type }) => kindOf(type));
    const of = (kind) => kinds.flatMap((each, index) => (each === kind ? [index] : []));
    const [times, texts, measures] = [of("time"), of("text"), of("number")];
    if (!rows.length || !measures.length) return null;
    const one = texts.find((index) => new Set(rows.map((row) => row[index])).size === rows.length);
    if (!times.length || (one !== undefined && rows.length > 1)) {
      return texts.length ? { kind: "bars", text: one ?? texts[0], measures } : null;
    }
    const time = times[0];
    const named = CANDLE.map((name) => measures.find((index) => columns[index].name.toLowerCase() === name));
    const apart = new Set(rows.map((row) => row[time])).size === rows.length;
    if (apart && !named.includes(undefined)) return { kind: "candles", time, measures: named };
    const parts = texts.filter((index) => new Set(rows.map((row) => `${row[time]}\0${row[index]}`)).size === rows.length);
    const by = apart ? undefined : (parts[0] ?? texts[0]);
    return { kind: by === undefined ? "lines" : "split", time, text: by, measures };
  }

  // Which of the measures a query is about: the one by which its rows are ordered, or the first.
  function foremost({ rows }, { measures }) {
    const ordered = (values) => [1, -1].some((sign) => values.every((value, index) => !index || sign * value >= sign * values[index - 1]));
    const values = (index) => rows.map((row) => numeric(row[index]) ?? NaN);
    const found = measures.findIndex((index) => ordered(values(index)) || ordered(values(index).map(Math.abs)));
    return Math.max(0, found);
  }

  // The points of each line by its name: {time, value} in the order of time, one for each moment.
  function seriesOf({ columns, rows }, { kind, time, text: by, measures }, measure) {
    const found = new Map();
    const add = (name, row, index) => {
      const at = seconds(row[time]);
      if (!Number.isFinite(at)) return;
      const value = numeric(row[index]);
      const points = found.get(name) ?? found.set(name, new Map()).get(name);
      points.set(at, Number.isFinite(value) && value !== null ? { time: at, value } : { time: at });
    };
    for (const row of rows) {
      if (kind === "split") add(text(row[by], "text"), row, measure);
      else for (const index of measures) add(columns[index].name, row, index);
    }
    return [...found].map(([name, points]) => ({ name, points: [...points.values()].sort((a, b) => a.time - b.time) }));
  }

  function seconds(value) {
    if (value === null) return NaN;
    return Date.parse(/T.*[^Z]$/.test(value) ? `${value}Z` : value) / 1000;
  }

  // -- drawing ------------------------------------------------------------------------------------------

  // Draw a result as its plan says; of several measures, the given one.
  async function draw(result, plan, measure) {
    clear();
    credit.hidden = plan.kind === "bars";
    if (plan.kind === "bars") return bars(result, plan, measure);
    const box = document.createElement("div");
    box.className = "canvas";
    drawing.append(box);
    await library();
    if (!box.isConnected) return; // another result came meanwhile
    chart = LightweightCharts.createChart(box, look());
    if (plan.kind === "candles") candles(result, plan);
    else overTime(seriesOf(result, plan, measure), plan.kind === "lines");
    chart.timeScale().fitContent();
    const count = lines.reduce((sum, line) => sum + line.series.data().length, 0);
    box.setAttribute("role", "img");
    box.setAttribute("aria-label", `${lines.map(({ name }) => name || "Candles").join(", ")}: ${count} points. The table has the numbers.`);
    chart.subscribeCrosshairMove(({ seriesData }) => tell(seriesData));
    tell(new Map());
  }

  function library() {
    loading ??= new Promise((loaded, failed) => {
      const script = document.createElement("script");
      script.src = document.querySelector("[data-charts]").dataset.charts;
      script.addEventListener("load", loaded);
      script.addEventListener("error", () => {
        loading = undefined;
        failed(new Error("The chart cannot be loaded."));
      });
      document.head.append(script);
    });
    return loading;
  }

  function look() {
    const [muted, line] = [Oculus.colour("--muted"), Oculus.colour("--line")];
    const labels = { labelBackgroundColor: Oculus.colour("--custom") };
    return {
      autoSize: true,
      layout: { background: { color: "transparent" }, textColor: muted, attributionLogo: false, fontFamily: getComputedStyle(document.body).fontFamily },
      grid: { vertLines: { color: line }, horzLines: { color: line } },
      rightPriceScale: { borderColor: line },
      leftPriceScale: { borderColor: line },
      timeScale: { borderColor: line, timeVisible: true, secondsVisible: false },
      crosshair: { mode: 0, vertLine: labels, horzLine: labels },
      handleScroll: { vertTouchDrag: false },
    };
  }

  // Columns may measure different things, and get two axes then; the lines of one column share theirs.
  function overTime(found, apart) {
    const most = (points) => Math.max(...points.map(({ value }) => Math.abs(value ?? 0)), 0);
    const size = most(found[0]?.points ?? []);
    lines = found.slice(0, LINES).map(({ name, points }, index) => {
      const times = most(points) / size;
      const left = apart && size > 0 && times > 0 && (times > FAR || times < 1 / FAR);
      const colour = COLOURS[index % COLOURS.length];
      const options = {
        ...shape(points),
        lineWidth: 2,
        lineStyle: index < COLOURS.length ? 0 : 2,
        pointMarkersVisible: points.length <= FEW,
        priceScaleId: left ? "left" : "right",
      };
      const series = chart.addSeries(LightweightCharts.LineSeries, options);
      series.setData(points);
      return { name, colour, left, series };
    });
    const both = lines.some(({ left }) => left);
    chart.applyOptions({ leftPriceScale: { visible: both } });
    if (both) for (const line of lines) line.name += line.left ? " (left)" : " (right)";
    if (found.length > LINES) note.textContent = `${LINES} of ${found.length} lines are drawn.`;
    recolour();
  }

  function candles({ rows }, { time, measures }) {
    const points = rows.flatMap((row) => {
      const at = seconds(row[time]);
      const [open, high, low, close] = measures.map((index) => numeric(row[index]));
      const whole = [open, high, low, close].every((value) => value !== null && Number.isFinite(value));
      return Number.isFinite(at) ? [whole ? { time: at, open, high, low, close } : { time: at }] : [];
    });
    points.sort((a, b) => a.time - b.time);
    const options = shape(points.map(({ close }) => ({ value: close })));
    const series = chart.addSeries(LightweightCharts.CandlestickSeries, options);
    series.setData(points);
    lines = [{ name: "", colour: null, series }];
    recolour();
  }

  // How the numbers of a line are written on the axis: as precise as they are large.
  function shape(points) {
    const values = points.map(({ value }) => value).filter((value) => value !== undefined);
    const range = Math.max(...values) - Math.min(...values) || Math.abs(values[0]) || 1;
    const digits = Math.min(10, Math.max(0, 2 - Math.floor(Math.log10(range))));
    const formatter = (value) => value.toFixed(digits);
    return { priceFormat: { type: "custom", minMove: 10 ** -digits, formatter }, priceLineVisible: false, lastValueVisible: false };
  }

  function recolour() {
    chart.applyOptions(look());
    const [up, down] = [Oculus.colour("--good"), Oculus.colour("--bad")];
    for (const line of lines) {
      if (line.colour) line.series.applyOptions({ color: Oculus.colour(line.colour) });
      else line.series.applyOptions({ upColor: up, wickUpColor: up, downColor: down, wickDownColor: down, borderVisible: false });
    }
  }

  // The legend: each line with its value below the pointer, or its last one.
  function tell(pointed) {
    legend.replaceChildren(
      ...lines.map(({ name, colour, series }) => {
        const item = document.createElement("li");
        const point = pointed.get(series) ?? series.data().at(-1) ?? {};
        const format = (value) => (value === undefined ? "–" : series.priceFormatter().format(value));
        if (colour) item.append(part("i", ""));
        if (colour) item.firstChild.style.background = `var(${colour})`;
        item.append(part("span", `${name} `));
        if (colour) item.append(part("b", format(point.value)));
        else for (const name of CANDLE) item.append(part("small", `${name} `), part("b", format(point[name])));
        return item;
      }),
    );
  }

  function part(tag, text) {
    const element = document.createElement(tag);
    element.textContent = text;
    return element;
  }

  // -- bars ---------------------------------------------------------------------------------------------

  function bars({ rows }, { text: by }, measure) {
    const found = rows.map((row) => [text(row[by], "text"), numeric(row[measure])]).filter(([, value]) => Number.isFinite(value) && value !== null);
    const values = found.slice(0, BARS).map(([, value]) => value);
    const [least, most] = [Math.min(0, ...values), Math.max(0, ...values)];
    const percent = (value) => `${(100 * value) / (most - least || 1)}%`;
    const list = document.createElement("ol");
    list.className = "bars";
    for (const [name, value] of found.slice(0, BARS)) {
      const item = document.createElement("li");
      const [label, track, bar] = [part("span", name), part("span", ""), part("i", "")];
      label.title = name;
      bar.style.marginLeft = percent(Math.min(value, 0) - least);
      bar.style.width = percent(Math.abs(value));
      if (value < 0) bar.className = "below";
      track.append(bar);
      item.append(label, track, part("b", number(value)));
      list.append(item);
    }
    drawing.append(list);
    if (found.length > BARS) note.textContent = `The first ${BARS} of ${found.length} rows are drawn.`;
  }

  // Take the drawing away.
  function clear() {
    chart?.remove();
    chart = null;
    lines = [];
    drawing.replaceChildren();
    legend.replaceChildren();
    note.textContent = "";
  }

  document.addEventListener("oculus:scheme", () => chart && recolour());

  // What the library holds: the name of each line with its number of points.
  const points = () => lines.map(({ name, series }) => [name, series.data().length]);

  return { plan, foremost, draw, clear, points };
})();
