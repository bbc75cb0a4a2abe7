// What the console's pages do beyond reading and forms, which work without any of this: they are kept up to date, times count on,
// and one box ticks all others.
"use strict";

(() => {
  const main = document.getElementById("main");

  // "5 minutes ago", in the words of the server.
  function ago(at, now) {
    const passed = now - at, span = Math.abs(passed);
    if (span < 5000) return "just now";
    let text;
    for (const [name, length, least] of [["day", 864e5, 2], ["hour", 36e5, 1], ["minute", 6e4, 1], ["second", 1e3, 0]]) {
      const n = Math.floor(span / length);
      if (n >= least) {
        text = n + " " + name + (n === 1 ? "" : "s");
        break;
      }
    }
    return passed < 0 ? "in " + text : text + " ago";
  }

  function countOn(within) {
    const now = Date.now();
    for (const t of within.querySelectorAll("time[data-ago]")) {
      const text = ago(Date.parse(t.dateTime), now);
      if (t.textContent !== text) t.textContent = text;
    }
  }

  // Boxes that tick all of a name, in the form they stand in.
  function boxes(all) {
    const form = all.form || document;
    return [...form.querySelectorAll('input[type="checkbox"][name="' + CSS.escape(all.dataset.all) + '"]:not(:disabled)')];
  }

  function ticked() {
    for (const all of document.querySelectorAll("input[data-all]")) {
      const each = boxes(all), some = each.filter((b) => b.checked).length;
      all.hidden = each.length === 0;
      all.checked = some > 0 && some === each.length;
      all.indeterminate = some > 0 && some < each.length;
    }
  }

  document.addEventListener("change", (event) => {
    const all = event.target.closest("input[data-all]");
    if (all) for (const box of boxes(all)) box.checked = all.checked;
    ticked();
  });

  // What a person is in the middle of stays as it is when its part of the page is replaced.
  function keep(old, fresh) {
    for (const d of old.querySelectorAll("details[id]")) {
      const same = fresh.querySelector("#" + CSS.escape(d.id));
      if (same) same.open = d.open;
    }
    if (old.matches("details[id]")) fresh.open = old.open;
    for (const box of old.querySelectorAll('input[type="checkbox"]:checked')) {
      const same = fresh.querySelector('input[type="checkbox"][name="' + CSS.escape(box.name) + '"][value="' + CSS.escape(box.value) + '"]');
      if (same) same.checked = true;
    }
    for (const s of old.querySelectorAll(".scroll")) {
      const same = [...fresh.querySelectorAll(".scroll")].find((x) => x.getAttribute("aria-label") === s.getAttribute("aria-label"));
      if (same && s.scrollLeft) requestAnimationFrame(() => { same.scrollLeft = s.scrollLeft; });
    }
  }

  // Where the focus is, so that it can be given back: the n-th thing that takes it within the part.
  const takes = "a[href], button, input, select, textarea, summary, [tabindex]";

  function focusIn(part) {
    const at = document.activeElement;
    if (!at || at === part || !part.contains(at)) return -1;
    return at.id ? at.id : [...part.querySelectorAll(takes)].indexOf(at);
  }

  function refocus(part, where) {
    if (where === -1) return;
    const to = typeof where === "string" ? document.getElementById(where) : part.querySelectorAll(takes)[where];
    if (to) to.focus({ preventScroll: true });
  }

  // A part somebody is filling in is not replaced under their hands.
  function busy(part) {
    const at = document.activeElement;
    return at && part.contains(at) && at.matches("input:not([type=checkbox]), select, textarea");
  }

  // What a part says, without what changes by itself here.
  function said(part) {
    const copy = part.cloneNode(true);
    copy.classList.remove("fresh");
    if (!copy.className) copy.removeAttribute("class");
    delete copy.dataset.into;
    for (const t of copy.querySelectorAll("time[data-ago]")) t.textContent = "";
    for (const d of copy.querySelectorAll("details")) d.open = false;
    for (const all of copy.querySelectorAll("input[data-all]")) all.hidden = true;
    return copy.outerHTML;
  }

  // Each part replaces the one with its id. One that is new goes to the top of the place that it names.
  function apply(text) {
    const template = document.createElement("template");
    template.innerHTML = text;
    for (const fresh of [...template.content.children]) {
      const old = fresh.id && document.getElementById(fresh.id);
      if (old) {
        if (busy(old) || said(old) === said(fresh)) continue;
        keep(old, fresh);
        const where = focusIn(old);
        old.replaceWith(fresh);
        refocus(fresh, where);
      } else if (fresh.dataset.into) {
        const into = document.getElementById(fresh.dataset.into);
        if (!into) continue;
        into.prepend(fresh);
        const empty = into.closest(".scroll")?.querySelector(".empty");
        if (empty) empty.remove();
      } else {
        continue;
      }
      fresh.classList.add("fresh");
      countOn(fresh);
    }
    ticked();
  }

  // Only pages that are looked at are kept up to date: browsers open few connections to one host.
  let source;

  function listen() {
    if (source || document.hidden || !main?.dataset.live) return;
    source = new EventSource(main.dataset.live);
    source.addEventListener("parts", (event) => apply(event.data));
    source.addEventListener("end", stop);
  }

  function stop() {
    if (source) source.close();
    source = undefined;
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : listen()));
  addEventListener("pagehide", stop);
  addEventListener("pageshow", listen);

  countOn(document);
  ticked();
  setInterval(() => countOn(document), 10000);
  listen();
})();
