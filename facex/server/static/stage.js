// SPDX-License-Identifier: Apache-2.0
// The picture: its faces, the preview while a slider moves, before and after.

import { url } from "./api.js";
import { $, make, rebuild } from "./dom.js";
import { painting, resetMask } from "./mask.js";
import { face, job, photo, state, target } from "./state.js";

const SIDE = 1600;
let shown = null, split = null;

// Width and height at which the service shows a photo.
function size(info) {
  const scale = Math.min(1, SIDE / Math.max(info.width, info.height));
  return { width: Math.round(info.width * scale), height: Math.round(info.height * scale), scale };
}

export function fit() {
  const info = shown;
  if (!info) return;
  const frame = $("frame");
  const narrow = matchMedia("(max-width: 899px)").matches;
  const room = { width: frame.clientWidth, height: narrow ? innerHeight * 0.62 : frame.clientHeight };
  const whole = Math.min(room.width / info.width, room.height / info.height);
  const near = state.zoom ? closeUp(info, room, whole) : null;
  const zoom = near?.zoom ?? whole;
  frame.style.height = narrow && near ? `${room.height}px` : "";
  $("picture").classList.toggle("zoomed", Boolean(near));
  $("picture").style.translate = near ? `${near.left}px ${near.top}px` : "none";
  $("picture").style.width = `${Math.floor(info.width * zoom)}px`;
  $("picture").style.height = `${Math.floor(info.height * zoom)}px`;
}

// The face in the middle and half as high as the frame; the picture still covers the frame.
function closeUp(info, room, whole) {
  const chosen = info.id === state.target ? face() : info.faces.find((each) => each.main);
  if (!chosen) return null;
  const [x0, y0, x1, y1] = chosen.box;
  const zoom = Math.max(whole, (0.5 * room.height) / (y1 - y0));
  const place = (centre, length, space) => {
    const whole = length * zoom;
    return whole <= space ? (space - whole) / 2 : Math.min(0, Math.max(space - whole, space / 2 - centre * zoom));
  };
  return { zoom, left: place((x0 + x1) / 2, info.width, room.width), top: place((y0 + y1) / 2, info.height, room.height) };
}

export function draw(onFace) {
  const current = job();
  const result = current?.result ? current : null;
  const info = photo(result ? result.target : state.target) ?? target();
  $("empty").hidden = Boolean(info);
  $("picture").hidden = !info;
  $("keep").hidden = !info || info.kept || !info.faces.length;
  if (!info) {
    shown = null;
    for (const id of ["views", "zoom", "mesh", "factors"]) $(id).hidden = true;
    return;
  }
  if (shown?.id !== info.id) {
    shown = info;
    $("before").src = url(`/photos/${info.id}/image`);
    $("before").alt = `${info.label}, ${info.faces.length} faces`;
    const { width, height } = size(info);
    for (const id of ["overlay", "mask"]) Object.assign($(id), { width, height });
    resetMask();
  }
  const view = result ? state.view : "before";
  const after = result ? url(`/jobs/${result.id}/result?size=shown`) : "";
  if (after && $("after").getAttribute("src") !== after) $("after").src = after;
  $("after").hidden = view === "before";
  if (result && result.id !== split) {
    // The line begins in the middle of the face.
    split = result.id;
    const box = (info.id === state.target ? face() : info.faces.find((each) => each.main))?.box;
    if (box) $("split").value = (50 * (box[0] + box[2])) / info.width;
  }
  // The mask belongs to the photo: over a result it would look like one, and could be painted on.
  const masked = painting() && view === "before";
  $("mask").hidden = !masked;
  $("mask").classList.toggle("on", masked);
  $("brush").hidden = true;
  $("views").hidden = !result;
  for (const button of $("views").children) button.setAttribute("aria-pressed", String(button.dataset.view === view));
  $("picture").classList.toggle("compare", view === "compare");
  $("split").hidden = view !== "compare";
  cut();
  faces(info, view, onFace);
  $("zoom").hidden = $("mesh").hidden = $("factors").hidden = !info.faces.length;
  $("zoom").setAttribute("aria-pressed", Boolean(state.zoom));
  $("mesh").setAttribute("aria-pressed", state.mesh);
  fit();
}

function cut() {
  const part = Number($("split").value);
  $("picture").style.setProperty("--cut", `${part}%`);
  $("after").style.clipPath = $("split").hidden ? "none" : `inset(0 0 0 ${part}%)`;
}

function faces(info, view, onFace) {
  const box = $("faces");
  box.classList.toggle("off", view !== "before" || painting());
  const chosen = state.faces[info.id];
  const only = info.faces.length === 1;
  rebuild(box, info.faces.map((each) => {
    const [x0, y0, x1, y1] = each.box;
    const button = make("button", {
      type: "button", "aria-pressed": only || chosen === each.number,
      "aria-label": `Face ${each.number}, looking ${direction(each)}`, onclick: () => onFace(info, each),
    }, make("b", {}, String(each.number)));
    const percent = (value, whole) => `${(100 * value) / whole}%`;
    button.style.left = percent(x0, info.width);
    button.style.top = percent(y0, info.height);
    button.style.width = percent(x1 - x0, info.width);
    button.style.height = percent(y1 - y0, info.height);
    return button;
  }));
}

function direction(found) {
  const side = found.yaw > 12 ? "right" : found.yaw < -12 ? "left" : "";
  const up = found.pitch > 12 ? "up" : found.pitch < -12 ? "down" : "";
  return [side, up].filter(Boolean).join(" and ") || "ahead";
}

export async function showPreview(reply) {
  const canvas = $("overlay"), pen = canvas.getContext("2d");
  const picture = new Image();
  picture.src = reply.image;
  await picture.decode();
  if (!shown) return;
  const scale = canvas.width / shown.width;
  clearPreview();
  pen.setTransform(...reply.frame.map((v) => v * scale));
  pen.drawImage(picture, 0, 0);
  pen.resetTransform();
  if (reply.mesh.length) {
    pen.fillStyle = "#5affa8";
    const dot = Math.max(0.7, canvas.width / 900);
    for (const [x, y] of reply.mesh) pen.fillRect(x * scale - dot / 2, y * scale - dot / 2, dot, dot);
  }
  $("tag").textContent = reply.borrowed ? "Rough preview, striped and marked" : `Preview of the warp · ${Math.round(reply.milliseconds)} ms`;
  $("tag").hidden = false;
}

// Said in place of a preview that would show somebody's face in another picture.
export function needsConsent() {
  $("tag").textContent = "The preview comes after you have confirmed an edit with these people";
  $("tag").hidden = false;
}

export function clearPreview() {
  const canvas = $("overlay");
  canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
  $("tag").hidden = true;
}

export function setUpStage(redraw) {
  $("split").addEventListener("input", cut);
  for (const button of $("views").children) button.addEventListener("click", () => {
    state.view = button.dataset.view;
    clearPreview();
    redraw();
  });
  $("zoom").addEventListener("click", () => { state.zoom = !state.zoom; redraw(); });
  new ResizeObserver(fit).observe($("frame"));
}
