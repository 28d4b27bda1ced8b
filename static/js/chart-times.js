// Times of a chart in the visitor's zone. The library counts in UTC: it is given true times, and is told here which of
// them begin a day, an hour … on the visitor's clock, also across the days on which that is changed.
"use strict";

Oculus.times = (() => {
  const DAY = 86400;
  // What the library takes as the weight of a time: a year, a month, a day, and parts of it in seconds.
  const WEIGHTS = { year: 70, month: 60, day: 50 };
  const PARTS = [[43200, 33], [21600, 32], [10800, 31], [3600, 30], [1800, 22], [300, 21], [60, 20], [1, 10]];

  const written = (options) => {
    const format = new Intl.DateTimeFormat(undefined, options);
    return (seconds) => format.format(seconds * 1000);
  };
  const clock = written({ hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const clockWithSeconds = written({ hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
  const day = written({ day: "numeric", month: "short" });
  const month = written({ month: "short" });
  const year = written({ year: "numeric" });
  const date = written({ weekday: "short", day: "numeric", month: "short" });
  const dated = written({ weekday: "short", day: "numeric", month: "short", year: "numeric" });

  // How far the visitor's clock is ahead of UTC at a time, in seconds.
  const ahead = (seconds) => -60 * new Date(seconds * 1000).getTimezoneOffset();

  // The seconds that the visitor's clock shows, counted as if it were UTC.
  const local = (seconds) => seconds + ahead(seconds);

  function weight(time, before) {
    const [one, other] = [new Date(local(time) * 1000), new Date(local(before) * 1000)];
    if (one.getUTCFullYear() !== other.getUTCFullYear()) return WEIGHTS.year;
    if (one.getUTCMonth() !== other.getUTCMonth()) return WEIGHTS.month;
    if (one.getUTCDate() !== other.getUTCDate()) return WEIGHTS.day;
    const found = PARTS.find(([size]) => Math.floor(local(time) / size) !== Math.floor(local(before) / size));
    return found ? found[1] : 0;
  }

  class LocalScale extends LightweightCharts.defaultHorzScaleBehavior() {
    fillWeightsForPoints(points, start = 0) {
      for (let index = start; index < points.length; index++) {
        const time = points[index].originalTime;
        const before = index ? points[index - 1].originalTime : time - (points[1]?.originalTime - time || DAY);
        points[index].timeWeight = weight(time, before);
      }
    }
  }

  // A label of the axis: the largest thing that begins there.
  function tick(seconds, kind) {
    const { Year, Month, DayOfMonth, TimeWithSeconds } = LightweightCharts.TickMarkType;
    if (kind === Year) return year(seconds);
    if (kind === Month) return month(seconds);
    if (kind === DayOfMonth) return day(seconds);
    return kind === TimeWithSeconds ? clockWithSeconds(seconds) : clock(seconds);
  }

  // A time as it is told: by its day alone where it is one.
  function moment(seconds, step = 0) {
    const whole = step >= DAY && local(seconds) % DAY === 0;
    const far = Math.abs(Date.now() / 1000 - seconds) > 300 * DAY;
    const shown = (far ? dated : date)(seconds);
    return whole ? shown : `${shown} ${step && step % 60 === 0 ? clock(seconds) : clockWithSeconds(seconds)}`;
  }

  // As the fields for date and time write it.
  const field = (seconds) => new Date(Math.floor(local(seconds)) * 1000).toISOString().slice(0, 19);

  const zone = () => Intl.DateTimeFormat().resolvedOptions().timeZone;

  return { LocalScale, tick, moment, field, ahead, zone };
})();
