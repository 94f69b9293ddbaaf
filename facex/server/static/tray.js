// SPDX-License-Identifier: Apache-2.0
// Photos and kept faces: dropped, pasted, chosen, kept, deleted.

import { post, remove, upload, url } from "./api.js";
import { $, make, rebuild, say, tell } from "./dom.js";
import { editable, face, forget, photo, roleKey, row, state } from "./state.js";

let page = null;

// `page.everything()`, `page.chooseTarget(id)`, `page.attempt(work)`.
export function setUpTray(given) {
  page = given;
  for (const id of ["add", "add2"]) $(id).onclick = () => $("files").click();
  $("files").onchange = (event) => {
    addFiles([...event.target.files]);
    event.target.value = "";
  };
  $("keep").onclick = () => page.attempt(keepFace);
  addEventListener("paste", (event) => addFiles([...event.clipboardData.files]));
  dropping();
}

export function drawTray() {
  rebuild($("photos"), editable().map((each) => entry(each, {
    "aria-pressed": each.id === state.target, "data-key": each.id, onclick: () => page.chooseTarget(each.id),
  }, each.faces.length === 1 ? "1 face" : `${each.faces.length || "no"} faces`)));
  const kept = state.photos.filter((each) => each.kept);
  $("library").hidden = !kept.length;
  rebuild($("kept"), kept.map((each) => entry(each, {
    "data-key": each.id, title: "Take from this face", onclick: () => take(each),
  }, "kept face")));
}

function entry(info, button, text) {
  return make("li", { class: "photo" },
    make("button", { type: "button", ...button },
      make("img", { src: url(`/photos/${info.id}/image?size=thumb`), alt: "" }), make("span", {}, info.label), make("small", {}, text)),
    make("button", { type: "button", class: "del", "aria-label": `Delete ${info.label}`, onclick: () => discard(info.id) }, "✕"));
}

function take(info) {
  const role = ["source", "driver"].find((each) => row() && row().needs[each] !== "never");
  if (!role) { tell("Choose this face in the table, or first a task that takes from a photo"); return; }
  state.roles[roleKey(role)] = info.id;
  page.everything();
  tell(`${info.label} is chosen`);
}

async function keepFace() {
  const info = await post(`/photos/${state.target}/faces/${face().number}/keep`);
  state.photos.push(info);
  page.everything();
  tell(`${info.label} is kept as a face to take from`);
}

async function discard(id) {
  await page.attempt(async () => {
    await remove(`/photos/${id}`);
    state.photos = state.photos.filter((each) => each.id !== id);
    forget(id);
    if (state.target === id) page.chooseTarget(editable()[0]?.id ?? null);
    page.everything();
    $("add").focus();
  });
}

// `chosen(info)` is called with each photo before the page is drawn again.
export async function addFiles(files, chosen = () => {}) {
  const limit = state.about?.limits.bytes ?? Infinity;
  for (const file of files) {
    if (file.size > limit) {
      say(`${file.name} is too large: at most ${Math.floor(limit / 1e6)} MB are taken.`);
      continue;
    }
    tell(`Reading ${file.name} …`);
    await page.attempt(async () => added(await upload("/photos", file, file.name), chosen));
  }
  if (files.length) tell("Ready");
}

function added(info, chosen) {
  state.photos.push(info);
  if (!state.target) state.target = info.id;
  // The second photo is what one most likely wants to take from, or to imitate.
  else for (const role of ["source", "driver"]) if (info.faces.length && !photo(state.roles[role])) state.roles[role] = info.id;
  if (state.target !== info.id) chosen(info);
  if (!info.faces.length) say(`No face was found in ${info.label}. It can still be used as a picture of glasses or a beard.`);
  page.everything();
}

function dropping() {
  let depth = 0;
  const show = (on) => { $("drop").hidden = !on; };
  addEventListener("dragenter", (event) => { if (event.dataTransfer.types.includes("Files")) { depth += 1; show(true); } });
  addEventListener("dragleave", () => { depth = Math.max(0, depth - 1); if (!depth) show(false); });
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    depth = 0;
    show(false);
    // A choice of photos took it already.
    if (event.defaultPrevented) return;
    event.preventDefault();
    addFiles([...event.dataTransfer.files]);
  });
}
