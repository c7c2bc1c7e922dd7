"use strict";
// The colours of the page for plotly, the figures, and the selects that choose among views.

const byId = (id) => document.getElementById(id);
const readData = async (id) => JSON.parse(await unpack(id));
const root = document.documentElement;
const drawn = new Set(); // plots that follow the scheme

// Data and the chart library are gzip in base64.
async function unpack(id) {
  const bytes = Uint8Array.from(atob(byId(id).textContent), (character) => character.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

// light-dark() in a variable is resolved only where a property uses it.
function colour(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

function template() {
  const axis = {
    gridcolor: colour("grid"), linecolor: colour("rule"), zerolinecolor: colour("rule"), automargin: false,
    tickfont: { color: colour("ink"), size: 11 }, title: { font: { color: colour("muted"), size: 12 } },
  };
  const ink = colour("ink");
  return { layout: {
    font: { color: ink, size: 12, family: getComputedStyle(document.body).fontFamily },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", xaxis: axis, yaxis: axis,
    hoverlabel: { bgcolor: colour("surface"), bordercolor: colour("muted"), font: { color: ink, size: 12 } },
  } };
}

const CONFIG = { responsive: true, displayModeBar: false, scrollZoom: false, doubleClick: "reset" };

const prefersStill = matchMedia("(prefers-reduced-motion: reduce)");

function draw(element, figure) {
  const isNew = !drawn.has(element);
  drawn.add(element);
  const drawing = Plotly.react(element, figure.data, { ...figure.layout, template: template() }, CONFIG);
  if (isNew) element.on("plotly_icicleclick", (event) => enlarge(element, event.nextLevel));
  return drawing;
}

// A module that is enlarged is so at once for those who want nothing to move; false: plotly need not do it.
function enlarge(element, level) {
  if (!prefersStill.matches || level === undefined) return true;
  Plotly.restyle(element, { level });
  return false;
}

let figures = null; // until they are unpacked
const starters = []; // what else begins with the library
const isShown = (element) => element.offsetParent !== null;

function drawWaiting() {
  if (!figures) return;
  // One figure per turn of the event loop: the page stays responsive while it fills.
  const next = [...document.querySelectorAll(".plot[data-figure]")].find((e) => !drawn.has(e) && isShown(e));
  if (!next) {
    root.dataset.ready = "true";
    return;
  }
  draw(next, figures[next.dataset.figure]).then(() => setTimeout(drawWaiting, 0));
}

for (const select of document.querySelectorAll("select[data-views]")) {
  const show = () => {
    for (const view of document.querySelectorAll(`[data-group="${select.id}"]`)) {
      view.hidden = view.dataset.view !== select.value;
    }
    drawWaiting();
    document.querySelectorAll(`[data-group="${select.id}"]:not([hidden]) .js-plotly-plot`)
      .forEach((plot) => Plotly.Plots.resize(plot));
  };
  select.addEventListener("change", show);
  if (select.value !== "0") show(); // a browser may restore what was chosen before a reload
}

// Scheme: the system's, until the reader presses the button.
const prefersDark = matchMedia("(prefers-color-scheme: dark)");
let chosen = remembered();

function remembered() {
  try { return localStorage.getItem("actprof-scheme"); } catch { return null; }
}

function isDark() {
  return chosen ? chosen === "dark" : prefersDark.matches;
}

function applyScheme() {
  root.style.colorScheme = chosen ?? "light dark";
  const button = byId("theme");
  button.setAttribute("aria-pressed", String(isDark()));
  button.textContent = isDark() ? "Light" : "Dark";
  button.setAttribute("aria-label", isDark() ? "Dark scheme, switch to light" : "Light scheme, switch to dark");
  repaint();
}

function repaint() {
  const colours = template();
  for (const element of drawn) Plotly.relayout(element, { template: colours });
}

byId("theme").addEventListener("click", () => {
  chosen = isDark() ? "light" : "dark";
  try { localStorage.setItem("actprof-scheme", chosen); } catch { /* a file may have no storage */ }
  applyScheme();
});
prefersDark.addEventListener("change", applyScheme);

// Paper is white and of one width, whatever the screen is; what is folded stands open on it.
const unfolded = [];
addEventListener("beforeprint", () => {
  root.style.colorScheme = "light";
  root.classList.add("printing");
  for (const folded of document.querySelectorAll("details:not([open])")) {
    folded.open = true;
    unfolded.push(folded);
  }
  refit();
  for (const table of document.querySelectorAll(".scroll > table")) {
    table.style.zoom = Math.min(1, table.parentElement.clientWidth / table.scrollWidth);
  }
});
addEventListener("afterprint", () => {
  root.classList.remove("printing");
  for (const details of unfolded.splice(0)) details.open = false;
  document.querySelectorAll(".scroll > table").forEach((table) => table.style.removeProperty("zoom"));
  refit();
  applyScheme();
});

function refit() {
  const colours = template();
  for (const plot of [...drawn].filter(isShown)) Plotly.relayout(plot, { width: plot.clientWidth, template: colours });
}

// What is wider than its box scrolls in it: the edge fades as long as there is more, and keys reach it.
const watched = new ResizeObserver((entries) => entries.forEach((entry) => mark(entry.target)));
function mark(box) {
  const more = box.scrollWidth - box.clientWidth;
  box.classList.toggle("wide", more > 1);
  box.classList.toggle("more", more - box.scrollLeft > 1);
  if (more > 1) box.tabIndex = 0;
}
for (const box of document.querySelectorAll(".scroll, .plot-box")) {
  watched.observe(box);
  box.addEventListener("scroll", () => mark(box), { passive: true });
}

// The table of contents marks where the reader is.
const contents = document.querySelector(".contents");
const links = new Map([...contents.querySelectorAll("a")].map((a) => [a.hash.slice(1), a]));
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries.filter((e) => e.isIntersecting)) {
    links.forEach((link) => link.removeAttribute("aria-current"));
    const link = links.get(entry.target.id);
    if (!link) continue;
    link.setAttribute("aria-current", "true");
    contents.scrollLeft = link.offsetLeft - 16; // where they stand side by side
  }
}, { rootMargin: "-15% 0px -75% 0px" });
document.querySelectorAll("main > section").forEach((section) => seen.observe(section));

// Text and tables are painted first.
async function begin() {
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  if (byId("library")) {
    const script = document.createElement("script");
    script.textContent = await unpack("library");
    document.head.append(script);
    performance.mark("library");
  }
  figures = await readData("figure-data");
  if (byId("packed-rows")) {
    const rows = await readData("packed-rows");
    rows.forEach((row, index) => document.querySelector(`[data-packed="${index}"]`).insertAdjacentHTML("beforeend", row));
  }
  for (const start of starters) await start();
  drawWaiting();
}

applyScheme();
begin();
