// Sorting, filtering and saving the table of all cells (or tensors). One is one tbody: its row and its details, which unfold.
document.addEventListener("click", (event) => {
  const button = event.target.closest(".unfold");
  if (!button) return;
  const details = button.closest("tbody").rows[1];
  details.hidden = !details.hidden;
  button.setAttribute("aria-expanded", String(!details.hidden));
});

(() => {
  const table = byId("cells-table");
  if (!table) return;
  const noun = table.dataset.noun ?? "cells";
  const bodies = [...table.tBodies];
  const headers = [...table.tHead.querySelectorAll("th[aria-sort]")];
  const texts = new Map(bodies.map((body) => [body, body.textContent.toLowerCase()]));

  function key(body, column) {
    const text = body.rows[0].cells[column + 1].dataset.sort;
    const number = Number(text);
    return text !== "" && !Number.isNaN(number) ? number : text;
  }

  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b));
  }

  function sortBy(column) {
    const header = headers[column];
    const direction = header.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
    headers.forEach((other) => other.setAttribute("aria-sort", other === header ? direction : "none"));
    const sign = direction === "ascending" ? 1 : -1;
    const order = bodies.map((body, index) => ({ body, index, key: key(body, column) }));
    order.sort((a, b) => sign * compare(a.key, b.key) || a.index - b.index);
    table.append(...order.map((entry) => entry.body));
  }

  function filter() {
    const words = byId("filter-text").value.toLowerCase().split(/\s+/).filter(Boolean);
    const verdict = byId("filter-verdict").value;
    let shown = 0;
    for (const body of bodies) {
      const fits = (!verdict || body.dataset.verdict === verdict) && words.every((word) => texts.get(body).includes(word));
      body.hidden = !fits;
      shown += fits;
    }
    byId("filter-count").textContent = `${shown} of ${bodies.length} ${noun}`;
    byId("filter-none").hidden = shown > 0;
  }

  function csv() {
    const quote = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const head = headers.map((header) => header.textContent.trim());
    const shown = [...table.tBodies].filter((body) => !body.hidden);
    const rows = shown.map((body) => [...body.rows[0].cells].slice(1).map((cell) => cell.textContent.trim().replace("\u2212", "-")));
    return [head, ...rows].map((row) => row.map(quote).join(",")).join("\n") + "\n";
  }

  function save() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
    link.download = `${noun}.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  table.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.dataset.column) sortBy(Number(button.dataset.column));
  });
  byId("filter-text").addEventListener("input", filter);
  byId("filter-verdict").addEventListener("change", filter);
  byId("csv").addEventListener("click", save);
  filter();
})();
