// SPDX-License-Identifier: Apache-2.0
// Small helpers for elements, and messages to the user.

export const $ = (id) => document.getElementById(id);

// make("button", {type: "button", onclick}, "text", child, ...): attributes or properties, then children.
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null) continue;
    if (name.startsWith("aria-")) { element.setAttribute(name, String(value)); continue; }
    if (value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// A message that stays until it is closed; of many only the last three, and never the same twice.
export function say(text) {
  for (const old of [...$("toasts").children]) if (old.firstChild.textContent === text) old.remove();
  const box = make("p", {}, make("span", {}, text));
  box.append(make("button", { type: "button", "aria-label": "Close the message", onclick: () => box.remove() }, "✕"));
  $("toasts").append(box);
  while ($("toasts").children.length > 3) $("toasts").firstChild.remove();
}

// What screen readers are told in passing, and everybody sees in the corner.
export const tell = (text) => { if ($("status").textContent !== text) $("status").textContent = text; };

const CONTROLS = "button, input, select, summary, a";
const keyOf = (element) => element.dataset.key ?? [element.tagName, element.id, element.name, element.value, element.getAttribute("aria-label"), element.id ? "" : element.textContent].join("|");

// New children in a box, without taking the keyboard's place from under the user.
export function rebuild(box, children) {
  const active = box.contains(document.activeElement) ? keyOf(document.activeElement) : null;
  box.replaceChildren(...children);
  if (active) [...box.querySelectorAll(CONTROLS)].find((each) => keyOf(each) === active)?.focus({ preventScroll: true });
}

// Roving arrow keys for groups of buttons that act as radio buttons.
export function arrows(group) {
  group.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const all = [...group.querySelectorAll("button:not(:disabled)")];
    const next = all[(all.indexOf(document.activeElement) + step + all.length) % all.length];
    event.preventDefault();
    next.focus();
    next.click();
  });
}

export function choose(dialog) {
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue), { once: true }));
}
