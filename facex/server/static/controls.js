// SPDX-License-Identifier: Apache-2.0
// The right side: tasks, photos to take from, parts, sliders, the mix table, and the numbers.

import { url } from "./api.js";
import { $, make, rebuild } from "./dom.js";
import { maskMode, maskTools } from "./mask.js";
import { MIX, SLIDERS, chosenFor, chosenStyle, face, others, photo, preset, presets, roleKey, row, state, styleKey, uses } from "./state.js";

const words = (name) => name.replace(/-/g, " ").replace(/^./, (c) => c.toUpperCase());
const MIX_HELP = "Take any factor and any part from any photo.";
const ROLES = { source: ["Take from", "Another photo of the person"], driver: ["Imitate", "Imitate a photo"] };

export function drawTasks(choose) {
  const names = [...state.tasks.map((task) => task.name), MIX];
  rebuild($("tasks"), names.map((name) => make("button", {
    type: "button", role: "radio", "aria-checked": name === state.task, tabindex: name === state.task ? 0 : -1,
    onclick: () => choose(name),
  }, words(name))));
  $("help").textContent = state.task === MIX ? MIX_HELP : row()?.help ?? "";
}

// `on.change` after every choice, `on.drag` while a slider moves, `on.release` when it is let go,
// `on.files(files, chosen)` for files that are dropped where a photo is chosen.
export function drawForm(on) {
  const parts = [];
  const needs = row()?.needs;
  if (needs) for (const role of ["source", "driver"]) if (needs[role] !== "never") parts.push(slots(role, needs[role], on));
  if (needs && needs.place !== "never") parts.push(placeChoice(on));
  if (needs && needs.regions !== "never" && !state.place) parts.push(regionChips(on));
  const painted = needs?.mask === "required";
  maskMode(painted);
  if (painted) parts.push(maskTools());
  const styles = state.about.styles.length > 0;
  if (styles && (state.task === MIX || (needs && needs.style !== "never"))) parts.push(styleChips(on));
  if (state.task === MIX) parts.push(mixTable(on));
  parts.push(...sliderGroups(on), more(on));
  rebuild($("form"), parts);
  $("auto-label").hidden = !SLIDERS.some((slider) => uses(slider.factor));
}

function slots(role, need, on) {
  const optional = need !== "required";
  const pick = (id) => { state.roles[roleKey(role)] = id; on.change(); drawForm(on); };
  const slot = (id, content, text) => make("label", {},
    make("input", { type: "radio", name: role, value: id ?? "", checked: chosenFor(role) === id, onchange: () => pick(id), "aria-label": text }), content);
  const all = others();
  const picture = (each) => make("img", { src: url(`/photos/${each.id}/image?size=thumb`), alt: "", title: each.label });
  const options = all.map((each) => slot(each.id, picture(each), each.label));
  if (optional) options.unshift(slot(null, make("i", {}, "nobody"), "Nobody"));
  const box = make("fieldset", {}, make("legend", {}, ROLES[role][optional ? 1 : 0]));
  dropHere(box, (files) => on.files(files, (info) => { state.roles[roleKey(role)] = info.id; }));
  box.append(options.length ? make("div", { class: "slots" }, ...options) : make("p", { class: "hint" }, "Add a second photo first."));
  const chosen = photo(chosenFor(role));
  if (chosen?.faces.length > 1) box.append(faceChips(chosen, role, on));
  if (chosen && !chosen.faces.length && !state.place) box.append(make("p", { class: "hint" }, "No face was found in this one."));
  return box;
}

// Photos dropped onto a choice are not only added but chosen.
function dropHere(box, take) {
  box.addEventListener("dragover", () => box.classList.add("over"));
  box.addEventListener("dragleave", () => box.classList.remove("over"));
  box.addEventListener("drop", (event) => {
    if (!event.dataTransfer.files.length) return;
    event.preventDefault();
    take([...event.dataTransfer.files]);
  });
}

function faceChips(info, name, on) {
  return chips(`${name}-face`, "radio", info.faces.map((each) => [each.number, `Face ${each.number}`, state.faces[info.id] === each.number]),
    (number) => { state.faces[info.id] = number; on.change(); });
}

function chips(name, type, options, choose) {
  return make("div", { class: "chips" }, ...options.map(([value, text, checked]) => make("label", {},
    make("input", { type, name, value, checked, onchange: (event) => choose(value, event.target.checked) }), text)));
}

function placeChoice(on) {
  const options = [["", "A face", !state.place], ...["glasses", "moustache", "beard"].map((kind) => [kind, words(kind), state.place === kind])];
  return make("fieldset", {}, make("legend", {}, "That photo shows"),
    chips("place", "radio", options, (kind) => { state.place = kind; on.change(); drawForm(on); }));
}

function styleChips(on) {
  const options = state.about.styles.map((name) => [name, words(name), chosenStyle() === name]);
  if (state.task === MIX) options.unshift(["", "As it is", !chosenStyle()]);
  return make("fieldset", {}, make("legend", {}, "Style"),
    chips("style", "radio", options, (name) => { state[styleKey()] = name || null; on.change(); }));
}

function regionChips(on) {
  const options = state.about.regions.filter((name) => name !== "background").map((name) => [name, words(name), state.regions.has(name)]);
  return make("fieldset", {}, make("legend", {}, "Parts to take"), chips("regions", "checkbox", options, (name, checked) => {
    if (checked) state.regions.add(name); else state.regions.delete(name);
    on.change();
  }));
}

function mixTable(on) {
  const line = (name) => {
    const select = make("select", { "aria-label": words(name), class: state.cells[name] ? "set" : "", onchange: () => {
      if (select.value) state.cells[name] = select.value; else delete state.cells[name];
      select.className = select.value ? "set" : "";
      on.change();
    } }, make("option", { value: "" }, "as it is"), ...lenders(state.cells[name]),
      make("option", { value: "none", selected: state.cells[name] === "none" }, "left out"));
    return make("tr", {}, make("th", { scope: "row" }, words(name)), make("td", {}, select));
  };
  const table = (title, names) => make("table", {}, make("caption", {}, title), make("tbody", {}, ...names.map(line)));
  const box = make("fieldset", {}, table("Factors", state.about.factors), table("Parts", state.about.regions));
  box.prepend(others().length ? presetRow(on) : make("p", { class: "hint" }, "Add more photos to mix."));
  return box;
}

// Every face that something can be taken from, as options; "id#number" where there are several.
function lenders(chosen) {
  const option = (value, text) => make("option", { value, selected: chosen === value }, text);
  return others().flatMap((each) => (each.faces.length < 2 ? [option(each.id, each.label)]
    : each.faces.map((found) => option(`${each.id}#${found.number}`, `${each.label}, face ${found.number}`))));
}

// The table filled as a task fills it, to go on from there.
function presetRow(on) {
  const from = make("select", { "aria-label": "Everything from", onchange: () => { state.presetFrom = from.value; } }, ...lenders(state.presetFrom));
  const task = make("select", { "aria-label": "Begin like", onchange: () => {
    if (task.value) preset(task.value, from.value); else state.cells = {};
    on.change();
    drawForm(on);
  } }, make("option", { value: "" }, "Begin like …"), ...presets().map((each) => make("option", { value: each.name }, words(each.name))));
  return make("div", { class: "tool pair" }, task, from);
}

function sliderGroups(on) {
  const shown = SLIDERS.filter((slider) => uses(slider.factor));
  if (!shown.length) return [];
  const groups = Map.groupBy ? Map.groupBy(shown, (s) => s.group) : grouped(shown);
  const boxes = [...groups].map(([group, sliders]) => make("fieldset", {}, make("legend", {}, group), ...sliders.map((slider) => line(slider, on))));
  if (state.task === MIX) return [folding("sliders", "Sliders", sliderIsSet(), ...boxes, resetButton(on))];
  return [...boxes, resetButton(on)];
}

// A part that stays open or shut when the form is drawn again.
function folding(key, title, open, ...children) {
  return make("details", { open: open || state.open.has(key), ontoggle: (event) => {
    if (event.target.open) state.open.add(key); else state.open.delete(key);
  } }, make("summary", {}, title), ...children);
}

const sliderIsSet = () => SLIDERS.some((slider) => state.sliders[slider.label] !== undefined);
const resetButton = (on) => make("button", { type: "button", class: "quiet", onclick: () => { state.sliders = {}; on.change(); drawForm(on); } }, "Set all sliders back");

function grouped(list) {
  const found = new Map();
  for (const each of list) found.set(each.group, [...(found.get(each.group) ?? []), each]);
  return found;
}

function line(slider, on) {
  const angle = !Array.isArray(slider.key), id = `s-${slider.label.replace(/ /g, "-")}`;
  const rest = angle ? 0 : Math.max(...slider.key.map((name) => face()?.expression[name] ?? 0));
  const value = state.sliders[slider.label] ?? rest;
  const text = (v) => (angle ? `${v > 0 ? "+" : ""}${Math.round(v)}°` : `${Math.round(v * 100)} %`);
  const output = make("output", { for: id }, text(value));
  const box = make("div", { class: state.sliders[slider.label] === undefined ? "row" : "row set" });
  const back = () => {
    delete state.sliders[slider.label];
    input.value = rest;
    output.textContent = text(rest);
    input.setAttribute("aria-valuetext", output.textContent);
    box.className = "row";
    on.change();
  };
  const input = make("input", { type: "range", id, min: angle ? -slider.range : 0, max: angle ? slider.range : 1, step: angle ? 1 : 0.02, value,
    "aria-valuetext": text(value), title: "Delete or a double click sets it back",
    oninput: () => {
      state.sliders[slider.label] = Number(input.value);
      output.textContent = text(Number(input.value));
      input.setAttribute("aria-valuetext", output.textContent);
      box.className = "row set";
      on.drag();
    },
    onchange: () => on.release(),
    ondblclick: back,
    onkeydown: (event) => { if (["Delete", "Backspace"].includes(event.key)) back(); } });
  box.append(make("label", { for: id }, slider.label), input, output,
    make("button", { type: "button", class: "back", "aria-label": `Set ${slider.label} back`, onclick: () => { back(); input.focus(); } }, "↺"));
  return box;
}

function more(on) {
  const entry = (key, text, attributes) => {
    const id = `more-${key}`;
    return make("div", { class: "row" }, make("label", { for: id }, text), make("input", {
      type: "number", id, ...attributes, value: state.more[key] ?? "",
      onchange: (event) => { state.more[key] = event.target.value === "" ? null : Number(event.target.value); },
    }));
  };
  const formats = make("select", { id: "more-format", onchange: (event) => { state.more.format = event.target.value; } },
    ...["png", "jpg", "webp"].map((name) => make("option", { value: name, selected: state.more.format === name }, name.toUpperCase())));
  const relative = make("input", { type: "checkbox", checked: state.relative, onchange: (event) => { state.relative = event.target.checked; on.change(); } });
  return folding("more", "More", false,
    entry("seed", "Seed", { min: 0, max: 4294967295, step: 1 }),
    entry("steps", "Steps", { min: 1, max: state.about.limits.steps, step: 1, placeholder: "the model's" }),
    entry("strength", "Strength", { min: 0, max: 1, step: 0.05, placeholder: "0 to 1" }),
    entry("kappa", "Trust in warp", { min: 0, max: 1, step: 0.05, placeholder: "0 to 1" }),
    make("div", { class: "row" }, make("label", { for: "more-format" }, "Format"), formats),
    row()?.needs.driver !== undefined && row().needs.driver !== "never" ? make("label", { class: "check" }, relative, "Add the driver's motion to the photo's own") : null);
}
