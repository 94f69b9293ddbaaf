// SPDX-License-Identifier: Apache-2.0
// What the page knows and what the user chose; and the request that this adds up to.

export const state = {
  about: null, tasks: [], photos: [], jobs: [], orders: new Map(),
  target: null, task: null, roles: {}, faces: {},
  regions: new Set(), place: "", style: null, mixStyle: null, sliders: {}, relative: false, cells: {},
  more: { seed: 0, steps: null, strength: null, kappa: null, format: "png" },
  job: null, view: "before", mesh: false, zoom: false, consent: sessionStorage.getItem("consent") === "yes",
};

export const MIX = "mix";

const both = (name) => [`${name}Left`, `${name}Right`];
// [label, group, factor, angle key or blendshapes, range]
export const SLIDERS = [
  ["Turn", "Head", "pose", "yaw", 45], ["Nod", "Head", "pose", "pitch", 30], ["Tilt", "Head", "pose", "roll", 40],
  ["Look aside", "Eyes", "gaze", "gaze_yaw", 30], ["Look up", "Eyes", "gaze", "gaze_pitch", 25],
  ["Smile", "Mouth", "expression", both("mouthSmile")], ["Mouth open", "Mouth", "expression", ["jawOpen"]],
  ["Frown", "Mouth", "expression", both("mouthFrown")], ["Pucker", "Mouth", "expression", ["mouthPucker"]],
  ["Eyes closed", "Lids", "expression", both("eyeBlink")], ["Eyes wide", "Lids", "expression", both("eyeWide")],
  ["Squint", "Lids", "expression", both("eyeSquint")],
  ["Brows up", "Brows", "expression", ["browInnerUp", ...both("browOuterUp")]],
  ["Brows down", "Brows", "expression", both("browDown")],
  ["Cheeks puffed", "Face", "expression", ["cheekPuff"]], ["Nose wrinkled", "Face", "expression", both("noseSneer")],
].map(([label, group, factor, key, range]) => ({ label, group, factor, key, range }));

export const photo = (id) => state.photos.find((each) => each.id === id);
export const target = () => photo(state.target);
export const row = () => state.tasks.find((each) => each.name === state.task);
export const job = () => state.jobs.find((each) => each.id === state.job);

// The face that is edited; the surest large one unless the user clicked.
export function face() {
  const found = target()?.faces ?? [];
  const chosen = Number(state.faces[state.target]);
  if (chosen) return found[chosen - 1];
  return found.find((each) => each.main);
}

export function sliders() {
  const values = { blendshapes: {} };
  for (const slider of SLIDERS) {
    const value = state.sliders[slider.label];
    if (value === undefined || !uses(slider.factor)) continue;
    if (Array.isArray(slider.key)) for (const name of slider.key) values.blendshapes[name] = value;
    else values[slider.key] = value;
  }
  if (state.relative) values.mode = "relative";
  return values;
}

export const moved = () => SLIDERS.some((s) => uses(s.factor) && state.sliders[s.label] !== undefined);
export function uses(factor) {
  return state.task === MIX || (row()?.needs.sliders !== "never" && row()?.driven.includes(factor));
}

// A photo to take from is not also meant as "another photo of the person".
export const roleKey = (role) => (row()?.needs[role] === "required" ? role : `${role}, if any`);
export const chosenFor = (role) => (row()?.needs[role] === "never" ? null : photo(state.roles[roleKey(role)])?.id ?? null);

// A mix keeps a style of its own: the one chosen for a whole redrawing is not meant there.
export const styleKey = () => (state.task === MIX ? "mixStyle" : "style");
export const chosenStyle = () => (state.about.styles.includes(state[styleKey()]) ? state[styleKey()] : null);

// What keeps the edit from being ordered, in words; null when nothing does.
export function missing(maskDrawn) {
  if (!target()) return "Add a photo to begin.";
  if (!target().faces.length) return "No face was found in this photo; choose another one.";
  if (state.task === MIX) return Object.keys(state.cells).length || moved() || chosenStyle() ? null : "Pick something from another photo, move a slider, or choose a style.";
  const needs = row().needs;
  if (!row().available) return "This needs a personalised base, and this model has none.";
  if (needs.style === "required" && !chosenStyle()) return "Choose a style.";
  if (needs.source === "required" && !chosenFor("source")) return "Choose the photo to take from.";
  if (needs.driver === "required" && !chosenFor("driver")) return "Choose the photo to imitate.";
  if (needs.driver === "either" && !chosenFor("driver") && !moved()) return "Move a slider, or choose a photo to imitate.";
  if (needs.regions === "either" && !state.regions.size && !state.place) return "Choose which parts to take.";
  if (needs.mask === "required" && !maskDrawn) return "Paint over what shall be drawn anew.";
  return null;
}

// The order for previews and edits; only what the task has a use for.
export function order() {
  const faces = {};
  const pick = (name, id) => { if (state.faces[id]) faces[name] = String(state.faces[id]); };
  pick("target", state.target);
  if (state.task === MIX) {
    const photos = { target: state.target }, step = { sliders: sliders(), regions: {} };
    for (const [cell, id] of Object.entries(state.cells)) {
      const name = id === "none" ? "none" : `photo${state.photos.indexOf(photo(id)) + 1}`;
      if (id !== "none") { photos[name] = id; pick(name, id); }
      if (state.about.factors.includes(cell)) step[cell] = name;
      else step.regions[cell] = name;
    }
    if (chosenStyle()) step.style = chosenStyle();
    return { recipe: { photos, steps: [step] }, faces };
  }
  const needs = row().needs, photos = { target: state.target };
  for (const role of ["source", "driver"]) {
    const id = chosenFor(role);
    if (id) { photos[role] = id; pick(role, id); }
  }
  const wanted = { task: state.task, photos, faces };
  if (needs.place !== "never" && state.place) wanted.place = state.place;
  else if (needs.regions !== "never" && state.regions.size) wanted.regions = [...state.regions];
  if (needs.style !== "never" && chosenStyle()) wanted.style = chosenStyle();
  if (needs.sliders !== "never" && (moved() || state.relative)) wanted.sliders = sliders();
  return wanted;
}
