// Shows times in the browser's time zone, running durations, and whether the page is live. Copies texts.
(() => {
  "use strict";
  const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  const pad = (n) => String(n).padStart(2, "0");

  const formatTime = (at) =>
    `${months[at.getMonth()]} ${pad(at.getDate())} ${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;

  const formatDuration = (seconds) => {
    if (seconds < 60) return `${seconds} s`;
    const minutes = Math.floor(seconds / 60);
    if (minutes < 60) return `${minutes} min ${pad(seconds % 60)} s`;
    return `${Math.floor(minutes / 60)} h ${pad(minutes % 60)} min`;
  };

  const updateDurations = () => {
    for (const span of document.querySelectorAll("[data-since]")) {
      const text = formatDuration(Math.max(0, Math.floor((Date.now() - Date.parse(span.dataset.since)) / 1000)));
      if (span.textContent !== text) span.textContent = text;
    }
  };

  const localizeTimes = () => {
    for (const time of document.querySelectorAll("time:not([title])")) {
      const at = new Date(time.dateTime);
      time.title = at.toString();
      time.textContent = formatTime(at);
    }
    updateDurations();
  };

  const showLive = (state) => {
    document.documentElement.dataset.live = state;
  };

  // A browser opens at most six connections to a server, for all tabs together. So pages that nobody sees close theirs:
  // pages that the browser keeps for its "back" button, and pages in a tab that has been hidden for a while.
  const hiddenMs = 10_000;
  const sources = new Set();
  const closedSources = new Set();
  let timer;

  const closeSources = () => {
    for (const source of sources) {
      if (source.readyState === EventSource.CLOSED) continue;
      source.close();
      closedSources.add(source);
    }
    sources.clear();
  };

  const reopenSources = () => {
    // The SSE extension reconnects when a closed source has an error.
    for (const source of closedSources) source.onerror(new Event("error"));
    closedSources.clear();
  };

  htmx.createEventSource = (url) => {
    const source = new EventSource(url);
    sources.add(source);
    return source;
  };
  window.addEventListener("pagehide", closeSources);
  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(closeSources, hiddenMs);
    else reopenSources();
  });

  localizeTimes();
  setInterval(updateDurations, 1000);
  new MutationObserver(localizeTimes).observe(document.body, { childList: true, subtree: true });
  document.addEventListener("htmx:sseOpen", () => showLive("on"));
  document.addEventListener("htmx:sseError", () => showLive("lost"));
  document.addEventListener("htmx:sseClose", (event) => {
    if (event.detail.type === "message") showLive("over");
  });
  // A response with an error status is a page, too.
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.xhr && event.detail.xhr.status >= 400) window.location.reload();
  });
  // Disables the buttons, so that a second click doesn't submit the form again.
  document.addEventListener("submit", (event) => {
    // What htmx sends is a page of its own, which may be sent again.
    if (event.target.method !== "post" || event.defaultPrevented) return;
    for (const button of event.target.querySelectorAll("button")) setTimeout(() => (button.disabled = true), 0);
  });
  // Copies the text below a button's title. Without https, browsers have no clipboard: then the text is selected.
  document.addEventListener("click", async (event) => {
    if (!event.target.matches("[data-copy]")) return;
    const text = event.target.closest("section").querySelector("pre");
    try {
      await navigator.clipboard.writeText(text.textContent);
      event.target.textContent = "Copied";
    } catch {
      window.getSelection().selectAllChildren(text);
    }
  });
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) window.location.reload();
  });
})();
