// Numbers and times as text, and elements without markup in strings: text is only ever set as text, so
// nothing that a client chose is read as HTML.

const COUNT_UNITS = ["", "k", "M", "G", "T"];
const BYTE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

function scaled(value, base, units, separator) {
  let unit = 0;
  let size = Math.abs(value);
  while (size >= base && unit < units.length - 1) {
    size /= base;
    unit += 1;
  }
  const digits = unit === 0 ? (Number.isInteger(size) || size >= 100 ? 0 : 1) : size < 10 ? 2 : size < 100 ? 1 : 0;
  const sign = value < 0 ? "−" : "";
  return units[unit] === "" ? sign + size.toFixed(digits) : sign + size.toFixed(digits) + separator + units[unit];
}

export function count(value) {
  return scaled(value, 1000, COUNT_UNITS, " ");
}

export function bytes(value) {
  return scaled(value, 1024, BYTE_UNITS, " ");
}

export function rate(value) {
  return count(value) + "/s";
}

export function byteRate(value) {
  return bytes(value) + "/s";
}

export function percent(value) {
  return (value * 100).toFixed(value > 0.9995 || value === 0 ? 0 : 1) + " %";
}

export function duration(ns) {
  if (ns <= 0) {
    return "–";
  }
  const units = [["ns", 1], ["µs", 1e3], ["ms", 1e6], ["s", 1e9]];
  const [name, size] = units.findLast(([, least]) => ns >= least) ?? units[0];
  const number = ns / size;
  return number.toFixed(number < 10 && size > 1 ? 2 : number < 100 && size > 1 ? 1 : 0) + " " + name;
}

export function seconds(value) {
  const days = Math.floor(value / 86400);
  const hours = Math.floor(value / 3600) % 24;
  const minutes = Math.floor(value / 60) % 60;
  if (days > 0) {
    return `${days} d ${hours} h`;
  }
  if (hours > 0) {
    return `${hours} h ${minutes} min`;
  }
  return minutes > 0 ? `${minutes} min ${value % 60} s` : `${value} s`;
}

// A time by its largest unit alone, where there is little room.
export function longest(value) {
  const units = [["s", 1], ["min", 60], ["h", 3600], ["d", 86400]];
  const [name, size] = units.findLast(([, least]) => value >= least) ?? units[0];
  return `${Math.max(0, Math.floor(value / size))} ${name}`;
}

export function clock(ms, withSeconds = true) {
  const options = { hour: "2-digit", minute: "2-digit", hour12: false };
  return new Date(ms).toLocaleTimeString([], withSeconds ? { ...options, second: "2-digit" } : options);
}

export function moment(ms) {
  return new Date(ms).toLocaleString([], { dateStyle: "short", timeStyle: "medium", hour12: false });
}

// An element with attributes and children; text among the children becomes text nodes.
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) {
      made.addEventListener(key.slice(2), value);
    } else if (value !== undefined && value !== false) {
      made.setAttribute(key, value === true ? "" : value);
    }
  }
  made.append(...children);
  return made;
}

// Changes text only where it differs, so that a selection and a screen reader stay undisturbed.
export function setText(node, text) {
  if (node.textContent !== text) {
    node.textContent = text;
  }
}
