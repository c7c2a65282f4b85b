// The chat page: keys, scrolling, copying, and what happens when a message can't be sent.
(() => {
  "use strict";
  const turns = document.getElementById("turns");
  const composer = document.getElementById("composer");
  const text = document.getElementById("text");
  const hasFinger = window.matchMedia("(pointer: coarse)").matches;
  const announce = (words) => {
    const place = document.getElementById("announce");
    if (place) place.textContent = words;
  };

  // Scrolls along only while the end is in sight.
  let follows = true;
  const isAtEnd = () => window.innerHeight + window.scrollY >= document.documentElement.scrollHeight - 80;
  const toEnd = () => window.scrollTo({ top: document.documentElement.scrollHeight });
  if (turns) {
    window.addEventListener("scroll", () => (follows = isAtEnd()), { passive: true });
    new MutationObserver(() => {
      if (follows) toEnd();
      addCodeButtons();
    }).observe(turns, { childList: true, subtree: true, characterData: true });
    if (!window.location.search && turns.children.length) toEnd();
  }

  const copy = async (button, words, place) => {
    try {
      await navigator.clipboard.writeText(words);
      button.textContent = "Copied";
      announce("Copied.");
      setTimeout(() => (button.textContent = "Copy"), 2000);
    } catch {
      // Without https, browsers have no clipboard: then the text is selected.
      window.getSelection().selectAllChildren(place);
    }
  };
  function addCodeButtons() {
    for (const pre of document.querySelectorAll(".prose[data-final] pre:not(.code-box > pre)")) {
      const box = document.createElement("div");
      const button = document.createElement("button");
      box.className = "code-box";
      button.type = "button";
      button.textContent = "Copy";
      button.setAttribute("aria-label", "Copy this code");
      button.addEventListener("click", () => copy(button, pre.textContent, pre));
      pre.replaceWith(box);
      box.append(pre, button);
    }
  }
  addCodeButtons();
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll(".menu[open]")) if (!menu.contains(event.target)) menu.open = false;
    if (!event.target.matches("[data-copy-answer]")) return;
    const reply = event.target.closest(".reply");
    copy(event.target, reply.querySelector(".source").value, reply.querySelector(".prose"));
  });

  const stopButton = () => document.querySelector("#controls .stop");
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.defaultPrevented) return;
    if (event.key === "Escape") {
      const menu = document.querySelector(".menu[open], .edit[open]");
      if (menu) {
        menu.open = false;
        menu.querySelector("summary").focus();
      } else if (stopButton()) stopButton().click();
      return;
    }
    const form = event.target.closest && event.target.matches("textarea") && event.target.closest("[data-sends]");
    if (!form || event.key !== "Enter" || event.shiftKey || hasFinger) return;
    event.preventDefault();
    // While an answer is written, what one types waits.
    if (form === composer && stopButton()) return;
    if (event.target.value.trim()) form.requestSubmit();
  });
  document.addEventListener("toggle", (event) => {
    if (!event.target.matches(".edit[open]")) return;
    const field = event.target.querySelector("textarea");
    field.focus();
    field.setSelectionRange(field.value.length, field.value.length);
  }, true);

  // Sending
  let sent = "";
  const isSending = (event) => event.detail.elt && event.detail.elt.matches("[data-sends]");
  const showProblem = (words) => {
    const place = document.getElementById("problem");
    if (!place) return;
    const line = document.createElement("p");
    line.className = "problem wrap";
    line.textContent = words;
    place.replaceChildren(line);
  };
  // Not to the page of the login, which a message that is refused would lead to: what one has written would be lost.
  const loggedOut = "You are logged out. Log in in another tab, and come back: what you have written stays here.";
  document.addEventListener("htmx:beforeOnLoad", (event) => {
    if (!isSending(event) || event.detail.xhr.status !== 401) return;
    event.preventDefault();
    showProblem(loggedOut);
  });
  // Browsers don't say why a stream was refused. It is asked for again and again, and goes on after a login.
  document.addEventListener("htmx:sseError", async (event) => {
    if (event.detail.source.readyState !== EventSource.CLOSED) return;
    const page = await fetch(window.location.href, { redirect: "manual" }).catch(() => null);
    if (page && page.type === "opaqueredirect") showProblem(loggedOut);
  });
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (!isSending(event)) return;
    sent = text ? text.value : "";
    follows = true;
  });
  // A message that was refused is answered with what to show instead. Before app.js, which would load the page again.
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { xhr, requestConfig } = event.detail;
    if (!xhr || xhr.status < 400 || !requestConfig || !requestConfig.elt.matches("[data-sends]")) return;
    event.stopPropagation();
    event.detail.isError = false;
    event.detail.shouldSwap = xhr.responseText.includes('id="problem"');
    if (event.detail.shouldSwap) event.detail.swapOverride = "beforeend";
    else showProblem(xhr.status === 413 ? "The message is too large." : `The message wasn't sent (${xhr.status}).`);
  }, true);
  document.addEventListener("htmx:afterRequest", (event) => {
    if (!isSending(event)) return;
    if (!event.detail.xhr.status) showProblem("The server can't be reached. The message wasn't sent.");
    else if (event.detail.xhr.status < 400) {
      if (event.detail.elt === composer && text.value === sent) text.value = "";
      announce("The answer is being written.");
    }
    if (!hasFinger && text) text.focus({ preventScroll: true });
  });
  // What had the focus may be gone.
  document.addEventListener("htmx:oobAfterSwap", () => {
    if (document.activeElement === document.body && text && !hasFinger) text.focus({ preventScroll: true });
  });
})();
