// SPDX-License-Identifier: Apache-2.0
// One run: how it stands, its log as it is written, what it returned and left.

import { attempt, duration, el, moment, size, state } from "./dom.js";

const FINAL = new Set(["succeeded", "failed", "timed_out", "out_of_memory", "cancelled", "lost", "expired"]);
const MOST_LINES = 5000;
const COLOURS = /\x1b\[[0-9;:]*m/g;
export const isOver = (run) => FINAL.has(run.state);

/** Fill `place` with a run and keep it true until `alive()` is false. */
export function runView(api, place, first, alive) {
  const facts = el("div");
  const log = el("pre", { tabIndex: 0, ariaLabel: "Log" });
  place.replaceChildren(facts, el("div", { className: "bar" }, el("h2", {}, "Log"),
    el("a", { href: api.logUrl(first.id) }, "Download")), log);
  const show = (run) => facts.replaceChildren(...summary(api, run, show));
  show(first);
  followLog(api, first.id, log, alive, (run) => alive() && show({ ...first, ...run }));
  if (!isOver(first)) keepTrue(api, first.id, alive, show);
}

/** States between the beginning and the end; the log's socket brings the end itself. */
async function keepTrue(api, id, alive, show) {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 2000));
    if (!alive()) return;
    const run = await api.run(id).catch(() => null);
    if (run && alive()) show(run);
    if (run && isOver(run)) return;
  }
}

function summary(api, run, show) {
  const cancel = el("button", {
    disabled: run.cancel_requested,
    onclick: async () => {
      const now = await attempt(() => api.cancel(run.id));
      if (now) show(now);
    },
  }, run.cancel_requested ? "Cancelling ..." : "Cancel");
  const facts = {
    State: state(run.state),
    Reason: run.reason,
    Duration: duration(run.started_at ?? run.queued_at, run.ended_at),
    Queued: moment(run.queued_at),
    Trigger: `${run.trigger.kind} by ${run.trigger.by}`,
    Interceptor: run.interceptor,
    Revision: `${run.revision} (package ${run.package.slice(0, 12)})`,
    Usage: usage(run.usage),
    Timeline: run.timeline.map((step) => `${step.name} ${Math.round(step.ms)} ms`).join(" · "),
    Notices: run.notices.join("; "),
  };
  const known = Object.entries(facts).filter(([, value]) => value);
  return [
    el("div", { className: "bar" }, el("h1", {}, `${run.task} `), isOver(run) ? null : cancel),
    el("dl", {}, known.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
    ...error(run), ...result(api, run), ...left(api, run),
  ];
}

function usage({ wall_ms, cpu_ms, peak_memory_mb }) {
  if (wall_ms === null) return "";
  const memory = peak_memory_mb === null ? "" : `, ${Math.round(peak_memory_mb)} MB at most`;
  return `${Math.round(wall_ms)} ms${cpu_ms === null ? "" : `, ${Math.round(cpu_ms)} ms of CPU`}${memory}`;
}

function error(run) {
  if (!run.error) return [];
  const trace = (run.error.trace ?? []).join("\n");
  return [el("h2", {}, "Error"), el("pre", { className: "error" }, `${run.error.type}: ${run.error.message}\n${trace}`)];
}

function result(api, run) {
  if (run.result_truncated) {
    return [el("h2", {}, "Result"), el("a", { href: api.resultUrl(run.id) }, "Too large to show here; open it")];
  }
  if (run.result === null || run.result === undefined) return [];
  const text = typeof run.result === "string" ? run.result : JSON.stringify(run.result, null, 2);
  return [el("h2", {}, "Result"), el("pre", {}, text)];
}

function left(api, run) {
  if (!run.artifacts.length) return [];
  const link = (file) => el("li", {}, el("a", { href: api.fileUrl(file), download: "" }, file.name), ` ${size(file.size)}`);
  return [el("h2", {}, "Files"), el("ul", {}, run.artifacts.map(link))];
}

/** Lines as they are written. A lost connection goes on where it was. */
function followLog(api, id, log, alive, ended) {
  let after = 0;
  let over = false;
  const open = () => {
    if (!alive()) return;
    const socket = api.logSocket(id, after);
    const watch = setInterval(() => alive() || socket.close(), 500);
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.lines?.length) {
        append(log, message.lines);
        after = message.lines.at(-1).seq;
      }
      if (message.end) {
        over = true;
        ended(message.end);
      }
    };
    socket.onclose = ({ code }) => {
      clearInterval(watch);
      if (!over && code !== 4401 && code !== 4403 && code !== 4404) setTimeout(open, 1000);
    };
  };
  open();
}

function append(log, lines) {
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  const text = (line) => `${clock(line.at)} ${line.text.replace(COLOURS, "")}\n`;
  log.append(...lines.map((line) => el("span", { className: line.stream }, text(line))));
  while (log.childElementCount > MOST_LINES) log.firstElementChild.remove();
  if (atEnd) log.scrollTop = log.scrollHeight;
}

const clock = (iso) => new Date(iso).toLocaleTimeString(undefined, { hour12: false });
