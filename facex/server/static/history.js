// SPDX-License-Identifier: Apache-2.0
// The strip of edits, and what can be done with one: undo, again, settings, recipe, go on, delete.

import { get, post, remove, sentence, url } from "./api.js";
import { $, make, rebuild, say, tell } from "./dom.js";
import { isPending, pending, submit } from "./jobs.js";
import { inherit, job, photo, restore, state, target } from "./state.js";

const SEEDS = 2 ** 32;
let page = null;

// `page.redraw()`, `page.everything()`, `page.chooseTarget(id)`, `page.clear()`, `page.attempt(work)`.
export function setUpHistory(given) {
  page = given;
  const click = (id, work) => { $(id).onclick = () => page.attempt(work); };
  click("continue", goOn);
  click("undo", undo);
  click("replay", again);
  click("restore", useSettings);
  click("remove", forgetJob);
}

export function drawWork() {
  const running = pending();
  const current = running.find((each) => each.status === "running") ?? running[0];
  $("work").hidden = !current;
  if (current) {
    const bar = $("progress");
    if (current.total) bar.value = current.done / current.total; else bar.removeAttribute("value");
    const waiting = running.length > 1 ? ` · ${running.length - 1} waiting` : "";
    const steps = current.total > 1 ? ` ${current.done} of ${current.total}` : "";
    $("stage-text").textContent = (current.status === "queued" ? `waiting, ${current.ahead} before it` : `${current.stage}${steps}`) + waiting;
    $("cancel").onclick = () => page.attempt(() => post(`/jobs/${current.id}/cancel`));
  }
  drawActions(job());
}

function drawActions(shown) {
  const result = shown?.result ?? null, waits = shown ? isPending(shown) : false;
  $("undo").hidden = !result && !target()?.made_by;
  $("actions").hidden = !shown;
  const notes = shown?.error ? [sentence(shown.error.message)] : result?.warnings ?? [];
  $("notes").hidden = !notes.length;
  $("notes").replaceChildren(...notes.map((text) => make("li", {}, text)));
  if (!shown) return;
  for (const id of ["download", "continue"]) $(id).hidden = !result;
  for (const id of ["replay", "recipe"]) $(id).hidden = waits || !photo(shown.target);
  $("restore").hidden = waits || !state.target;
  $("remove").textContent = waits ? "Cancel this edit" : "Delete";
  $("download").href = url(`/jobs/${shown.id}/result?download=true`);
  $("recipe").href = url(`/jobs/${shown.id}/bundle`);
}

export function drawHistory() {
  rebuild($("history"), state.jobs.map((each) => {
    let content;
    if (each.status === "done") content = make("img", { src: url(`/jobs/${each.id}/result?size=thumb`), alt: "" });
    else if (each.status === "failed") content = make("div", { class: "wait failed" }, "failed");
    else content = make("div", { class: "wait" }, each.total > 1 ? `${each.done} of ${each.total}` : each.status);
    return make("li", {}, make("button", { type: "button", "aria-pressed": each.id === state.job, "data-key": each.id,
      "aria-label": `${each.label}, ${each.status}`, onclick: () => show(each.id) }, content, make("span", {}, each.label)));
  }).reverse());
}

function show(id) {
  const info = state.jobs.find((each) => each.id === id);
  if (photo(info.target) && state.target !== info.target) page.chooseTarget(info.target);
  state.job = info.id;
  if (info.result) state.view = photo(info.target) ? "compare" : "after";
  page.clear();
  page.redraw();
}

// ---- what can be done with an edit

async function goOn() {
  const before = job().target;
  const info = await post(`/jobs/${state.job}/photo`);
  state.photos.push(info);
  inherit(info.id, before);
  page.chooseTarget(info.id);
  tell("The result is now the photo that is edited");
}

// One step back: from a result to its photo, from a photo that was made here to the one before.
async function undo() {
  if (job()?.result) {
    state.job = null;
    page.clear();
    page.redraw();
    tell("Undone; the edit stays in the history");
    return;
  }
  const made = target()?.made_by;
  const before = (state.jobs.find((each) => each.id === made) ?? (await get(`/jobs/${made}`))).target;
  if (!photo(before)) { say("The photo before this one was deleted."); return; }
  page.chooseTarget(before);
  tell("Back at the photo before");
}

async function again() {
  const wanted = await get(`/jobs/${state.job}/request`);
  await submit({ ...wanted, seed: Math.floor(Math.random() * SEEDS), recipe: wanted.recipe && unseeded(wanted.recipe) });
}

// A step with a seed of its own would give the same picture again.
const unseeded = (recipe) => ({ ...recipe, steps: recipe.steps.map((step) => ({ ...step, seed: null })) });

async function useSettings() {
  restore(await get(`/jobs/${state.job}/request`));
  page.everything();
  tell("The settings of that edit are in the form");
}

async function forgetJob() {
  const shown = job();
  if (isPending(shown)) { await post(`/jobs/${shown.id}/cancel`); return; }
  await remove(`/jobs/${shown.id}`);
  state.jobs = state.jobs.filter((each) => each.id !== shown.id);
  state.job = null;
  page.redraw();
  $("history").querySelector("button")?.focus();
}
