// The days of the status page: the one that is pointed at, or chosen with the arrow keys, is told.
"use strict";
{
  const tip = document.createElement("p");
  tip.className = "daytip";
  tip.hidden = true;
  document.body.append(tip);

  const places = new Map(); // id → the day that the keyboard is at
  const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1, PageDown: -7, PageUp: 7, Home: -1000, End: 1000 };

  const count = (days) => Number(days.getAttribute("aria-valuemax"));

  function told(days, place) {
    const date = new Date(`${days.dataset.start}T00:00Z`);
    date.setUTCDate(date.getUTCDate() + place);
    days.told ??= JSON.parse(days.dataset.told);
    return `${date.toISOString().slice(0, 10)}: ${days.told[place] ?? "100 % up"}`;
  }

  function show(days, wanted) {
    hide();
    const place = Math.min(Math.max(wanted, 0), count(days) - 1);
    const box = days.querySelector("svg").getBoundingClientRect();
    const [left, width] = [days.getBoundingClientRect().left, box.width / count(days)];
    const at = Math.max(left, box.left + place * width) + width / 2;
    days.setAttribute("aria-valuenow", place + 1);
    days.setAttribute("aria-valuetext", told(days, place));
    days.querySelector(".here").setAttribute("x", place * 5 - 0.5);
    tip.textContent = told(days, place);
    tip.hidden = false;
    const below = box.top < tip.offsetHeight + 72; // there is no room above: the bar of the page
    tip.style.left = `${Math.min(Math.max(at - tip.offsetWidth / 2, 8), document.documentElement.clientWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${below ? box.bottom + 8 : box.top - tip.offsetHeight - 8}px`;
    return place;
  }

  function hide() {
    tip.hidden = true;
    for (const here of document.querySelectorAll(".here")) here.setAttribute("x", -9);
  }

  for (const name of ["pointermove", "pointerdown"]) {
    document.addEventListener(name, (event) => {
      const days = event.target.closest?.(".days");
      if (!days) return hide();
      const box = days.querySelector("svg").getBoundingClientRect();
      show(days, Math.floor(((event.clientX - box.left) / box.width) * count(days)));
    });
  }
  document.addEventListener("scroll", hide, { passive: true });

  document.addEventListener("focusin", ({ target }) => {
    if (target.matches(".days:focus-visible")) show(target, places.get(target.id) ?? count(target) - 1);
  });
  document.addEventListener("focusout", hide);
  document.addEventListener("keydown", (event) => {
    const days = event.target.closest?.(".days");
    if (!days) return;
    if (event.key === "Escape") hide();
    if (!(event.key in moves)) return;
    event.preventDefault();
    places.set(days.id, show(days, (places.get(days.id) ?? count(days) - 1) + moves[event.key]));
  });
}
