// Numbers and times as people read them. `full` writes what `oculus/web/figures.py` does; a test holds them together.
"use strict";

Oculus.figures = (() => {
  const SIGNS = { USD: "$", EUR: "€", GBP: "£", JPY: "¥", USDT: "$", USDC: "$" };
  const SIZES = [[1e12, "TB"], [1e9, "GB"], [1e6, "MB"], [1e3, "kB"], [1, "B"]];
  const SPACE = "\u00a0";
  const LONG = 1e8;
  const compact = new Intl.NumberFormat("en-US", { notation: "compact", maximumSignificantDigits: 5 });
  const BEHIND = { bool: "", code: "", probability: "%" };

  // With so many digits behind the point. What lies in the middle goes to the even digit, as the server rounds: it is such
  // a number if and only if it has one binary digit more behind its point.
  function rounded(value, places) {
    const size = Math.abs(value);
    const halves = size * 2 ** (places + 1);
    const text = size.toFixed(places);
    const tie = Number.isInteger(halves) && halves % 2 === 1 && /[13579]$/.test(text);
    return (value < 0 ? "-" : "") + (tie ? (size * (1 - Number.EPSILON)).toFixed(places) : text);
  }

  // Likewise, thousands apart.
  const fixed = (value, places) => rounded(value, places).replace(/^-?\d+/, (whole) => whole.replace(/\B(?=(\d{3})+$)/g, ","));

  // With so many digits in all, and none that says nothing.
  function digits(value, count) {
    if (!value) return "0";
    const places = count - 1 - Math.floor(Math.log10(Math.abs(value)));
    return String(Number(places < 0 || places > 100 ? value.toPrecision(count) : rounded(value, places)));
  }

  const minus = (value) => (value < 0 ? "−" : "");

  function number(value, unit) {
    if (unit === "bool") return value >= 0.5 ? "up" : "down";
    if (unit === "probability") return rounded(value * 100, Number.isInteger(value * 100) ? 0 : 1);
    if (!Number.isFinite(value)) return String(value);
    const size = Math.abs(value);
    if (size >= 1e15) return value.toExponential(3).replace(/\.?0*e/, "e");
    if (size >= 1 && size < 100000 && /^[A-Z]{3}$/.test(unit)) return fixed(value, 2);
    if (Number.isInteger(value)) return fixed(value, 0);
    if (size >= 1000) return fixed(value, size >= 10000 ? 0 : 1);
    if (size >= 100) return rounded(value, 1);
    if (size >= 1) return rounded(value, 2);
    if (size > 1e-9 && size < 1e-4) return rounded(value, 2 - Math.floor(Math.log10(size)));
    return digits(value, 3);
  }

  function bytes(size) {
    const [unit, name] = SIZES.find(([least]) => size >= least) ?? SIZES.at(-1);
    const count = size / unit;
    return [count >= 100 ? rounded(count, 0) : digits(count, 3), name];
  }

  // A value and what stands behind it.
  function measure(value, unit) {
    const sign = SIGNS[unit];
    const size = Math.abs(value);
    if (sign && size < 1e15) return [minus(value) + sign + (size >= 1 ? fixed(size, 2) : number(size, unit.slice(0, 3))), ""];
    if ((unit === "B" || unit === "B/s") && Number.isFinite(value)) {
      const [count, name] = bytes(size);
      return [minus(value) + count, name + unit.slice(1)];
    }
    return [number(value, unit), BEHIND[unit] ?? unit];
  }

  function full(value, unit) {
    const [text, behind] = measure(value, unit);
    return behind ? text + SPACE + behind : text;
  }

  // The mean of a state is how much of the time it held; only all of it is up.
  function mean(value, unit) {
    if (unit !== "bool" || value === 0 || value === 1) return full(value, unit);
    return `${Math.min(99.9, Math.max(0.1, Number((value * 100).toFixed(1))))}${SPACE}% up`;
  }

  // How much of a state's axis is told: what is more or less than it has no label.
  function share(value) {
    const percent = Math.round(value * 100);
    return percent === 100 ? "up" : percent === 0 ? "down" : percent > 0 && percent < 100 ? `${percent}${SPACE}%` : "";
  }

  // A value on the edge of a chart, which has no room for twelve digits.
  function brief(value, unit) {
    const size = Math.abs(value);
    if (size < LONG || size >= 1e15 || unit === "B" || unit === "B/s") return mean(value, unit);
    const text = minus(value) + (SIGNS[unit] ?? "") + compact.format(size);
    return SIGNS[unit] || !(BEHIND[unit] ?? unit) ? text : text + SPACE + (BEHIND[unit] ?? unit);
  }

  // The labels of an axis, all with as many digits as tell them apart.
  function ticks(values, unit) {
    if (unit === "bool") return values.map(share);
    const apart = Math.min(...values.slice(1).map((value, index) => Math.abs(value - values[index])));
    if (!(apart > 0) || !Number.isFinite(apart)) return values.map((value) => brief(value, unit));
    if (unit === "B" || unit === "B/s") {
      const most = Math.max(...values.map(Math.abs));
      const [size, name] = SIZES.find(([least]) => most >= least) ?? SIZES.at(-1);
      return values.map((value) => `${fixed(value / size, places(apart / size))}${SPACE}${name}${unit.slice(1)}`);
    }
    if (values.some((value) => Math.abs(value) >= LONG)) return values.map((value) => brief(value, unit));
    const scale = unit === "probability" ? 100 : 1;
    const behind = unit === "probability" || unit === "%" ? `${SPACE}%` : "";
    const sign = SIGNS[unit] ?? "";
    return values.map((value) => minus(value) + sign + fixed(Math.abs(value * scale), places(apart * scale)) + behind);
  }

  const places = (apart) => Math.min(12, Math.max(0, -Math.floor(Math.log10(apart * 1.0001))));

  // A duration in its largest fitting unit.
  function span(seconds) {
    const [size, name] = [[86400, "d"], [3600, "h"], [60, "m"], [1, "s"]].find(([least]) => seconds >= least) ?? [1, "s"];
    return digits(seconds / size, 3) + name;
  }

  return { brief, full, mean, measure, ticks, span };
})();
