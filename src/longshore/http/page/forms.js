// SPDX-License-Identifier: Apache-2.0
// Two forms in the dialog: run a task, create one from a package.

import { call } from "./api.js";
import { attempt, byId, el, labelled, notice } from "./dom.js";

function ask(title, fields, action, submit) {
  const dialog = byId("dialog");
  const button = el("button", { className: "main", type: "submit" }, action);
  const send = async (event) => {
    event.preventDefault();
    button.disabled = true;
    if ((await attempt(submit)) !== undefined) dialog.close();
    button.disabled = false;
  };
  const cancel = el("button", { type: "button", onclick: () => dialog.close() }, "Cancel");
  dialog.replaceChildren(
    el("form", { onsubmit: send }, el("h1", {}, title), fields, el("div", { className: "bar" }, cancel, button)),
  );
  dialog.showModal();
}

function control(parameter) {
  const { type, choices, required } = parameter;
  const value = parameter.default ?? "";
  if (type === "boolean" || type === "choice") {
    const words = type === "choice" ? choices : ["true", "false"];
    const all = value && words.includes(value) ? words : [value, ...words];
    return el("select", {}, all.map((word) => el("option", { value: word, selected: word === value }, word)));
  }
  if (type === "json") return el("textarea", { value });
  const placeholder = type === "artifact" ? "BUCKET/KEY" : "";
  return el("input", { value, placeholder, required: required && !value, autocomplete: "off" });
}

/** Ask for a run's parameters. What is left as declared is not sent: the task's own defaults count then. */
export function runForm(api, task, done) {
  const controls = task.parameters.map((parameter) => [parameter, control(parameter)]);
  const event = el("textarea", { value: "{}" });
  const fields = controls.map(([parameter, input]) => {
    const unit = parameter.unit ? ` (${parameter.unit})` : "";
    return labelled(`${parameter.name}${unit}${parameter.required ? " *" : ""}`, input, parameter.description);
  });
  ask(`Run ${task.name}`, fields.length ? fields : [labelled("Event (JSON)", event)], "Run", async () => {
    const changed = controls.filter(([parameter, input]) => input.value !== (parameter.default ?? ""));
    const body = fields.length
      ? { parameters: Object.fromEntries(changed.map(([parameter, input]) => [parameter.name, input.value])) }
      : { event: JSON.parse(event.value || "{}") };
    const run = await api.submit(task.name, body);
    done(run);
    return run;
  });
}

/** Take a package: update the tasks that use its name, or offer a new task over it. */
export async function takePackage(api, tasks, file, done) {
  if (!/\.(zip|jar)$/i.test(file.name)) return notice("A package is a .zip or .jar file", "error");
  if (!tasks.some((task) => task.package_name === file.name)) return createForm(api, file, done);
  notice(`Uploading ${file.name} ...`);
  const put = await attempt(() => api.upload(file));
  if (!put) return undefined;
  notice(put.updated_tasks.length ? `Updated: ${put.updated_tasks.join(", ")}` : `${file.name} is as it was`);
  return done();
}

function shown(checked) {
  const words = checked.findings.map((finding) => el("li", { className: finding.level }, finding.message));
  const sum = `${checked.entries} ${checked.entries === 1 ? "entry" : "entries"}, ${(checked.unpacked_bytes / 2 ** 20).toFixed(1)} MB unpacked`;
  return [el("p", { className: "quiet" }, words.length ? sum : `${sum}; nothing to complain about`),
    el("ul", { className: "findings" }, words)];
}

async function createForm(api, file, done) {
  const found = await attempt(() => call("GET", "/runtimes"));
  const runtimes = found?.items.map((runtime) => runtime.id) ?? [];
  const name = el("input", { required: true, pattern: "[A-Za-z0-9_\\-]{1,64}",
    value: file.name.replace(/\.(zip|jar)$/i, "").replace(/[^A-Za-z0-9_-]/g, "_").slice(0, 64) });
  const handler = el("input", { required: true, value: "lambda_function.lambda_handler" });
  const runtime = runtimes.length
    ? el("select", {}, runtimes.map((id) => el("option", { value: id, selected: id === runtimes.at(-1) }, id)))
    : el("input", { required: true, value: "python3.11" });
  const findings = el("div", { role: "status" });
  const check = async () => {
    findings.replaceChildren(el("p", { className: "quiet" }, "Looking into the package ..."));
    try {
      findings.replaceChildren(...shown(await api.check(file, handler.value, runtime.value)));
    } catch (error) {
      findings.replaceChildren(el("p", { className: "error" }, error.message));
    }
  };
  handler.addEventListener("change", check);
  runtime.addEventListener("change", check);
  const fields = [
    labelled("Name", name),
    labelled("Handler", handler, "file.function"),
    labelled("Runtime", runtime),
    findings,
  ];
  check();
  ask(`New task from ${file.name}`, fields, "Save", async () => {
    await api.upload(file);
    const saved = await api.createTask({
      name: name.value, handler: handler.value, runtime: runtime.value, package: file.name,
    });
    saved.warnings.forEach((warning) => notice(warning));
    done();
    return saved;
  });
}
