"use strict";
// Sorts and filters the error browser, and takes boxes with nothing to scroll out of the order of the Tab key. Without it
// every list stands below the other, most lost first, and every box can be reached.
const form = document.getElementById("browse");
const field = (name) => document.getElementById(name);
const orders = {
  lost: (a, b) => b.dataset.change - a.dataset.change,
  gained: (a, b) => a.dataset.change - b.dataset.change,
  worst: (a, b) => b.dataset.rank - a.dataset.rank,
};

function shownCases() {
  return [...document.querySelectorAll(".pair:not([hidden]) .view:not([hidden]) .case:not([hidden])")];
}

function show() {
  const words = field("words").value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const pair of document.querySelectorAll(".pair")) pair.hidden = pair.id !== field("pair").value;
  let total = 0;
  for (const view of document.querySelectorAll(".pair:not([hidden]) .view")) {
    view.hidden = view.dataset.direction !== field("direction").value;
    if (view.hidden) continue;
    const list = view.querySelector(".cases");
    list.append(...[...list.children].sort(orders[field("order").value]));
    for (const item of list.children) {
      const text = item.querySelector("summary").textContent.toLowerCase();
      const kind = field("kind").value;
      item.hidden = (kind && item.dataset.kind !== kind) || !words.every((word) => text.includes(word));
    }
    total = list.children.length;
  }
  field("shown").textContent = `${shownCases().length} of ${total} queries shown`;
}

// also called at first, and whenever the window changes
const boxes = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
    else target.removeAttribute("tabindex");
  }
});
for (const box of document.querySelectorAll(".scroll")) boxes.observe(box);

if (form) {
  form.hidden = false;
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  field("open").addEventListener("click", () => shownCases().forEach((item) => (item.open = true)));
  field("close").addEventListener("click", () => shownCases().forEach((item) => (item.open = false)));
  show();
}
