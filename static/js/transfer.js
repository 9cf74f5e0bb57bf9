// One file on its way to the server: in chunks, each with its SHA-256, going on by itself after a lost connection.
// The server knows how much has arrived; this side only asks and believes it.

const STALL_SECONDS = 60;
const LONGEST_WAIT_SECONDS = 30;
const MOST_DAMAGED = 5;

class RequestError extends Error {
  constructor(status, body) {
    const error = body?.error ?? {};
    super(error.message || "");
    this.status = status;
    this.code = error.code ?? "";
    this.details = error.details ?? {};
  }

  // 507 is a full disk: trying again by itself helps nobody.
  get isPassing() {
    return this.status === 0 || this.status === 408 || this.status === 429 || (this.status >= 500 && this.status !== 507);
  }
}

const wait = (seconds, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, seconds * 1000);
    const now = () => { clearTimeout(timer); resolve(); };
    window.addEventListener("online", now, { once: true });
    signal.addEventListener("abort", now, { once: true });
  });

const inHex = (buffer) => Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, "0")).join("");

// crypto.subtle exists on https and localhost only; elsewhere TCP's own checksum has to do.
const sha256 = async (buffer) => (crypto.subtle ? inHex(await crypto.subtle.digest("SHA-256", buffer)) : "");

const memory = {
  key: (transfer) => `lepton-upload:${transfer.name}:${transfer.size}:${transfer.file.lastModified}`,
  recall(transfer) { try { return localStorage.getItem(this.key(transfer)); } catch { return null; } },
  keep(transfer) { try { localStorage.setItem(this.key(transfer), transfer.id); } catch { /* full or forbidden: no resume after a reload */ } },
  forget(transfer) { try { localStorage.removeItem(this.key(transfer)); } catch { /* as above */ } },
};

export class Transfer {
  constructor(file, name, { api, csrf, onChange }) {
    Object.assign(this, { file, name, api, csrf, onChange });
    this.size = file.size;
    this.id = null;
    this.received = 0; // what the server has
    this.flying = 0; // what of the present chunk has left this machine
    this.resumedAt = 0;
    this.state = "waiting"; // waiting, sending, retrying, checking, done, failed, cancelled
    this.message = "";
    this.controller = new AbortController();
  }

  get sent() { return Math.min(this.size, this.received + this.flying); }
  get isSettled() { return ["done", "failed", "cancelled"].includes(this.state); }

  async run() {
    this.controller = new AbortController();
    let failures = 0;
    while (!this.controller.signal.aborted) {
      try {
        const before = this.received;
        await this.step();
        if (this.state === "done") return;
        if (this.received > before) failures = 0;
      } catch (error) {
        if (this.controller.signal.aborted) return;
        this.flying = 0;
        if (!(error instanceof RequestError) || !this.canGoOn(error)) return this.become("failed", { message: error.message });
        if (error.isPassing) await this.pause(++failures, error);
      }
    }
  }

  async step() {
    if (!this.id) return this.open();
    if (this.received < this.size) return this.sendChunk();
    return this.complete();
  }

  // Whether the error is one after which the next step makes sense.
  canGoOn(error) {
    if (error.isPassing) return true;
    if (error.code === "wrong_offset" || error.code === "incomplete") {
      this.received = error.details.received_bytes;
      return true;
    }
    const isLost = error.status === 404 || error.code === "upload_lost";
    if (!isLost && error.code !== "wrong_checksum") return false;
    this.damaged = (this.damaged ?? 0) + 1;
    if (isLost) {
      memory.forget(this);
      this.id = null;
      this.received = 0;
    }
    return this.damaged < MOST_DAMAGED;
  }

  async pause(failures, error) {
    const seconds = Math.min(LONGEST_WAIT_SECONDS, 2 ** Math.min(failures - 1, 5));
    this.become("retrying", { waitSeconds: seconds, status: error.status });
    await wait(seconds, this.controller.signal);
    this.become("sending");
  }

  async open() {
    const known = memory.recall(this);
    if (known) {
      this.id = known;
      const found = await this.request("GET", `${this.api}${known}/`);
      this.resumedAt = found.received_bytes;
      return this.adopt(found);
    }
    const body = JSON.stringify({ name: this.name, size_bytes: this.size });
    const made = await this.request("POST", this.api, { body, type: "application/json" });
    this.id = made.id;
    memory.keep(this);
    return this.adopt(made);
  }

  adopt(upload) {
    this.received = upload.received_bytes;
    this.flying = 0;
    this.chunkBytes = upload.chunk_bytes;
    this.proposedSplit = upload.proposed_split;
    this.become("sending");
  }

  async sendChunk() {
    const end = Math.min(this.size, this.received + this.chunkBytes);
    let buffer;
    try {
      buffer = await this.file.slice(this.received, end).arrayBuffer();
    } catch (error) {
      throw new RequestError(400, { error: { message: error.message, code: "unreadable" } });
    }
    const checksum = await sha256(buffer);
    this.adopt(
      await this.request("PUT", `${this.api}${this.id}/?offset=${this.received}`, {
        body: buffer,
        type: "application/octet-stream",
        headers: checksum ? { "X-Chunk-SHA256": checksum } : {},
        onProgress: (loaded) => { this.flying = loaded; this.onChange(this); },
      }),
    );
  }

  async complete() {
    this.become("checking");
    const done = await this.request("POST", `${this.api}${this.id}/complete/`, { body: "{}", type: "application/json", isPatient: true });
    this.sha256 = done.sha256;
    this.become("done");
  }

  async cancel() {
    this.controller.abort();
    memory.forget(this);
    const { id } = this;
    this.become("cancelled");
    if (id) await this.request("DELETE", `${this.api}${id}/`, { isDetached: true }).catch(() => {}); // the server sweeps it later
  }

  forget() { memory.forget(this); }

  become(state, facts = {}) {
    if (this.state === "cancelled") return;
    Object.assign(this, { state, message: "", ...facts });
    this.onChange(this);
  }

  // XMLHttpRequest, because fetch does not tell how much of a body has left. A connection that says nothing for a minute
  // counts as lost, except where the server reads the whole file.
  request(method, url, { body = null, type = "", headers = {}, onProgress = null, isPatient = false, isDetached = false } = {}) {
    return new Promise((resolve, reject) => {
      const xhr = new XMLHttpRequest();
      let stalled;
      const alive = () => {
        clearTimeout(stalled);
        if (!isPatient) stalled = setTimeout(() => xhr.abort(), STALL_SECONDS * 1000);
      };
      xhr.open(method, url);
      xhr.responseType = "json";
      xhr.setRequestHeader("Accept", "application/json");
      xhr.setRequestHeader("X-CSRFToken", this.csrf);
      if (type) xhr.setRequestHeader("Content-Type", type);
      for (const [name, value] of Object.entries(headers)) xhr.setRequestHeader(name, value);
      xhr.upload.onprogress = (event) => { alive(); onProgress?.(event.loaded); };
      xhr.onloadend = () => {
        clearTimeout(stalled);
        if (xhr.status >= 200 && xhr.status < 300) resolve(xhr.response);
        else reject(new RequestError(xhr.status, xhr.response));
      };
      if (!isDetached) this.controller.signal.addEventListener("abort", () => xhr.abort(), { once: true });
      alive();
      xhr.send(body);
    });
  }
}
