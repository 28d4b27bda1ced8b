// The dashboard: told what has changed by the server while that can be, and asking for it where it cannot; a flash
// where a value has changed; filter and order kept in the URL.
"use strict";

const form = document.getElementById("view");
const ASK = 2000; // ms between two questions where no events come
const SILENCE = 25000; // ms without any event after which the stream is taken for dead: it beats every 10 s
const TYPED = 200; // ms after the last key

let stream = null;
let heard = 0; // when the last event came; 0: none since the stream was opened
let asking = 0; // timer of the questions
let before = new Map(); // symbol → value text

// -- flashes ------------------------------------------------------------------------------------------------

function number(text) {
  return Number(text.replace(/[^\d.−-]/g, "").replace("−", "-"));
}

function values() {
  const found = new Map();
  for (const row of live.querySelectorAll(".row")) {
    found.set(row.dataset.symbol, row.querySelector("b").textContent);
  }
  return found;
}

function flash(row, old) {
  const text = row.querySelector("b").textContent;
  if (old === undefined || old === text) return;
  const change = number(text) - number(old);
  row.classList.add(change > 0 ? "rose" : change < 0 ? "fell" : "changed");
}

Oculus.leaving = () => {
  before = values();
};
// Categories that came after the page can be chosen as well.
function learn() {
  const picks = form.querySelector(".picks");
  for (const panel of live.querySelectorAll(".panel")) {
    const { category } = panel.dataset;
    if (picks.querySelector(`[data-category="${CSS.escape(category)}"]`)) continue;
    const label = document.createElement("label");
    label.dataset.category = category;
    const input = Object.assign(document.createElement("input"), { type: "radio", name: "category", value: category });
    const name = document.createElement("span");
    name.textContent = panel.querySelector(".title").textContent;
    label.append(input, name);
    picks.append(label);
  }
}

Oculus.arrived = () => {
  learn();
  for (const row of live.querySelectorAll(".row")) flash(row, before.get(row.dataset.symbol));
};

// -- what the server tells ----------------------------------------------------------------------------------

function elements(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content;
}

// Exchanges the content of an element, and keeps the keyboard's place in it.
function exchange(element, html) {
  const focused = element.contains(document.activeElement) ? document.activeElement.id : "";
  element.replaceChildren(elements(html));
  htmx.process(element);
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  Oculus.showAges(element);
  Oculus.showCount();
}

const handlers = {
  all(html) {
    before = values();
    exchange(live, html);
    Oculus.arrived();
  },
  rows(html) {
    for (const row of elements(html).querySelectorAll(".row")) {
      const shown = live.querySelector(`.row[data-symbol="${CSS.escape(row.dataset.symbol)}"]`);
      if (!shown) continue;
      const old = shown.querySelector("b").textContent;
      const focused = shown.contains(document.activeElement);
      shown.replaceWith(row);
      if (focused) row.querySelector("a").focus({ preventScroll: true });
      flash(row, old);
      Oculus.showAges(row);
    }
  },
  head: (html) => exchange(document.getElementById("head"), html),
  recent: (html) => exchange(document.getElementById("recent"), html),
  beat() {},
};

function listen() {
  stream?.close();
  heard = 0;
  const query = new URLSearchParams(location.search);
  query.delete("kiosk");
  query.set("seen", document.getElementById("board")?.dataset.seen ?? "");
  const source = (stream = new EventSource(`/live?${query}`));
  source.addEventListener("open", () => {
    heard = Date.now();
    ask(false);
    Oculus.connected(true);
  });
  for (const [name, handle] of Object.entries(handlers)) {
    source.addEventListener(name, (event) => {
      if (source !== stream) return;
      heard = Date.now();
      ask(false);
      Oculus.connected(true);
      handle(event.data);
    });
  }
  source.addEventListener("error", () => {
    if (source !== stream) return;
    ask(true); // an answer, or none, tells whether the server is gone or just gives no events
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 15000);
  });
}

// Asks for the whole now and then, where no events come.
function ask(yes) {
  if (yes === Boolean(asking)) return;
  clearInterval(asking);
  asking = 0;
  if (!yes) return;
  htmx.trigger(live, "ask");
  asking = setInterval(() => htmx.trigger(live, "ask"), ASK);
}

setInterval(() => {
  if (stream && heard && Date.now() - heard > SILENCE) {
    ask(true);
    listen();
  }
}, 5000);
// The browser takes the stream from a page that goes to sleep.
addEventListener("pageshow", (event) => event.persisted && listen());
addEventListener("pagehide", () => stream?.close());

if ("EventSource" in window) listen();
else ask(true);

// -- filter and order ---------------------------------------------------------------------------------------

let typed = 0;

function show() {
  clearTimeout(typed);
  const query = new URLSearchParams();
  for (const [name, value] of new FormData(form)) if (value) query.set(name, value);
  const text = query.toString();
  history.replaceState(null, "", text ? `/?${text}` : "/");
  live.setAttribute("hx-get", `/partials/metrics${text ? `?${text}` : ""}`);
  htmx.ajax("GET", live.getAttribute("hx-get"), { target: live, swap: "innerHTML" }).then(listen);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  show();
});
form.addEventListener("change", show);
for (const element of form.elements) {
  if (element.form === form && !form.contains(element)) element.addEventListener("change", show);
}
const find = document.getElementById("find");
find.addEventListener("input", () => {
  clearTimeout(typed);
  typed = setTimeout(show, TYPED);
});
document.addEventListener("keydown", (event) => {
  const writing = event.target.closest("input, textarea, select");
  if (event.key === "/" && !writing && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    find.focus();
  } else if (event.key === "Escape" && event.target === find) {
    find.value = "";
    show();
  } else if (event.key === "Escape" && document.body.classList.contains("kiosk")) {
    const query = new URLSearchParams(location.search);
    query.delete("kiosk");
    location.assign(`/?${query}`);
  }
});
document.addEventListener("click", (event) => {
  const button = event.target.closest("button.copy");
  if (!button) return;
  navigator.clipboard?.writeText(document.getElementById(button.dataset.copy).textContent).then(() => {
    button.textContent = "Copied";
  });
});

if ("wall" in live.dataset) document.body.classList.add("kiosk");
