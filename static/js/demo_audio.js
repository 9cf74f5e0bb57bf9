// What a demo of recordings cannot do in HTML alone: the microphone, drop, and hearing again what was chosen. Browsers
// record in formats that servers seldom read, so samples are taken as they are and written as WAV here.
(() => {
  const find = (name) => document.getElementById(`demo-${name}`);
  const LONGEST_SECONDS = 30;
  // What browsers do for calls takes steady sounds for noise; a model has learned from recordings as they are.
  const AS_IT_IS = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  let recording = null;

  // A click, and not requestSubmit: htmx would remember the button that was clicked before and send that.
  const predict = () => find("predict").click();

  const play = (file) => {
    const player = find("player");
    URL.revokeObjectURL(player.src);
    player.src = URL.createObjectURL(file);
    player.hidden = false;
    find("invite").querySelector("strong").textContent = file.name;
  };

  const take = (file) => {
    const transfer = new DataTransfer();
    transfer.items.add(file);
    find("file").files = transfer.files;
    play(file);
    predict();
  };

  const write = (view, place, text) => [...text].forEach((letter, n) => view.setUint8(place + n, letter.charCodeAt(0)));

  // RIFF WAVE: one channel of 16 bits.
  const toWav = (chunks, rate) => {
    const count = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    const view = new DataView(new ArrayBuffer(44 + 2 * count));
    write(view, 0, "RIFF");
    view.setUint32(4, 36 + 2 * count, true);
    write(view, 8, "WAVEfmt ");
    view.setUint32(16, 16, true);
    view.setUint16(20, 1, true);
    view.setUint16(22, 1, true);
    view.setUint32(24, rate, true);
    view.setUint32(28, 2 * rate, true);
    view.setUint16(32, 2, true);
    view.setUint16(34, 16, true);
    write(view, 36, "data");
    view.setUint32(40, 2 * count, true);
    let place = 44;
    for (const chunk of chunks) {
      for (const sample of chunk) {
        view.setInt16(place, Math.max(-1, Math.min(1, sample)) * 32767, true);
        place += 2;
      }
    }
    return new File([view.buffer], "recording.wav", { type: "audio/wav" });
  };

  const show = (state) => {
    const words = find("mic-words");
    words.textContent = words.dataset[state];
    find("mic").setAttribute("aria-pressed", String(state === "busy"));
    find("level").value = 0;
  };

  const hear = (chunk) => {
    recording.chunks.push(chunk);
    recording.count += chunk.length;
    find("level").value = Math.min(1, 4 * Math.sqrt(chunk.reduce((sum, value) => sum + value * value, 0) / chunk.length));
    if (recording.count >= LONGEST_SECONDS * recording.context.sampleRate) stop();
  };

  const start = async () => {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: AS_IT_IS });
    const context = new AudioContext();
    recording = { stream, context, chunks: [], count: 0 };
    await context.audioWorklet.addModule(find("form").dataset.recorder);
    const recorder = new AudioWorkletNode(context, "lepton-recorder", { numberOfOutputs: 0 });
    recorder.port.onmessage = ({ data }) => recording && hear(data);
    context.createMediaStreamSource(stream).connect(recorder);
    show("busy");
  };

  const stop = () => {
    const { stream, context, chunks } = recording;
    recording = null;
    stream.getTracks().forEach((track) => track.stop());
    const rate = context.sampleRate;
    context.close();
    show("idle");
    if (chunks.length) take(toWav(chunks, rate));
  };

  const giveUp = () => {
    recording?.stream.getTracks().forEach((track) => track.stop());
    recording = null;
    show("refused");
  };

  const offerMicrophone = () => {
    if (!navigator.mediaDevices?.getUserMedia || !window.AudioWorkletNode) return;
    find("record").hidden = false;
    let isStarting = false;
    find("mic").addEventListener("click", async () => {
      if (isStarting) return;
      if (recording) return stop();
      isStarting = true;
      await start().catch(giveUp);
      isStarting = false;
    });
  };

  const listenToDrop = (area) => {
    const mark = (event, isOver) => {
      event.preventDefault();
      area.classList.toggle("is-over", isOver);
    };
    area.addEventListener("dragover", (event) => mark(event, true));
    area.addEventListener("dragleave", (event) => mark(event, false));
    area.addEventListener("drop", (event) => {
      mark(event, false);
      if (event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
    });
  };

  document.addEventListener("DOMContentLoaded", () => {
    document.body.classList.add("demo-ready");
    offerMicrophone();
    listenToDrop(find("drop"));
    find("file").addEventListener("change", ({ target }) => {
      if (!target.files.length) return;
      play(target.files[0]);
      predict();
    });
    // The recording of an answer that was not asked with a file stands beside it.
    const forget = () => {
      find("player").hidden = true;
      find("file").value = "";
    };
    find("sample")?.addEventListener("click", forget);
    document.querySelector(".demo-examples")?.addEventListener("submit", forget);
    // What the browser cannot play the model may still read.
    find("player").addEventListener("error", () => (find("player").hidden = true));
  });
})();
