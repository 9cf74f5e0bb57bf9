// The slider of the compression form beside its number, and what a smaller model must reach. Without it the number does.
(() => {
  "use strict";

  const root = document.querySelector("[data-limit]");
  if (!root) return;
  const number = root.querySelector("input[type=number]");
  const range = root.querySelector("input[type=range]");
  const base = root.querySelector("[data-base]");

  function tellFloor() {
    if (!base) return;
    const floor = Math.max(0, Number(base.dataset.base) * 100 - Number(number.value || 0));
    base.querySelector("output").textContent = `${floor.toFixed(1)} %`;
    base.hidden = false;
  }

  range.hidden = false;
  range.addEventListener("input", () => {
    number.value = Number(range.value).toFixed(1);
    tellFloor();
  });
  number.addEventListener("input", () => {
    range.value = number.value;
    tellFloor();
  });
  tellFloor();
})();
