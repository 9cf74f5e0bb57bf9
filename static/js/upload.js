// The upload page: files and folders become rows, rows become transfers, and the form goes off when all have arrived.
import { Transfer } from "./transfer.js";

const AT_ONCE = 3;
const MOST_IN_FOLDER = 5000;
const SPEED_WINDOW_SECONDS = 8;
const HIDDEN = /(^|\/)(\.|__MACOSX\/|Thumbs\.db$|desktop\.ini$)/;

const find = (id) => document.getElementById(id);
const form = find("upload-form");
const texts = JSON.parse(form.dataset.texts);
const csrf = form.elements.csrfmiddlewaretoken.value;
const list = find("upload-rows");
const submit = find("upload-submit");
const submitLabel = submit.querySelector("span");
const submitText = submitLabel.textContent;
const plainTitle = document.title;
const rows = [];
let isArmed = false;

const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);

const inBytes = (bytes) => {
  if (bytes < 1000) return `${Math.round(bytes)} B`;
  const units = ["kB", "MB", "GB", "TB"];
  let size = bytes / 1000;
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) { size /= 1000; unit += 1; }
  return `${size.toFixed(1)} ${units[unit]}`;
};

const inTime = (seconds) => {
  if (seconds < 90) return fill(texts.seconds, { n: Math.max(1, Math.round(seconds)) });
  if (seconds < 5400) return fill(texts.minutes, { n: Math.round(seconds / 60) });
  return fill(texts.hours, { n: (seconds / 3600).toFixed(1) });
};

const say = (text) => { find("upload-said").textContent = text; };

const note = (text) => {
  find("upload-note").textContent = text;
  find("upload-note").hidden = !text;
};

// A row is one file, or all files of one folder.
class Row {
  constructor(label, files) {
    this.label = label;
    this.points = [];
    this.element = find("upload-row").content.firstElementChild.cloneNode(true);
    this.parts = Object.fromEntries([...this.element.querySelectorAll("[data-part]")].map((part) => [part.dataset.part, part]));
    const onChange = () => this.changed();
    this.transfers = files.map(({ file, name }) => new Transfer(file, name, { api: form.dataset.api, csrf, onChange }));
    this.parts.name.textContent = label;
    this.parts.progress.setAttribute("aria-label", label);
    if (files.length > 1) this.parts.icon.classList.replace("ti-file", "ti-folder");
    this.parts.remove.addEventListener("click", () => this.remove());
    this.parts["leave-out"].addEventListener("click", () => this.leaveOut());
    this.parts.retry.addEventListener("click", () => this.retry());
    this.parts.split.addEventListener("change", () => { this.isSplitChosen = true; });
    list.append(this.element);
    rows.push(this);
  }

  // A file that arrived before the page was loaded: nothing is left to send.
  static arrived({ id, name, size, split = "" }) {
    const row = new Row(name, []);
    row.transfers = [{ id, name, size, sent: size, state: "done", isSettled: true, sha256: "", cancel() {}, forget() {} }];
    row.parts.split.value = split;
    row.isSplitChosen = Boolean(split);
    row.draw();
  }

  get size() { return this.transfers.reduce((sum, each) => sum + each.size, 0); }
  get sent() { return this.transfers.reduce((sum, each) => sum + each.sent, 0); }
  get failed() { return this.transfers.filter((each) => each.state === "failed"); }
  get isSettled() { return this.transfers.every((each) => each.isSettled); }
  get isDone() { return this.transfers.every((each) => each.state === "done"); }

  changed() {
    if (this.isDrawn) return;
    this.isDrawn = true;
    later(() => {
      this.isDrawn = false;
      if (rows.includes(this)) this.draw(); // it may have been removed meanwhile
      settle();
    });
  }

  draw() {
    const isFailed = this.isSettled && this.failed.length > 0;
    this.element.classList.toggle("is-done", this.isDone);
    this.element.classList.toggle("is-failed", isFailed);
    this.parts.progress.hidden = this.isDone || isFailed;
    this.parts.progress.value = this.size ? this.sent / this.size : 0;
    this.parts.actions.hidden = !isFailed;
    this.parts.state.textContent = this.describe();
    const proposed = this.transfers.length === 1 ? this.transfers[0].proposedSplit : "";
    if (proposed && !this.isSplitChosen) this.parts.split.value = proposed;
    if (this.isDone) this.parts.icon.classList.replace("ti-file", "ti-circle-check");
  }

  describe() {
    const facts = { sent: inBytes(this.sent), total: inBytes(this.size), count: this.transfers.length };
    facts.percent = Math.floor((100 * this.sent) / Math.max(1, this.size));
    const [first] = this.transfers;
    if (this.isDone && this.transfers.length > 1) return fill(texts.done_many, facts);
    if (this.isDone) return first.sha256 ? fill(texts.done, { ...facts, sha: `${first.sha256.slice(0, 12)}…` }) : facts.total;
    if (this.isSettled && this.transfers.length > 1) return fill(texts.failed_many, { ...facts, failed: this.failed.length, message: this.failed[0].message });
    if (this.isSettled) return first.message;
    const retrying = this.transfers.find((each) => each.state === "retrying");
    if (retrying) return fill(retrying.status ? texts.server_error : texts.retrying, { ...facts, seconds: retrying.waitSeconds, status: retrying.status });
    if (this.transfers.length === 1 && first.state === "checking") return texts.checking;
    if (this.transfers.every((each) => each.state === "waiting")) return texts.waiting;
    return this.describeSpeed(facts);
  }

  describeSpeed(facts) {
    const now = performance.now() / 1000;
    const sent = this.sent;
    this.points.push([now, sent]);
    while (this.points.length > 2 && this.points[0][0] < now - SPEED_WINDOW_SECONDS) this.points.shift();
    const [[since, before]] = this.points;
    const speed = now - since > 0.5 ? (sent - before) / (now - since) : 0;
    const [first] = this.transfers;
    if (speed <= 0) return fill(first.resumedAt && this.transfers.length === 1 ? texts.resumed : texts.starting, facts);
    return fill(texts.sending, { ...facts, speed: inBytes(speed), left: inTime((this.size - sent) / speed) });
  }

  retry() {
    this.failed.forEach((each) => { each.state = "waiting"; each.damaged = 0; });
    this.draw();
    pump();
  }

  leaveOut() {
    this.failed.forEach((each) => each.cancel());
    this.transfers = this.transfers.filter((each) => each.state === "done");
    if (!this.transfers.length) return this.remove();
    this.draw();
    settle();
  }

  remove() {
    rows.splice(rows.indexOf(this), 1);
    this.element.remove();
    this.transfers.forEach((each) => each.cancel());
    settle();
  }
}

// Thousands of small files would otherwise draw thousands of times a second.
const later = (run) => setTimeout(run, 80);

const pump = () => {
  const all = rows.flatMap((row) => row.transfers);
  let running = all.filter((each) => each.isRunning).length;
  for (const transfer of all) {
    if (running >= AT_ONCE) return;
    if (transfer.state !== "waiting" || transfer.isRunning) continue;
    running += 1;
    transfer.isRunning = true;
    transfer.run().finally(() => { transfer.isRunning = false; pump(); });
  }
};

// What concerns all rows: the title, the splits, and the form that waits for the last byte.
const settle = () => {
  const size = rows.reduce((sum, row) => sum + row.size, 0);
  const sent = rows.reduce((sum, row) => sum + row.sent, 0);
  const isDone = rows.length > 0 && rows.every((row) => row.isDone);
  if (!rows.length) document.title = plainTitle;
  else document.title = isDone ? texts.title_done : fill(texts.title, { percent: Math.floor((100 * sent) / Math.max(1, size)) });
  for (const row of rows) row.parts.split.hidden = rows.length < 2;
  if (isDone && find("upload-said").textContent !== texts.all_done) say(texts.all_done);
  if (!isDone) say("");
  if (!isArmed) return;
  if (isDone) return form.requestSubmit(submit);
  if (rows.every((row) => row.isSettled)) disarm(rows.length ? texts.failed_files : "");
};

const disarm = (text) => {
  isArmed = false;
  submitLabel.textContent = submitText;
  note(text);
};

form.addEventListener("submit", (event) => {
  if (rows.length > 0 && rows.every((row) => row.isDone)) {
    const several = rows.length > 1;
    form.elements.uploads.value = JSON.stringify(
      rows.flatMap((row) => row.transfers.map(({ id }) => ({ id, split: several ? row.parts.split.value : "" }))),
    );
    rows.forEach((row) => row.transfers.forEach((each) => each.forget()));
    submit.disabled = true;
    return;
  }
  event.preventDefault();
  if (!rows.length) return note(texts.no_files);
  isArmed = true;
  submitLabel.textContent = texts.waiting_button;
  note("");
  settle();
});

window.addEventListener("pageshow", () => { submit.disabled = false; });

// Adding files

const proposeName = (label) => {
  const name = form.elements.name;
  if (!name || name.value.trim()) return;
  const bare = label.replace(/\/$/, "").replace(/\.(zip|csv|tsv|tab|jsonl|ndjson|xlsx|xlsm)$/i, "");
  name.value = bare.replace(/[_.-]*(train|training|val|valid|validation|dev|test|testing)$/i, "").replace(/[_]+/g, " ").trim().slice(0, 80) || bare.slice(0, 80);
};

const add = (entries) => {
  const visible = entries.filter(({ name }) => !HIDDEN.test(name));
  const hidden = entries.length - visible.length;
  note(hidden ? fill(texts.skipped, { count: hidden }) : entries.length ? "" : texts.empty_drop);
  const folders = new Map();
  for (const entry of visible) {
    const top = entry.name.includes("/") ? entry.name.split("/")[0] : null;
    if (top === null) addRow(entry.name, [entry]);
    else if (folders.has(top)) folders.get(top).push(entry);
    else folders.set(top, [entry]);
  }
  for (const [top, files] of folders) {
    if (files.length > MOST_IN_FOLDER) note(fill(texts.too_many, { count: files.length.toLocaleString() }));
    else addRow(top, files);
  }
  pump();
  settle();
};

const isThere = ({ file, name }) =>
  rows.some((row) => row.transfers.some((each) => each.name === name && each.size === file.size && each.file?.lastModified === file.lastModified));

const addRow = (label, files) => {
  if (files.every(isThere)) return;
  proposeName(label);
  const row = new Row(files.length > 1 ? fill(texts.files, { name: label, count: files.length.toLocaleString() }) : files[0].name, files);
  row.draw();
  for (const waiting of document.querySelectorAll("#unfinished [data-upload]")) {
    const name = waiting.querySelector(".upload-name").textContent;
    if (files.some((each) => each.name === name)) waiting.hidden = true;
  }
};

const ofInput = (input) => [...input.files].map((file) => ({ file, name: file.webkitRelativePath || file.name }));

for (const [button, input] of [["choose-files", "file-input"], ["choose-folder", "folder-input"]]) {
  find(button).addEventListener("click", () => find(input).click());
  find(input).addEventListener("change", () => {
    add(ofInput(find(input)));
    find(input).value = "";
  });
}

const filesOfEntry = async (entry, path) => {
  const name = path + entry.name;
  if (entry.isFile) return [{ file: await new Promise((resolve, reject) => entry.file(resolve, reject)), name }];
  const reader = entry.createReader();
  const found = [];
  for (;;) { // a reader gives its entries in batches of a hundred
    const batch = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!batch.length) break;
    for (const child of batch) found.push(...(await filesOfEntry(child, `${name}/`)));
  }
  return found;
};

const zone = find("dropzone");
let depth = 0;
const setDepth = (value) => { depth = Math.max(0, value); zone.classList.toggle("is-over", depth > 0); };
document.addEventListener("dragenter", (event) => { event.preventDefault(); setDepth(depth + 1); });
document.addEventListener("dragleave", () => setDepth(depth - 1));
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", async (event) => {
  event.preventDefault();
  setDepth(0);
  // The list of items is gone after the first await.
  const items = [...event.dataTransfer.items].filter((item) => item.kind === "file");
  const roots = items.map((item) => item.webkitGetAsEntry() ?? { isFile: true, name: item.getAsFile().name, file: (done) => done(item.getAsFile()) });
  const found = [];
  for (const root of roots) found.push(...(await filesOfEntry(root, "")));
  add(found);
});

// What the server has from before

for (const button of document.querySelectorAll("[data-use]")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const { use: id, name, size } = button.dataset;
    proposeName(name);
    Row.arrived({ id, name, size: Number(size) });
    button.closest("[data-upload]").hidden = true;
    settle();
  });
}

JSON.parse(form.dataset.arrived).forEach((upload) => Row.arrived(upload));
settle();
