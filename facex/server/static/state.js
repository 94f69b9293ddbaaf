// SPDX-License-Identifier: Apache-2.0
// What the page knows and what the user chose; and the request that this adds up to.

export const state = {
  about: null, tasks: [], photos: [], jobs: [],
  target: null, task: null, roles: {}, faces: {},
  regions: new Set(), place: "", style: null, mixStyle: null, sliders: {}, relative: false, cells: {},
  more: { seed: 0, steps: null, strength: null, kappa: null, format: "png" },
  job: null, view: "before", mesh: false, zoom: false, open: new Set(), presetFrom: null,
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
// Kept faces are taken from, never edited.
export const editable = () => state.photos.filter((each) => !each.kept);
export const others = () => state.photos.filter((each) => each.id !== state.target);
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
    const names = new Map([["none", "none"]]);
    for (const [cell, value] of Object.entries(state.cells)) {
      if (!names.has(value)) {
        names.set(value, `photo${names.size}`);
        const [id, number] = value.split("#");
        photos[names.get(value)] = id;
        if (number) faces[names.get(value)] = number;
      }
      const name = names.get(value);
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

// A photo is not used any more: nothing may be taken from it.
export function forget(id, instead = null) {
  for (const role of Object.keys(state.roles)) if (state.roles[role] === id) state.roles[role] = role.includes(",") ? null : instead;
  for (const cell of Object.keys(state.cells)) if (state.cells[cell].split("#")[0] === id) delete state.cells[cell];
}

// The mix table as a task fills it, with everything from one face ("id" or "id#number").
export function preset(name, value) {
  state.cells = {};
  const task = state.tasks.find((each) => each.name === name);
  for (const cells of [task.factors, task.regions]) {
    for (const [cell, from] of Object.entries(cells)) if (from === "source" || from === "driver") state.cells[cell] = value;
  }
}
export const presets = () => state.tasks.filter((each) => [each.factors, each.regions].some((cells) => Object.values(cells).some((from) => from === "source" || from === "driver")));

// The form as it was when an edit was ordered; the photo that is edited stays.
export function restore(wanted) {
  const step = wanted.recipe?.steps[0];
  const values = (step ?? wanted).sliders ?? { blendshapes: {} };
  for (const key of Object.keys(state.more)) state.more[key] = wanted[key] ?? (key === "seed" ? 0 : null);
  state.relative = values.mode === "relative";
  state.sliders = {};
  for (const slider of SLIDERS) {
    const value = Array.isArray(slider.key) ? values.blendshapes[slider.key[0]] : values[slider.key] || undefined;
    if (value !== undefined) state.sliders[slider.label] = value;
  }
  const from = (name) => {
    const id = (wanted.recipe ?? wanted).photos[name], number = wanted.faces[name];
    return photo(id) && id !== state.target ? id + (number && /^\d/.test(number) ? `#${number}` : "") : null;
  };
  if (step) {
    state.task = MIX;
    state.cells = {};
    const given = [...state.about.factors.map((cell) => [cell, step[cell]]), ...Object.entries(step.regions)];
    for (const [cell, name] of given) {
      const value = name === "none" ? "none" : name && name !== "target" ? from(name) : null;
      if (value) state.cells[cell] = value;
    }
    state.mixStyle = step.style;
    return;
  }
  state.task = wanted.task;
  state.regions = new Set(wanted.regions);
  state.place = wanted.place ?? "";
  state.style = wanted.style;
  for (const role of ["source", "driver"]) {
    const [id, number] = from(role)?.split("#") ?? [];
    state.roles[roleKey(role)] = id ?? null;
    if (number) state.faces[id] = Number(number);
  }
}

// Consent, face by face: which person goes into which picture.
const pairs = new Set(JSON.parse(sessionStorage.getItem("consent") ?? "[]"));
const keep = () => sessionStorage.setItem("consent", JSON.stringify([...pairs]));

function pairsOf(wanted) {
  const photos = (wanted.recipe ?? wanted).photos;
  const who = (name) => `${photos[name]}#${wanted.faces?.[name] ?? ""}`;
  return Object.keys(photos).filter((name) => name !== "target").map((name) => `${photos.target} ${who(name)}`);
}
export const agreed = (wanted) => pairsOf(wanted).length > 0 && pairsOf(wanted).every((each) => pairs.has(each));
export function agree(wanted) {
  for (const each of pairsOf(wanted)) pairs.add(each);
  keep();
}
// A result that is gone on from shows who its photo shows.
export function inherit(id, before) {
  for (const each of [...pairs]) if (each.startsWith(`${before} `)) pairs.add(id + each.slice(before.length));
  keep();
}
