// SPDX-License-Identifier: Apache-2.0
// Talks to the service. Every failure is an Error with `kind` and a sentence for people.

const ROOT = "/api/v1";

export class Refusal extends Error {
  constructor(status, kind, message, wait) {
    super(message);
    Object.assign(this, { status, kind, wait });
  }
}

async function call(method, path, body) {
  const options = { method, headers: {} };
  if (body instanceof FormData) options.body = body;
  else if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["content-type"] = "application/json";
  }
  let reply;
  try {
    reply = await fetch(ROOT + path, options);
  } catch {
    throw new Refusal(0, "Offline", "FaceX does not answer; is it still running?");
  }
  if (reply.ok) return reply.status === 204 ? null : reply.json();
  const problem = await reply.json().catch(() => ({}));
  const text = problem.message ?? `the service answered ${reply.status}`;
  throw new Refusal(reply.status, problem.error ?? "Error", sentence(text), reply.headers.get("retry-after"));
}

export function sentence(text) {
  const whole = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(whole) ? whole : `${whole}.`;
}

export const get = (path) => call("GET", path);
export const post = (path, body) => call("POST", path, body);
export const remove = (path) => call("DELETE", path);
export const url = (path) => ROOT + path;

export function upload(path, blob, name) {
  const form = new FormData();
  form.append("file", blob, name);
  return call("POST", path, form);
}
