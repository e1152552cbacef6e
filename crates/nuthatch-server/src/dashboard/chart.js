// A chart of samples over time, as SVG: lines or stacked areas, axes with units, and the values of one
// moment under the pointer, a finger, or the arrow keys.

import { clock, element, setText } from "/format.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 190;
const MARGIN = { top: 10, right: 12, bottom: 24 };
const TICKS = 4;
const LABEL_WIDTH = 75;
// The least span of time that is shown: a young server's samples are not squeezed into a corner.
const LEAST_SPAN_MS = 60_000;
// A limit further away than this many times the largest value is named, but not drawn.
const FAR_TIMES = 4;
// A gap longer than this many usual intervals is not bridged by a line.
const GAP_INTERVALS = 3;

function shape(name, attributes, parent) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) {
    made.setAttribute(key, value);
  }
  parent?.append(made);
  return made;
}

// The least round number from `least` on: 1, 2, 2.5 or 5 times a power of ten, or a power of two.
function roundStep(least, base) {
  if (base === 1024) {
    return 2 ** Math.ceil(Math.log2(least));
  }
  const ten = 10 ** Math.floor(Math.log10(least));
  return ten * ([1, 2, 2.5, 5].find((factor) => ten * factor >= least) ?? 10);
}

// The text of an axis: round numbers need no digits behind the point.
function tick(format, value) {
  return value === 0 ? "0" : format(value).replace(/(\.\d*?)0+(?=\D|$)/, "$1").replace(/\.(?=\D|$)/, "");
}

function timeStep(spanMs, most) {
  const steps = [10, 30, 60, 120, 300, 900, 1800, 3600, 7200, 14400, 21600].map((s) => s * 1000);
  return steps.find((step) => spanMs / step <= most) ?? steps.at(-1);
}

export class Chart {
  // options: title, series [{name, value(sample) -> number or null}], format, base, stacked, top
  // (a fixed maximum), limit {name, value(sample)}: a line drawn across.
  constructor(options) {
    this.options = { base: 1000, stacked: false, ...options };
    this.samples = [];
    this.spanMs = 0;
    this.cursor = null;
    this.legend = element("ul", { class: "legend" });
    this.values = [...options.series, ...(options.limit ? [options.limit] : [])].map((series, index) => {
      const isLimit = index === options.series.length;
      const value = element("span", { class: "value" });
      this.legend.append(
        element("li", { class: isLimit ? "limit" : `s${index + 1}` }, element("span", { class: "key" }), series.name, " ", value),
      );
      return value;
    });
    this.time = element("span", { class: "quiet time" });
    this.svg = shape("svg", { "aria-hidden": "true", height: HEIGHT });
    this.empty = element("p", { class: "empty" }, "No samples yet.");
    this.plot = element(
      "div",
      {
        class: "plot",
        tabindex: "0",
        role: "img",
        onpointermove: (event) => this.point(event),
        onpointerdown: (event) => this.point(event),
        onpointerleave: () => this.moveTo(null),
        onblur: () => this.moveTo(null),
        onkeydown: (event) => this.step(event),
      },
      this.svg,
      this.empty,
    );
    this.root = element(
      "section",
      { class: "card chart" },
      element("div", { class: "cardhead" }, element("h3", {}, options.title), this.time),
      this.plot,
      this.legend,
    );
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(this.plot);
  }

  close() {
    this.observer.disconnect();
  }

  update(samples, spanMs, endMs) {
    this.samples = samples.filter((sample) => sample.time_ms > endMs - spanMs);
    const first = this.samples[0];
    const lived = first ? endMs - first.time_ms + first.interval_ms : 0;
    this.spanMs = Math.min(spanMs, Math.max(lived, LEAST_SPAN_MS));
    this.endMs = endMs;
    this.draw();
  }

  point(event) {
    if (this.scale) {
      const x = event.clientX - this.plot.getBoundingClientRect().left;
      this.moveTo(this.scale.time(x));
    }
  }

  step(event) {
    const direction = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") {
      this.moveTo(null);
    } else if (direction && this.samples.length > 0) {
      event.preventDefault();
      const index = this.cursor === null ? this.samples.length - 1 : this.nearest() + direction;
      this.moveTo(this.samples[Math.max(0, Math.min(this.samples.length - 1, index))].time_ms);
    }
  }

  moveTo(timeMs) {
    this.cursor = timeMs;
    this.drawCursor();
  }

  nearest() {
    let best = 0;
    this.samples.forEach((sample, index) => {
      if (Math.abs(sample.time_ms - this.cursor) < Math.abs(this.samples[best].time_ms - this.cursor)) {
        best = index;
      }
    });
    return best;
  }

  // The values of one sample, from the bottom up if they are stacked.
  levels(sample) {
    let below = 0;
    return this.options.series.map((series) => {
      const value = series.value(sample);
      if (!this.options.stacked || value === null) {
        return value;
      }
      below += value;
      return below;
    });
  }

  draw() {
    const width = this.plot.clientWidth;
    this.svg.replaceChildren();
    this.scale = null;
    this.empty.hidden = this.samples.length > 0;
    this.svg.toggleAttribute("hidden", this.samples.length === 0);
    if (width === 0 || this.samples.length === 0) {
      this.drawCursor();
      return;
    }
    const { format, base, series, limit } = this.options;
    const values = this.samples.flatMap((sample) => this.levels(sample)).filter((value) => value !== null);
    const reached = values.reduce((largest, value) => Math.max(largest, value), 0);
    const limitNow = limit?.value(this.samples.at(-1));
    const isNear = limit && limitNow <= reached * FAR_TIMES;
    const largest = isNear ? Math.max(reached, limitNow) : reached;
    const step = this.options.top ? this.options.top / TICKS : roundStep(Math.max(largest / TICKS, this.options.least ?? 0.25), base);
    const top = this.options.top ?? step * Math.max(1, Math.ceil(largest / step - 1e-9));
    const labels = [];
    for (let value = 0; value <= top * 1.0001; value += step) {
      labels.push([value, tick(format, value)]);
    }
    const left = 14 + 6.6 * Math.max(...labels.map(([, text]) => text.length));
    const right = width - MARGIN.right;
    const bottom = HEIGHT - MARGIN.bottom;
    const beginMs = this.endMs - this.spanMs;
    const x = (ms) => left + ((ms - beginMs) / this.spanMs) * (right - left);
    const y = (value) => bottom - (value / top) * (bottom - MARGIN.top);
    this.scale = { x, y, left, right, bottom, time: (px) => beginMs + ((px - left) / (right - left)) * this.spanMs };
    this.svg.setAttribute("width", width);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);

    for (const [value, text] of labels) {
      shape("line", { class: "grid", x1: left, x2: right, y1: y(value), y2: y(value) }, this.svg);
      shape("text", { class: "axis", x: left - 6, y: y(value) + 4, "text-anchor": "end" }, this.svg).textContent = text;
    }
    const every = timeStep(this.spanMs, (right - left) / LABEL_WIDTH);
    for (let ms = Math.ceil(beginMs / every) * every; ms <= this.endMs; ms += every) {
      if (x(ms) > left + 16 && x(ms) < right - 14) {
        const label = shape("text", { class: "axis", x: x(ms), y: HEIGHT - 6, "text-anchor": "middle" }, this.svg);
        label.textContent = clock(ms, every < 60_000);
      }
    }
    const usual = this.samples.length > 1 ? this.samples.at(-1).interval_ms : this.spanMs;
    const levels = this.samples.map((sample) => this.levels(sample));
    const order = this.options.stacked ? series.map((_, index) => series.length - 1 - index) : series.map((_, index) => index);
    for (const index of order) {
      let line = "";
      let area = "";
      let begun = null;
      let last = null;
      const endArea = () => {
        if (begun !== null) {
          area += `L${x(last)} ${bottom}L${x(begun)} ${bottom}Z`;
        }
        begun = null;
      };
      this.samples.forEach((sample, at) => {
        const value = levels[at][index];
        if (value === null || (last !== null && sample.time_ms - last > GAP_INTERVALS * usual)) {
          endArea();
        }
        if (value === null) {
          return;
        }
        const place = `${x(sample.time_ms).toFixed(1)} ${y(Math.min(value, top)).toFixed(1)}`;
        line += (begun === null ? "M" : "L") + place;
        area += (begun === null ? "M" : "L") + place;
        begun ??= sample.time_ms;
        last = sample.time_ms;
      });
      endArea();
      if (this.options.stacked) {
        shape("path", { class: `area s${index + 1}`, d: area }, this.svg);
      }
      shape("path", { class: `line s${index + 1}`, d: line }, this.svg);
    }
    if (isNear) {
      const place = y(limitNow);
      shape("line", { class: "line limit", x1: left, x2: right, y1: place, y2: place }, this.svg);
    }
    this.mark = shape("g", { class: "mark" }, this.svg);
    this.drawCursor();
  }

  drawCursor() {
    const sample = this.cursor === null || this.samples.length === 0 ? this.samples.at(-1) : this.samples[this.nearest()];
    this.mark?.replaceChildren();
    if (!sample) {
      this.values.forEach((value) => setText(value, "–"));
      this.plot.setAttribute("aria-label", `${this.options.title}: no samples yet`);
      return;
    }
    const { series, limit, format } = this.options;
    const texts = [...series, ...(limit ? [limit] : [])].map((one) => {
      const value = one.value(sample);
      return value === null ? "–" : (this.options.exact ?? format)(value);
    });
    texts.forEach((text, index) => setText(this.values[index], text));
    setText(this.time, this.cursor === null ? "" : clock(sample.time_ms));
    const spoken = texts.map((text, index) => `${(series[index] ?? limit).name} ${text}`).join(", ");
    this.plot.setAttribute("aria-label", `${this.options.title} at ${clock(sample.time_ms)}: ${spoken}. Arrow keys move through time.`);
    if (this.cursor !== null && this.scale) {
      const { x, y, bottom } = this.scale;
      const place = x(sample.time_ms);
      shape("line", { class: "cursor", x1: place, x2: place, y1: MARGIN.top, y2: bottom }, this.mark);
      this.levels(sample).forEach((value, index) => {
        if (value !== null) {
          shape("circle", { class: `dot s${index + 1}`, cx: place, cy: y(value), r: 3.5 }, this.mark);
        }
      });
    }
  }
}
