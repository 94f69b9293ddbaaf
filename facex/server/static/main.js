// SPDX-License-Identifier: Apache-2.0
// Ties the parts together: photos in, edits out, history.

import { follow, get, post, remove, upload, url } from "./api.js";
import { drawForm, drawTasks } from "./controls.js";
import { $, arrows, choose, make, say } from "./dom.js";
import { isDrawn, maskBlob, onMask, setUpMask } from "./mask.js";
import { clearPreview, draw, setUpStage, showPreview } from "./stage.js";
import { MIX, chosenFor, job, missing, moved, order, photo, row, state, target } from "./state.js";

const PENDING = ["queued", "running"];

// ---- drawing everything again

function redraw() {
  draw(chooseFace);
  drawPhotos();
  drawHistory();
  drawWork();
  ready();
}

function ready() {
  const reason = missing(isDrawn());
  $("run").disabled = Boolean(reason);
  $("missing").textContent = reason ?? "";
}

// Arrow keys let a slider go at every press: an edit begins when none has come for a while.
const SETTLE_MS = 350;
let settling = 0;

const controls = {
  change: () => { ready(); preview(); },
  drag: () => { ready(); preview(); },
  release: () => {
    clearTimeout(settling);
    settling = setTimeout(() => { if ($("auto").checked && !missing(isDrawn())) run(true); }, SETTLE_MS);
  },
};

function everything() {
  drawTasks(chooseTask);
  drawForm(controls);
  redraw();
}

function chooseTask(name) {
  state.task = name;
  state.job = null;
  clearPreview();
  everything();
  $("tasks").querySelector("[aria-checked=true]")?.focus();
  preview();
}

// ---- photos

function drawPhotos() {
  $("photos").replaceChildren(...state.photos.map((each) => {
    const faces = each.faces.length === 1 ? "1 face" : `${each.faces.length || "no"} faces`;
    return make("li", { class: "photo" },
      make("button", { type: "button", "aria-pressed": each.id === state.target, onclick: () => chooseTarget(each.id) },
        make("img", { src: url(`/photos/${each.id}/image?size=thumb`), alt: "" }), make("span", {}, each.label), make("small", {}, faces)),
      make("button", { type: "button", class: "del", "aria-label": `Delete ${each.label}`, onclick: () => deletePhoto(each.id) }, "✕"));
  }));
}

function chooseTarget(id) {
  const before = state.target;
  state.target = id;
  state.job = null;
  state.sliders = {};
  for (const role of Object.keys(state.roles)) if (state.roles[role] === id) state.roles[role] = role.includes(",") ? null : before;
  for (const cell of Object.keys(state.cells)) if (state.cells[cell] === id) delete state.cells[cell];
  clearPreview();
  everything();
}

function chooseFace(info, face) {
  state.faces[info.id] = state.faces[info.id] === face.number && info.faces.length > 1 ? undefined : face.number;
  state.sliders = {};
  drawForm(controls);
  redraw();
  $("faces").children[face.number - 1]?.focus();
}

async function deletePhoto(id) {
  await attempt(async () => {
    await remove(`/photos/${id}`);
    state.photos = state.photos.filter((each) => each.id !== id);
    for (const role of Object.keys(state.roles)) if (state.roles[role] === id) state.roles[role] = null;
    for (const cell of Object.keys(state.cells)) if (state.cells[cell] === id) delete state.cells[cell];
    if (state.target === id) state.target = state.photos[0]?.id ?? null;
    everything();
  });
}

async function addFiles(files) {
  for (const file of files) {
    $("status").textContent = `Reading ${file.name} …`;
    await attempt(async () => keepPhoto(await upload("/photos", file, file.name)));
  }
  $("status").textContent = "Ready";
}

function keepPhoto(info) {
  state.photos.push(info);
  if (!state.target) state.target = info.id;
  // The second photo is what one most likely wants to take from, or to imitate.
  else for (const role of ["source", "driver"]) if (info.faces.length) state.roles[role] ??= info.id;
  if (!info.faces.length) say(`No face was found in ${info.label}. It can still be used as a picture of glasses or a beard.`);
  everything();
}

// ---- preview: one request at a time, the newest wins

let busy = false, again = false;

async function preview() {
  if (!target()?.faces.length) return;
  const taking = state.task === MIX ? Object.keys(state.cells).length : chosenFor("driver");
  if (!moved() && !taking && !state.mesh) { clearPreview(); return; }
  if (busy) { again = true; return; }
  busy = true;
  try {
    const wanted = moved() || taking ? order() : { recipe: { photos: { target: state.target }, steps: [{}] }, faces: order().faces };
    if (state.job) { state.job = null; redraw(); }
    await showPreview(await post("/previews", { ...wanted, mesh: state.mesh }));
  } catch (error) {
    clearPreview();
    if (error.status !== 422) say(error.message);
  }
  busy = false;
  if (again) { again = false; preview(); }
}

// ---- edits

let automatic = null;

async function run(auto = false) {
  if (missing(isDrawn())) return;
  if (auto && automatic) await post(`/jobs/${automatic}/cancel`).catch(() => {});
  await attempt(async () => {
    const wanted = { ...order() };
    for (const [key, value] of Object.entries(state.more)) if (value !== null) wanted[key] = value;
    if (row()?.needs.mask === "required") wanted.mask = (await upload("/masks", await maskBlob(), "mask.png")).id;
    await submit(wanted, auto);
  });
}

async function submit(wanted, auto = false) {
  let info;
  try {
    info = await post("/edits", { ...wanted, consent: state.consent });
  } catch (error) {
    if (error.kind !== "ConsentRequired") throw error;
    if (await choose($("consent")) !== "yes") return;
    state.consent = true;
    sessionStorage.setItem("consent", "yes");
    info = await post("/edits", { ...wanted, consent: true });
  }
  if (auto) automatic = info.id;
  state.orders.set(info.id, wanted);
  state.jobs.push(info);
  redraw();
  watch(info.id, true);
}

async function watch(id, show = false) {
  const last = await follow(id, (info) => { replace(info); drawHistory(); drawWork(); });
  if (automatic === id) automatic = null;
  if (!last) return;
  replace(last);
  if (last.status === "failed") say(last.error.message);
  if (last.status === "cancelled") state.jobs = state.jobs.filter((each) => each.id !== id);
  if (last.status === "done" && show && last.target === state.target && !automatic) {
    state.job = id;
    state.view = "compare";
    clearPreview();
  }
  redraw();
}

function replace(info) {
  const index = state.jobs.findIndex((each) => each.id === info.id);
  if (index >= 0) state.jobs[index] = info;
}

function drawWork() {
  const running = state.jobs.filter((each) => PENDING.includes(each.status));
  const current = running.find((each) => each.status === "running") ?? running[0];
  $("work").hidden = !current;
  if (current) {
    const bar = $("progress");
    if (current.total) bar.value = current.done / current.total; else bar.removeAttribute("value");
    const waiting = running.length > 1 ? ` · ${running.length - 1} waiting` : "";
    const steps = current.total > 1 ? ` ${current.done} of ${current.total}` : "";
    $("stage-text").textContent = (current.status === "queued" ? `waiting, ${current.ahead} before it` : `${current.stage}${steps}`) + waiting;
    $("cancel").onclick = () => attempt(() => post(`/jobs/${current.id}/cancel`));
  }
  const shown = job()?.result ? job() : null;
  $("actions").hidden = !shown;
  $("notes").hidden = !shown?.result.warnings.length;
  if (!shown) return;
  $("download").href = url(`/jobs/${shown.id}/result?download=true`);
  $("recipe").href = url(`/jobs/${shown.id}/recipe`);
  $("replay").hidden = !state.orders.has(shown.id);
  $("notes").replaceChildren(...shown.result.warnings.map((text) => make("li", {}, text)));
}

function drawHistory() {
  const items = state.jobs.map((each) => {
    let content;
    if (each.status === "done") content = make("img", { src: url(`/jobs/${each.id}/result?size=thumb`), alt: "" });
    else if (each.status === "failed") content = make("div", { class: "wait failed" }, "failed");
    else content = make("div", { class: "wait" }, each.total > 1 ? `${each.done} of ${each.total}` : each.status);
    return make("li", {}, make("button", { type: "button", "aria-pressed": each.id === state.job, title: each.error?.message,
      "aria-label": `${each.label}, ${each.status}`, onclick: () => showJob(each) }, content, make("span", {}, each.label)));
  });
  $("history").replaceChildren(...items.reverse());
}

function showJob(info) {
  if (info.status === "failed") { say(info.error.message); return; }
  if (!info.result) return;
  if (photo(info.target) && state.target !== info.target) chooseTarget(info.target);
  state.job = info.id;
  state.view = photo(info.target) ? "compare" : "after";
  clearPreview();
  redraw();
}

// ---- everything around

async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    if (error.status === 401) return enter();
    const wait = error.wait && !error.message.includes("again") ? ` Try again in ${error.wait} seconds.` : "";
    say(error.message + wait);
  }
}

async function enter() {
  await choose($("token"));
  await post("/session", { token: $("token-text").value }).catch((error) => say(error.message));
  return start();
}

async function showFactors() {
  const info = photo(state.target), number = state.faces[info.id] || 1;
  const names = { mesh: "Mesh of 478 points", regions: "Regions", pose_gaze: "Pose and gaze", expression: "Expression", light: "Light" };
  const path = `/photos/${info.id}/faces/${number}`;
  $("found-list").replaceChildren(...Object.entries(names).map(([key, text]) =>
    make("figure", {}, make("img", { src: url(`${path}/factors/${key}`), alt: text }), make("figcaption", {}, text))));
  $("found-save").href = url(`${path}/representation`);
  await choose($("found"));
}

function theme() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = document.documentElement.dataset.theme ?? (dark ? "dark" : "light");
  const next = now === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  localStorage.setItem("theme", next);
}

function setUp() {
  const saved = localStorage.getItem("theme");
  if (saved) document.documentElement.dataset.theme = saved;
  $("theme").onclick = theme;
  for (const id of ["add", "add2"]) $(id).onclick = () => $("files").click();
  $("files").onchange = (event) => { addFiles([...event.target.files]); event.target.value = ""; };
  $("run").onclick = () => run();
  $("factors").onclick = () => attempt(showFactors);
  $("mesh").onclick = () => { state.mesh = !state.mesh; redraw(); preview(); };
  $("continue").onclick = () => attempt(async () => {
    const info = await post(`/jobs/${state.job}/photo`);
    state.photos.push(info);
    chooseTarget(info.id);
  });
  $("replay").onclick = () => attempt(() => submit(state.orders.get(state.job)));
  $("remove").onclick = () => attempt(async () => {
    await remove(`/jobs/${state.job}`);
    state.jobs = state.jobs.filter((each) => each.id !== state.job);
    state.job = null;
    redraw();
  });
  $("form").onsubmit = (event) => event.preventDefault();
  arrows($("tasks"));
  addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) run(); });
  addEventListener("paste", (event) => addFiles([...event.clipboardData.files]));
  dropping();
  setUpStage(redraw);
  setUpMask();
  onMask(ready);
}

function dropping() {
  let depth = 0;
  const show = (on) => { $("drop").hidden = !on; };
  addEventListener("dragenter", (event) => { if (event.dataTransfer.types.includes("Files")) { depth += 1; show(true); } });
  addEventListener("dragleave", () => { depth = Math.max(0, depth - 1); if (!depth) show(false); });
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    show(false);
    addFiles([...event.dataTransfer.files]);
  });
}

async function start() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    history.replaceState(null, "", location.pathname);
    await post("/session", { token: given }).catch((error) => say(error.message));
  }
  await attempt(async () => {
    const [about, tasks, photos, jobs] = await Promise.all([get("/about"), get("/tasks"), get("/photos"), get("/jobs")]);
    Object.assign(state, { about, tasks, photos, jobs: jobs.filter((each) => each.status !== "cancelled").reverse() });
    state.target ??= photos[0]?.id ?? null;
    state.task ??= tasks[1]?.name ?? MIX;
    if (photos.length > 1) for (const role of ["source", "driver"]) state.roles[role] ??= photos[1].id;
    $("consent-text").textContent = about.consent;
    everything();
    for (const each of state.jobs) if (PENDING.includes(each.status)) watch(each.id);
    $("status").textContent = "Ready";
  });
}

setUp();
start();
