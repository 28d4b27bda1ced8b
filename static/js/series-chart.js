// The chart of a series as the library draws it: the series itself, its average, others beside it, phases below it,
// thresholds and alerts on it, and a legend that tells what is below the pointer.
"use strict";

Oculus.SeriesChart = (() => {
  const { brief, full, mean, ticks } = Oculus.figures;
  const OTHERS = ["--crypto", "--predictions", "--stocks", "--network", "--warn", "--bad"];
  const PHASES = ["--predictions", "--stocks", "--crypto", "--network", "--custom"];
  const SEVERITIES = { info: "--info", warn: "--warn", error: "--bad", critical: "--bad" };
  const ROOMY = 600; // CSS pixels from which on thresholds are told by their rules' names
  const TRANSFER = "transfer";
  const MOSTLY = 0.97; // of the highest values in sight the scale has room for these; a rare peak would flatten the rest
  const NO_LABELS = { priceLineVisible: false, lastValueVisible: false };

  const steady = (unit) => unit === "bool" || unit === "code"; // what holds until the next sample

  class SeriesChart {
    #legend;
    #structure = "";
    #marks = [];
    #turns = [];
    #lines = []; // thresholds as the library knows them
    #last = null; // the line of the last value
    #markers = null;

    // The legend's own colour is that of the series.
    constructor(box, legend) {
      this.#legend = legend;
      this.chart = LightweightCharts.createChartEx(box, new Oculus.times.LocalScale(), this.#look());
      this.scale = this.chart.timeScale();
      // What is pressed on has the id of an alert's step, or is none.
      const step = ({ hoveredObjectId: id }) => /^\d+$/.test(id ?? "");
      this.chart.subscribeCrosshairMove((at) => {
        box.classList.toggle("linked", step(at));
        this.tell(at.time);
      });
      this.chart.subscribeClick((at) => step(at) && location.assign(`/alerts/${at.hoveredObjectId}`));
    }

    #look() {
      const [muted, line, panel] = ["--muted", "--line", "--panel"].map(Oculus.colour);
      const label = { color: muted, labelBackgroundColor: Oculus.colour("--custom") };
      return {
        autoSize: true,
        layout: {
          background: { color: panel },
          textColor: muted,
          fontFamily: getComputedStyle(document.body).fontFamily,
          fontSize: 11,
          attributionLogo: false,
          panes: { separatorColor: line, separatorHoverColor: line },
        },
        grid: { vertLines: { color: line }, horzLines: { color: line } },
        crosshair: { mode: 0, vertLine: label, horzLine: label },
        rightPriceScale: { borderColor: line },
        leftPriceScale: { borderColor: line },
        timeScale: { borderColor: line, minBarSpacing: 0.02, shiftVisibleRangeOnNewBar: false, timeVisible: true, tickMarkFormatter: Oculus.times.tick },
        localization: { dateFormat: "dd MMM 'yy", timeFormatter: (time) => Oculus.times.moment(time, this.shown?.step) },
        handleScroll: { vertTouchDrag: false },
        kineticScroll: { mouse: false, touch: true },
      };
    }

    // -- series -------------------------------------------------------------------------------------------

    // Draw: a grid {from, step, count}, the series, its companions, and how they are wished to be shown.
    show(shown, wish) {
      this.shown = shown;
      this.wish = wish;
      this.colour = getComputedStyle(this.#legend).color;
      const free = OTHERS.filter((name) => Oculus.colour(name) !== this.colour);
      shown.others.forEach((other, index) => (other.tone = free[index % free.length]));
      const others = shown.others.map(({ symbol, unit, right }) => [symbol, unit, right]);
      const structure = JSON.stringify([wish.kind, wish.ma > 0, wish.samples, shown.main.unit, shown.phases.length, others]);
      if (structure !== this.#structure) this.#build(structure);
      this.#fill();
    }

    #build(structure) {
      const { chart, shown, wish } = this;
      for (const one of this.all ?? []) chart.removeSeries(one);
      this.#structure = structure;
      this.#lines = [];
      this.#last = this.#markers = null;
      const line = (options, pane) => chart.addCustomSeries(new Oculus.Trace(this.scale), { ...NO_LABELS, ...options }, pane);
      this.grid = chart.addSeries(LightweightCharts.LineSeries, { ...NO_LABELS, crosshairMarkerVisible: false, priceScaleId: "grid" });
      this.samples = wish.samples ? this.#histogram() : null;
      this.main = wish.kind === "candles" ? this.#candles() : line({ ...this.#format(shown.main), color: this.colour, ...this.#shape() });
      this.average = wish.ma ? line({ ...this.#format(shown.main), color: Oculus.colour("--text"), width: 1.5 }) : null;
      this.others = shown.others.map((other) =>
        line({
          ...this.#format(other),
          color: Oculus.colour(other.tone),
          steps: steady(other.unit),
          priceScaleId: other.right ? "right" : "left",
          lastValueVisible: true,
        }),
      );
      this.phases = shown.phases.length ? PHASES.map((name) => line({ ...this.#format(shown.main), ...this.#band(name) }, 1)) : [];
      this.all = [this.grid, this.samples, this.main, this.average, ...this.others, ...this.phases].filter(Boolean);
      const [first, second] = chart.panes();
      first.setStretchFactor(3);
      second?.setStretchFactor(1.2);
      if (second) second.priceScale("right").applyOptions({ scaleMargins: { top: 0.1, bottom: 0 } });
    }

    #shape() {
      const { kind } = this.wish;
      const unit = this.shown.main.unit;
      return { fill: kind === "area", band: !steady(unit), steps: steady(unit), autoscaleInfoProvider: (original) => this.#bounds(original()) };
    }

    #candles() {
      const [up, down] = [Oculus.colour("--good"), Oculus.colour("--bad")];
      const colours = { upColor: up, wickUpColor: up, downColor: down, wickDownColor: down, borderVisible: false };
      const bounds = { autoscaleInfoProvider: (original) => this.#bounds(original()) };
      return this.chart.addSeries(LightweightCharts.CandlestickSeries, { ...NO_LABELS, ...this.#format(this.shown.main), ...colours, ...bounds });
    }

    #histogram() {
      const options = { ...NO_LABELS, priceScaleId: "samples", priceFormat: { type: "volume" }, color: Oculus.colour("--edge") };
      const series = this.chart.addSeries(LightweightCharts.HistogramSeries, options);
      series.priceScale().applyOptions({ scaleMargins: { top: 0.93, bottom: 0 } });
      return series;
    }

    #band(name) {
      const floor = (info) => info && { priceRange: { minValue: 0, maxValue: info.priceRange.maxValue } };
      return { color: Oculus.colour(name), width: 1, autoscaleInfoProvider: (original) => floor(original()) };
    }

    #format({ unit, points }) {
      const most = points.reduce((found, { high }) => Math.max(found, Math.abs(high)), 0) || 1;
      const minMove = 10 ** Math.max(-12, Math.min(-2, Math.floor(Math.log10(most)) - 5));
      // The room below what is never negative needs no labels.
      const least = points.reduce((found, { low }) => Math.min(found, low), 0);
      const labels = (values) => ticks(values, unit).map((text, index) => (least < 0 || values[index] > -1e-12 ? text : ""));
      return { priceFormat: { type: "custom", minMove, formatter: (value) => brief(value, unit), tickmarksFormatter: labels } };
    }

    // A threshold that is near enough is in sight, and so is most of the band; a state has all of its range.
    #bounds(info) {
      if (this.shown.main.unit === "bool") return { priceRange: { minValue: 0, maxValue: 1 } };
      if (!info?.priceRange) return info;
      const seen = this.#seen();
      if (!seen.length) return info;
      const minValue = Math.min(info.priceRange.minValue, ranked(seen.map(({ low }) => low), 1 - MOSTLY));
      const maxValue = Math.max(info.priceRange.maxValue, ranked(seen.map(({ high }) => high), MOSTLY));
      const room = maxValue - minValue || Math.abs(maxValue) * 0.2;
      const near = this.#marks.map(({ value }) => value).filter((value) => value > minValue - room && value < maxValue + room);
      const log = this.wish.log && minValue > 0 ? near.filter((value) => value > 0) : near;
      return { ...info, priceRange: { minValue: Math.min(minValue, ...log), maxValue: Math.max(maxValue, ...log) } };
    }

    // The buckets in sight.
    #seen() {
      const { grid, main } = this.shown;
      const range = this.scale.getVisibleLogicalRange();
      if (!range) return [];
      const [from, to] = [grid.from + range.from * grid.step, grid.from + range.to * grid.step];
      return main.points.filter(({ time }) => time >= from && time <= to);
    }

    #fill() {
      const { shown, wish, chart } = this;
      const { from, step, count } = shown.grid;
      const { points } = shown.main;
      this.grid.setData(Array.from({ length: count }, (_, index) => ({ time: from + index * step })));
      this.samples?.setData(points.map(({ time, count: value }) => ({ time, value })));
      this.main.setData(wish.kind === "candles" ? points.map(({ time, open, high, low, close }) => ({ time, open, high, low, close })) : points.map(plain));
      this.average?.setData((shown.average = Oculus.buckets.average(points, wish.ma)));
      shown.others.forEach((other, index) => this.others[index].setData(other.points.map(plain)));
      if (this.phases.length) this.#fillPhases();
      const mode = wish.log ? LightweightCharts.PriceScaleMode.Logarithmic : LightweightCharts.PriceScaleMode.Normal;
      const scaleMargins = { top: 0.14, bottom: wish.samples ? 0.1 : 0.05 };
      // All panes have a left axis or none has: the library asks each of them.
      chart.applyOptions({ leftPriceScale: { visible: shown.others.some(({ right }) => !right) } });
      for (const side of ["left", "right"]) chart.priceScale(side).applyOptions({ mode, scaleMargins });
      chart.timeScale().applyOptions({ secondsVisible: step < 60 });
      this.mark(this.#marks, this.#turns);
      this.#showLast();
      this.tell();
    }

    #fillPhases() {
      const whole = this.shown.phases.at(-1);
      this.shown.stack = Oculus.buckets.stack(this.shown.phases.slice(0, -1), whole);
      this.shown.stack.forEach((points, index) => this.phases[index].setData(points));
    }

    // -- what comes in ------------------------------------------------------------------------------------

    // Draw a bucket that is new, or has changed; times that have begun since are on the grid before it.
    update(symbol, point) {
      const { shown, wish } = this;
      this.extend(point.time);
      if (symbol === shown.main.symbol) {
        const { time, open, high, low, close, count } = point;
        this.main.update(wish.kind === "candles" ? { time, open, high, low, close } : plain(point));
        this.samples?.update({ time, value: count });
        if (this.average) this.average.setData((shown.average = Oculus.buckets.average(shown.main.points, wish.ma)));
        this.#showLast();
      }
      shown.others.forEach((other, index) => other.symbol === symbol && this.others[index].update(plain(point)));
      if (shown.phases.some((phase) => phase.symbol === symbol)) this.#fillPhases();
    }

    extend(until) {
      const { grid } = this.shown;
      for (let end = grid.from + grid.count * grid.step; end <= until; end += grid.step) {
        this.grid.update({ time: end });
        grid.count += 1;
      }
    }

    #showLast() {
      const { last } = this.shown.main;
      if (!last) return;
      const options = { price: last.value, color: this.colour, lineWidth: 1, lineStyle: 1, axisLabelVisible: true, title: "" };
      if (this.#last) this.#last.applyOptions(options);
      else this.#last = this.main.createPriceLine(options);
    }

    // -- thresholds and alerts ----------------------------------------------------------------------------

    mark(marks, turns) {
      this.#marks = marks.filter(({ sign }) => /[<>]/.test(sign));
      this.#turns = turns;
      for (const line of this.#lines) this.main.removePriceLine(line);
      const roomy = this.chart.paneSize().width > ROOMY;
      this.#lines = this.#marks.map(({ value, sign, rule, severity, ends }) =>
        this.main.createPriceLine({
          price: value,
          color: Oculus.colour(SEVERITIES[severity] ?? "--muted"),
          lineWidth: 1,
          lineStyle: ends ? 3 : 2,
          axisLabelVisible: true,
          title: roomy ? `${rule}${ends ? " until" : ""} ${sign}` : "",
        }),
      );
      const { from, step, count } = this.shown.grid;
      const place = (time) => from + Math.floor((time - from) / step) * step;
      const markers = turns
        .filter(({ ts }) => ts >= from && ts < from + count * step)
        .map(({ id, ts, state, severity }) => {
          const firing = state === "firing";
          const colour = Oculus.colour(firing ? (SEVERITIES[severity] ?? "--bad") : "--good");
          return { id, time: place(ts), position: firing ? "aboveBar" : "belowBar", shape: firing ? "arrowDown" : "circle", color: colour, size: firing ? 1.2 : 0.8 };
        })
        .sort((one, other) => one.time - other.time);
      if (this.#markers) this.#markers.setMarkers(markers);
      else this.#markers = LightweightCharts.createSeriesMarkers(this.main, markers);
    }

    markers() {
      return this.#markers?.markers() ?? [];
    }

    levels() {
      return this.#lines.map((line) => line.options().price);
    }

    // -- the legend ---------------------------------------------------------------------------------------

    // Tell what is at a time, or what is newest.
    tell(time) {
      if (!this.shown) return;
      const { main, others, average, stack } = this.shown;
      const at = time ?? main.points.at(-1)?.time;
      const found = near(main, at);
      const rows = [[this.colour, "", time === undefined ? "" : Oculus.times.moment(time, this.shown.step), this.#parts(found, main.unit)]];
      if (this.average) rows.push([Oculus.colour("--text"), `average of ${this.wish.ma}`, "", value(average?.findLast((point) => point.time <= at)?.value, main.unit)]);
      others.forEach((other) => rows.push([Oculus.colour(other.tone), other.symbol, "", value(near(other, at)?.avg, other.unit)]));
      if (stack) rows.push([null, "", "", this.#phaseParts(at)]);
      this.#legend.replaceChildren(...rows.map(row));
    }

    #parts(point, unit) {
      if (!point) return [["", "no samples"]];
      const { open, high, low, close, avg, count } = point;
      if (unit === "bool") return [["", mean(avg, unit)], ["n", count.toLocaleString("en-US")]];
      const shown = this.wish.kind === "candles" ? { O: open, H: high, L: low, C: close } : count > 1 ? { mean: avg, min: low, max: high } : { "": close };
      const parts = Object.entries(shown).map(([name, number]) => [name, name === "mean" ? mean(number, unit) : full(number, unit)]);
      return [...parts, ["n", count.toLocaleString("en-US")]];
    }

    #phaseParts(at) {
      const { stack, phases, main } = this.shown;
      const names = [...phases.slice(0, -1).map(({ symbol }) => symbol.split(".").at(-1)), TRANSFER];
      return names.map((name, index) => {
        const point = stack[index].findLast(({ time }) => time <= at);
        return [name, point ? full(point.value - point.base, main.unit) : "–", Oculus.colour(PHASES[index])];
      });
    }

    // -- a picture ----------------------------------------------------------------------------------------

    // Return a canvas with the chart below a line that tells what it is.
    picture(title, told) {
      const shot = this.chart.takeScreenshot(true);
      const scale = devicePixelRatio;
      const canvas = document.createElement("canvas");
      const head = 44 * scale;
      [canvas.width, canvas.height] = [shot.width, shot.height + head];
      const context = canvas.getContext("2d");
      const family = getComputedStyle(document.body).fontFamily;
      context.fillStyle = Oculus.colour("--panel");
      context.fillRect(0, 0, canvas.width, canvas.height);
      context.drawImage(shot, 0, head);
      context.fillStyle = Oculus.colour("--text");
      context.font = `600 ${15 * scale}px ${family}`;
      context.fillText(title, 12 * scale, 20 * scale);
      context.fillStyle = Oculus.colour("--muted");
      context.font = `${11 * scale}px ${family}`;
      context.fillText(told, 12 * scale, 37 * scale);
      return canvas;
    }

    recolour() {
      this.chart.applyOptions(this.#look());
      if (!this.shown) return;
      const range = this.scale.getVisibleLogicalRange();
      this.colour = getComputedStyle(this.#legend).color;
      this.#build(this.#structure);
      this.#fill();
      this.scale.setVisibleLogicalRange(range);
    }
  }

  // The value that so much of all are not above; nothing of nothing.
  function ranked(values, share) {
    const sorted = values.sort((one, other) => one - other);
    return sorted[Math.round(share * (sorted.length - 1))];
  }

  const plain = ({ time, avg, high, low, gap }) => ({ time, value: avg, high, low, gap });
  const value = (number, unit) => [["", number === undefined ? "–" : mean(number, unit)]];

  // The bucket at a time, or the one before it that still tells of it.
  function near(series, at) {
    const found = series.points.findLast(({ time }) => time <= at);
    return found && at - found.time <= 2.5 * series.distance ? found : undefined;
  }

  function row([colour, name, when, parts]) {
    const line = document.createElement("p");
    if (colour) line.append(swatch(colour));
    for (const [tag, text] of [["b", name], ["time", when]]) if (text) line.append(part(tag, text));
    for (const [label, text, tint] of parts) {
      const pair = document.createElement("span");
      if (tint) pair.append(swatch(tint));
      if (label) pair.append(part("i", label), " ");
      pair.append(part("b", text));
      line.append(pair);
    }
    return line;
  }

  function swatch(colour) {
    const mark = document.createElement("s");
    mark.style.background = colour;
    return mark;
  }

  function part(tag, text) {
    const element = document.createElement(tag);
    element.textContent = text;
    return element;
  }

  return SeriesChart;
})();
