// What a demo of pictures cannot do in HTML alone: drop, paste, camera, and the preview of what was chosen.
(() => {
  const find = (name) => document.getElementById(`demo-${name}`);
  let stream = null;

  const TINY_PIXELS = 64;

  const show = (address) => {
    const preview = find("preview");
    URL.revokeObjectURL(preview.src);
    preview.src = address;
    preview.hidden = false;
    find("invite").hidden = true;
  };

  // TIFF and the like are no picture to a browser: then the name stands for it.
  const showName = () => {
    const file = find("file").files[0];
    if (!file) return;
    find("preview").hidden = true;
    find("invite").hidden = false;
    find("invite").querySelector("strong").textContent = file.name;
  };

  // A click, and not requestSubmit: htmx would remember the button that was clicked before and send that.
  const predict = () => find("predict").click();

  const take = (file) => {
    const transfer = new DataTransfer();
    transfer.items.add(file);
    find("file").files = transfer.files;
    show(URL.createObjectURL(file));
    predict();
  };

  const firstImage = (files) => Array.from(files).find((file) => file.type.startsWith("image/")) ?? files[0];

  const listenToDrop = (area) => {
    const mark = (event, isOver) => {
      event.preventDefault();
      area.classList.toggle("is-over", isOver);
    };
    area.addEventListener("dragover", (event) => mark(event, true));
    area.addEventListener("dragleave", (event) => mark(event, false));
    area.addEventListener("drop", (event) => {
      mark(event, false);
      const file = firstImage(event.dataTransfer.files);
      if (file) take(file);
    });
  };

  const stopCamera = () => {
    stream?.getTracks().forEach((track) => track.stop());
    stream = null;
    find("video").hidden = true;
    find("drop").hidden = false;
  };

  const startCamera = async () => {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    const video = find("video");
    video.srcObject = stream;
    video.hidden = false;
    find("drop").hidden = true;
    await video.play();
  };

  const snap = () => {
    const video = find("video");
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    stopCamera();
    canvas.toBlob((blob) => take(new File([blob], "camera.jpg", { type: "image/jpeg" })), "image/jpeg", 0.92);
  };

  const offerCamera = (button) => {
    if (!navigator.mediaDevices?.getUserMedia) return;
    const label = button.querySelector("span");
    const words = { start: label.textContent, snap: button.dataset.snap };
    button.hidden = false;
    button.addEventListener("click", async () => {
      if (stream) snap();
      else await startCamera().catch(() => (button.hidden = true));
      label.textContent = stream ? words.snap : words.start;
    });
  };

  document.addEventListener("DOMContentLoaded", () => {
    document.body.classList.add("demo-ready");
    listenToDrop(find("drop"));
    offerCamera(find("camera"));
    find("file").addEventListener("change", (event) => {
      const file = event.target.files[0];
      if (!file) return;
      show(URL.createObjectURL(file));
      predict();
    });
    find("preview").addEventListener("error", showName);
    find("preview").addEventListener("load", ({ target }) => {
      target.classList.toggle("is-tiny", Math.max(target.naturalWidth, target.naturalHeight) <= TINY_PIXELS);
    });
    find("sample")?.addEventListener("click", (event) => {
      find("file").value = "";
      show(event.currentTarget.querySelector("img").src);
    });
    document.addEventListener("paste", (event) => {
      const file = firstImage(event.clipboardData.files);
      if (file) take(file);
    });
  });
})();
