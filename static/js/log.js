// The log follows its end, unless somebody has scrolled up to read.
(() => {
  "use strict";

  const SLACK_PIXELS = 40;
  const log = () => document.getElementById("job-log");
  let follows = true;

  const toEnd = () => {
    const box = log();
    if (box && follows) box.scrollTop = box.scrollHeight;
  };

  document.addEventListener("scroll", (event) => {
    const box = event.target;
    if (box === log()) follows = box.scrollHeight - box.scrollTop - box.clientHeight < SLACK_PIXELS;
  }, true);
  document.addEventListener("htmx:oobAfterSwap", toEnd);
  toEnd();
})();
