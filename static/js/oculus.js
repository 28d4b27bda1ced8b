// What HTMX leaves to do: ages that stay right, a flash where a value has changed, the filter, and a
// banner while the server does not answer.
"use strict";

const live = document.getElementById("live");
const lost = document.getElementById("lost");
const find = document.getElementById("find");
const failing = document.getElementById("failing");
const title = document.title;

let skew = 0; // ms that the server's clock is ahead of this one
let answered = Date.now();
let asked = 0;
let shown = ""; // the fragment on the page
let before = new Map(); // symbol → value text
let focused = ""; // the id of what had the keyboard
let opened = []; // the ids of what was unfolded

function age(seconds) {
  if (seconds < 60) return Math.floor(seconds) + "s";
  if (seconds < 3600) return Math.floor(seconds / 60) + "m";
  if (seconds < 86400) return Math.floor(seconds / 3600) + "h";
  return Math.floor(seconds / 86400) + "d";
}

function left(seconds) {
  const parts = [[86400, 3600, "d", "h"], [3600, 60, "h", "m"]].find(([size]) => seconds >= size);
  if (!parts) return age(seconds);
  const [size, rest, unit, smaller] = parts;
  return Math.floor(seconds / size) + unit + " " + Math.floor((seconds % size) / rest) + smaller;
}

function showAges() {
  const now = Date.now() + skew;
  for (const element of document.querySelectorAll("time[datetime]:not(.at)")) {
    const then = (element.then ??= Date.parse(element.dateTime));
    const [show, ms] = element.className === "ahead" ? [left, then - now] : [age, now - then];
    const text = Number.isNaN(then) ? "" : show(Math.max(0, ms / 1000));
    if (element.textContent !== text) element.textContent = text;
  }
}

function connected(yes) {
  lost.hidden = yes;
  document.body.classList.toggle("lost", !yes);
  if (yes) answered = Date.now();
  lost.querySelector("time").dateTime = new Date(answered + skew).toISOString();
}

function number(text) {
  return Number(text.replaceAll(",", ""));
}

function values() {
  const found = new Map();
  for (const row of live.querySelectorAll(".row")) {
    found.set(row.dataset.symbol, row.querySelector("b").textContent);
  }
  return found;
}

function flash() {
  for (const row of live.querySelectorAll(".row")) {
    const old = before.get(row.dataset.symbol);
    const text = row.querySelector("b").textContent;
    if (old === undefined || old === text) continue;
    const change = number(text) - number(old);
    row.classList.add(change > 0 ? "rose" : change < 0 ? "fell" : "changed");
  }
}

function filter() {
  if (!find) return;
  const wanted = find.value.trim().toLowerCase();
  const active = wanted !== "" || failing.checked;
  let any = !active;
  // Before the first use there is nothing to undo.
  if (active || document.body.classList.contains("filtered")) {
    for (const panel of live.querySelectorAll(".panel")) {
      let some = false;
      for (const row of panel.querySelectorAll(".row")) {
        row.hidden = !row.dataset.symbol.includes(wanted) || (failing.checked && !row.matches(".down, .stale"));
        some ||= !row.hidden;
      }
      panel.hidden = !some;
      any ||= some;
    }
  }
  document.body.classList.toggle("filtered", active);
  document.getElementById("none").hidden = any;
}

function reason(answer) {
  try {
    return JSON.parse(answer).error.message;
  } catch {
    return "The answer cannot be read.";
  }
}

function showCount() {
  const failures = live?.querySelector("[data-failing]")?.dataset.failing;
  document.title = failures > 0 ? `(${failures}) ${title}` : title;
}

showAges();
showCount();
setInterval(showAges, 1000);
filter(); // the browser may have kept the field's text over a reload

find?.addEventListener("input", filter);
failing?.addEventListener("change", filter);
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && find && !event.target.closest("input, textarea") && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    find.focus();
  } else if (event.key === "Escape" && event.target === find) {
    find.value = "";
    filter();
  }
});

// The full time is written only for what is pointed at: it is slow to format.
document.addEventListener("mouseover", (event) => {
  const then = event.target.dateTime && Date.parse(event.target.dateTime);
  if (then) event.target.title = new Date(then).toLocaleString();
});

document.body.addEventListener("htmx:beforeRequest", (event) => {
  // A page in the background asks seldom; its title still tells of failures.
  if (document.hidden && Date.now() - asked < 30000) event.preventDefault();
  else asked = Date.now();
});
document.body.addEventListener("htmx:beforeSwap", (event) => {
  const { serverResponse, target, xhr } = event.detail;
  if (target !== live) {
    event.detail.shouldSwap = xhr.getResponseHeader("Content-Type")?.startsWith("text/html"); // errors too
    if (!event.detail.shouldSwap) target.textContent = reason(serverResponse);
    return;
  }
  if (xhr.status !== 200) return;
  if (serverResponse === shown) {
    event.detail.shouldSwap = false;
    return;
  }
  shown = serverResponse;
  before = values();
  focused = live.contains(document.activeElement) ? document.activeElement.id : "";
  opened = [...live.querySelectorAll("details[open]")].map((details) => details.id);
  // HTMX would visit each old element: two thirds of the time that a swap of 1,000 rows takes.
  live.replaceChildren();
});
document.body.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target !== live) return;
  for (const id of opened) document.getElementById(id)?.setAttribute("open", "");
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  flash();
  filter();
  showAges();
  showCount();
});
document.body.addEventListener("htmx:sendError", () => connected(false));
document.body.addEventListener("htmx:timeout", () => connected(false));
document.body.addEventListener("htmx:afterRequest", (event) => {
  const { xhr } = event.detail;
  if (xhr.status === 401) location.assign("/login");
  if (!xhr.status) return;
  if (xhr.status === 200) event.detail.elt.closest("form:not([data-keep])")?.reset();
  const behind = Date.parse(xhr.getResponseHeader("Date")) - Date.now();
  skew = Math.abs(behind) > 3000 ? behind : 0; // the header has whole seconds
  if (event.detail.target === live || xhr.status < 500) connected(xhr.status < 500);
});
