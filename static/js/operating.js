// Shows what a classifier finds and what it costs at the threshold of a slider, with the gain curve.
// Expects #operating-counts (JSON): class, items, positives, and for each hundredth flagged and found.
(() => {
  "use strict";

  const box = document.querySelector("[data-operating]");
  if (!box) return;

  const LEFT = 30, BOTTOM = 210, SIDE = 200;
  const classes = JSON.parse(document.getElementById("operating-counts").textContent);
  const select = document.getElementById("operating-class");
  const slider = document.getElementById("operating-threshold");
  const tenths = new Intl.NumberFormat(document.documentElement.lang, { maximumFractionDigits: 1 });
  const plain = new Intl.NumberFormat(document.documentElement.lang, { maximumFractionDigits: 2 });

  const percent = (fraction) => `${tenths.format(fraction * 100)} %`;
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

  const at = (entry, place) => [LEFT + SIDE * share(entry.flagged[place], entry.items), BOTTOM - SIDE * share(entry.found[place], entry.positives)];

  function show() {
    const entry = classes[Number(select.value)];
    const place = Number(slider.value);
    const figures = figuresAt(entry, place);
    document.getElementById("operating-shown").textContent = percent(place / 100);
    for (const cell of box.querySelectorAll("[data-figure]")) {
      const value = figures[cell.dataset.figure];
      cell.textContent = value === null ? "–" : cell.dataset.figure === "lift" ? `${plain.format(value)} ×` : percent(value);
    }
    const points = entry.flagged.map((_count, number) => at(entry, number)).reverse();
    box.querySelector(".operating-curve").setAttribute("d", `M${[[LEFT, BOTTOM], ...points].map((point) => point.join(" ")).join("L")}`);
    const [x, y] = at(entry, place);
    box.querySelector(".operating-point").setAttribute("cx", x);
    box.querySelector(".operating-point").setAttribute("cy", y);
  }

  select.addEventListener("change", show);
  slider.addEventListener("input", show);
  box.hidden = false;
  show();
})();
