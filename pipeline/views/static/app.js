// Draws the figures of a page, sorts its short tables, and sends its filters when they change.
"use strict";
(() => {
  const variable = /^var\((--[a-z0-9]+)\)$/;
  const isTouch = matchMedia("(hover: none)").matches;
  const CONFIG = {
    responsive: true,
    displaylogo: false,
    showSendToCloud: false,
    showEditInChartStudio: false,
    showLink: false,
    plotlyServerURL: "",
    topojsonURL: "",
    modeBarButtons: [["toImage", "resetScale2d"]],
    toImageButtonOptions: { filename: "token-analytics", scale: 2 },
  };

  // A copy in which colours that are variables of the page's style have their values of now; other text stays.
  function coloured(value, style, isColour) {
    if (typeof value === "string") {
      const found = isColour && variable.exec(value);
      return found ? style.getPropertyValue(found[1]).trim() : value;
    }
    if (Array.isArray(value)) return value.map((each) => coloured(each, style, isColour));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(
      Object.entries(value).map(([key, each]) => [key, coloured(each, style, /color(scale)?$/.test(key))]),
    );
  }

  function template() {
    const axis = {
      gridcolor: "var(--line)",
      linecolor: "var(--line)",
      zerolinecolor: "var(--quiet)",
      automargin: true,
      nticks: 7,
      title: { standoff: 8, font: { size: 12 } },
    };
    return {
      layout: {
        font: { family: "system-ui, -apple-system, 'Segoe UI', sans-serif", size: 12, color: "var(--quiet)" },
        paper_bgcolor: "rgba(0,0,0,0)",
        plot_bgcolor: "rgba(0,0,0,0)",
        margin: { l: 8, r: 8, t: 16, b: 8 },
        hovermode: "closest",
        hoverlabel: { bgcolor: "var(--card)", bordercolor: "var(--quiet)", font: { color: "var(--text)" }, align: "left" },
        legend: { orientation: "h", yref: "container", yanchor: "bottom", y: 0, font: { size: 11 } },
        modebar: { bgcolor: "rgba(0,0,0,0)", color: "var(--quiet)", activecolor: "var(--text)" },
        xaxis: axis,
        yaxis: axis,
      },
    };
  }

  function draw(place) {
    const style = getComputedStyle(document.documentElement);
    const stored = document.getElementById(place.dataset.figure);
    const { data, layout } = coloured(JSON.parse(stored.textContent), style, false);
    layout.template = coloured(template(), style, false);
    layout.uirevision = "same"; // a zoom stays where only colours change
    if (layout.height) place.style.height = `${layout.height}px`;
    if (isTouch) layout.dragmode = false; // a finger scrolls the page
    place.dataset.drawn = "yes";
    return Plotly.react(place, data, layout, { ...CONFIG, displayModeBar: isTouch ? false : "hover" });
  }

  // Figures are drawn when they come near the window: a page opens at once, however long it is.
  const near = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        near.unobserve(entry.target);
        draw(entry.target);
      }
    },
    { rootMargin: "600px" },
  );

  const charts = (state) => document.querySelectorAll(`.chart${state}`);

  function begin() {
    if (typeof Plotly === "undefined") return;
    charts(":not([data-drawn])").forEach((place) => near.observe(place));
  }

  // ------------------------------------------------------------------------------------ tables of the static pages

  function sortTable(button) {
    const heading = button.closest("th");
    const body = heading.closest("table").tBodies[0];
    const column = heading.cellIndex;
    const isDescending = heading.getAttribute("aria-sort") !== "descending";
    const value = (row) => row.cells[column].dataset.value;
    const compared = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const order = heading.classList.contains("number") ? Number(x) - Number(y) : x.localeCompare(y);
      return isDescending ? -order : order;
    };
    body.replaceChildren(...[...body.rows].sort(compared));
    heading.parentElement.querySelectorAll("th").forEach((each) => each.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", isDescending ? "descending" : "ascending");
  }

  // ---------------------------------------------------------------------------------------------------- events

  document.addEventListener("click", (event) => {
    const sorter = event.target.closest("button.sort");
    if (sorter) sortTable(sorter);
    const copier = event.target.closest("button.copy");
    if (copier) navigator.clipboard?.writeText(document.getElementById(copier.dataset.of).textContent);
  });
  document.addEventListener("change", (event) => event.target.form?.matches("form.filters") && event.target.form.requestSubmit());
  // Empty fields stay out of the address.
  document.addEventListener("formdata", (event) => {
    for (const [name, value] of [...event.formData.entries()]) if (value === "") event.formData.delete(name);
  });
  document.addEventListener("htmx:before:swap", () => charts("[data-drawn]").forEach((place) => Plotly.purge(place)));
  document.addEventListener("htmx:after:swap", begin);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts("[data-drawn]").forEach(draw));
  addEventListener("beforeprint", () => charts("").forEach(draw));
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", begin);
  else begin();
})();
