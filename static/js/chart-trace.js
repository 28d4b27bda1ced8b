// A kind of series for the library: a line that ends where nothing was measured, with what lies between the highest and
// the lowest value behind it. With a `base` for each point it is the band between that and its value.
"use strict";

Oculus.Trace = (() => {
  // The first place at which a bar is not before a time.
  function lower(bars, time) {
    let [low, high] = [0, bars.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (bars[middle].time < time) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  function path(context, run, key, steps = false) {
    run.forEach((point, index) => {
      if (!index) context.lineTo(point.x, point[key]);
      else {
        if (steps) context.lineTo(point.x, run[index - 1][key]);
        context.lineTo(point.x, point[key]);
      }
    });
  }

  function area(context, run, over, under, paint, steps = false) {
    // One alone would be no area at all.
    const wide = run.length > 1 ? run : [{ ...run[0], x: run[0].x - 1 }, { ...run[0], x: run[0].x + 1 }];
    context.beginPath();
    path(context, wide, over, steps);
    path(context, [...wide].reverse(), under);
    context.closePath();
    context.fillStyle = paint;
    context.fill();
  }

  // A colour of the form rgb(…) with some of it taken away.
  function faint(colour, alpha) {
    const parts = colour.match(/[\d.]+/g).slice(0, 3);
    return `rgba(${parts.join(", ")}, ${alpha})`;
  }

  class Trace {
    #data = { bars: [] };
    #options = {};
    #timeScale;

    constructor(timeScale) {
      this.#timeScale = timeScale;
    }

    renderer() {
      return { draw: (target, toY) => target.useBitmapCoordinateSpace((scope) => this.#draw(scope, toY)) };
    }

    update(data, options) {
      this.#data = data;
      this.#options = options;
    }

    // What the scale must have room for; the last one is the value. Who wants the band to be in sight says so.
    priceValueBuilder(point) {
      return point.base === undefined ? [point.value] : [point.base, point.value];
    }

    isWhitespace(point) {
      return point.value === undefined;
    }

    defaultOptions() {
      return { ...LightweightCharts.customSeriesDefaultOptions, color: "#888", width: 2, fill: false, band: false, steps: false };
    }

    // The bars in sight, and one more on either side, to which the line goes on.
    #sight() {
      const range = this.#timeScale.getVisibleLogicalRange();
      const { bars } = this.#data;
      if (!range || !bars.length) return [];
      const first = lower(bars, Math.floor(range.from));
      const last = lower(bars, Math.ceil(range.to) + 1);
      return bars.slice(Math.max(0, first - 1), last + 1);
    }

    #draw({ context, bitmapSize, horizontalPixelRatio, verticalPixelRatio }, toY) {
      const point = ({ time, originalData }) => {
        const y = (value) => (value === undefined ? undefined : toY(value) * verticalPixelRatio);
        const { value, low, high, base, gap } = originalData;
        return { x: this.#timeScale.logicalToCoordinate(time) * horizontalPixelRatio, y: y(value), low: y(low), high: y(high), base: y(base), gap };
      };
      const runs = [];
      for (const bar of this.#sight()) {
        const next = point(bar);
        if (next.gap || !runs.length) runs.push([]);
        runs.at(-1).push(next);
      }
      context.lineJoin = "round";
      context.lineWidth = this.#options.width * verticalPixelRatio;
      for (const run of runs) this.#run(context, run, bitmapSize.height);
    }

    #run(context, run, bottom) {
      const { color, band, fill, steps } = this.#options;
      if (band && run[0].high !== undefined) area(context, run, "high", "low", faint(color, 0.16));
      if (run[0].base !== undefined) area(context, run, "y", "base", faint(color, 0.62));
      if (fill) {
        const paint = context.createLinearGradient(0, Math.min(...run.map(({ y }) => y)), 0, bottom);
        paint.addColorStop(0, faint(color, 0.32));
        paint.addColorStop(1, faint(color, 0.02));
        const ground = run.map((each) => ({ ...each, ground: bottom }));
        area(context, ground, "y", "ground", paint, steps);
      }
      if (!this.#options.width) return;
      if (run.length === 1) {
        context.beginPath();
        context.arc(run[0].x, run[0].y, context.lineWidth * 1.1, 0, 2 * Math.PI);
        context.fillStyle = color;
        context.fill();
        return;
      }
      context.beginPath();
      path(context, run, "y", steps);
      context.strokeStyle = color;
      context.stroke();
    }
  }

  return Trace;
})();
