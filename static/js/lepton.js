// What HTML cannot do by itself: copy, confirm, rows that open, messages that leave. Everything else is HTML and htmx.
(() => {
  const TOAST_SECONDS = { error: 15, info: 6 };

  const leaveLater = (toast) => {
    if (toast.dataset.leaves) return;
    toast.dataset.leaves = "yes";
    const seconds = toast.classList.contains("toast-error") ? TOAST_SECONDS.error : TOAST_SECONDS.info;
    setTimeout(() => toast.remove(), seconds * 1000);
  };

  const showToasts = () => document.querySelectorAll("#toasts .toast").forEach(leaveLater);

  const copy = async (button) => {
    const source = button.dataset.copy ? document.querySelector(button.dataset.copy) : null;
    const text = source ? (source.value ?? source.textContent) : button.dataset.copyText;
    await writeToClipboard(text);
    const icon = button.querySelector(".ti");
    if (!icon) return;
    icon.classList.replace("ti-copy", "ti-check");
    setTimeout(() => icon.classList.replace("ti-check", "ti-copy"), 1500);
  };

  // Browsers give navigator.clipboard to https and localhost only; a lab's plain http address needs the old way.
  const writeToClipboard = async (text) => {
    if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "visually-hidden";
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy], [data-copy-text]");
    if (button) return copy(button);
    const row = event.target.closest("[data-href]");
    if (!row || event.target.closest("a, button, input, select, label, form") || String(getSelection())) return;
    if (event.metaKey || event.ctrlKey) window.open(row.dataset.href);
    else window.location.assign(row.dataset.href);
  });

  document.addEventListener("submit", (event) => {
    const question = event.submitter?.dataset.confirm || event.target.dataset.confirm;
    if (question && !window.confirm(question)) event.preventDefault();
  });

  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-submit-on-change]")) event.target.form.requestSubmit();
  });

  // Leaves an editor that opened in place, as its Cancel does.
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") event.target.closest("form")?.querySelector("[data-escape]")?.click();
  });

  // Ctrl-K goes to the search; the arrows walk through what it found, Escape leaves it.
  const walk = (box, by) => {
    const stops = [box.querySelector("input"), ...box.querySelectorAll("#found a")];
    const at = stops.indexOf(document.activeElement);
    stops[(at + by + stops.length) % stops.length].focus();
  };
  document.addEventListener("keydown", (event) => {
    const box = document.querySelector("[data-search]");
    if (!box) return;
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
      event.preventDefault();
      const input = box.checkVisibility() ? box.querySelector("input") : document.querySelector(".search-link");
      input.focus();
      input.select?.();
    } else if (box.contains(document.activeElement)) {
      const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (by) event.preventDefault(), walk(box, by);
      if (event.key === "Escape") document.activeElement.blur();
    }
  });

  let isOffline = false;
  const tellOffline = () => {
    if (isOffline) return;
    isOffline = true;
    document.getElementById("toasts").append(document.getElementById("offline-toast").content.cloneNode(true));
    showToasts();
  };

  document.addEventListener("htmx:sendError", tellOffline);
  document.addEventListener("htmx:timeout", tellOffline);
  document.addEventListener("htmx:afterRequest", (event) => {
    if (!event.detail.successful) return;
    isOffline = false;
    if (event.target.matches("[data-clear-after]")) event.target.reset();
  });
  document.addEventListener("htmx:afterSwap", showToasts);

  // A button that is replaced while it is pressed loses its click: what would replace it then is left out.
  let pressed = null;
  document.addEventListener("pointerdown", (event) => { pressed = event.target.closest("button, a"); }, true);
  for (const end of ["pointerup", "pointercancel"]) {
    document.addEventListener(end, () => setTimeout(() => { pressed = null; }), true);
  }
  const keepPressed = (event) => {
    if (pressed && event.detail.target.contains(pressed)) event.detail.shouldSwap = false;
  };
  document.addEventListener("htmx:beforeSwap", keepPressed);
  document.addEventListener("htmx:oobBeforeSwap", keepPressed);
  document.addEventListener("DOMContentLoaded", () => {
    showToasts();
    // Loading the page again must show the secret no more, and must not make a second one.
    if (document.querySelector("[data-shown-once]")) history.replaceState(null, "", location.href);
    document.querySelector(".is-invalid")?.focus(); // what is wrong may lie far below
  });
})();
