// SPDX-License-Identifier: Apache-2.0
// Edits on their way: ordered with consent, followed over one connection, shown when they are done.

import { get, post, sentence, upload, url } from "./api.js";
import { $, choose, say, tell } from "./dom.js";
import { isDrawn, maskBlob } from "./mask.js";
import { agree, agreed, missing, order, row, state } from "./state.js";

const PENDING = ["queued", "running"];
const AGAIN_MS = 3000;
const wishes = new Set();
let stream = null, automatic = null, hooks = null;

export const isPending = (info) => PENDING.includes(info.status);
export const pending = () => state.jobs.filter(isPending);

// `hooks.changed()` after news of jobs, `hooks.done(info)` when one that the user waits for is done,
// `hooks.attempt(work)` runs something that may fail.
export function setUpJobs(given) { hooks = given; }

// ---- ordering

export async function run(auto = false) {
  if (missing(isDrawn())) return;
  if (!$("form").reportValidity()) return;
  if (auto && automatic) await post(`/jobs/${automatic}/cancel`).catch(() => {});
  await hooks.attempt(async () => {
    const wanted = { ...order() };
    for (const [key, value] of Object.entries(state.more)) if (value !== null) wanted[key] = value;
    if (row()?.needs.mask === "required") wanted.mask = (await upload("/masks", await maskBlob(), "mask.png")).id;
    await submit(wanted, auto);
  });
}

// One at a time, so that the question is not asked twice at once.
let asking = null;

export async function submit(wanted, auto = false) {
  let info;
  try {
    info = await post("/edits", { ...wanted, consent: agreed(wanted) });
  } catch (error) {
    if (error.kind !== "ConsentRequired" || asking) throw error;
    asking = choose($("consent"));
    const answer = await asking;
    asking = null;
    if (answer !== "yes") { tell("Nothing was ordered"); return; }
    agree(wanted);
    info = await post("/edits", { ...wanted, consent: true });
  }
  if (auto) automatic = info.id;
  // News of it may have come before the answer to its order.
  const known = state.jobs.find((each) => each.id === info.id);
  if (known?.status === "done") hooks.done(known);
  else wishes.add(info.id);
  if (!known) state.jobs.push(info);
  if (!known || isPending(known)) tell(`${info.label} began`);
  hooks.changed();
  listen();
}

// ---- following

// Six connections are all that a browser opens to a service: one is enough for every job.
export function listen() {
  if (stream || !pending().length) return;
  stream = new EventSource(url("/events"));
  stream.addEventListener("job", (event) => { arrived(JSON.parse(event.data)); });
  stream.addEventListener("idle", () => { stop(); catchUp(); });
  stream.onerror = () => { stop(); catchUp(); };
}

function stop() {
  stream?.close();
  stream = null;
}

// What the stream did not tell: it broke, or something was ordered while it ended.
async function catchUp() {
  if (!pending().length) return;
  try {
    const known = new Map((await get("/jobs")).map((each) => [each.id, each]));
    for (const each of pending()) arrived(known.get(each.id) ?? { ...each, status: "cancelled" });
    listen();
  } catch (error) {
    if (error.status === 401) { hooks.attempt(() => { throw error; }); return; }
    tell("Offline: FaceX does not answer");
    setTimeout(catchUp, AGAIN_MS);
  }
}

function arrived(info) {
  const index = state.jobs.findIndex((each) => each.id === info.id);
  if (index < 0) {
    // Ordered in another window; what was deleted here is said to be cancelled.
    if (info.status === "cancelled") return;
    state.jobs.push(info);
  } else if (!isPending(state.jobs[index])) return;
  else state.jobs[index] = info;
  if (isPending(info)) { hooks.changed(); return; }
  const wished = wishes.delete(info.id);
  if (automatic === info.id) automatic = null;
  tell(`${info.label} ${info.status}`);
  if (info.status === "failed") say(sentence(info.error.message));
  if (info.status === "cancelled") {
    state.jobs = state.jobs.filter((each) => each.id !== info.id);
    if (state.job === info.id) state.job = null;
  }
  if (info.status === "done" && wished && info.target === state.target && !automatic) hooks.done(info);
  hooks.changed();
}
