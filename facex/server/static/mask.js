// SPDX-License-Identifier: Apache-2.0
// Brush and eraser: paints on a canvas of the shown size, and gives a mask of the photo's size.

import { $, make, say, tell } from "./dom.js";
import { face, target } from "./state.js";

const COLOUR = "#ff4f8b";
const brush = { size: 0.05, erase: false, undo: [], drawn: false, painting: false, changed: () => {} };

const pencil = (canvas) => canvas.getContext("2d", { willReadFrequently: true });

export const isDrawn = () => brush.drawn;
export const onMask = (changed) => { brush.changed = changed; };

// Whether the task paints; where the mask is seen, the stage decides.
export const painting = () => brush.painting;
export const maskMode = (on) => { brush.painting = on; };

export function resetMask() {
  const canvas = $("mask");
  pencil(canvas).clearRect(0, 0, canvas.width, canvas.height);
  brush.undo = [];
  brush.drawn = false;
}

function remember() {
  const canvas = $("mask");
  brush.undo.push(pencil(canvas).getImageData(0, 0, canvas.width, canvas.height));
  if (brush.undo.length > 8) brush.undo.shift();
}

function changed() {
  const canvas = $("mask");
  const data = pencil(canvas).getImageData(0, 0, canvas.width, canvas.height).data;
  brush.drawn = false;
  for (let i = 3; i < data.length; i += 4) if (data[i]) { brush.drawn = true; break; }
  brush.changed();
}

// The brush has the same size on the screen when the picture is zoomed.
function seenShare() {
  return Math.min(1, $("frame").clientWidth / $("mask").getBoundingClientRect().width);
}

function stroke(from, to) {
  const canvas = $("mask"), pen = pencil(canvas);
  pen.globalCompositeOperation = brush.erase ? "destination-out" : "source-over";
  Object.assign(pen, { strokeStyle: COLOUR, lineCap: "round", lineWidth: brush.size * canvas.width * seenShare() });
  pen.beginPath();
  pen.moveTo(...from);
  pen.lineTo(to[0], to[1] + 0.01); // a line without length would not be drawn
  pen.stroke();
  pen.globalCompositeOperation = "source-over";
}

function fillFace() {
  const found = face();
  if (!found) return;
  remember();
  const canvas = $("mask"), pen = pencil(canvas), scale = canvas.width / target().width;
  pen.fillStyle = COLOUR;
  pen.beginPath();
  for (const [x, y] of found.outline) pen.lineTo(x * scale, y * scale);
  pen.fill();
  changed();
}

function takeBack() {
  const last = brush.undo.pop();
  if (last) pencil($("mask")).putImageData(last, 0, 0);
  changed();
}

export function maskTools() {
  const press = (button, on) => button.setAttribute("aria-pressed", on);
  const paint = make("button", { type: "button", "aria-pressed": !brush.erase }, "Brush");
  const erase = make("button", { type: "button", "aria-pressed": brush.erase }, "Eraser");
  paint.onclick = () => { brush.erase = false; press(paint, true); press(erase, false); };
  erase.onclick = () => { brush.erase = true; press(paint, false); press(erase, true); };
  const size = make("input", { type: "range", min: 1, max: 20, value: brush.size * 100, "aria-label": "Size of the brush",
    oninput: (event) => { brush.size = event.target.value / 100; } });
  return make("fieldset", {}, make("legend", {}, "Paint over what shall be drawn anew"),
    make("div", { class: "tool" }, paint, erase,
      make("button", { type: "button", class: "quiet", onclick: takeBack }, "Undo"),
      make("button", { type: "button", class: "quiet", onclick: () => { remember(); resetKeeping(); } }, "Clear")),
    make("div", { class: "row" }, make("span", { "aria-hidden": "true" }, "Size"), size),
    make("div", { class: "tool" }, make("button", { type: "button", class: "quiet", onclick: fillFace }, "Cover the face"), loader()),
    make("p", { class: "hint" }, "By keyboard: go to the picture, move with the arrows, paint with Space."));
}

// A mask from a file: white where the photo may change.
function loader() {
  const file = make("input", { type: "file", accept: "image/*", hidden: true, onchange: async () => {
    const picture = await createImageBitmap(file.files[0]).catch(() => null);
    if (!picture) { say("This file is no picture that the browser can read."); return; }
    remember();
    const canvas = $("mask"), pen = pencil(canvas);
    pen.clearRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
    const pixels = pen.getImageData(0, 0, canvas.width, canvas.height), data = pixels.data;
    for (let i = 0; i < data.length; i += 4) data.set([255, 79, 139, data[i] + data[i + 1] + data[i + 2] > 382 && data[i + 3] > 127 ? 255 : 0], i);
    pen.putImageData(pixels, 0, 0);
    changed();
  } });
  return make("span", {}, make("button", { type: "button", class: "quiet", onclick: () => file.click() }, "Load a mask"), file);
}

function resetKeeping() {
  const canvas = $("mask");
  pencil(canvas).clearRect(0, 0, canvas.width, canvas.height);
  changed();
}

// A PNG of the photo's own size, white where it may change.
export function maskBlob() {
  const { width, height } = target();
  const canvas = make("canvas", { width, height }), pen = pencil(canvas);
  pen.drawImage($("mask"), 0, 0, width, height);
  pen.globalCompositeOperation = "source-in";
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, width, height);
  pen.globalCompositeOperation = "destination-over";
  pen.fillStyle = "#000";
  pen.fillRect(0, 0, width, height);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

// Arrow keys move the brush, with Shift by more; Space paints, or erases.
function keys(canvas) {
  let at = null;
  canvas.addEventListener("keydown", (event) => {
    const [x, y] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
    if (!x && !y && event.key !== " ") return;
    event.preventDefault();
    const step = brush.size * canvas.width * seenShare() * (event.shiftKey ? 2 : 0.5);
    const box = face()?.box ?? [0, 0, target().width, target().height], scale = canvas.width / target().width;
    const from = at ?? [((box[0] + box[2]) / 2) * scale, ((box[1] + box[3]) / 2) * scale];
    at = [Math.min(canvas.width, Math.max(0, from[0] + x * step)), Math.min(canvas.height, Math.max(0, from[1] + y * step))];
    const mark = $("brush"), width = 100 * brush.size * seenShare();
    mark.hidden = false;
    Object.assign(mark.style, { left: `${(100 * at[0]) / canvas.width}%`, top: `${(100 * at[1]) / canvas.height}%`, width: `${width}%` });
    if (event.key !== " ") return;
    remember();
    stroke(at, at);
    changed();
    tell(`${brush.erase ? "Erased" : "Painted"} at ${Math.round((100 * at[0]) / canvas.width)} % across, ${Math.round((100 * at[1]) / canvas.height)} % down`);
  });
  canvas.addEventListener("blur", () => { $("brush").hidden = true; at = null; });
}

export function setUpMask() {
  const canvas = $("mask");
  keys(canvas);
  let last = null;
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) * canvas.width) / box.width, ((event.clientY - box.top) * canvas.height) / box.height];
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    remember();
    canvas.setPointerCapture(event.pointerId);
    last = place(event);
    stroke(last, last);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!last) return;
    const next = place(event);
    stroke(last, next);
    last = next;
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => {
    if (last) changed();
    last = null;
  });
}
