// SPDX-License-Identifier: Apache-2.0
// The REST API. The session's cookie travels by itself.

const BASE = "/api/v1";

export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

const quoted = (text) => text.split("/").map(encodeURIComponent).join("/");

export async function call(method, path, { body, raw, headers = {} } = {}) {
  const sent = { method, headers: { ...headers }, credentials: "same-origin" };
  if (body !== undefined) {
    sent.body = JSON.stringify(body);
    sent.headers["Content-Type"] = "application/json";
  } else if (raw !== undefined) {
    sent.body = raw;
    sent.headers["Content-Type"] = "application/octet-stream";
  }
  let answer;
  try {
    answer = await fetch(BASE + path, sent);
  } catch {
    throw new Problem(0, "The server does not answer; is it running?");
  }
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({}));
    throw new Problem(answer.status, told.detail ?? `The server answered ${answer.status}`);
  }
  return answer.status === 204 ? null : answer.json();
}

/** The resources of one project. */
export function inProject(slug) {
  const home = `/projects/${encodeURIComponent(slug)}`;
  const task = (name) => `${home}/tasks/${encodeURIComponent(name)}`;
  const object = (bucket, key) => `${home}/buckets/${encodeURIComponent(bucket)}/objects/${quoted(key)}`;
  return {
    tasks: (after) => call("GET", `${home}/tasks?limit=100${after ? `&after=${encodeURIComponent(after)}` : ""}`),
    task: (name) => call("GET", task(name)),
    createTask: (draft) => call("POST", `${home}/tasks`, { body: draft }),
    runs: (query) => call("GET", `${home}/runs?${new URLSearchParams(query)}`),
    run: (id) => call("GET", `${home}/runs/${id}`),
    submit: (name, body) =>
      call("POST", `${task(name)}/runs`, { body, headers: { "X-Longshore-Trigger": "ui" } }),
    cancel: (id) => call("POST", `${home}/runs/${id}/cancel`),
    upload: (file) => call("PUT", object("tasks", file.name), { raw: file }),
    check: (file, handler, runtime) =>
      call("POST", `${home}/packages/check?${new URLSearchParams({ file_name: file.name, handler, runtime })}`, {
        raw: file,
      }),
    fileUrl: (file) => BASE + object(file.bucket, file.key),
    resultUrl: (id) => `${BASE}${home}/runs/${id}/result`,
    logUrl: (id) => `${BASE}${home}/runs/${id}/log?download=true`,
    logSocket: (id, after) => {
      const scheme = location.protocol === "https:" ? "wss:" : "ws:";
      return new WebSocket(`${scheme}//${location.host}${BASE}${home}/runs/${id}/log/ws?after=${after}`);
    },
  };
}
