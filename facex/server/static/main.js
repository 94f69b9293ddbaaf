// SPDX-License-Identifier: Apache-2.0
// Ties the parts together: photos in, previews and edits out.

import { get, post, remove, url } from "./api.js";
import { drawForm, drawTasks } from "./controls.js";
import { $, arrows, choose, make, say, tell } from "./dom.js";
import { drawHistory, drawWork, setUpHistory } from "./history.js";
import { listen, run, setUpJobs } from "./jobs.js";
import { isDrawn, onMask, setUpMask } from "./mask.js";
import { clearPreview, draw, needsConsent, setUpStage, showPreview } from "./stage.js";
import { MIX, agreed, chosenFor, editable, face, forget, missing, moved, order, state, target } from "./state.js";
import { addFiles, drawTray, setUpTray } from "./tray.js";

// ---- drawing everything again

function redraw() {
  draw(chooseFace);
  drawTray();
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
  files: addFiles,
};

function everything() {
  // A slider that is being dragged is not taken from under the finger.
  if ($("form").querySelector("input[type=range]:active")) addEventListener("pointerup", everything, { once: true });
  else {
    drawTasks(chooseTask);
    drawForm(controls);
  }
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

function chooseTarget(id) {
  const before = state.target;
  state.target = id;
  state.job = null;
  state.sliders = {};
  if (id) forget(id, editable().some((each) => each.id === before) ? before : null);
  clearPreview();
  everything();
}

function chooseFace(info, found) {
  state.faces[info.id] = state.faces[info.id] === found.number && info.faces.length > 1 ? undefined : found.number;
  state.sliders = {};
  drawForm(controls);
  redraw();
  $("faces").children[found.number - 1]?.focus();
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
    await showPreview(await post("/previews", { ...wanted, mesh: state.mesh, consent: agreed(wanted) }));
  } catch (error) {
    clearPreview();
    // Nobody's face goes into another picture before somebody has confirmed that it may.
    if (error.kind === "ConsentRequired") needsConsent();
    else if (error.status === 401) enter();
    else if (![422, 429].includes(error.status)) say(error.message);
  }
  busy = false;
  if (again) { again = false; preview(); }
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
  if ($("token").open) return;
  tell("A token is wanted");
  if (await choose($("token")) !== "yes") {
    say("Without its token this service shows nothing; load the page again to give it.");
    return;
  }
  await start();
}

// A wrong token is said in the dialog itself: what lies behind it cannot be read.
async function checkToken(event) {
  event.preventDefault();
  try {
    await post("/session", { token: $("token-text").value });
    $("token-error").textContent = "";
    $("token-text").value = "";
    $("token").close("yes");
  } catch (error) {
    $("token-error").textContent = error.message;
    $("token-text").focus();
  }
}

const signed = (value) => `${Math.round(value) > 0 ? "+" : ""}${Math.round(value) || 0}°`;

// The numbers behind the pictures, for those who cannot see them too.
function found(info) {
  const strongest = Object.entries(info.expression).filter(([, value]) => value >= 0.1).sort((a, b) => b[1] - a[1]).slice(0, 5);
  const named = (name) => name.replace(/[A-Z]/g, (c) => ` ${c.toLowerCase()}`);
  return {
    mesh: ["Mesh of 478 points", ""],
    regions: ["Regions", ""],
    pose_gaze: ["Pose and gaze", `Turned ${signed(info.yaw)}, nodded ${signed(info.pitch)}, tilted ${signed(info.roll)}`],
    expression: ["Expression", strongest.map(([name, value]) => `${named(name)} ${Math.round(100 * value)} %`).join(", ") || "at rest"],
    light: ["Light", ""],
  };
}

async function showFactors() {
  const info = face(), path = `/photos/${state.target}/faces/${info.number}`;
  $("found-title").textContent = target().faces.length > 1 ? `What was found in face ${info.number}` : "What was found in this face";
  $("found-list").replaceChildren(...Object.entries(found(info)).map(([key, [title, text]]) =>
    make("figure", {}, make("img", { src: url(`${path}/factors/${key}`), alt: text ? `${title}: ${text}` : title }),
      make("figcaption", {}, make("b", {}, title), text ? ` ${text}` : ""))));
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
  const page = { redraw, everything, chooseTarget, attempt, clear: clearPreview };
  setUpTray(page);
  setUpHistory(page);
  setUpJobs({
    attempt,
    changed: () => { drawHistory(); drawWork(); },
    done: (info) => {
      state.job = info.id;
      state.view = "compare";
      clearPreview();
      redraw();
    },
  });
  $("theme").onclick = theme;
  $("run").onclick = () => run();
  $("factors").onclick = () => attempt(showFactors);
  $("mesh").onclick = () => { state.mesh = !state.mesh; redraw(); preview(); };
  $("leave").onclick = () => attempt(async () => { await remove("/session"); location.reload(); });
  $("form").onsubmit = (event) => event.preventDefault();
  $("token-form").onsubmit = checkToken;
  arrows($("tasks"));
  addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) run(); });
  setUpStage(redraw);
  setUpMask();
  onMask(ready);
}

async function start() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    history.replaceState(null, "", location.pathname);
    // A code that was used already is no harm where the cookie is there.
    await post("/session", { token: given }).catch(() => {});
  }
  await attempt(async () => {
    const [about, tasks, photos, jobs] = await Promise.all([get("/about"), get("/tasks"), get("/photos"), get("/jobs")]);
    Object.assign(state, { about, tasks, photos, jobs: jobs.filter((each) => each.status !== "cancelled").reverse() });
    const there = editable();
    state.target ??= there[0]?.id ?? null;
    state.task ??= tasks[1]?.name ?? MIX;
    if (photos.length > 1) for (const role of ["source", "driver"]) state.roles[role] ??= photos.find((each) => each.id !== state.target)?.id ?? null;
    $("consent-text").textContent = about.consent;
    $("leave").hidden = !about.token;
    everything();
    listen();
    tell("Ready");
  });
}

setUp();
start();
