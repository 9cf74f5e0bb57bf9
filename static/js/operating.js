// Shows what a classifier finds and what it costs at the threshold of a slider, with the curves of gain and lift.
// Expects #operating-counts (JSON): class, items, positives, and for each hundredth flagged and found.
(() => {
  "use strict";

  const box = document.querySelector("[data-operating]");
  if (!box) return;

  const LEFT = 56, BOTTOM = 200, WIDTH = 200, HEIGHT = 190;
  const FEWEST = 10; // flagged items whose lift is drawn, fewer where fewer are of the class
  const classes = JSON.parse(document.getElementById("operating-counts").textContent);
  const select = document.getElementById("operating-class");
  const slider = document.getElementById("operating-threshold");
  const tenths = new Intl.NumberFormat(document.documentElement.lang, { maximumFractionDigits: 1 });
  const plain = new Intl.NumberFormat(document.documentElement.lang, { maximumFractionDigits: 2 });

  const percent = (fraction) => `${tenths.format(fraction * 100)} %`;
  const times = (number, format = plain) => `${format.format(number)} ×`;
  const share = (part, whole) => (whole ? part / whole : null);

  function figuresAt({ items, positives, flagged, found }, place) {
    const precision = share(found[place], flagged[place]);
    return {
      sensitivity: share(found[place], positives),
      specificity: 1 - share(flagged[place] - found[place], items - positives),
      precision,
      flagged: share(flagged[place], items),
      lift: precision === null ? null : precision / share(positives, items),
    };
  }

  const x = (fraction) => LEFT + WIDTH * fraction;
  const y = (fraction) => BOTTOM - HEIGHT * fraction;
  const path = (points) => (points.length ? `M${points.map((point) => point.join(" ")).join("L")}` : "");

  function draw(name, points, point) {
    box.querySelector(`[data-curve="${name}"]`).setAttribute("d", path(points));
    const mark = box.querySelector(`[data-point="${name}"]`);
    mark.toggleAttribute("hidden", point === null);
    if (point === null) return;
    mark.setAttribute("cx", point[0]);
    mark.setAttribute("cy", point[1]);
  }

  function drawGain(all, now) {
    const at = ({ flagged, sensitivity }) => [x(flagged), y(sensitivity)];
    draw("gain", [[LEFT, BOTTOM], ...all.map(at).reverse()], at(now));
  }

  // The lift of a handful is chance, and would leave no height for the rest.
  function drawLift(all, now, { items, positives }) {
    const isKnown = ({ flagged }) => Math.round(flagged * items) >= Math.min(FEWEST, positives);
    const known = all.filter(isKnown);
    const most = Math.max(...known.map(({ lift }) => lift));
    const at = ({ flagged, lift }) => [x(flagged), y(lift / most)];
    draw("lift", known.map(at).reverse(), isKnown(now) ? at(now) : null);
    box.querySelector('[data-curve="chance"]').setAttribute("d", path([[x(0), y(1 / most)], [x(1), y(1 / most)]]));
    box.querySelector('[data-lift="most"]').textContent = times(most, tenths);
    box.querySelector('[data-lift="chance"]').setAttribute("y", y(1 / most) + 4);
    box.querySelector('[data-lift="chance"]').toggleAttribute("hidden", most < 1.15); // the two would overlap
  }

  function show() {
    const entry = classes[select.selectedIndex];
    const place = Number(slider.value);
    const all = entry.flagged.map((_count, number) => figuresAt(entry, number));
    const now = all[place];
    document.getElementById("operating-shown").textContent = percent(place / 100);
    for (const cell of box.querySelectorAll("[data-figure]")) {
      const value = now[cell.dataset.figure];
      cell.textContent = value === null ? "–" : cell.dataset.figure === "lift" ? times(value) : percent(value);
    }
    drawGain(all, now);
    drawLift(all, now, entry);
  }

  select.addEventListener("change", show);
  slider.addEventListener("input", show);
  box.hidden = false;
  show();
})();
