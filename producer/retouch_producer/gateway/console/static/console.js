// What JavaScript adds to pages that work without it: they stay current, pictures are compared, keys move in lists.
"use strict";

(() => {
  const PAUSED = "retouch-console-paused";
  const TICK_MS = 5000;
  const main = () => document.getElementById("live");
  const button = document.getElementById("live-switch");
  const words = document.getElementById("live-words");
  const isLive = () => main()?.hasAttribute("hx-get");
  const isPaused = () => sessionStorage.getItem(PAUSED) === "1";
  let leading = null;

  function isBusy() {
    // A page must not change under somebody's hands: an open form, a field with the cursor in it, a selection.
    const active = document.activeElement;
    const inField = active && active.matches("input, select, textarea") && main().contains(active);
    return inField || main().querySelector("details.act[open], details[data-by-hand][open]") || !document.getSelection().isCollapsed;
  }

  document.addEventListener("click", (event) => {
    const opened = event.target.closest?.("summary")?.parentElement;
    if (opened) opened.dataset.byHand = "1";
  });

  function tick() {
    if (isLive() && !isPaused() && !document.hidden && !isBusy()) {
      main().dispatchEvent(new CustomEvent("console:tick"));
    }
  }

  // A browser has six connections for one host: of all its tabs one holds the stream, and passes the news on.
  const channel = new BroadcastChannel("retouch-console");
  channel.addEventListener("message", tick);

  function connect() {
    const wanted = isLive() && !isPaused() && !document.hidden;
    if (!wanted && leading) {
      leading.abort();
      leading = null;
    } else if (wanted && !leading) {
      leading = new AbortController();
      const { signal } = leading;
      navigator.locks.request("retouch-console", { signal }, () => hold(signal)).catch(() => {});
    }
  }

  // Holds the stream until this tab is hidden, paused or left; then the lock passes to another tab.
  function hold(signal) {
    let stream, again;
    const open = () => {
      stream = new EventSource(document.body.dataset.liveUrl);
      stream.addEventListener("news", () => { channel.postMessage("news"); tick(); });
      // Browsers connect again by themselves, but not after an answer that is no stream, such as a proxy's 502.
      stream.addEventListener("error", () => { if (stream.readyState === EventSource.CLOSED) again = setTimeout(open, TICK_MS); });
    };
    open();
    return new Promise((resolve) => {
      const end = () => { clearTimeout(again); stream.close(); resolve(); };
      if (signal.aborted) end();
      else signal.addEventListener("abort", end);
    });
  }

  function showLive(lost) {
    button.setAttribute("aria-pressed", String(!isPaused()));
    button.classList.toggle("is-lost", Boolean(lost) && !isPaused());
    words.textContent = isPaused() ? "Paused" : lost ? "Not live: no answer" : "Live";
  }

  if (button && isLive()) {
    button.hidden = false;
    showLive(false);
    button.addEventListener("click", () => {
      sessionStorage.setItem(PAUSED, isPaused() ? "0" : "1");
      showLive(false);
      connect();
      tick();
    });
    document.addEventListener("visibilitychange", () => { connect(); tick(); });
    document.addEventListener("htmx:error", () => showLive(true));
    document.addEventListener("htmx:after:request", (event) => showLive(event.detail.ctx.response.status >= 400));
    // A page may ask for a faster pace while something on it moves without events, such as a bulk run.
    const pace = () => { tick(); setTimeout(pace, Number(main().dataset.tickMs) || TICK_MS); };
    setTimeout(pace, Number(main().dataset.tickMs) || TICK_MS);
    connect();
    window.addEventListener("pagehide", () => { leading?.abort(); leading = null; });
    window.addEventListener("pageshow", connect);
  }

  // Before and after: one picture over the other, with a line that is moved by pointer or by the range's keys.
  function compare(box) {
    if (box.dataset.ready) return;
    box.dataset.ready = "1";
    const pair = box.querySelector(".pair"), stage = box.querySelector(".stage");
    const range = box.querySelector("input[type=range]"), after = box.querySelector(".after img");
    const wide = Number(after.getAttribute("width")), high = Number(after.getAttribute("height"));
    // A difference has no line to move.
    const split = (percent) => {
      if (!range) return;
      range.value = percent;
      pair.style.setProperty("--split", `${percent}%`);
    };
    const zoom = (name) => {
      const fit = `min(100%, calc(62vh * ${wide} / ${high}))`;
      pair.style.setProperty("--shown", name === "fit" ? fit : `${(wide * Number(name)) / devicePixelRatio}px`);
      for (const one of box.querySelectorAll("[data-zoom]")) one.setAttribute("aria-pressed", String(one.dataset.zoom === name));
      stage.scrollTo((stage.scrollWidth - stage.clientWidth) / 2, (stage.scrollHeight - stage.clientHeight) / 2);
    };
    const follow = (event) => {
      const place = pair.getBoundingClientRect();
      split(Math.round(Math.min(100, Math.max(0, (100 * (event.clientX - place.left)) / place.width))));
    };
    pair.style.setProperty("--ratio", `${wide} / ${high}`);
    box.classList.add("is-on");
    for (const one of box.querySelectorAll(".compare-tools, .zooms")) one.hidden = false;
    range?.addEventListener("input", () => split(Number(range.value)));
    for (const one of box.querySelectorAll("[data-zoom]")) one.addEventListener("click", () => zoom(one.dataset.zoom));
    if (range) pair.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      pair.setPointerCapture(event.pointerId);
      follow(event);
    });
    pair.addEventListener("pointermove", (event) => { if (pair.hasPointerCapture(event.pointerId)) follow(event); });
    split(50);
    zoom("fit");
  }

  // Arrow keys move between the links of a list; Enter opens the one that has the focus, as everywhere.
  document.addEventListener("keydown", (event) => {
    const list = event.target.closest?.("[data-keys]");
    const step = list && { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
    const links = [...list.querySelectorAll(list.dataset.keys === "grid" ? "a" : ".cell-job a, .cell-main a")];
    const place = links.indexOf(event.target);
    if (place < 0) return;
    const upright = event.key === "ArrowDown" || event.key === "ArrowUp";
    const top = links[0].getBoundingClientRect().top;
    const columns = list.dataset.keys === "grid" ? links.filter((one) => one.getBoundingClientRect().top === top).length : 1;
    const next = links[place + (upright ? step * columns : step)];
    if (next) {
      event.preventDefault();
      next.focus();
    }
  });

  // R asks what it would cost to redo the job that has the focus; nothing is changed before that page is confirmed.
  document.addEventListener("keydown", (event) => {
    const preview = event.target.dataset?.redo;
    if (preview && event.key.toLowerCase() === "r" && !event.altKey && !event.ctrlKey && !event.metaKey) location.assign(preview);
  });

  // A approves the result of the frame that has the focus, or takes the mark back.
  document.addEventListener("keydown", (event) => {
    const form = event.target.closest?.("li")?.querySelector(".frame-act");
    if (form && event.key.toLowerCase() === "a" && !event.repeat && !event.altKey && !event.ctrlKey && !event.metaKey) form.requestSubmit();
  });

  // A list of suggestions completes a whole field, so each of them begins with the terms that are written already.
  document.addEventListener("input", (event) => {
    if (!event.target.matches("[data-terms]")) return;
    const written = event.target.value.replace(/\S*$/, "");
    for (const one of event.target.list.options) one.value = written + (one.dataset.term ??= one.value);
  });

  // Calls by day: the table beside it says the same in numbers.
  function plot(box) {
    if (box.dataset.ready || !window.uPlot) return;
    box.dataset.ready = "1";
    const rows = JSON.parse(box.dataset.rows);
    const names = ["useful", "repeated", "wasted", "unknown"];
    const days = rows.map((row) => Date.parse(row[0]) / 1000);
    const sums = names.map((_, part) => rows.map((row) => row.slice(1, part + 2).reduce((sum, one) => sum + one, 0)));
    const axis = { stroke: tokenColour("--quiet"), grid: { stroke: tokenColour("--line"), width: 1 }, ticks: { show: false }, font: `11px ${getComputedStyle(document.body).fontFamily}` };
    const bars = uPlot.paths.bars({ size: [0.7, 28] });
    // The highest sum is drawn first, so that each part covers what lies below it.
    const series = [...names].reverse().map((name) => ({ label: name, fill: tokenColour(`--use-${name}`), width: 0, paths: bars, points: { show: false } }));
    const options = {
      width: box.clientWidth, height: 180, series: [{}, ...series], legend: { show: false }, cursor: { show: false },
      scales: { x: { time: true }, y: { range: (_, least, most) => [0, Math.max(4, most * 1.1)] } },
      axes: [{ ...axis, grid: { show: false }, values: (_, ticks) => ticks.map((at) => new Date(at * 1000).toISOString().slice(5, 10)) }, { ...axis, size: 44, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 1e5, 1e6] }],
      tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "UTC"),
    };
    const made = new uPlot(options, [days, ...sums.reverse()], box);
    new ResizeObserver(() => made.setSize({ width: box.clientWidth, height: 180 })).observe(box);
  }

  function enhance() {
    document.querySelectorAll("[data-compare]").forEach(compare);
    document.querySelectorAll("[data-rows]").forEach(plot);
  }
  enhance();
  document.addEventListener("htmx:after:swap", enhance);
})();
