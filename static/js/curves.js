// Draws the curves of a job with uPlot, and asks for new points until the job has ended.
// Expects #curves with data-metrics-url, and #curve-words (JSON): the words and the names of the metrics.
(() => {
  "use strict";

  const root = document.getElementById("curves");
  if (!root || !window.uPlot) return;

  const HEIGHT = 250;
  const POLL_MILLISECONDS = 1500;
  const SLOW_POLL_MILLISECONDS = 6000;
  const SMOOTHING = 0.8;
  const FADED = 0.3;
  const WHOLE = [1, 2, 5].flatMap((digit) => [...Array(9).keys()].map((power) => digit * 10 ** power)).sort((a, b) => a - b);
  const FONT = "12px Inter, 'Inter Variable', system-ui, sans-serif";
  const words = JSON.parse(document.getElementById("curve-words").textContent);
  const charts = new Map(); // metric name -> chart
  const choices = { smooth: false, log: false, step: false };
  let after = 0;

  // Points: one list of {epoch, step, value} per metric and split, ordered by step.

  function addPoint([id, name, split, step, epoch, value]) {
    after = Math.max(after, id);
    if (split !== "train" && split !== "val") return;
    const chart = charts.get(name) || newChart(name);
    const points = chart.points[split];
    // A run that went on from a checkpoint measures the later steps again: the new points replace the old ones.
    while (points.length && points[points.length - 1].step >= step) points.pop();
    points.push({ epoch, step, value });
    chart.stale = true;
  }

  function bestPoint(chart) {
    const points = chart.points.val.filter((point) => Number.isFinite(point.value));
    const sign = chart.about.higher ? 1 : -1;
    return points.reduce((best, point) => (!best || sign * (point.value - best.value) > 0 ? point : best), null);
  }

  // The exponential moving average, corrected for its start.
  function smoothed(values) {
    let sum = 0;
    let weight = 0;
    return values.map((value) => {
      if (value === null) return null;
      sum = SMOOTHING * sum + (1 - SMOOTHING) * value;
      weight = SMOOTHING * weight + (1 - SMOOTHING);
      return sum / weight;
    });
  }

  function axisValue(point) {
    return choices.step ? point.step : point.epoch;
  }

  function isLog(chart) {
    return choices.log && !chart.about.percent;
  }

  function table(chart, split) {
    const shown = chart.points[split].filter((point) => Number.isFinite(point.value));
    const values = shown.map((point) => (isLog(chart) && point.value <= 0 ? null : point.value));
    return [shown.map(axisValue), values, smoothed(values)];
  }

  function chartData(chart) {
    return uPlot.join([table(chart, "train"), table(chart, "val")]);
  }

  // Looks

  // A canvas understands no var() and no light-dark(): a hidden element works them out.
  const probe = element("span", "d-none", root.parentElement);

  function colour(name) {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  }

  function written(about, value) {
    if (value === null || value === undefined || !Number.isFinite(value)) return "–";
    if (about.percent) return (value * 100).toFixed(1) + " %";
    const size = Math.abs(value);
    return size !== 0 && (size < 0.001 || size >= 100000) ? value.toExponential(2) : String(+value.toPrecision(4));
  }

  function position(point) {
    return choices.step ? `${words.step} ${point.step}` : `${words.epoch} ${+point.epoch.toFixed(2)}`;
  }

  function line(label, stroke, width, isMain) {
    return {
      label,
      stroke,
      width,
      alpha: choices.smooth && !isMain ? FADED : 1,
      spanGaps: true,
      points: { show: (u, index) => u.data[index].filter((value) => value !== null && value !== undefined).length < 2 },
    };
  }

  function seriesOf() {
    const train = colour("--tblr-secondary");
    const validation = colour("--tblr-primary");
    return [
      {},
      line(words.train, train, 1, false),
      { ...line(words.train, train, 1.25, true), show: choices.smooth },
      line(words.val, validation, choices.smooth ? 1 : 2.5, false),
      { ...line(words.val, validation, 2.5, true), show: choices.smooth },
    ];
  }

  // Whole epochs, once there is more than one.
  function wholeSteps(u, axis, smallest, largest) {
    return largest - smallest > 2 ? WHOLE : [0.1, 0.2, 0.5, ...WHOLE];
  }

  function axes(chart) {
    const ink = colour("--tblr-secondary");
    const grid = { stroke: colour("--tblr-border-color"), width: 1 };
    const common = { stroke: ink, grid, ticks: { show: false }, font: FONT, labelFont: FONT };
    const unit = chart.about.unit ? ` (${chart.about.unit})` : "";
    const percent = (u, ticks) => ticks.map((tick) => +(tick * 100).toFixed(2));
    const plain = (u, ticks) => ticks.map((tick) => (tick === null ? null : String(+tick.toPrecision(3))));
    return [
      { ...common, label: choices.step ? words.stepAxis : words.epochAxis, labelSize: 20, size: 32, incrs: wholeSteps },
      { ...common, label: chart.about.label + unit, labelSize: 22, size: 52, values: chart.about.percent ? percent : plain },
    ];
  }

  function markBest(chart) {
    return (u) => {
      const best = bestPoint(chart);
      if (!best) return;
      const x = u.valToPos(axisValue(best), "x", true);
      const y = u.valToPos(best.value, "y", true);
      const { ctx } = u;
      ctx.save();
      ctx.beginPath();
      ctx.arc(x, y, 5 * devicePixelRatio, 0, 2 * Math.PI);
      ctx.fillStyle = colour("--tblr-bg-surface");
      ctx.strokeStyle = colour("--tblr-green");
      ctx.lineWidth = 2.5 * devicePixelRatio;
      ctx.fill();
      ctx.stroke();
      ctx.restore();
    };
  }

  // Hover

  function nearest(points, x) {
    return points.reduce(
      (best, point) => (!best || Math.abs(axisValue(point) - x) < Math.abs(axisValue(best) - x) ? point : best),
      null,
    );
  }

  function nearestFilled(u, seriesIndex, hovered, x) {
    const values = u.data[seriesIndex];
    let best = null;
    values.forEach((value, index) => {
      if (value === null || value === undefined) return;
      if (best === null || Math.abs(u.data[0][index] - x) < Math.abs(u.data[0][best] - x)) best = index;
    });
    return best === null ? hovered : best;
  }

  function tell(chart) {
    return (u) => {
      const isOver = u.cursor.left >= 0;
      chart.hover.hidden = !isOver;
      chart.note.hidden = isOver;
      if (!isOver) return;
      const x = u.posToVal(u.cursor.left, "x");
      const validation = nearest(chart.points.val, x);
      const train = nearest(chart.points.train, x);
      const parts = [position(validation || train)];
      if (train) parts.push(`${words.train} ${written(chart.about, train.value)}`);
      if (validation) parts.push(`${words.val} ${written(chart.about, validation.value)}`);
      chart.hover.textContent = parts.join(" · ");
    };
  }

  // Charts

  function element(tag, className, parent, text = "") {
    const made = document.createElement(tag);
    made.className = className;
    made.textContent = text;
    if (parent) parent.append(made);
    return made;
  }

  function aboutMetric(name) {
    const label = name.replaceAll("_", " ");
    return words.metrics[name] || { label: label[0].toUpperCase() + label.slice(1), higher: false, percent: false, unit: "", order: 50 };
  }

  function newChart(name) {
    root.querySelectorAll("[data-skeleton]").forEach((skeleton) => skeleton.remove());
    const about = aboutMetric(name);
    const column = element("div", "col-12 col-xl-6");
    column.dataset.order = about.order;
    const card = element("div", "card card-sm curve", column);
    const head = element("div", "curve-head", card);
    element("h3", "curve-title", head, about.label);
    const note = element("div", "curve-note", head);
    const hover = element("div", "curve-note curve-hover", head);
    hover.hidden = true;
    const place = element("div", "curve-plot", card);
    const later = [...root.children].find((other) => Number(other.dataset.order) > about.order);
    root.insertBefore(column, later || null);
    const chart = { name, about, note, hover, place, plot: null, stale: true, points: { train: [], val: [] } };
    charts.set(name, chart);
    new ResizeObserver(() => chart.plot && chart.plot.setSize({ width: place.clientWidth, height: HEIGHT })).observe(place);
    return chart;
  }

  // A curve that never moves gets a little room, and a share of the whole ends at 100 %.
  function range(chart) {
    return (u, low, high) => {
      if (low === null || low === undefined) return [null, null];
      const room = low === high ? Math.abs(low) * 0.1 || 1 : 0;
      const [bottom, top] = uPlot.rangeNum(low - room, high + room, 0.1, true);
      return chart.about.percent ? [Math.max(bottom, 0), Math.min(top, 1.02)] : [bottom, top];
    };
  }

  function options(chart) {
    return {
      width: Math.max(chart.place.clientWidth, 200),
      height: HEIGHT,
      legend: { show: false },
      cursor: { sync: { key: "curves", setSeries: false }, drag: { x: true, y: false }, dataIdx: nearestFilled, points: { size: 7 } },
      scales: { x: { time: false }, y: isLog(chart) ? { distr: 3 } : { range: range(chart) } },
      series: seriesOf(),
      axes: axes(chart),
      hooks: { draw: [markBest(chart)], setCursor: [tell(chart)] },
    };
  }

  function build(chart) {
    if (chart.plot) chart.plot.destroy();
    chart.plot = new uPlot(options(chart), chartData(chart), chart.place);
    writeNote(chart);
  }

  function writeNote(chart) {
    const best = bestPoint(chart);
    const points = chart.points.val.length ? chart.points.val : chart.points.train;
    const last = points[points.length - 1];
    chart.note.textContent = best
      ? `${words.best} ${written(chart.about, best.value)} · ${position(best)}`
      : last ? `${words.last} ${written(chart.about, last.value)}` : "";
    chart.note.classList.toggle("curve-best", Boolean(best));
  }

  function draw() {
    charts.forEach((chart) => {
      if (!chart.stale) return;
      chart.stale = false;
      if (!chart.plot) return build(chart);
      chart.plot.setData(chartData(chart));
      writeNote(chart);
    });
  }

  function rebuild() {
    charts.forEach(build);
  }

  // Live points

  async function ask() {
    const response = await fetch(`${root.dataset.metricsUrl}?after=${after}`, { headers: { Accept: "application/json" } });
    if (!response.ok || response.redirected) return { stop: response.status < 500 };
    const answer = await response.json();
    answer.points.forEach(addPoint);
    draw();
    return { stop: answer.is_resting && !answer.has_more, hasMore: answer.has_more };
  }

  async function follow() {
    let wait = POLL_MILLISECONDS;
    try {
      const { stop, hasMore } = await ask();
      if (stop) return finish();
      if (hasMore) wait = 0;
    } catch {
      wait = SLOW_POLL_MILLISECONDS; // the network is away for a moment; what is drawn stays
    }
    setTimeout(follow, document.hidden ? SLOW_POLL_MILLISECONDS : wait);
  }

  function finish() {
    root.dataset.done = "true";
    if (charts.size) return;
    root.replaceChildren(element("p", "curves-none col-12 text-secondary mb-0", null, words.none));
  }

  // Choices

  function recall() {
    try {
      Object.assign(choices, JSON.parse(localStorage.getItem("lepton.curves") || "{}"));
    } catch {
      // private mode, or something else wrote there: the defaults do
    }
  }

  function remember() {
    try {
      localStorage.setItem("lepton.curves", JSON.stringify(choices));
    } catch {
      // not being able to remember is no reason not to draw
    }
  }

  document.querySelectorAll("[data-curve-choice]").forEach((box) => {
    box.addEventListener("change", () => {
      choices[box.dataset.curveChoice] = box.checked;
      remember();
      rebuild();
    });
  });

  recall();
  document.querySelectorAll("[data-curve-choice]").forEach((box) => {
    box.checked = Boolean(choices[box.dataset.curveChoice]);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => setTimeout(rebuild, 50));
  new MutationObserver(rebuild).observe(document.documentElement, { attributeFilter: ["data-bs-theme"] });
  follow();
})();
