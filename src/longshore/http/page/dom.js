// SPDX-License-Identifier: Apache-2.0
// Elements from words. Text only ever becomes text: nothing here takes HTML.

const TURNING = /[\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;

/** Marks that turn the direction of text are shown as what they are: nothing may look like something else. */
const visible = (text) =>
  text.replace(TURNING, (mark) => `\\u${mark.charCodeAt(0).toString(16).padStart(4, "0")}`);

/** An element with properties, listeners (onclick: ...) and children; null children are left out. */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && name !== "list") node[name] = value;
    else node.setAttribute(name, value);
  }
  const there = children.flat(Infinity).filter((child) => child !== null && child !== undefined);
  node.append(...there.map((child) => (typeof child === "string" ? visible(child) : child)));
  return node;
}

export const byId = (id) => document.getElementById(id);

/** Show a sentence for a while; errors stay longer. */
export function notice(text, kind = "") {
  const shown = el("p", { className: kind }, text);
  byId("notices").append(shown);
  setTimeout(() => shown.remove(), kind === "error" ? 12000 : 5000);
}

/** Run something that may fail; a failure is told in the server's own words. */
export async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    notice(error.message, "error");
    return undefined;
  }
}

export function table(heads, rows, empty) {
  if (!rows.length) return el("p", { className: "quiet" }, empty);
  const head = el("tr", {}, heads.map((text) => el("th", { scope: "col" }, text)));
  const body = rows.map((cells) => el("tr", {}, cells.map((cell) => el("td", {}, cell ?? ""))));
  return el("div", { className: "sheet" }, el("table", {}, el("thead", {}, head), el("tbody", {}, body)));
}

export const state = (name) => el("span", { className: `state ${name}` }, name.replaceAll("_", " "));

export const moment = (iso) =>
  iso ? el("time", { dateTime: iso, title: iso }, new Date(iso).toLocaleString()) : "";

export function duration(from, to) {
  if (!from) return "";
  const seconds = ((to ? new Date(to) : new Date()) - new Date(from)) / 1000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

export function size(bytes) {
  const step = Math.min(3, Math.floor(Math.log2(Math.max(bytes, 1)) / 10));
  return `${(bytes / 1024 ** step).toFixed(step ? 1 : 0)} ${["bytes", "KB", "MB", "GB"][step]}`;
}

/** A labelled control. */
export const labelled = (text, control, hint = "") =>
  el("label", {}, el("span", {}, text), control, hint ? el("small", {}, hint) : null);
