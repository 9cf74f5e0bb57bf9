// Draws lines over time with uPlot: <div class="chart" data-chart="..."> with JSON:
// {x: [...], isTime, xLabel?, yLabel, yRange?, series: [{label, values, isStepped?, isSparse?, isDashed?}]}. Values of a sparse
// series are null between its points. What is drawn is in the page as numbers too.
(() => {
  "use strict";

  if (!window.uPlot) return;

  const HEIGHT = 240;
  const FONT = "12px Inter, 'Inter Variable', system-ui, sans-serif";
  const COLOURS = ["--tblr-primary", "--tblr-orange", "--tblr-teal", "--tblr-pink"];

  // A canvas understands no var() and no light-dark(): a hidden element works them out.
  const probe = document.createElement("span");
  probe.className = "d-none";
  document.body.append(probe);

  function colour(name) {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  }

  function line(series, index) {
    return {
      label: series.label,
      stroke: colour(series.isDashed ? "--tblr-secondary" : COLOURS[index % COLOURS.length]),
      width: series.isDashed ? 1 : 2,
      dash: series.isDashed ? [4, 4] : undefined,
      paths: series.isStepped ? uPlot.paths.stepped({ align: 1 }) : undefined,
      spanGaps: Boolean(series.isSparse),
      points: { show: Boolean(series.isSparse) || series.values.length < 2 },
      value: (u, value) => (value === null || value === undefined ? "–" : String(+value.toPrecision(5))),
    };
  }

  const LANGUAGE = document.documentElement.lang || undefined;
  const DAY = new Intl.DateTimeFormat(LANGUAGE, { day: "numeric", month: "short" });
  const HOUR = new Intl.DateTimeFormat(LANGUAGE, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const MOMENT = new Intl.DateTimeFormat(LANGUAGE, { dateStyle: "medium", timeStyle: "short", hourCycle: "h23" });

  // Days where the ticks are days apart, hours where they are closer.
  function timeTicks(u, ticks) {
    const isDaily = ticks.length < 2 || ticks[1] - ticks[0] >= 86400;
    return ticks.map((tick) => (isDaily ? DAY : HOUR).format(new Date(tick * 1000)));
  }

  function options(place, about) {
    const words = { label: about.isTime ? "" : about.xLabel };
    if (about.isTime) words.value = (u, value) => (value === null ? "" : MOMENT.format(new Date(value * 1000)));
    const axis = { stroke: colour("--tblr-secondary"), grid: { stroke: colour("--tblr-border-color"), width: 1 }, ticks: { show: false }, font: FONT, labelFont: FONT };
    return {
      width: Math.max(place.clientWidth, 200),
      height: HEIGHT,
      legend: { show: true, live: true },
      cursor: { drag: { x: true, y: false } },
      scales: { x: { time: Boolean(about.isTime) }, y: { range: (u, low, high) => about.yRange || [0, high > 0 ? high * 1.1 : 1] } },
      series: [words, ...about.series.map(line)],
      axes: [about.isTime ? { ...axis, values: timeTicks, space: 70 } : { ...axis, label: about.xLabel, labelSize: 20 }, { ...axis, label: about.yLabel, labelSize: 22, size: 56 }],
    };
  }

  function draw(place) {
    const about = JSON.parse(place.dataset.chart);
    let plot = null;
    const build = () => {
      if (plot) plot.destroy();
      plot = new uPlot(options(place, about), [about.x, ...about.series.map((series) => series.values)], place);
    };
    build();
    new ResizeObserver(() => plot.setSize({ width: place.clientWidth, height: HEIGHT })).observe(place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => setTimeout(build, 50));
    new MutationObserver(build).observe(document.documentElement, { attributeFilter: ["data-bs-theme"] });
  }

  const drawAll = (root) => root.querySelectorAll("[data-chart]:empty").forEach(draw);
  document.addEventListener("htmx:afterSettle", () => drawAll(document));
  drawAll(document);
})();
