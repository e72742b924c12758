// Draws the figures of the page of the statistics: those of a segment when it is opened, those of open ones at once.
"use strict";
(() => {
  const { template, config, figures } = JSON.parse(document.getElementById("figures").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isTouch = matchMedia("(hover: none)").matches;
  const variable = /^var\((--[a-z0-9]+)\)$/;

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

  function draw(place) {
    const style = getComputedStyle(document.documentElement);
    const { data, layout } = coloured(figures[place.dataset.figure], style, false);
    layout.template = coloured(template, style, false);
    layout.uirevision = "same"; // a zoom stays where only colours change
    if (isTouch) layout.dragmode = false; // a finger scrolls the page
    const hasButtons = !isTouch && layout.dragmode !== false;
    place.classList.add("drawn");
    return Plotly.react(place, data, layout, { ...config, displayModeBar: hasButtons ? "hover" : false });
  }

  // One after the other, so that the page answers in between.
  async function drawAll(places) {
    for (const place of places) {
      await draw(place);
      await new Promise((resolve) => setTimeout(resolve));
    }
  }

  const OPEN = "details[open] .chart";
  document.addEventListener(
    "toggle",
    (event) => {
      if (event.target.open) drawAll(event.target.querySelectorAll(".chart:not(.drawn)"));
    },
    true,
  );
  dark.addEventListener("change", () => drawAll(document.querySelectorAll(".chart.drawn")));
  addEventListener("beforeprint", () => document.querySelectorAll(OPEN).forEach(draw));
  drawAll(document.querySelectorAll(`${OPEN}:not(.drawn)`));
})();
