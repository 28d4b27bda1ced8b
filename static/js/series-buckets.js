// What a chart is made of: buckets of series over a range, all on one grid of times, and where nothing was measured.
"use strict";

Oculus.buckets = (() => {
  // Steps that people think in, in seconds; from a minute on rollups can answer them.
  const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 14400, 21600, 28800, 43200, 86400, 172800, 604800];
  const HOUR = 3600;
  const MOST = 4500; // buckets in one request; the server's limit lies above it
  const LONGEST = 10 * 365 * 86400; // seconds back from now: twice as long as anything is kept
  const MISSING = 2.5; // usual distances without a sample are a gap
  const WIDTHS = { samples: 0, "1m": 60, "1h": HOUR };

  // The step for so many seconds in so many buckets. Finer than its own interval a series has nothing to show.
  function stepFor(span, buckets, interval = 0) {
    const own = STEPS.findLast((step) => step <= interval) ?? 1;
    const wanted = Math.max(span / buckets, own);
    return STEPS.find((step) => step >= wanted) ?? STEPS.at(-1);
  }

  // Beginnings of buckets lie on whole steps; those of many hours on the visitor's midnight, as near as whole hours go.
  function align(time, step) {
    const shift = step > HOUR ? Math.round(Oculus.times.ahead(time) / HOUR) * HOUR : 0;
    return Math.floor((time + shift) / step) * step - shift;
  }

  // The range to ask for: what is shown, and as much on either side, as far as that is bearable and not to come.
  function around({ from, to }, step, margin, now) {
    const room = Math.min(margin * (to - from), Math.max(0, (MOST * step - (to - from)) / 2));
    return { from: align(Math.max(from - room, now - LONGEST), step), to: Math.min(now, to + room) };
  }

  // One series of an answer: its buckets in the order of time, each with all that is known of it.
  function read(told, resolution) {
    const points = told.ts.map((time, index) => ({
      time,
      open: told.open[index],
      high: told.high[index],
      low: told.low[index],
      close: told.close[index],
      avg: told.avg[index] ?? told.close[index],
      count: told.count[index],
    }));
    return { symbol: told.symbol, unit: told.unit, interval: told.interval ?? 0, last: told.last, resolution, points };
  }

  // How far two buckets usually lie apart: three in four do not further.
  function usual(points) {
    const apart = points.slice(1).map(({ time }, index) => time - points[index].time);
    apart.sort((one, other) => one - other);
    return apart.length ? apart[Math.floor(0.75 * (apart.length - 1))] : 0;
  }

  // Mark each bucket before which something is missing.
  function markGaps(series, step) {
    const { points, interval, resolution } = series;
    const distance = Math.max(step, interval, usual(points));
    const starts = resolution.map(({ source, from }) => ({ from: Date.parse(from) / 1000, width: WIDTHS[source] ?? 0 }));
    points.forEach((point, index) => {
      const width = starts.findLast(({ from }) => from <= point.time)?.width ?? 0;
      const before = points[index - 1];
      point.gap = index > 0 && point.time - before.time > MISSING * Math.max(distance, width);
    });
    series.distance = distance;
  }

  // Take newer buckets in, in the place of the same ones.
  function take(series, newer, step) {
    if (!newer.points.length) return;
    const first = newer.points[0].time;
    series.points = [...series.points.filter(({ time }) => time < first), ...newer.points];
    series.last = newer.last ?? series.last;
    markGaps(series, step);
  }

  // Take one sample in; returns its bucket, or null for one that is too late for the last bucket.
  function add(series, time, value, step) {
    const start = align(time, step);
    const last = series.points.at(-1);
    if (last && start < last.time) return null;
    if (last && start === last.time) {
      last.close = value;
      last.high = Math.max(last.high, value);
      last.low = Math.min(last.low, value);
      last.avg += (value - last.avg) / (last.count + 1);
      last.count += 1;
      return last;
    }
    const gap = last !== undefined && start - last.time > MISSING * Math.max(series.distance, step);
    const made = { time: start, open: value, high: value, low: value, close: value, avg: value, count: 1, gap };
    series.points.push(made);
    return made;
  }

  // The mean of so many buckets up to each one; a gap begins anew.
  function average(points, count) {
    const found = [];
    let sum = 0;
    let run = [];
    for (const { time, avg, gap } of points) {
      if (gap) [sum, run] = [0, []];
      run.push(avg);
      sum += avg;
      if (run.length > count) sum -= run[run.length - 1 - count];
      if (run.length >= count) found.push({ time, value: sum / count, gap: run.length === count });
    }
    return found;
  }

  // Phases on top of one another, and what is left of the whole where both are of the same runs.
  function stack(phases, whole) {
    const at = (series) => new Map(series.points.map((point) => [point.time, point]));
    const rest = at(whole);
    const found = phases.map(() => []);
    const left = [];
    const places = phases.map(at);
    for (const { time, gap } of phases.at(-1).points) {
      let base = 0;
      phases.forEach((_, index) => {
        const point = places[index].get(time);
        const value = base + (point?.avg ?? 0);
        found[index].push({ time, base, value, gap });
        base = value;
      });
      const all = rest.get(time);
      const same = all && all.count === places.at(-1).get(time).count;
      left.push({ time, base, value: same ? Math.max(base, all.avg) : base, gap });
    }
    return [...found, left];
  }

  return { stepFor, align, around, read, markGaps, take, add, average, stack };
})();
