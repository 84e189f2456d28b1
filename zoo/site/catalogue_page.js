// The catalogue's page: reads the form, fills the table, draws the plot.
"use strict";

const ROWS = JSON.parse(document.getElementById("data").textContent);
const FAMILIES = [...new Set(ROWS.map(row => row.family))];
const COLOURS = ["#1f77b4", "#e8710a", "#2e8b3d", "#c5221f", "#8447b8", "#7b4f3a", "#d6559f", "#5f6b78", "#8f8a00",
  "#00a3b5", "#0b3d91", "#f2a900", "#6fbf4b", "#ff6f61", "#b39ddb", "#222222", "#004d40"];
const COLOUR = Object.fromEntries(FAMILIES.map((family, place) => [family, COLOURS[place % COLOURS.length]]));
const GROUPS = ["permissive", "GPL-3.0", "AGPL-3.0", "non-commercial"];
const COLUMNS = [["name", "Network"], ["licence", "Licence"], ["attention", "Attention"], ["activations", "Activation"],
  ["parameters", "Parameters, M"], ["macs", "MACs, G"], ["channels", "Channels"], ["image", "Trained at"],
  ["arena", "Arena, kB"], ["operators", "Operators"], ["u55_ms", "U55, ms"], ["u85_ms", "U85, ms"],
  ["xnnpack_share", "XNNPACK"]];
const WORDS = ["name", "licence", "attention", "activations", "channels"];
const LABELS = { macs: "multiply-accumulates at 640×640, G", u55_ms: "ms on an Ethos-U55-256 at 192×192, by Vela",
  u85_ms: "ms on an Ethos-U85-512 at 192×192, by Vela" };

const form = document.getElementById("filters"), across = document.getElementById("across");
const svg = document.querySelector("#plot svg"), tip = document.getElementById("tip");
const state = { key: "name", descending: false, families: [], chosen: null, points: [] };

function element(tag, attributes = {}, text = "") {
  const made = ["path", "line", "text", "rect", "g", "svg"].includes(tag)
    ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [key, content] of Object.entries(attributes)) made.setAttribute(key, content);
  if (text) made.textContent = text;
  return made;
}

function update() {
  const wanted = { ...Object.fromEntries(new FormData(form)), families: state.families };
  const rows = ordered(keep(ROWS, wanted), state.key, state.descending, wanted.activation);
  document.getElementById("count").textContent = `${rows.length} of ${ROWS.length} networks`;
  table(rows, wanted.activation);
  plot(rows, wanted.activation);
}

function table(rows, activation) {
  for (const title of document.querySelectorAll("th")) {
    const sorted = title.dataset.key === state.key;
    title.setAttribute("aria-sort", sorted ? (state.descending ? "descending" : "ascending") : "none");
    title.firstChild.textContent = title.dataset.title + (sorted ? (state.descending ? " ▼" : " ▲") : "");
  }
  document.querySelector("tbody").replaceChildren(...rows.map(row => {
    const line = element("tr", { "data-name": row.name });
    for (const [key] of COLUMNS) {
      const data = element("td", WORDS.includes(key) ? {} : { class: "number" }, cell(row, key, activation));
      if (key === "name") data.prepend(element("i", { style: `background:${COLOUR[row.family]}` }));
      line.append(data);
    }
    line.addEventListener("click", () => choose(state.points.find(point => point.row === row) || null));
    return line;
  }));
}

function plot(rows, activation) {
  const key = across.value, width = svg.clientWidth || 800, height = Math.round(Math.max(330, Math.min(560, width * .5)));
  const some = rows.filter(row => value(row, key, activation) !== null);
  const unit = key === "macs" ? 1e9 : 1, x = row => value(row, key, activation) / unit, y = row => row.parameters / 1e6;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("height", height);
  state.points = [];
  const radius = width < 600 ? 4.5 : 6, unmeasured = rows.length - some.length;
  document.getElementById("plotted").textContent = `${some.length} in the plot` +
    (unmeasured ? `; ${unmeasured} were not measured` : "") + ". Both axes are logarithmic. Point at a mark, or tap it.";
  svg.replaceChildren();
  if (some.length) {
    const h = axis(some.map(x), 46, width - 14), v = axis(some.map(y), height - 46, 26);
    axes(h, v, width, height, LABELS[key]);
    for (const row of some) {
      const point = { row, x: h.place(x(row)), y: v.place(y(row)), text: `${cell(row, "parameters")} M parameters, ` +
        (key === "macs" ? `${cell(row, "macs")} G MACs` : `${cell(row, key, activation)} ms`) };
      point.node = element("path", { class: "point", fill: COLOUR[row.family], d: mark(row.group, point.x, point.y, radius) });
      state.points.push(point);
      svg.append(point.node);
    }
  }
  choose(state.points.find(point => state.chosen && point.row === state.chosen.row) || null);
}

function axes(h, v, width, height, label) {
  const space = Math.max(1, Math.ceil(h.ticks.length * 40 / width));
  h.ticks.forEach((tick, place) => {
    const at = h.place(tick);
    svg.append(element("line", { class: "grid", x1: at, x2: at, y1: 26, y2: height - 46 }));
    if (place % space === 0) svg.append(element("text", { x: at, y: height - 28, "text-anchor": "middle" }, String(tick)));
  });
  for (const tick of v.ticks) {
    const at = v.place(tick);
    svg.append(element("line", { class: "grid", x1: 46, x2: width - 14, y1: at, y2: at }));
    svg.append(element("text", { x: 40, y: at + 4, "text-anchor": "end" }, String(tick)));
  }
  svg.append(element("rect", { class: "frame", x: 46, y: 26, width: width - 60, height: height - 72 }));
  svg.append(element("text", { x: 8, y: 17 }, "parameters, M"));
  svg.append(element("text", { x: width - 14, y: height - 8, "text-anchor": "end" }, label));
}

function choose(point) {
  if (state.chosen && state.chosen.node) state.chosen.node.classList.remove("chosen");
  document.querySelectorAll("tr.chosen").forEach(line => line.classList.remove("chosen"));
  state.chosen = point;
  tip.hidden = !point;
  if (!point) return;
  point.node.classList.add("chosen");
  svg.append(point.node);
  const line = document.querySelector(`tr[data-name="${point.row.name}"]`);
  if (line) line.classList.add("chosen");
  tip.replaceChildren(element("b", {}, point.row.name), element("br"), point.text, element("br"),
    `${point.row.project}, weights ${point.row.licence}`);
  const others = near(state.points, point, 3).map(other => other.row.name);
  if (others.length) tip.append(element("br"), `also here: ${others.join(", ")}`);
  const room = svg.clientWidth, right = point.x + 14 + tip.offsetWidth > room;
  tip.style.left = Math.max(2, right ? Math.min(point.x - 14, room - 2) - tip.offsetWidth : point.x + 14) + "px";
  tip.style.top = Math.max(2, point.y - tip.offsetHeight - 8) + "px";
}

function point(event) {
  const box = svg.getBoundingClientRect();
  const found = nearest(state.points, event.clientX - box.left, event.clientY - box.top, event.pointerType === "mouse" ? 14 : 28);
  if (found || event.type === "pointerdown") choose(found);
}

function start() {
  document.querySelector("thead").append(element("tr"));
  for (const [key, title] of COLUMNS) {
    const head = element("th", { "data-key": key, "data-title": title, scope: "col", class: WORDS.includes(key) ? "" : "number" });
    const button = element("button", { type: "button" }, title);
    button.addEventListener("click", () => {
      state.descending = state.key === key && !state.descending;
      state.key = key;
      update();
    });
    head.append(button);
    document.querySelector("thead tr").append(head);
  }
  for (const family of FAMILIES) {
    const button = element("button", { type: "button", "aria-pressed": "false" }, family);
    button.prepend(element("i", { style: `background:${COLOUR[family]}` }));
    button.addEventListener("click", () => {
      const pressed = state.families.includes(family);
      state.families = pressed ? state.families.filter(name => name !== family) : [...state.families, family];
      button.setAttribute("aria-pressed", String(!pressed));
      update();
    });
    document.getElementById("families").append(button);
  }
  for (const group of GROUPS) {
    const line = element("span"), picture = element("svg", { width: 16, height: 16 });
    picture.append(element("path", { d: mark(group, 8, 8, 5.5), fill: "#52606d" }));
    line.append(picture, group);
    document.getElementById("shapes").append(line);
  }
  form.addEventListener("input", update);
  form.addEventListener("submit", event => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(() => {
    state.families = [];
    document.querySelectorAll("#families button").forEach(button => button.setAttribute("aria-pressed", "false"));
    update();
  }));
  across.addEventListener("input", update);
  svg.addEventListener("pointermove", point);
  svg.addEventListener("pointerdown", point);
  new ResizeObserver(update).observe(document.getElementById("plot"));
  update();
}

start();
