// SPDX-License-Identifier: Apache-2.0
// The page: #/PROJECT/tasks, #/PROJECT/runs, #/PROJECT/tasks/NAME, #/PROJECT/runs/ID.

import { call, inProject } from "./api.js";
import { attempt, byId, duration, el, labelled, moment, notice, state, table } from "./dom.js";
import { runForm, takePackage } from "./forms.js";
import { isOver, runView } from "./run.js";

let me = null;
let projects = [];
let turn = 0; // grows with every view; what an older one still has under way shows nothing any more

const address = (...steps) => `#/${steps.map(encodeURIComponent).join("/")}`;
const here = () => location.hash.slice(2).split("/").filter(Boolean).map(decodeURIComponent);

async function start() {
  try {
    me = await call("GET", "/me");
    projects = (await call("GET", "/projects?limit=500")).items.map((project) => project.slug);
  } catch (error) {
    if (error.status !== 401) notice(error.message, "error");
    return login();
  }
  return show();
}

function login() {
  turn += 1;
  byId("nav").replaceChildren();
  const token = el("input", { type: "password", required: true, autocomplete: "current-password" });
  const enter = async (event) => {
    event.preventDefault();
    if (await attempt(() => call("POST", "/login", { body: { code: token.value.trim() } }))) await start();
  };
  byId("main").replaceChildren(
    el("form", { className: "narrow", onsubmit: enter },
      el("h1", {}, "Log in"),
      labelled("Token", token, "Made with: longshore token create NAME --role admin"),
      el("button", { className: "main" }, "Log in")),
  );
  token.focus();
}

function navigation(project, part) {
  const go = (event) => { location.hash = address(event.target.value, "tasks"); };
  const options = projects.map((slug) => el("option", { value: slug, selected: slug === project }, slug));
  const link = (name, text) => {
    const anchor = el("a", { href: address(project, name) }, text);
    if (part === name) anchor.setAttribute("aria-current", "page");
    return anchor;
  };
  const leave = async () => {
    await attempt(() => call("POST", "/logout"));
    me = null;
    login();
  };
  byId("nav").replaceChildren(
    el("select", { ariaLabel: "Project", onchange: go }, options), link("tasks", "Tasks"), link("runs", "Runs"),
    el("span", { className: "who" }, `${me.name} (${me.role})`), el("button", { onclick: leave }, "Log out"),
  );
}

async function show() {
  if (!me) return;
  const [asked, part = "tasks", name] = here();
  const project = projects.includes(asked) ? asked : projects[0];
  turn += 1;
  const mine = turn;
  const alive = () => mine === turn;
  const main = byId("main");
  if (!project) return main.replaceChildren(el("p", {}, "There is no project yet."));
  navigation(project, part);
  const api = inProject(project);
  const views = { tasks: name ? oneTask : allTasks, runs: name ? oneRun : allRuns };
  try {
    await (views[part] ?? allTasks)({ api, project, name, main, alive });
  } catch (error) {
    if (error.status === 401) return login();
    if (alive()) main.replaceChildren(el("p", { className: "error" }, error.message));
  }
}

const mayRun = () => me.role !== "viewer";
const mayEdit = () => me.role === "editor" || me.role === "admin";

function play(api, project, task) {
  if (!mayRun()) return null;
  const go = (run) => { location.hash = address(project, "runs", run.id); };
  return el("button", { ariaLabel: `Run ${task.name}`, onclick: () => runForm(api, task, go) }, "▶ Play");
}

function uploading(api, load) {
  if (!mayEdit()) return null;
  const take = async (file) => takePackage(api, await load(), file, show);
  const pick = el("input", { type: "file", accept: ".zip,.jar", hidden: true,
    onchange: () => pick.files[0] && attempt(() => take(pick.files[0])) });
  dropped = (file) => attempt(() => take(file));
  return [pick, el("button", { onclick: () => pick.click() }, "Upload a package")];
}

let dropped = null;

async function whole(list) {
  const items = [];
  for (let after = ""; after !== null; ) {
    const part = await list(after);
    items.push(...part.items);
    after = part.next;
  }
  return items;
}

async function allTasks({ api, project, main, alive }) {
  const tasks = await whole(api.tasks);
  if (!alive()) return;
  const rows = tasks.map((task) => [
    el("a", { href: address(project, "tasks", task.name) }, task.name),
    task.runtime,
    task.last_run
      ? el("a", { href: address(project, "runs", task.last_run.id) }, state(task.last_run.state)) : "never ran",
    moment(task.updated_at),
    play(api, project, task),
  ]);
  main.replaceChildren(
    el("div", { className: "bar" }, el("h1", {}, "Tasks"), uploading(api, () => whole(api.tasks))),
    table(["Name", "Runtime", "Last run", "Last update", ""], rows,
      "No task yet. Drop a package here, or upload one: a zip with a Python handler."),
  );
}

const runRows = (project, runs) => runs.map((run) => [
  el("a", { href: address(project, "runs", run.id) }, moment(run.queued_at)),
  run.task, state(run.state), run.reason ?? "", duration(run.started_at ?? run.queued_at, run.ended_at), run.trigger.by,
]);

/** A list of runs that grows by a button, and is read again while one of them goes on. */
async function runList(context, place, query) {
  const { api, project, alive } = context;
  const first = await api.runs({ limit: 50, ...query });
  if (!alive()) return;
  const items = first.items;
  let { next } = first;
  const draw = () => {
    const more = el("button", { onclick: () => attempt(async () => {
      const part = await api.runs({ limit: 50, ...query, after: next });
      items.push(...part.items);
      next = part.next;
      draw();
    }) }, "Older");
    place.replaceChildren(table(["Queued", "Task", "State", "Reason", "Duration", "By"],
      runRows(project, items), "No runs yet."), ...(next ? [el("p", {}, more)] : []));
  };
  draw();
  if (items.length <= 50 && items.some((run) => !isOver(run))) {
    setTimeout(() => alive() && items.length <= 50 && attempt(() => runList(context, place, query)), 3000);
  }
}

async function allRuns(context) {
  const place = el("div");
  context.main.replaceChildren(el("h1", {}, "Runs"), place);
  await runList(context, place, {});
}

async function oneTask(context) {
  const { api, project, name, main, alive } = context;
  const task = await api.task(name);
  if (!alive()) return;
  const place = el("div");
  const facts = [["Handler", task.handler], ["Runtime", task.runtime], ["Revision", String(task.revision)],
    ["Package", `${task.package_name} (${task.package.slice(0, 12)})`],
    ["Updated", el("span", {}, moment(task.updated_at), ` by ${task.updated_by}`)]];
  main.replaceChildren(
    el("div", { className: "bar" }, el("h1", {}, task.name), play(api, project, task),
      uploading(api, () => whole(api.tasks))),
    el("p", {}, task.description),
    el("dl", {}, facts.map(([term, value]) => [el("dt", {}, term), el("dd", {}, value)])),
    el("h2", {}, "Runs"), place,
  );
  await runList(context, place, { task: name });
}

async function oneRun({ api, name, main, alive }) {
  const run = await api.run(name);
  if (alive()) runView(api, main, run, alive);
}

addEventListener("hashchange", () => { dropped = null; show(); });
addEventListener("dragover", (event) => { event.preventDefault(); byId("drop").hidden = !dropped; });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) byId("drop").hidden = true; });
addEventListener("drop", (event) => {
  event.preventDefault();
  byId("drop").hidden = true;
  const [file] = event.dataTransfer.files;
  if (file && dropped) dropped(file);
});
start();
