// What every page has: ages that stay right, the choice of light or dark, a banner while the server does not
// answer, and lists that HTMX exchanges without losing the keyboard's place.
"use strict";

const live = document.getElementById("live");
const lost = document.getElementById("lost");
const title = document.title;

let skew = 0; // ms that the server's clock is ahead of this one
let answered = Date.now();
let asked = 0;
let shown = ""; // the fragment on the page
let focused = ""; // the id of what had the keyboard
let opened = []; // the ids of what was unfolded

// What the scripts of single pages use.
const Oculus = (window.Oculus = {
  now: () => Date.now() + skew,
  connected,
  showAges,
  showCount,
  // The colour that a custom property stands for in the present scheme, for what is drawn on a canvas.
  colour(name) {
    const probe = document.createElement("i");
    probe.style.color = `var(${name})`;
    document.body.append(probe);
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  },
  // Called before and after the live part of a page is exchanged.
  leaving: () => {},
  arrived: () => {},
});

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

function showAges(within = document) {
  const now = Oculus.now();
  for (const element of within.querySelectorAll("time[datetime]:not(.at)")) {
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
  const time = lost.querySelector("time");
  time.dateTime = new Date(answered + skew).toISOString();
  time.then = answered + skew;
}

function reason(answer) {
  try {
    return JSON.parse(answer).error.message;
  } catch {
    return "The answer cannot be read.";
  }
}

function showCount() {
  const failures = document.querySelector("[data-failing]")?.dataset.failing;
  if (failures === undefined) return;
  document.title = failures > 0 ? `(${failures}) ${title}` : title;
  const icon = document.querySelector("link[rel=icon]");
  const wanted = icon.getAttribute("href").replace(/oculus(-bad)?\.svg/, failures > 0 ? "oculus-bad.svg" : "oculus.svg");
  if (icon.getAttribute("href") !== wanted) icon.setAttribute("href", wanted);
}

// -- light and dark ---------------------------------------------------------------------------------------

const schemes = ["auto", "light", "dark"];
const looks = { auto: ["auto", "as the system has them"], light: ["sun", "light"], dark: ["moon", "dark"] };

function scheme() {
  return document.documentElement.dataset.theme ?? "auto";
}

function showScheme() {
  const button = document.getElementById("scheme");
  const [icon, told] = looks[scheme()];
  const use = button.querySelector("use");
  use.setAttribute("href", use.getAttribute("href").replace(/#.*/, `#${icon}`));
  button.title = `Colours: ${told}`;
  button.setAttribute("aria-label", button.title);
  const background = getComputedStyle(document.body).backgroundColor;
  for (const meta of document.querySelectorAll("meta[name=theme-color]")) {
    meta.dataset.own ??= meta.content;
    meta.content = scheme() === "auto" ? meta.dataset.own : background;
  }
}

document.getElementById("scheme").addEventListener("click", () => {
  const next = schemes[(schemes.indexOf(scheme()) + 1) % schemes.length];
  if (next === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  try {
    if (next === "auto") localStorage.removeItem("scheme");
    else localStorage.setItem("scheme", next);
  } catch {
    // It holds for this page then.
  }
  showScheme();
  document.dispatchEvent(new Event("oculus:scheme"));
});
matchMedia("(prefers-color-scheme: light)").addEventListener("change", () => {
  document.dispatchEvent(new Event("oculus:scheme"));
});

// -- what HTMX leaves to do -------------------------------------------------------------------------------

showScheme();
showAges();
showCount();
setInterval(showAges, 1000);

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
    if (xhr.status === 204) return; // nothing is new
    event.detail.shouldSwap = xhr.getResponseHeader("Content-Type")?.startsWith("text/html"); // errors too
    if (!event.detail.shouldSwap) target.textContent = reason(serverResponse);
    return;
  }
  if (xhr.status !== 200 && xhr.status !== 286) return; // 286: the same, for the last time
  if (serverResponse === shown) {
    event.detail.shouldSwap = false;
    return;
  }
  shown = serverResponse;
  Oculus.leaving();
  focused = live.contains(document.activeElement) ? document.activeElement.id : "";
  opened = [...live.querySelectorAll("details[open]")].map((details) => details.id);
  // HTMX would visit each old element: two thirds of the time that a swap of 1,000 rows takes.
  live.replaceChildren();
});
document.body.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target !== live) return;
  for (const id of opened) document.getElementById(id)?.setAttribute("open", "");
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  Oculus.arrived();
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
