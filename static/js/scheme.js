// The visitor's choice of light or dark, before anything is drawn. Without one the system's is followed.
"use strict";
{
  let scheme = null;
  try {
    scheme = localStorage.getItem("scheme");
  } catch {
    // A browser that keeps nothing follows the system.
  }
  if (scheme === "light" || scheme === "dark") document.documentElement.dataset.theme = scheme;
}
