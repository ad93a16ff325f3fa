// Runs static/page.js without a browser: just enough of a document for it, with this runtime's own fetch and streams.
//
//   node page_harness.js PAGE.JS URL KEY PICTURE.PNG < actions      one JSON action a line: {task, text, picture, stop}
//
// After each action prints what a visitor would see: status, whether it is an error, kind of picture, previews, talk.
"use strict";
const fs = require("fs");
const vm = require("vm");
const [script, base, key, picture] = process.argv.slice(2);

class Element {
  constructor(tag = "div") {
    Object.assign(this, { tag, value: "", textContent: "", className: "", hidden: false, disabled: false, files: [], children: [], on: {} });
    this.sources = [];
  }
  get src() { return this.sources[this.sources.length - 1] || ""; }
  set src(url) { this.sources.push(url); }
  set innerHTML(_) { throw new Error("innerHTML was written"); }
  append(...parts) { this.children.push(...parts); }
  replaceChildren(...parts) { this.children = parts; }
  addEventListener(kind, run) { this.on[kind] = run; }
  getContext() { return { fillRect() {} }; }
  toDataURL() { return "data:image/png;base64,"; }
}

const elements = new Map(), chosen = { value: "generate" };
const document = {
  getElementById: (id) => elements.get(id) || elements.set(id, new Element()).get(id),
  querySelector: () => chosen,
  createElement: (tag) => new Element(tag),
};
class FileReader {
  readAsDataURL(file) {
    file.arrayBuffer().then((data) => {
      this.result = `data:${file.type};base64,${Buffer.from(data).toString("base64")}`;
      this.onload();
    });
  }
}
const sent = [];
const world = {
  document, FileReader, FormData, TextDecoderStream, AbortController, performance, Error, JSON, Object, Number, Promise, console,
  fetch: (path, how) => { sent.push(path); return fetch(new URL(path, `${base}/`), how); },
};
const at = document.getElementById;
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

async function main() {
  Object.assign(at("steps"), { value: "4" });
  Object.assign(at("guidance"), { value: "4.5" });
  Object.assign(at("seed"), { value: "7" });
  at("key").value = key;
  vm.runInNewContext(fs.readFileSync(script, "utf8"), world);
  for (let turn = 0; turn < 200 && !at("model").textContent; ++turn) await sleep(20);
  console.log(JSON.stringify({ model: at("model").textContent }));
  for (const line of fs.readFileSync(0, "utf8").trim().split("\n")) {
    const action = JSON.parse(line);
    chosen.value = action.task;
    at("tasks").on.change();
    at("text").value = action.text || "";
    at("image").files = action.picture ? [new File([fs.readFileSync(picture)], "a.png", { type: "image/png" })] : [];
    at("result").sources = [];
    const done = at("form").on.submit({ preventDefault() {} });
    if (action.stop) {
      await sleep(action.stop);
      at("stop").on.click();
    }
    await done;
    const shown = at("result").sources;
    console.log(JSON.stringify({
      status: at("status").textContent, error: at("status").className === "error", pictures: shown.length,
      last: shown.length ? shown[shown.length - 1] : null, regions: at("regions").children.length,
      talk: at("talk").children.map((part) => part.textContent), ready: !at("go").disabled && at("stop").disabled,
      textHidden: at("text-row").hidden, imageHidden: at("image-row").hidden, path: sent[sent.length - 1],
    }));
  }
}

main().catch((error) => { console.error(error); process.exit(1); });
