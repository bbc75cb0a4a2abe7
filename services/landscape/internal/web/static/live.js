"use strict";

// Refreshes the overview while it is looked at: the parts marked data-live are replaced by those of a fresh copy, unless
// somebody is at work in them. Without this script the page is the same, but stands still.
(() => {
  const every = 2000;
  const control = document.getElementById("live");
  const status = control.querySelector("[role=status]");
  const button = control.querySelector("button");
  let paused = false;

  const say = (text) => {
    if (status.textContent !== text) status.textContent = text;
  };

  const show = () => {
    button.textContent = paused ? "Go on" : "Pause";
    say(paused ? "Paused" : "Live");
  };

  const atWork = (part) =>
    part.contains(document.activeElement) ||
    [...part.querySelectorAll("input")].some((input) => input.value !== input.defaultValue);

  const refresh = async () => {
    if (paused || document.hidden) return;
    const answer = await fetch("/landscape/");
    if (!answer.ok) throw new Error(String(answer.status));
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (paused) return;
    for (const part of document.querySelectorAll("[data-live]")) {
      const next = fresh.getElementById(part.id);
      if (next && next.innerHTML !== part.innerHTML && !atWork(part)) part.replaceChildren(...next.childNodes);
    }
    say("Live");
  };

  const loop = async () => {
    try {
      await refresh();
    } catch {
      say("The landscape does not answer; trying again");
    }
    setTimeout(loop, every);
  };

  button.addEventListener("click", () => {
    paused = !paused;
    show();
  });
  show();
  control.hidden = false;
  setTimeout(loop, every);
})();
