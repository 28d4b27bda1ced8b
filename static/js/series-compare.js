// The field that finds another series to compare with, and the chips of those that are.
"use strict";

Oculus.Compare = class {
  #field = document.getElementById("compare");
  #list = document.getElementById("compare-list");
  #chips = document.querySelector(".others");
  #waiting = 0;
  #asked = null;
  #shown = "[]";
  #taken;
  #chosen;

  // `taken` tells whether a symbol is on the chart already, `chosen` puts one there.
  constructor(taken, chosen) {
    this.#taken = taken;
    this.#chosen = chosen;
    this.#field.addEventListener("input", () => {
      clearTimeout(this.#waiting);
      this.#waiting = setTimeout(() => this.#find(), 150);
    });
    this.#field.addEventListener("keydown", (event) => this.#key(event));
    this.#field.addEventListener("blur", () => this.#close());
    // Not on click: the field would lose the focus first, and the list would be gone.
    this.#list.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      this.#choose(event.target.closest("[role=option]"));
    });
  }

  async #find() {
    const text = this.#field.value.toLowerCase().replace(/[^a-z0-9_.*]/g, "");
    this.#asked?.abort();
    if (!text) return this.#close();
    this.#asked = new AbortController();
    try {
      const answer = await fetch(`/api/metrics?limit=13&symbol=${encodeURIComponent(`*${text}*`)}`, { signal: this.#asked.signal });
      if (answer.ok) this.#open((await answer.json()).metrics.filter(({ symbol }) => !this.#taken(symbol)).slice(0, 12));
    } catch {
      // The next letter asks again.
    }
  }

  #open(found) {
    const options = found.map(({ symbol, category, unit, value }, index) => {
      const option = document.createElement("li");
      option.id = `compare-${index}`;
      option.role = "option";
      option.dataset.symbol = symbol;
      option.dataset.category = category;
      const shown = document.createElement("small");
      shown.textContent = Oculus.figures.full(value, unit);
      option.append(symbol, shown);
      return option;
    });
    if (!found.length) {
      const none = document.createElement("li");
      none.role = "option";
      none.ariaDisabled = "true";
      none.textContent = "No other series has such a name.";
      options.push(none);
    }
    this.#list.replaceChildren(...options);
    this.#list.hidden = false;
    this.#field.ariaExpanded = "true";
    this.#mark(found.length ? 0 : -1);
  }

  #close() {
    clearTimeout(this.#waiting);
    this.#asked?.abort();
    this.#list.hidden = true;
    this.#list.replaceChildren();
    this.#field.ariaExpanded = "false";
    this.#field.removeAttribute("aria-activedescendant");
  }

  #mark(place) {
    const options = [...this.#list.querySelectorAll("[data-symbol]")];
    options.forEach((option, index) => option.setAttribute("aria-selected", index === place));
    if (options[place]) {
      this.#field.setAttribute("aria-activedescendant", options[place].id);
      options[place].scrollIntoView({ block: "nearest" });
    }
  }

  #key(event) {
    const options = [...this.#list.querySelectorAll("[data-symbol]")];
    const place = options.findIndex((option) => option.ariaSelected === "true");
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      const step = event.key === "ArrowDown" ? 1 : options.length - 1;
      if (options.length) this.#mark((place + step) % options.length);
    } else if (event.key === "Enter") {
      event.preventDefault();
      this.#choose(options[place]);
    } else if (event.key === "Escape") {
      this.#field.value = "";
      this.#close();
    }
  }

  #choose(option) {
    if (!option?.dataset.symbol) return;
    this.#field.value = "";
    const { symbol } = option.dataset;
    this.#close();
    this.#chosen(symbol);
  }

  // Show a chip for each: its colour, its axis, which a press changes, and one that takes it away.
  chips(others, turn, remove) {
    const shown = JSON.stringify(others.map(({ symbol, right, tone }) => [symbol, right, tone]));
    if (shown === this.#shown) return;
    this.#shown = shown;
    const focused = document.activeElement?.id;
    this.#chips.replaceChildren(
      ...others.map(({ symbol, right, tone }) => {
        const chip = document.createElement("li");
        const mark = document.createElement("s");
        mark.style.background = `var(${tone})`;
        const link = document.createElement("a");
        link.href = `/series/${symbol}`;
        link.textContent = symbol;
        const side = right ? "right" : "left";
        const axis = this.#button(`axis-${symbol}`, side, `The axis of ${symbol} is on the ${side}: change sides`, () => turn(symbol));
        chip.append(mark, link, axis, this.#button(`remove-${symbol}`, "×", `Remove ${symbol}`, () => remove(symbol)));
        return chip;
      }),
    );
    if (focused && document.activeElement?.id !== focused) document.getElementById(focused)?.focus();
  }

  #button(id, text, told, pressed) {
    const button = document.createElement("button");
    button.type = "button";
    button.id = id;
    button.textContent = text;
    button.title = button.ariaLabel = told;
    button.addEventListener("click", pressed);
    return button;
  }
};
