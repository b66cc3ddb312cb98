"use strict";
(function () {
  const page = JSON.parse(document.getElementById("data").textContent);
  const plots = [];
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const touch = matchMedia("(pointer: coarse)").matches;
  let printing = false;

  function colours() {
    const style = getComputedStyle(document.documentElement);
    return (role) => style.getPropertyValue("--" + role.slice(1)).trim();
  }

  // Colours are roles ("@winner") until they are drawn.
  function themed(value, colour) {
    if (Array.isArray(value)) return value.map((item) => (item && typeof item === "object" ? themed(item, colour) : item));
    const copy = {};
    for (const [key, inner] of Object.entries(value)) {
      if (typeof inner === "string" && inner[0] === "@" && /color$/.test(key)) copy[key] = colour(inner);
      else copy[key] = inner && typeof inner === "object" && key !== "x" && key !== "y" ? themed(inner, colour) : inner;
    }
    return copy;
  }

  function draw(plot) {
    const panel = plot.panel;
    const colour = colours();
    const data = themed(panel.data, colour);
    const hovers = page.hovers[panel.study] || {};
    for (const trace of data) {
      if (trace.customdata && !trace.hovertext) trace.hovertext = trace.customdata.map((n) => (n === null ? "" : hovers[n] || "trial " + n));
    }
    const layout = themed(panel.layout, colour);
    Object.assign(layout, {
      autosize: true,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("@soft") },
      hoverlabel: { bgcolor: colour("@paper"), bordercolor: colour("@line"), font: { color: colour("@ink"), size: 12 }, align: "left", namelength: 0 },
      dragmode: touch ? false : "zoom",
    });
    const drawn = Plotly.react(plot.div, data, layout, { displayModeBar: false, responsive: !printing, doubleClick: "reset" });
    if (!plot.listens) {
      plot.listens = true;
      drawn.then((div) => div.on("plotly_click", (event) => find(panel.study, event.points[0].customdata)));
    }
  }

  function show(figure, name) {
    figure.section.querySelectorAll(".views button").forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.view === name)));
    figure.plots.forEach((plot) => Plotly.purge(plot.div));
    figure.plots = [];
    const box = figure.section.querySelector(".panels");
    box.replaceChildren();
    const panels = figure.views[name];
    box.classList.toggle("one", panels.length === 1);
    for (const panel of panels) {
      const cell = box.appendChild(document.createElement("div"));
      cell.className = "panel";
      if (panel.title) cell.appendChild(document.createElement("h3")).textContent = panel.title;
      if (panels.some((other) => other.doc)) {
        const doc = cell.appendChild(document.createElement("div"));
        doc.className = "doc";
        doc.textContent = panel.doc;
      }
      const div = cell.appendChild(document.createElement("div"));
      div.className = "plot";
      div.style.height = panel.layout.height + "px";
      if (panel.min_width) div.style.minWidth = panel.min_width + "px";
      figure.plots.push({ div, panel });
    }
  }

  function find(study, number) {
    if (number === null || number === undefined) return;
    const row = document.getElementById("trial-" + study + "-" + number);
    document.querySelectorAll("tr.found").forEach((other) => other.classList.remove("found"));
    if (!row) return;
    row.hidden = false;
    row.classList.add("found");
    row.scrollIntoView({ block: "center", behavior: "smooth" });
  }

  // One panel at a time, so that the page can be read and scrolled while the rest is drawn.
  const queue = [];
  function work() {
    const plot = queue.shift();
    if (plot) {
      if (plot.div.isConnected) draw(plot);
      setTimeout(work, 0);
    } else {
      document.documentElement.dataset.drawn = "all";
    }
  }

  for (const section of document.querySelectorAll("section[data-figure]")) {
    const figure = { section, views: page.figures[Number(section.dataset.figure)], plots: [] };
    plots.push(figure);
    section.querySelectorAll(".views button").forEach((button) =>
      button.addEventListener("click", () => { show(figure, button.dataset.view); figure.plots.forEach(draw); }));
    show(figure, Object.keys(figure.views)[0]);
    queue.push(...figure.plots);
  }
  work();

  function redraw() { plots.forEach((figure) => figure.plots.forEach(draw)); }
  dark.addEventListener("change", redraw);
  addEventListener("beforeprint", () => { printing = true; redraw(); });
  addEventListener("afterprint", () => { printing = false; redraw(); });

  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "ascending" : "descending");
      const key = (row) => { const cell = row.cells[column]; return cell.dataset.v === undefined ? cell.textContent : Number(cell.dataset.v); };
      const missing = (value) => value === "" || Number.isNaN(value);
      const rows = [...body.rows].map((row) => [key(row), row]);
      rows.sort(([a], [b]) => {
        if (missing(a) || missing(b)) return missing(a) - missing(b);
        const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
        return down ? order : -order;
      });
      body.append(...rows.map(([, row]) => row));
    }));
  }
  for (const field of document.querySelectorAll("input[type=search]")) {
    const rows = [...field.closest("section").querySelectorAll("tbody tr")];
    field.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const row of rows) { const text = row.textContent.toLowerCase(); row.hidden = !words.every((word) => text.includes(word)); }
    });
  }
})();
