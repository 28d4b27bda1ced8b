// Ages that stay right, and a banner while the server does not answer. Everything else is HTMX.
"use strict";

function age(then) {
  const seconds = Math.max(0, Math.round((Date.now() - then) / 1000));
  if (seconds < 60) return seconds + " s ago";
  if (seconds < 3600) return Math.floor(seconds / 60) + " min ago";
  if (seconds < 86400) return Math.floor(seconds / 3600) + " h ago";
  return Math.floor(seconds / 86400) + " d ago";
}

function showAges() {
  for (const element of document.querySelectorAll("time[datetime]")) {
    const then = Date.parse(element.dateTime);
    if (Number.isNaN(then)) continue;
    element.textContent = age(then);
    element.title = new Date(then).toLocaleString();
  }
}

function connected(yes) {
  document.getElementById("lost").hidden = yes;
  document.body.classList.toggle("lost", !yes);
}

document.addEventListener("DOMContentLoaded", () => {
  showAges();
  setInterval(showAges, 1000);
  document.body.addEventListener("htmx:afterSwap", showAges);
  document.body.addEventListener("htmx:sendError", () => connected(false));
  document.body.addEventListener("htmx:timeout", () => connected(false));
  document.body.addEventListener("htmx:afterRequest", (event) => {
    const status = event.detail.xhr.status;
    if (status === 401) location.assign("/login");
    if (status) connected(status < 500);
  });
});
