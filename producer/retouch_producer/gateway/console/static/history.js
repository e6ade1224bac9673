// Draws the history of the overview. The figures come with the page, so that a page that stays current has current plots.
"use strict";

(() => {
  const HEIGHT = 128;
  const drawn = new Map();
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const figures = () => document.getElementById("history-figures");

  function short(value) {
    const [size, unit] = [[1e9, "G"], [1e6, "M"], [1e3, "k"]].find(([one]) => Math.abs(value) >= one) ?? [1, ""];
    return `${+(value / size).toFixed(1)}${unit}`;
  }

  function seconds(value) {
    const [size, unit] = [[86400, "d"], [3600, "h"], [60, "min"]].find(([one]) => value >= one) ?? [1, "s"];
    const part = value / size;
    return `${part >= 100 ? Math.round(part) : +part.toPrecision(3)} ${unit}`;
  }

  const text = (unit, value) => (value == null ? "–" : unit === "seconds" ? seconds(value) : value.toLocaleString("en-US"));
  const utc = (at, from, to) => new Date(at * 1000).toISOString().slice(from, to).replace("T", " ");

  // Parts of a bar are drawn as sums, the highest first, so that each covers what lies below it.
  function columns(all, plot) {
    const parts = plot.series.filter((one) => !one.line), lines = plot.series.filter((one) => one.line);
    const sums = parts.map((_, place) => all.starts.map((_, at) => parts.slice(0, place + 1).reduce((sum, one) => sum + Math.max(0, one.values[at]), 0)));
    return [all.starts.map((at) => at + all.step / 2), ...sums.reverse(), ...lines.map((one) => one.values)];
  }

  function looks(plot) {
    const bars = uPlot.paths.bars({ size: [0.82, 24], gap: 0 });
    const parts = plot.series.filter((one) => !one.line).reverse();
    const lines = plot.series.filter((one) => one.line);
    const dots = (chart, place, from, to) => to - from < 2 || chart.data[place].slice(from, to + 1).filter((one) => one != null).length < 40;
    return [
      ...parts.map((one) => ({ fill: tokenColour(one.colour), width: 0, paths: bars, points: { show: false } })),
      ...lines.map((one) => ({ stroke: tokenColour(one.colour), width: 1.5, points: { show: parts.length ? false : dots, size: 4, fill: tokenColour(one.colour), width: 0 } })),
    ];
  }

  const isLong = (all) => all.starts.at(-1) - all.starts[0] > 129600;

  function axes(all, plot) {
    const font = `11px ${getComputedStyle(document.body).fontFamily}`;
    const shared = { stroke: tokenColour("--quiet"), font, ticks: { show: false } };
    return [
      { ...shared, grid: { show: false }, size: 22, space: 64, values: (_, ticks) => ticks.map((at) => (isLong(all) ? utc(at, 5, 13) + "h" : utc(at, 11, 16))) },
      { ...shared, grid: { stroke: tokenColour("--line"), width: 1 }, size: 46, space: 28, gap: 4, values: (_, ticks) => ticks.map(plot.unit === "seconds" ? seconds : short), ...(plot.unit === "count" ? { incrs: [1, 2, 5].flatMap((one) => [0, 1, 2, 3, 4, 5, 6].map((power) => one * 10 ** power)).sort((a, b) => a - b) } : {}) },
    ];
  }

  // While the pointer is over a plot, all legends have the values of that time; afterwards those of the whole range.
  function tell(box, all, plot, place) {
    const panel = box.closest(".plot-panel"), numbers = panel.querySelectorAll(".series dd");
    panel.querySelector(".plot-at").textContent = place == null ? "" : utc(all.starts[place], 5, 16);
    plot.series.forEach((one, at) => {
      const number = numbers[at];
      number.dataset.total ??= number.textContent;
      number.textContent = place == null ? number.dataset.total : text(plot.unit, one.values[place]);
    });
  }

  function draw(box, all, plot) {
    const state = { all, plot };
    const options = {
      // Half of the last time may stand to the right of the plot.
      width: box.clientWidth, height: HEIGHT, legend: { show: false }, padding: [8, isLong(all) ? 30 : 17, 0, 0],
      series: [{}, ...looks(plot)], axes: axes(all, plot),
      scales: { x: { time: true, range: () => [state.all.starts[0], state.all.starts.at(-1) + state.all.step] }, y: { range: (_, least, most) => [0, Math.max(plot.unit === "count" ? 4 : 0.01, (most ?? 0) * 1.08)] } },
      cursor: { y: false, drag: { x: false, y: false }, points: { show: false }, sync: { key: "history" } },
      hooks: { setCursor: [(chart) => tell(box, state.all, state.plot, chart.cursor.left < 0 ? null : chart.cursor.idx)] },
      tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "UTC"),
    };
    const chart = new uPlot(options, columns(all, plot), box);
    const resized = new ResizeObserver(() => { if (box.clientWidth) chart.setSize({ width: box.clientWidth, height: HEIGHT }); });
    resized.observe(box);
    const end = () => { resized.disconnect(); chart.destroy(); };
    drawn.set(box.id, { box, chart, state, end });
  }

  function update() {
    if (!figures() || !window.uPlot) return;
    const raw = figures().dataset.figures, all = JSON.parse(raw);
    all.starts = Array.from({ length: all.count }, (_, place) => all.start + place * all.step);
    for (const box of document.querySelectorAll("[data-plot]")) {
      const plot = all.plots[box.dataset.plot], known = drawn.get(box.id);
      if (known?.text === raw) continue;
      const isSame = known?.box === box && known.plot === JSON.stringify(plot.series.map((one) => one.colour));
      if (isSame) {
        Object.assign(known.state, { all, plot });
        known.chart.setData(columns(all, plot));
      } else {
        known?.end();
        draw(box, all, plot);
      }
      Object.assign(drawn.get(box.id), { text: raw, plot: JSON.stringify(plot.series.map((one) => one.colour)) });
    }
  }

  update();
  document.addEventListener("htmx:after:swap", update);
  dark.addEventListener("change", () => { for (const one of drawn.values()) one.end(); drawn.clear(); update(); });
})();
