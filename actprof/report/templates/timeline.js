// The memory timeline of the cell that the selects name.
starters.push(async () => {
  const plot = byId("timeline-plot");
  if (!plot) return;
  const packed = await readData("curve-data");
  const summed = (changes) => { let size = 0; return changes.map((change) => (size += change)); };
  packed.curves = packed.curves.map((curve) => ({ ...curve, allocated: summed(curve.allocated), reserved: summed(curve.reserved) }));
  const selects = [...document.querySelectorAll("#timeline-form select")];
  const { phases: PHASES, ...LINES } = packed.colours;
  const GIB = 1024;
  const position = packed.axes.setup ? [...packed.cells[packed.start].at] : [];
  selects.forEach((select) => { select.value = position[select.dataset.axis]; });

  const item = (cls, style, text) => {
    const entry = document.createElement("li");
    const swatch = document.createElement("span");
    swatch.className = `swatch ${cls}`;
    swatch.style.cssText = style;
    entry.append(swatch, text);
    return entry;
  };
  byId("timeline-key").append(
    item("line", `border-color:${LINES.allocated}`, "allocated"),
    item("line", `border-color:${LINES.reserved}`, "reserved"),
    item("line dashed", `border-color:${LINES.room}`, "the GPU's room for PyTorch"),
    ...Object.entries(PHASES).map(([name, c]) => item("", `background:${c};opacity:.35`, name)),
  );

  // The phase of every point, for the head of the hover box.
  function moments(curve) {
    return curve.allocated.map((_, i) => {
      const phase = curve.phases.findLast(([start]) => start <= i)?.[1] ?? "";
      const step = curve.steps.filter((start) => start <= i).length;
      return step ? `step ${step}, ${phase}` : phase;
    });
  }

  function line(name, values, extra) {
    return {
      x: values.map((_, i) => i), y: values.map((mib) => mib / GIB), name, mode: "lines",
      line: { color: LINES[name], width: 1.75, shape: "hv" }, hovertemplate: `${name} %{y:.2f} GiB<extra></extra>`, ...extra,
    };
  }

  const band = (x0, x1, extra) => ({ type: "rect", xref: "x", yref: "paper", y0: 0, y1: 1, x0, x1, line: { width: 0 }, layer: "below", ...extra });

  function shapes(curve, room) {
    const end = curve.allocated.length;
    const bands = curve.phases.map(([start, name], i) =>
      band(start, curve.phases[i + 1]?.[0] ?? end, { fillcolor: PHASES[name] ?? PHASES.setup, opacity: 0.13 }));
    const marks = curve.steps.map((at) =>
      ({ type: "line", xref: "x", yref: "paper", x0: at, x1: at, y0: 0, y1: 1.05, line: { color: LINES.mark, width: 1 } }));
    const limit = { type: "line", xref: "paper", yref: "y", x0: 0, x1: 1, y0: room / GIB, y1: room / GIB, line: { color: LINES.room, width: 2, dash: "dash" } };
    return room ? [...bands, ...marks, limit] : [...bands, ...marks];
  }

  function notes(curve, room) {
    const steps = curve.steps.map((at, i) => ({
      x: at, xref: "x", y: 1.01, yref: "paper", text: ` step ${i + 1}`, showarrow: false, xanchor: "left", yanchor: "bottom", font: { size: 11 },
    }));
    if (!room) return steps;
    // At the right end, where a step is over and the curve low.
    steps.push({
      x: 1, xref: "paper", y: room / GIB, yref: "y", text: `<b>${(room / GIB).toFixed(2)} GiB</b>`, showarrow: false,
      xanchor: "right", yanchor: "bottom", font: { size: 11 },
    });
    return steps;
  }

  function show() {
    selects.forEach((select) => { position[select.dataset.axis] = Number(select.value); });
    const cell = packed.cells.find((c) => c.at.every((index, axis) => index === position[axis]));
    const curve = cell && cell.curve !== null ? packed.curves[cell.curve] : null;
    byId("timeline-note").textContent = cell ? cell.note : "This combination is not among the cells.";
    if (cell && !curve) byId("timeline-note").textContent += " There is no timeline of it.";
    plot.closest("figure").hidden = !curve;
    byId("timeline-key").hidden = !curve;
    if (!curve) return;
    const top = Math.max(...curve.reserved, cell.room) / GIB;
    draw(plot, {
      data: [
        line("allocated", curve.allocated, { customdata: moments(curve), fill: "tozeroy", fillcolor: "rgba(47,125,196,.22)" }),
        line("reserved", curve.reserved, { customdata: moments(curve) }),
      ],
      layout: {
        margin: { l: 48, r: 8, t: 26, b: 40 }, showlegend: false, hovermode: "x unified", dragmode: false,
        shapes: shapes(curve, cell.room), annotations: notes(curve, cell.room),
        xaxis: { title: { text: "events, in order", standoff: 8 }, showticklabels: false, showgrid: false, fixedrange: true, unifiedhovertitle: { text: "<b>%{customdata}</b>" }, range: [0, curve.allocated.length], zeroline: false },
        yaxis: { title: { text: "GiB" }, fixedrange: true, range: [0, top * 1.06] },
      },
    });
  }

  selects.forEach((select) => select.addEventListener("change", show));
  show();
});
