// Draws a series with its forecast and the shaded range: <div class="series-chart" data-series="..."> with JSON:
// {times, values, forecast?, low?, high?, words: {time, values, forecast, range}}. The same numbers stand in the page as a table.
(() => {
  "use strict";

  if (!window.uPlot) return;

  const HEIGHT = 260;
  const FONT = "12px Inter, 'Inter Variable', system-ui, sans-serif";

  // A canvas understands no var() and no light-dark(): a hidden element works them out.
  const probe = document.createElement("span");
  probe.className = "d-none";
  document.body.append(probe);

  function colour(name) {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  }

  function faded(name) {
    probe.style.color = `color-mix(in srgb, var(${name}) 18%, transparent)`;
    return getComputedStyle(probe).color;
  }

  const known = (value) => value !== null && value !== undefined;
  const written = (value) => (known(value) ? String(+value.toPrecision(5)) : "–");
  const ticks = (u, values) => values.map((value) => (known(value) ? value.toLocaleString(undefined, { maximumSignificantDigits: 4 }) : null));

  // Times as they were written, at whole places only.
  function timesAt(about) {
    return (u, places) => places.map((place) => (Number.isInteger(place) ? about.times[place] || "" : ""));
  }

  function range(about) {
    return (u, place, seriesIndex, dataIndex) => {
      const low = about.low && dataIndex !== null ? about.low[dataIndex] : null;
      const high = about.high && dataIndex !== null ? about.high[dataIndex] : null;
      return known(low) && known(high) ? `${written(low)} – ${written(high)}` : "–";
    };
  }

  function lines(about) {
    const line = { width: 2, spanGaps: false, points: { show: false }, value: (u, value) => written(value) };
    const past = { ...line, label: about.words.values, stroke: colour("--tblr-secondary"), width: 1.5 };
    if (!about.forecast) return [past];
    const main = colour("--tblr-primary");
    const edge = { ...line, stroke: "transparent", width: 0 };
    return [past, { ...line, label: about.words.forecast, stroke: main }, { ...edge, label: about.words.range, value: range(about), stroke: faded("--tblr-primary"), width: 1 }, { ...edge, class: "series-hidden" }];
  }

  function options(place, about) {
    const axis = { stroke: colour("--tblr-secondary"), grid: { stroke: colour("--tblr-border-color"), width: 1 }, ticks: { show: false }, font: FONT };
    return {
      width: Math.max(place.clientWidth, 200),
      height: HEIGHT,
      cursor: { drag: { x: true, y: false } },
      scales: { x: { time: false } },
      series: [{ label: about.words.time, value: (u, value) => (known(value) ? about.times[value] : "") }, ...lines(about)],
      bands: about.forecast ? [{ series: [3, 4], fill: faded("--tblr-primary") }] : [],
      axes: [{ ...axis, size: 36, gap: 10, values: timesAt(about), space: 110, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000] }, { ...axis, size: 60, values: ticks }],
    };
  }

  function draw(place) {
    const about = JSON.parse(place.dataset.series);
    const drawn = about.forecast ? [about.values, about.forecast, about.high, about.low] : [about.values];
    let plot = null;
    const build = () => {
      if (plot) plot.destroy();
      plot = new uPlot(options(place, about), [about.times.map((_, index) => index), ...drawn], place);
    };
    build();
    new ResizeObserver(() => plot.setSize({ width: place.clientWidth, height: HEIGHT })).observe(place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => setTimeout(build, 50));
    new MutationObserver(build).observe(document.documentElement, { attributeFilter: ["data-bs-theme"] });
  }

  const drawAll = (root) => root.querySelectorAll("[data-series]:empty").forEach(draw);
  document.addEventListener("htmx:afterSettle", () => drawAll(document));
  drawAll(document);
})();
