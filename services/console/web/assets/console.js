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
    for (const t of copy.querySelectorAll("time[data-ago]")) t.textContent = "";
    for (const d of copy.querySelectorAll("details")) d.open = false;
    for (const all of copy.querySelectorAll("input[data-all]")) all.hidden = true;
    return copy.outerHTML;
  }

  // Where links lead elsewhere and nothing else has changed, they are told so: one that is being pressed stays where it is.
  function relink(old, fresh) {
    const copy = old.cloneNode(true), to = [...fresh.querySelectorAll("a[href]")].map((a) => a.getAttribute("href"));
    const lead = (a, i) => i in to && a.setAttribute("href", to[i]);
    copy.querySelectorAll("a[href]").forEach(lead);
    if (said(copy) !== said(fresh)) return false;
    old.querySelectorAll("a[href]").forEach(lead);
    return true;
  }

  function replace(old, fresh) {
    if (busy(old) || said(old) === said(fresh) || relink(old, fresh)) return;
    keep(old, fresh);
    const where = focusIn(old);
    old.replaceWith(fresh);
    refocus(fresh, where);
    show(fresh);
  }

  function show(fresh) {
    fresh.classList.add("fresh");
    countOn(fresh);
  }

  function parsed(text) {
    const template = document.createElement("template");
    template.innerHTML = text;
    return [...template.content.children];
  }

  // Each part replaces the one with its id.
  function apply(text) {
    for (const fresh of parsed(text)) {
      const old = fresh.id && document.getElementById(fresh.id);
      if (old) replace(old, fresh);
    }
    ticked();
  }

  // A list becomes what it would be if the page were loaded anew: the rows that are sent are new or have changed, and the order
  // names all that the page has.
  function list(text) {
    const [sent] = parsed(text), into = document.getElementById(sent.dataset.rows);
    if (!into) return;
    for (const fresh of [...sent.children]) {
      const old = document.getElementById(fresh.id);
      if (old) replace(old, fresh);
    }
    const rows = [], region = into.closest(".scroll");
    for (const id of sent.dataset.order.split(" ").filter(Boolean)) {
      const fresh = sent.querySelector("#" + CSS.escape(id)), row = document.getElementById(id) || fresh;
      if (row) rows.push(row);
      if (row === fresh && row) show(row);
    }
    const here = new Set(rows);
    for (const row of [...into.children]) {
      if (here.has(row)) continue;
      if (row.contains(document.activeElement)) region.focus({ preventScroll: true }); // and not the beginning of the page
      row.remove();
    }
    arrange(into, rows);
    region.querySelector(".empty").hidden = rows.length > 0;
    ticked();
  }

  // The row with the focus stays where it is and the others go around it: what is moved loses the focus.
  function arrange(into, rows) {
    const from = Math.max(rows.findIndex((row) => row.contains(document.activeElement)), 0);
    if (rows.length && !rows[from].isConnected) into.prepend(rows[from]);
    for (let i = from - 1; i >= 0; i--) if (rows[i].nextElementSibling !== rows[i + 1]) rows[i + 1].before(rows[i]);
    for (let i = from + 1; i < rows.length; i++) if (rows[i - 1].nextElementSibling !== rows[i]) rows[i - 1].after(rows[i]);
  }

  // Only pages that are looked at are kept up to date: browsers open few connections to one host.
  let source, again, failures = 0;
  const late = "Not kept up to date, trying again.";

  function listen() {
    clearTimeout(again);
    if (source || document.hidden || !main?.dataset.live) return;
    source = new EventSource(main.dataset.live);
    source.addEventListener("parts", (event) => apply(event.data));
    source.addEventListener("rows", (event) => list(event.data));
    source.addEventListener("open", () => {
      failures = 0;
      tell("");
    });
    source.addEventListener("error", failed);
  }

  function stop() {
    clearTimeout(again);
    if (source) source.close();
    source = undefined;
  }

  // Streams end, and the browser listens again at once. Where it is refused, by a proxy before a console that is started anew, or
  // by one that keeps enough pages up to date, it would never try again; and where it goes on failing it would not say so.
  function failed(event) {
    if (event.target !== source) return;
    if (source.readyState !== EventSource.CLOSED) {
      if (++failures > 1) tell(late);
      return;
    }
    stop();
    again = setTimeout(listen, main.dataset.again * 1000 * (1 + Math.random()));
    // A page that would lead elsewhere leads to where people sign in: their session is over.
    fetch(location, { headers: { Accept: "text/html" }, redirect: "manual" })
      .then((answer) => answer.type === "opaqueredirect", () => false)
      .then((out) => {
        if (source?.readyState === EventSource.OPEN) return; // it took long, and the page is up to date again
        out ? tell("Not kept up to date, you are signed out: ", "sign in") : tell(late);
      });
  }

  // tell says something about the page, with a link that loads it anew.
  function tell(text, link = "") {
    const line = main.querySelector(".stale");
    if (line.textContent === text + link) return;
    line.textContent = text;
    if (link) line.append(Object.assign(document.createElement("a"), { href: location.href, textContent: link }));
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : listen()));
  addEventListener("pagehide", stop);
  addEventListener("pageshow", listen);

  countOn(document);
  ticked();
  setInterval(() => countOn(document), 10000);
  listen();
})();
