// Sorting, filtering and saving the table of all runs (or tensors). One is one tbody: its row and its details, which unfold.
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
  const noun = table.dataset.noun;
  const bodies = [...table.tBodies];
  const headers = [...table.tHead.querySelectorAll("th[aria-sort]")];
  let texts = new Map(); // of rows and what they unfold to, once they are asked for
  const textOf = (body) => texts.get(body) ?? texts.set(body, searched(body)).get(body);
  const places = new Map(headers.map((header, index) => [header.textContent.trim(), index + 1]));
  const cellOf = (body, name) => body.rows[0].cells[places.get(name)];
  const field = (body, name) => cellOf(body, name).textContent.trim().toLowerCase();

  // A row and its facts, ops without their overload. PyTorch's message speaks of settings that the run has not; a command
  // repeats the row in other words.
  function searched(body) {
    const parts = [...body.rows[0].cells, ...body.querySelectorAll(".inside :is(dt, dd, th, td)")];
    return parts.map((part) => part.textContent).join(" ").toLowerCase().replace(/\b(aten\.\w+)\.\w+/g, "$1");
  }

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

  // Words that mean a column are held to it; any other word may stand anywhere in a row or its facts.
  const NUMBERS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
  const COUNT = `(\\d+|${NUMBERS.join("|")})`;
  const counts = (text, count) => text === String(NUMBERS.includes(count) ? NUMBERS.indexOf(count) : Number(count));
  const PHRASES = [
    ["Batch", /\bbatch(?:[ _-]*size)?s?[ =:]*(\d+)(?![\dx])/g, (text, number) => text === number],
    ["Cameras", new RegExp(`\\b${COUNT}[ -]*cam(?:era)?s?\\b`, "g"), counts],
    ["Cameras", new RegExp(`\\bcam(?:era)?s?[ =:]*${COUNT}\\b`, "g"), counts],
    ["Verdict", /\b(oom|out of memory)\b/g, (text) => text === "out of memory"],
    ["Verdict", /\b(fits|tight|unknown|failed)\b/g, (text, verdict) => text === verdict],
    ["Resolution", /\b(\d+x\d+)\b/g, (text, size) => text.split(/[ ,]+/).includes(size)],
    ["Allocator", /\b(expandable)(?:[ _]segments)?(?:[:=]true)?\b/g, (text, name) => text.includes(name)],
    ["Allocator", /(?:\bpytorch['\u2019]?s )?\b(default)s?(?: allocator)?\b/g, (text, name) => text.includes(name)],
    ["Allocator", /\b([a-z_]+[:=][\w.-]+)/g, (_, setting, cell) => cell.dataset.sort.toLowerCase().includes(setting.replace("=", ":"))],
  ];

  function read(text) {
    const conditions = [];
    for (const [name, pattern, holds] of PHRASES) {
      if (!places.has(name)) continue;
      text = text.replace(pattern, (_, wanted) => {
        conditions.push((body) => holds(field(body, name), wanted, cellOf(body, name)));
        return " ";
      });
    }
    const words = text.split(/\s+/).filter(Boolean);
    // A mark alone says nothing, and finds nothing.
    return [...conditions, ...words.map((word) => (body) => /[\p{L}\p{N}]/u.test(word) && textOf(body).includes(word))];
  }

  function filter() {
    const conditions = read(byId("filter-text").value.toLowerCase());
    const verdict = byId("filter-verdict").value;
    let shown = 0;
    for (const body of bodies) {
      const fits = (!verdict || body.dataset.verdict === verdict) && conditions.every((holds) => holds(body));
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
  starters.push(() => { texts = new Map(); filter(); }); // packed rows have come
  filter();
})();
