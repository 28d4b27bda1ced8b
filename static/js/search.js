// A page's search field: what is typed is kept in the address, and the live part is asked for it at once.
"use strict";
{
  const form = document.getElementById("search");
  const field = form.querySelector("[type=search]");
  const TYPED = 200; // ms after the last key
  let timer = 0;

  const show = () => {
    clearTimeout(timer);
    const said = new URLSearchParams([...new FormData(form)].filter(([, value]) => value.trim()));
    history.replaceState(null, "", said.size ? `?${said}` : location.pathname);
    htmx.trigger(live, "filter");
  };

  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(show, TYPED);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    show();
  });
  document.body.addEventListener("htmx:configRequest", (event) => {
    if (event.detail.elt === live) event.detail.path = event.detail.path.replace(/\?.*$|$/, () => location.search);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.closest("input, textarea, select") && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      field.focus();
    } else if (event.key === "Escape" && event.target === field) {
      field.value = "";
      show();
    }
  });
}
