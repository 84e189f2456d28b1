// What the catalogue computes, without a page: filters, order, cells, axes. Plain functions on plain data.
"use strict";

const MISSING = "–";

/** Rows that pass every filter; an empty value filters nothing. `families` is a list, empty for all. */
function keep(rows, wanted) {
  const words = (wanted.text || "").toLowerCase().split(/\s+/).filter(Boolean);
  const families = wanted.families || [];
  return rows.filter(row =>
    words.every(word => haystack(row).includes(word)) &&
    (!families.length || families.includes(row.family)) &&
    (!wanted.licence || (wanted.licence === "permissive" ? row.permissive : row.group === wanted.licence)) &&
    (!wanted.attention || row.attention === (wanted.attention === "yes")) &&
    (!wanted.top || row.levels[row.levels.length - 1] === wanted.top) &&
    runsOn(measured(row, wanted.activation), wanted.device) &&
    below(row.parameters / 1e6, wanted.parameters) &&
    below(row.macs / 1e9, wanted.macs) &&
    below(row.arena === null ? null : row.arena / 1e3, wanted.arena));
}

function haystack(row) {
  return [row.name, row.project, row.licence, ...row.activations, ...row.files].join(" ").toLowerCase();
}

/** What was measured with one activation, "relu6" or "own"; {} where nothing was. */
function measured(row, activation) {
  return row.measured[activation || "relu6"] || {};
}

function runsOn(found, device) {
  if (!device) return true;
  if (device === "measured") return "operators" in found;
  return found[device + "_share"] === 1;
}

/** Whether a number is within a bound that a person typed; unknown numbers are within none. */
function below(value, bound) {
  if (bound === undefined || String(bound).trim() === "" || Number.isNaN(Number(bound))) return true;
  return value !== null && value <= Number(bound);
}

/** The value of a column; null where it is unknown. */
function value(row, key, activation) {
  const found = measured(row, activation);
  if (key === "arena") return row.arena;
  if (key in found) return found[key];
  if (/_(ms|share)$/.test(key) || key === "operators") return null;
  if (key === "channels") return row.channels[row.channels.length - 1];
  if (key === "activations") return row.activations.join(", ");
  return row[key];
}

/** Rows in order of a column; unknown values come last both ways, equal ones keep their order. */
function ordered(rows, key, descending, activation) {
  const keyed = rows.map((row, place) => [key === "name" ? place : value(row, key, activation), place, row]);
  const sign = descending ? -1 : 1;
  keyed.sort(([a, i], [b, j]) => {
    if (a === null || b === null) return (a === null) - (b === null) || i - j;
    if (a === b) return i - j;
    return sign * (a < b ? -1 : 1);
  });
  return keyed.map(entry => entry[2]);
}

/** The text of a cell. */
function cell(row, key, activation) {
  const found = value(row, key, activation);
  if (found === null || found === undefined) return MISSING;
  if (key === "parameters") return (found / 1e6).toFixed(2);
  if (key === "macs") return (found / 1e9).toFixed(2);
  if (key === "arena") return (isMeasured(row) ? "" : "~") + (found / 1e3).toFixed(0);
  if (key === "channels") return row.channels.join(" ");
  if (key === "attention") return found ? "yes" : "no";
  if (key.endsWith("_ms")) return found.toFixed(1) + unlessWhole(value(row, key.replace("_ms", "_share"), activation));
  if (key.endsWith("_share")) return share(found);
  return String(found);
}

/** Whether the arena of a row was measured, not predicted. */
function isMeasured(row) {
  return Boolean(measured(row, "relu6").arena);
}

/** The share of operators in brackets, where it is not all of them. */
function unlessWhole(part) {
  return part === 1 ? "" : ` (${share(part)})`;
}

/** 1 -> "100%"; less than everything never reads as 100%. */
function share(part) {
  return part === 1 ? "100%" : Math.min(99, Math.round(part * 100)) + "%";
}

/** Ticks of a logarithmic axis, 1, 2 or 5 times a power of ten, within [low, high]. */
function ticks(low, high) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    for (const step of [1, 2, 5]) {
      const tick = Number(step + "e" + power);
      if (tick >= low && tick <= high) found.push(tick);
    }
  }
  return found;
}

/** A logarithmic axis: from values to pixels. `from` and `to` are where the ends lie. */
function axis(values, from, to) {
  const low = Math.min(...values) / 1.25, high = Math.max(...values) * 1.25;
  const place = number => from + (to - from) * Math.log(number / low) / Math.log(high / low);
  return { low, high, place, ticks: ticks(low, high) };
}

/** The nearest of points with `x` and `y`, no farther than `reach` pixels, or null. */
function nearest(points, x, y, reach) {
  let best = null, least = reach;
  for (const point of points) {
    const distance = Math.hypot(point.x - x, point.y - y);
    if (distance <= least) { best = point; least = distance; }
  }
  return best;
}

/** The other points whose marks lie on the mark of one. */
function near(points, point, reach) {
  return points.filter(other => other !== point && Math.hypot(other.x - point.x, other.y - point.y) <= reach);
}

/** The outline of a mark around a place; its shape is the licence. */
function mark(group, x, y, r) {
  const at = (dx, dy) => (x + dx * r).toFixed(1) + " " + (y + dy * r).toFixed(1);
  if (group === "AGPL-3.0") return "M" + [at(-.9, -.9), at(.9, -.9), at(.9, .9), at(-.9, .9)].join("L") + "Z";
  if (group === "GPL-3.0") return "M" + [at(0, -1.2), at(1.1, .85), at(-1.1, .85)].join("L") + "Z";
  if (group === "non-commercial") return "M" + [at(0, -1.3), at(1.3, 0), at(0, 1.3), at(-1.3, 0)].join("L") + "Z";
  return "M" + at(-1, 0) + "A" + r + " " + r + " 0 1 0 " + at(1, 0) + "A" + r + " " + r + " 0 1 0 " + at(-1, 0) + "Z";
}
