// Headgate's dashboard: what a page cannot do by itself. No build step, nothing inline, nothing from elsewhere.
"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, within = document) => Array.from(within.querySelectorAll(selector));

  // ---- light and dark: the server reads the cookie, so that no page flashes in the other colours
  function theme(next) {
    root.dataset.theme = next;
    document.cookie = `headgate_theme=${next};path=/;max-age=31536000;samesite=strict`;
    for (const button of all("[data-theme-toggle]")) label(button);
    draw(document, true);
  }
  const dark = () =>
    root.dataset.theme === "dark" ||
    (root.dataset.theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  function label(button) {
    button.setAttribute("aria-label", dark() ? "Use light colours" : "Use dark colours");
  }

  // ---- times: the exact one stays in the title
  function ago(seconds) {
    const past = seconds >= 0;
    const s = Math.abs(seconds);
    const text =
      s < 1 ? "now" : s < 60 ? `${Math.floor(s)} s` : s < 3600 ? `${Math.floor(s / 60)} min`
      : s < 86400 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86400)} d`;
    return text === "now" ? text : past ? `${text} ago` : `in ${text}`;
  }
  function times(within = document) {
    const now = Date.now() / 1000;
    for (const each of all("time[data-ago]", within)) each.textContent = ago(now - Number(each.dataset.ago));
  }

  // ---- plots
  const UNITS = {
    usd: (v) => (v === null ? "–" : money(v)),
    count: (v) => (v === null ? "–" : v.toLocaleString("en", { maximumFractionDigits: v < 10 ? 1 : 0 })),
    ms: (v) => (v === null ? "–" : v >= 60000 ? `${(v / 60000).toFixed(1)} min` : v >= 1000 ? `${(v / 1000).toFixed(2)} s` : `${Math.round(v)} ms`),
    share: (v) => (v === null ? "–" : `${(v * 100).toFixed(v && v < 0.1 ? 1 : 0)}%`),
  };
  function brief(unit, v) {
    const plain = (x) => String(Number(x.toPrecision(3)));
    if (unit === "usd") return `$${v >= 10000 ? `${plain(v / 1000)}k` : plain(v)}`;
    if (unit === "share") return `${plain(v * 100)}%`;
    if (unit === "ms") return v >= 60000 ? `${plain(v / 60000)} min` : v >= 1000 ? `${plain(v / 1000)} s` : `${plain(v)} ms`;
    return v >= 1e6 ? `${plain(v / 1e6)}M` : v >= 10000 ? `${plain(v / 1000)}k` : plain(v);
  }
  function money(v) {
    const size = Math.abs(v);
    if (!size) return "$0";
    const digits = size >= 1000 ? 0 : size >= 1 ? 2 : size >= 0.01 ? 3 : 6;
    return `$${v.toLocaleString("en", { minimumFractionDigits: digits > 2 ? 0 : digits, maximumFractionDigits: digits })}`;
  }
  function colour(name) {
    // A custom property with light-dark() is not resolved until it is used.
    const probe = document.createElement("i");
    probe.style.color = `var(--${name})`;
    document.body.append(probe);
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  }
  const plots = new Map();
  function draw(within = document, again = false) {
    if (typeof uPlot === "undefined") return;
    for (const [holder, plot] of plots) {
      if (holder.isConnected && !again) continue;
      plot.destroy();
      plots.delete(holder);
    }
    for (const holder of all(".plot[data-plot]", within)) {
      if (!plots.has(holder)) plots.set(holder, made(holder, JSON.parse(holder.dataset.plot)));
    }
  }
  function made(holder, told) {
    const format = UNITS[told.unit] || UNITS.count;
    const tall = holder.classList.contains("tall");
    const line = colour("line");
    const muted = colour("muted");
    const tip = document.createElement("div");
    tip.className = "plot-tip";
    tip.hidden = true;
    tip.setAttribute("aria-hidden", "true");
    // Bars on bars: the sums are drawn from the highest down, each over what stands behind it.
    const drawn = told.series.map((each) => each.values);
    if (told.stacked) {
      for (let place = 1; place < drawn.length; place += 1) {
        drawn[place] = drawn[place].map((value, at) => (value || 0) + (drawn[place - 1][at] || 0));
      }
    }
    const order = told.series.map((_each, place) => place);
    if (told.stacked) order.reverse();
    const series = order.map((place) => told.series[place]).map((each) => {
      const ink = colour(each.tone || "accent");
      const bars = each.kind === "bars";
      return {
        label: each.label,
        stroke: ink,
        width: bars ? 0 : 1.75,
        fill: bars ? ink : each.kind === "area" ? faint(ink) : undefined,
        dash: each.kind === "dashed" ? [5, 4] : undefined,
        paths: bars ? uPlot.paths.bars({ size: [0.8, 40], gap: 1 }) : uPlot.paths.linear(),
        points: { show: !bars && each.values.filter((value) => value !== null).length <= 12, size: 5 },
        spanGaps: true,
      };
    });
    const stamp = (at, exact) => {
      const when = new Date(at * 1000).toISOString();
      const day = when.slice(5, 10);
      if (told.step >= 86400) return exact ? when.slice(0, 10) : day;
      return exact ? `${day} ${when.slice(11, 16)}` : when.slice(11, 16) === "00:00" ? day : when.slice(11, 16);
    };
    const options = {
      width: Math.max(80, holder.clientWidth),
      height: holder.clientHeight,
      tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 }, sync: told.sync ? { key: told.sync } : undefined },
      padding: [6, 6, 0, 0],
      scales: { x: { time: true, range: (_u, low, high) => [low - told.step / 2, high + told.step / 2] }, y: { range: (_u, _low, high) => [0, high > 0 ? high * 1.08 : 1] } },
      axes: [
        { stroke: muted, grid: { show: false }, ticks: { show: false }, size: 22, gap: 4, space: tall ? 72 : 56, font: "11px system-ui, sans-serif", values: (_u, marks) => marks.map((at) => stamp(at)) },
        { stroke: muted, grid: { stroke: line, width: 1 }, ticks: { show: false }, size: 48, gap: 4, space: tall ? 36 : 30, font: "11px system-ui, sans-serif", values: (_u, marks) => marks.map((mark) => brief(told.unit, mark)) },
      ],
      series: [{}, ...series],
      hooks: {
        setCursor: [
          (u) => {
            const at = u.cursor.idx;
            tip.hidden = at === null || at === undefined || u.cursor.left < 0;
            if (tip.hidden) return;
            const some = told.stacked ? told.series.filter((each) => each.values[at]) : told.series;
            const values = some.map((each) => `${told.series.length > 1 ? `${each.label} ` : ""}${format(each.values[at])}`);
            tip.textContent = `${stamp(told.x[at], true)}  ${values.join(", ")}`;
          },
        ],
      },
    };
    const plot = new uPlot(options, [told.x, ...order.map((place) => drawn[place])], holder);
    holder.append(tip);
    return plot;
  }
  function faint(ink) {
    return ink.replace(/^rgba?\(([^)]+)\)$/, (_m, inner) => `rgba(${inner.split(",").slice(0, 3).join(",")}, 0.14)`);
  }
  let waiting = 0;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      for (const [holder, plot] of plots) plot.setSize({ width: Math.max(80, holder.clientWidth), height: holder.clientHeight });
    }, 80);
  });

  // ---- small things
  async function copy(button) {
    const from = button.dataset.copyFrom ? document.getElementById(button.dataset.copyFrom) : null;
    const text = from ? from.textContent : button.dataset.copy;
    let done = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      done = document.execCommand("copy");
      area.remove();
    }
    say(done ? "Copied" : "This browser does not let pages copy: select the text and copy it");
    const words = button.querySelector("[data-said]");
    if (words && done) {
      const before = words.textContent;
      words.textContent = "Copied";
      setTimeout(() => { words.textContent = before; }, 1500);
    }
  }
  function say(text) {
    const told = document.getElementById("said-aloud");
    if (told) told.textContent = text;
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.matches("[data-theme-toggle]")) theme(dark() ? "light" : "dark");
    if (button.matches("[data-copy], [data-copy-from]")) copy(button);
    if (button.matches("[data-menu]")) {
      const open = document.querySelector(".side").classList.toggle("open");
      button.setAttribute("aria-expanded", String(open));
    }
    if (button.matches("[data-opens]")) document.getElementById(button.dataset.opens).showModal();
    if (button.matches("[data-closes]")) button.closest("dialog").close();
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-submits]")) event.target.form.requestSubmit();
  });

  // ---- shortcuts: "g" and the letter of a page, "/" to the search, "?" for the list
  let leading = false;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.target.matches("input, textarea, select, [contenteditable]")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (leading) {
      leading = false;
      const to = all("a[data-key]").find((each) => each.dataset.key === event.key);
      if (to) {
        event.preventDefault();
        to.click();
      }
    } else if (event.key === "g") {
      leading = true;
      setTimeout(() => { leading = false; }, 1500);
    } else if (event.key === "/") {
      const search = document.querySelector("[data-search]");
      if (search) {
        event.preventDefault();
        search.focus();
        search.select();
      } else {
        location.href = document.body.dataset.exchanges;
      }
    } else if (event.key === "?") {
      const help = document.getElementById("shortcuts");
      if (help) help.showModal();
    }
  });

  // ---- the live tail: rows come by htmx; here they are counted aloud, bounded, and stopped where nobody looks
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (event.target.matches("[data-tail]") && (document.hidden || event.target.dataset.paused === "yes")) event.preventDefault();
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    times(event.target);
    draw();
    const tail = document.getElementById("tail");
    if (tail && tail.dataset.arrived) {
      const body = document.getElementById("rows");
      for (const row of all("tr", body).slice(200)) row.remove();
      const empty = document.getElementById("no-rows");
      if (empty) empty.hidden = true;
      say(tail.dataset.arrived);
    }
  });
  document.addEventListener("htmx:responseError", (event) => {
    if (event.detail.xhr.status === 401 || event.detail.xhr.status === 403) location.reload();
  });

  for (const button of all("[data-theme-toggle]")) label(button);
  times();
  draw();
  setInterval(times, 15000);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw(document, true));
})();
