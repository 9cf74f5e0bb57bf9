// Draws the candidates of a compression, score against cost, from the JSON in the table's card (#candidate-points), and
// again whenever that card is swapped. The table has the same figures.
(() => {
  "use strict";

  const root = document.getElementById("plots");
  if (!root || !window.uPlot) return;

  const HEIGHT = 250;
  const MARK = 5;
  const TICK_ROOM = 75; // pixels for each number of the axis of costs
  const NEAR = 24; // pixels within which a mark is hovered
  const ROOM = 1.35; // factor that the axis of costs goes beyond the outermost marks
  const FLOOR_LIMITS = 5; // so many times the limit below the original a plot ends; what is worse stands at its edge
  const FONT = "12px Inter, 'Inter Variable', system-ui, sans-serif";
  const COLOURS = { original: "--tblr-body-color", within: "--tblr-green", over: "--tblr-red", no_gain: "--tblr-secondary", failed: "--tblr-yellow" };
  const FILLED = ["original", "within"];
  const plots = new Map(); // place -> {plot, about, points}
  const openNotes = new Set();

  // A canvas understands no var() and no light-dark(): a hidden element works them out.
  const probe = document.createElement("span");
  probe.className = "d-none";
  root.parentElement.append(probe);

  function colour(name) {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  }

  function read() {
    const source = document.getElementById("candidate-points"); // htmx takes scripts out of what it swaps in
    return source ? JSON.parse(source.dataset.points) : null;
  }

  function inBytes(value) {
    const power = value < 1000 ? 0 : Math.min(3, Math.floor(Math.log10(value) / 3));
    return `${+(value / 1000 ** power).toPrecision(3)} ${["B", "kB", "MB", "GB"][power]}`;
  }

  function written(cost, value) {
    return cost === "bytes" ? inBytes(value) : String(+value.toPrecision(3));
  }

  function scoreText(about, value) {
    return about.isPercent ? `${value.toFixed(1)} %` : String(+value.toPrecision(4));
  }

  // Scales

  function costRange(points, cost) {
    const costs = points.map((point) => point[cost]);
    return [Math.min(...costs) / ROOM, Math.max(...costs) * ROOM];
  }

  // One hopeless candidate must not press all others into a line.
  function scoreRange(about, points) {
    const sign = about.isHigherBetter ? 1 : -1;
    const bounds = points.flatMap((point) => (point.interval.length ? point.interval : [point.score]));
    let worst = Math.min(...bounds.map((value) => sign * value));
    const best = Math.max(...bounds.map((value) => sign * value));
    if (about.original !== null) {
      const room = FLOOR_LIMITS * Math.max(Math.abs(about.original - about.limit), Math.abs(about.original) * 0.01);
      worst = Math.max(worst, sign * about.original - room);
    }
    const margin = Math.max((best - worst) * 0.08, Math.abs(best) * 0.002, 1e-9);
    const ends = [sign * (worst - margin), sign * (best + margin)].sort((a, b) => a - b);
    return about.isPercent ? [Math.max(ends[0], -1), Math.min(ends[1], 101)] : ends;
  }

  // 1, 2 and 5 of each power of ten, or finer where that gives too few.
  function costTicks(u, axis, low, high) {
    for (const digits of [[1, 2, 5], [1, 1.5, 2, 3, 5, 7], [1, 1.2, 1.5, 1.8, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9]]) {
      const ticks = [];
      for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
        digits.forEach((digit) => ticks.push(digit * 10 ** power));
      }
      let shown = ticks.filter((tick) => tick >= low && tick <= high);
      while (shown.length > Math.max(3, u.width / TICK_ROOM)) shown = shown.filter((tick, index) => index % 2 === 0);
      if (shown.length > 2) return shown;
    }
    return [low, high];
  }

  // Drawing

  function position(u, point, cost) {
    const [low, high] = [u.scales.y.min, u.scales.y.max];
    const isBeyond = point.score < low || point.score > high;
    const score = Math.min(high, Math.max(low, point.score));
    return { x: u.valToPos(point[cost], "x", true), y: u.valToPos(score, "y", true), isBeyond };
  }

  function drawLine(u, points, stroke, width, dash) {
    const { ctx } = u;
    ctx.strokeStyle = stroke;
    ctx.lineWidth = width * devicePixelRatio;
    ctx.setLineDash(dash.map((length) => length * devicePixelRatio));
    ctx.beginPath();
    points.forEach(({ x, y }, index) => (index ? ctx.lineTo(x, y) : ctx.moveTo(x, y)));
    ctx.stroke();
    ctx.setLineDash([]);
  }

  function drawLimit(u, about) {
    if (about.limit === null || about.limit < u.scales.y.min || about.limit > u.scales.y.max) return;
    const y = u.valToPos(about.limit, "y", true);
    const { left, width } = u.bbox;
    drawLine(u, [{ x: left, y }, { x: left + width, y }], colour("--tblr-red"), 1, [4, 4]);
    u.ctx.fillStyle = colour("--tblr-secondary");
    u.ctx.font = `${11 * devicePixelRatio}px Inter, system-ui, sans-serif`;
    u.ctx.textAlign = "left";
    u.ctx.fillText(about.words.limit, left + 4 * devicePixelRatio, y - 4 * devicePixelRatio);
  }

  function drawInterval(u, point, x, stroke) {
    if (!point.interval.length) return;
    const [low, high] = point.interval.map((value) => u.valToPos(Math.min(u.scales.y.max, Math.max(u.scales.y.min, value)), "y", true));
    u.ctx.globalAlpha = 0.35;
    drawLine(u, [{ x, y: low }, { x, y: high }], stroke, 2, []);
    u.ctx.globalAlpha = 1;
  }

  function drawMark(u, point, { x, y, isBeyond }) {
    const { ctx } = u;
    const size = (point.isChosen ? MARK + 1 : MARK) * devicePixelRatio;
    const stroke = colour(COLOURS[point.verdict]);
    if (!isBeyond) drawInterval(u, point, x, stroke);
    ctx.beginPath();
    if (isBeyond) {
      ctx.moveTo(x - size, y - size * 1.6);
      ctx.lineTo(x + size, y - size * 1.6);
      ctx.lineTo(x, y);
      ctx.closePath();
    } else if (point.verdict === "original") ctx.rect(x - size, y - size, 2 * size, 2 * size);
    else ctx.arc(x, y, size, 0, 2 * Math.PI);
    ctx.fillStyle = FILLED.includes(point.verdict) ? stroke : colour("--tblr-bg-surface");
    ctx.strokeStyle = stroke;
    ctx.lineWidth = 2 * devicePixelRatio;
    ctx.fill();
    ctx.stroke();
    if (!point.isChosen) return;
    ctx.beginPath();
    ctx.arc(x, y, size + 4 * devicePixelRatio, 0, 2 * Math.PI);
    ctx.strokeStyle = colour("--tblr-primary");
    ctx.stroke();
  }

  function drawAll(place) {
    return (u) => {
      const { about, points } = plots.get(place);
      const { cost } = place.dataset;
      const byNumber = new Map(points.map((point) => [point.number, point]));
      u.ctx.save();
      drawLimit(u, about);
      const front = about.fronts[cost].map((number) => byNumber.get(number)).filter(Boolean);
      drawLine(u, front.map((point) => position(u, point, cost)), colour("--tblr-primary"), 1.5, []);
      points.forEach((point) => drawMark(u, point, position(u, point, cost)));
      u.ctx.restore();
    };
  }

  // Hover

  function nearest(u, place) {
    const { points } = plots.get(place);
    let best = null;
    points.forEach((point) => {
      const at = position(u, point, place.dataset.cost);
      const far = Math.hypot(at.x / devicePixelRatio - u.bbox.left / devicePixelRatio - u.cursor.left, at.y / devicePixelRatio - u.bbox.top / devicePixelRatio - u.cursor.top);
      if (far <= NEAR && (!best || far < best.far)) best = { point, far };
    });
    return best && best.point;
  }

  function tell(place) {
    const note = place.parentElement.querySelector("[data-note]");
    return (u) => {
      const { about } = plots.get(place);
      const point = u.cursor.left >= 0 ? nearest(u, place) : null;
      note.classList.toggle("curve-hover", Boolean(point));
      note.textContent = point ? `${point.name}: ${scoreText(about, point.score)} · ${written(place.dataset.cost, point[place.dataset.cost])}${place.dataset.cost === "bytes" ? "" : " ms"}` : "";
    };
  }

  // Plots

  function options(place, about, points) {
    const { cost } = place.dataset;
    const common = { stroke: colour("--tblr-secondary"), grid: { stroke: colour("--tblr-border-color"), width: 1 }, ticks: { show: false }, font: FONT, labelFont: FONT };
    return {
      width: Math.max(place.clientWidth, 200),
      height: HEIGHT,
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, points: { show: false }, x: false, y: false },
      scales: { x: { time: false, distr: 3, range: () => costRange(points, cost) }, y: { range: () => scoreRange(about, points) } },
      series: [{}, { paths: () => null, points: { show: false } }],
      axes: [
        { ...common, label: about.words[cost], labelSize: 20, size: 32, splits: costTicks, values: (u, ticks) => ticks.map((tick) => written(cost, tick)), space: 60, filter: (u, ticks) => ticks },
        { ...common, label: about.words.score, labelSize: 22, size: 52, values: (u, ticks) => ticks.map((tick) => String(+tick.toPrecision(4))) },
      ],
      hooks: { draw: [drawAll(place)], setCursor: [tell(place)] },
    };
  }

  function draw(place, about) {
    const { cost } = place.dataset;
    const points = about.points.filter((point) => point[cost] > 0).sort((a, b) => a[cost] - b[cost]);
    if (!points.length) return;
    const before = plots.get(place);
    if (before) before.plot.destroy();
    place.replaceChildren();
    plots.set(place, { about, points });
    const plot = new uPlot(options(place, about, points), [points.map((point) => point[cost]), points.map((point) => point.score)], place);
    plots.get(place).plot = plot;
  }

  function redraw() {
    const about = read();
    if (about) root.querySelectorAll("[data-cost]").forEach((place) => draw(place, about));
  }

  root.querySelectorAll("[data-cost]").forEach((place) => {
    new ResizeObserver(() => plots.has(place) && plots.get(place).plot?.setSize({ width: place.clientWidth, height: HEIGHT })).observe(place);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => setTimeout(redraw, 50));
  new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ["data-bs-theme"] });

  // The card is swapped with each new candidate: notes that somebody reads stay open.
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target.id !== "candidates") return;
    openNotes.clear();
    document.querySelectorAll("#candidates details[open]").forEach((notes) => openNotes.add(notes.id));
  });
  document.addEventListener("htmx:afterSettle", (event) => {
    if (event.detail.target.id !== "candidates" && event.detail.elt.id !== "candidates") return;
    openNotes.forEach((id) => document.getElementById(id)?.setAttribute("open", ""));
    redraw();
  });
  redraw();
})();
