"use strict";
(() => {
  const twins = JSON.parse(document.getElementById("theme").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const plots = [...document.querySelectorAll("[data-figure]")];
  let printing = false;

  // A colour of the house is replaced wherever it stands, so that figures of any shape follow the page.
  const swap = (value) => {
    if (typeof value === "string") return twins[value.toLowerCase()] || value;
    if (Array.isArray(value)) return value.map(swap);
    if (value && typeof value === "object" && !ArrayBuffer.isView(value)) {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, swap(item)]));
    }
    return value;
  };
  const axes = (layout, letter) => Object.keys(layout).filter((key) => new RegExp(`^${letter}axis\\d*$`).test(key));
  // On a phone: smaller letters, long titles in two lines, and panels that stand side by side one above the other.
  const narrow = (layout) => {
    layout.font.size = 11;
    for (const key of [...axes(layout, "x"), ...axes(layout, "y")]) {
      const title = layout[key].title;
      if (!title?.text) continue;
      title.font = { ...title.font, size: 11 };
      const middle = title.text.indexOf(" ", Math.floor(title.text.length / 2));
      if (title.text.length > 24 && middle > 0 && !title.text.includes("<br>")) title.text = `${title.text.slice(0, middle)}<br>${title.text.slice(middle + 1)}`;
    }
    const columns = axes(layout, "x").filter((key) => layout[key].domain);
    const starts = new Set(columns.map((key) => layout[key].domain[0]));
    if (columns.length < 2 || starts.size !== columns.length) return;
    const names = (layout.annotations || []).filter((note) => note.yref === "paper" && note.xref === "paper" && note.xanchor === "center");
    const tall = layout.height || 400, step = 1 / columns.length;
    columns.sort((a, b) => layout[a].domain[0] - layout[b].domain[0]).forEach((key, row) => {
      const top = 1 - row * step, down = layout[key.replace("x", "y")];
      layout[key].domain = [0, 1];
      if (down) down.domain = [top - step * 0.62, top - step * 0.1];
      if (names[row]) Object.assign(names[row], { x: 0.5, y: top - step * 0.1, yanchor: "bottom" });
    });
    layout.height = Math.round(tall * 0.62 * columns.length);
    layout.legend = { ...layout.legend, y: -0.03, yanchor: "top" };
  };
  const dress = (spec) => {
    const night = dark.matches && !printing;
    const { data, layout } = night ? swap(spec) : structuredClone(spec);
    const css = getComputedStyle(document.documentElement);
    const ink = printing ? "#1d232b" : css.getPropertyValue("--ink").trim();
    const grid = printing ? "#e3e7ec" : css.getPropertyValue("--grid").trim();
    const paper = printing ? "#ffffff" : css.getPropertyValue("--paper").trim();
    layout.font = { ...layout.font, family: css.getPropertyValue("--sans").trim(), color: ink };
    layout.hoverlabel = { ...layout.hoverlabel, bgcolor: paper, bordercolor: grid, font: { color: ink, size: 12 } };
    layout.legend = { ...layout.legend, bgcolor: "rgba(0,0,0,0)", font: { ...(layout.legend || {}).font, color: ink } };
    layout.modebar = { bgcolor: "rgba(0,0,0,0)", color: grid, activecolor: ink };
    layout.xaxis ??= {};
    layout.yaxis ??= {};
    for (const key of Object.keys(layout)) {
      if (!/^[xy]axis\d*$/.test(key)) continue;
      Object.assign(layout[key], { gridcolor: grid, linecolor: grid, zerolinecolor: grid });
      layout[key].automargin = true;
      layout[key].tickfont = { ...layout[key].tickfont, color: ink };
    }
    // A drag scrolls the page; zooming is a button away.
    layout.dragmode = false;
    if (window.innerWidth < 640 && !printing) narrow(layout);
    layout.autosize = true;
    return { data, layout };
  };
  const config = {
    responsive: true, displaylogo: false, displayModeBar: window.matchMedia("(hover: hover)").matches ? "hover" : false, scrollZoom: false,
    modeBarButtonsToRemove: ["lasso2d", "select2d", "zoomIn2d", "zoomOut2d", "autoScale2d"],
    toImageButtonOptions: { format: "svg", filename: "whenlens" },
  };
  const specs = new Map();
  const draw = (box, extra = {}) => {
    if (!box.offsetWidth) return null;
    if (!specs.has(box)) specs.set(box, JSON.parse(document.getElementById(`figure-${box.dataset.figure}`).textContent));
    const { data, layout } = dress(specs.get(box));
    return Plotly.react(box, data, { ...layout, ...extra }, config).then(() => box.classList.add("drawn"));
  };
  if (window.Plotly) {
    // One figure a turn, so that the page can be read and scrolled while the others are drawn.
    const queue = plots.slice();
    const next = () => { const box = queue.shift(); if (box) { draw(box); setTimeout(next, 0); } };
    next();
    dark.addEventListener("change", () => plots.forEach((box) => draw(box)));
    document.addEventListener("toggle", (event) => {
      event.target.querySelectorAll?.("[data-figure]").forEach((box) => draw(box));
    }, true);
    window.addEventListener("beforeprint", () => { printing = true; plots.forEach((box) => draw(box, { width: 660, autosize: false })); });
    window.addEventListener("afterprint", () => { printing = false; plots.forEach((box) => draw(box)); });
  }

  // Token views: what the background shows, and a line that says what is known of one token.
  for (const view of document.querySelectorAll(".token-view")) {
    view.addEventListener("change", (event) => {
      if (event.target.type !== "radio") return;
      view.querySelectorAll(".token-text .tokens").forEach((text) => { text.dataset.colour = event.target.value; });
    });
    const say = (token) => {
      const text = token.closest(".tokens");
      text.querySelector(".at")?.classList.remove("at");
      token.classList.add("at");
      const known = token.dataset, parts = [];
      if (known.by) parts.push(`written by the ${known.by}`);
      if (token.classList.contains("open")) parts.push(token.classList.contains("changed") ? "gate open, token changed" : "gate open, token unchanged");
      if (known.js) parts.push(`JS ${known.js} nats`);
      if (known.score) parts.push(`probe score ${known.score}`);
      if (known.strength) parts.push(`dose ${known.strength}`);
      if (known.other !== undefined) parts.push(`not written: “${known.other}”`);
      const code = document.createElement("code");
      code.textContent = `“${token.textContent.replaceAll("↵\n", "↵")}”`;
      text.parentElement.querySelector(".reading").replaceChildren(code, ` ${parts.join(" · ") || "nothing known"}`);
    };
    view.addEventListener("pointerover", (event) => { const token = event.target.closest(".token-text .t"); if (token) say(token); });
    view.addEventListener("click", (event) => { const token = event.target.closest(".token-text .t"); if (token) say(token); });
    view.addEventListener("keydown", (event) => {
      if (!event.target.matches(".token-text .tokens")) return;
      const step = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity }[event.key];
      if (step === undefined) return;
      const marked = [...event.target.querySelectorAll(".rl, .steered, .open")];
      const all = marked.length ? marked : [...event.target.querySelectorAll(".t")];
      const now = all.indexOf(event.target.querySelector(".at"));
      const place = Math.min(Math.max(now < 0 && step === -1 ? all.length - 1 : now + step, 0), all.length - 1);
      event.preventDefault();
      say(all[place]);
      all[place].scrollIntoView({ block: "nearest" });
    });
  }

  // Long tables sort by a column when its head is pressed.
  for (const table of document.querySelectorAll("table[data-sortable]")) {
    table.querySelectorAll("thead th").forEach((head, place) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "descending" || (head.ariaSort !== "ascending" && !head.classList.contains("number"));
        table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "ascending" : "descending");
        const key = (row) => {
          const cell = row.cells[place];
          if (cell.dataset.sort !== undefined) return Number(cell.dataset.sort);
          return head.classList.contains("number") ? null : cell.textContent;
        };
        const order = (a, b) => (typeof a === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true }));
        // Cells that were not measured stay at the end either way.
        const rows = [...table.tBodies[0].rows].map((row) => [key(row), row]);
        const known = rows.filter(([value]) => value !== null).sort(([a], [b]) => (down ? 1 : -1) * order(a, b));
        table.tBodies[0].append(...[...known, ...rows.filter(([value]) => value === null)].map(([, row]) => row));
      });
    });
  }

  for (const code of document.querySelectorAll(".code")) {
    if (!navigator.clipboard) break;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.addEventListener("click", () => navigator.clipboard.writeText(code.querySelector("pre").textContent)
      .then(() => { button.textContent = "Copied"; }, () => { button.textContent = "Select and copy by hand"; }));
    code.append(button);
  }

  // The table of contents follows the reader.
  const links = new Map([...document.querySelectorAll(".contents a")].map((link) => [link.hash.slice(1), link]));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      links.forEach((link) => link.removeAttribute("aria-current"));
      links.get(entry.target.id)?.setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-10% 0px -80% 0px" });
  document.querySelectorAll("header[id], main > section[id]").forEach((part) => seen.observe(part));
})();
