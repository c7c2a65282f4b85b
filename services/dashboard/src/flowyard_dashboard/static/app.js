// What HTML can't do by itself: times in the reader's own zone, durations that go on, and whether the page is live.
(() => {
  "use strict";
  const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  const two = (n) => String(n).padStart(2, "0");

  const local = (at) =>
    `${months[at.getMonth()]} ${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;

  const lasted = (seconds) => {
    if (seconds < 60) return `${seconds} s`;
    const minutes = Math.floor(seconds / 60);
    if (minutes < 60) return `${minutes} min ${two(seconds % 60)} s`;
    return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
  };

  const tick = () => {
    for (const span of document.querySelectorAll("[data-since]")) {
      const text = lasted(Math.max(0, Math.floor((Date.now() - Date.parse(span.dataset.since)) / 1000)));
      if (span.textContent !== text) span.textContent = text;
    }
  };

  const refine = () => {
    for (const time of document.querySelectorAll("time:not([title])")) {
      const at = new Date(time.dateTime);
      time.title = at.toString();
      time.textContent = local(at);
    }
    tick();
  };

  const live = (state) => {
    document.documentElement.dataset.live = state;
  };

  // A browser has six connections to us for all its tabs. Pages that nobody sees give theirs back: those that one has
  // left, which browsers keep for "back", and those in a tab that has been hidden for a while.
  const hidden = 10_000;
  const sources = new Set();
  const asleep = new Set();
  let timer;

  const sleep = () => {
    for (const source of sources) {
      if (source.readyState === EventSource.CLOSED) continue;
      source.close();
      asleep.add(source);
    }
    sources.clear();
  };

  const wake = () => {
    // The extension connects again when a closed source tells of an error.
    for (const source of asleep) source.onerror(new Event("error"));
    asleep.clear();
  };

  htmx.createEventSource = (url) => {
    const source = new EventSource(url);
    sources.add(source);
    return source;
  };
  window.addEventListener("pagehide", sleep);
  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(sleep, hidden);
    else wake();
  });

  refine();
  setInterval(tick, 1000);
  new MutationObserver(refine).observe(document.body, { childList: true, subtree: true });
  document.addEventListener("htmx:sseOpen", () => live("on"));
  document.addEventListener("htmx:sseError", () => live("lost"));
  document.addEventListener("htmx:sseClose", (event) => {
    if (event.detail.type === "message") live("over");
  });
  // An answer that isn't 200 still is a page.
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.xhr && event.detail.xhr.status >= 400) window.location.reload();
  });
  // One click, one run.
  document.addEventListener("submit", (event) => {
    if (event.target.method !== "post") return;
    for (const button of event.target.querySelectorAll("button")) setTimeout(() => (button.disabled = true), 0);
  });
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) window.location.reload();
  });
})();
