"use strict";
// Tries the five tasks of the server that it came from. Answers are written as text, never as HTML.

const at = (id) => document.getElementById(id);
const NAMES = { generate: "Prompt", edit: "Instruction", segment: "What to paint (empty: every object)", ask: "Question" };
let stop = null; // of the request that runs
let talk = []; // questions and answers about the picture that is chosen

const task = () => document.querySelector("input[name=task]:checked").value;

function headers(more) {
  const key = at("key").value.trim();
  return key ? { ...more, Authorization: `Bearer ${key}` } : { ...more };
}

function show() {
  const chosen = task();
  at("text-row").hidden = chosen === "reconstruct";
  at("text-name").textContent = NAMES[chosen] || "";
  at("image-row").hidden = chosen === "generate";
  at("sampling").hidden = chosen === "reconstruct" || chosen === "ask";
  at("sampling").disabled = at("sampling").hidden; // else a wrong number that nobody sees would hold the form back
}

function say(text, wrong) {
  at("status").textContent = text;
  at("status").className = wrong ? "error" : "";
}

function picture(base64, kind) {
  at("result").src = `data:image/${kind};base64,${base64}`;
  at("result").hidden = false;
}

function regions(found) {
  at("regions").replaceChildren(...found.map((region) => {
    const line = document.createElement("li"), swatch = document.createElement("img");
    const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
    const paint = canvas.getContext("2d");
    paint.fillStyle = `rgb(${region.colour.map(Number).join(",")})`;
    paint.fillRect(0, 0, 1, 1);
    swatch.src = canvas.toDataURL();
    swatch.alt = "";
    line.append(swatch, `${region.area} pixels, box ${region.box.join(", ")}`);
    return line;
  }));
}

async function failure(answer) {
  try {
    return (await answer.json()).error.message;
  } catch {
    return `status ${answer.status}`;
  }
}

// Calls `seen` with the data of every server-sent event.
async function read(answer, seen) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const data = event.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6)).join("\n");
      if (data && data !== "[DONE]") seen(JSON.parse(data));
    }
  }
}

async function post(path, body, json) {
  const how = { method: "POST", body, headers: headers(json ? { "Content-Type": "application/json" } : {}), signal: stop.signal };
  const answer = await fetch(path, how);
  if (!answer.ok) throw new Error(await failure(answer));
  return answer;
}

function sampling() {
  const given = { num_inference_steps: Number(at("steps").value) };
  if (at("guidance").value !== "") given.guidance_scale = Number(at("guidance").value);
  if (at("seed").value !== "") given.seed = Number(at("seed").value);
  return { ...given, stream: true, partial_images: given.num_inference_steps };
}

function chosenPicture() {
  const file = at("image").files[0];
  if (!file) throw new Error("choose a picture");
  return file;
}

function form(fields) {
  const made = new FormData();
  for (const [name, value] of Object.entries(fields)) made.append(name, value);
  made.append("image", chosenPicture());
  return made;
}

async function draw(path, body, json) {
  const begin = performance.now();
  await read(await post(path, body, json), (event) => {
    if (event.type === "error") throw new Error(event.error.message);
    picture(event.b64_json, event.output_format);
    if (event.type.endsWith(".partial_image")) {
      at("bar").hidden = false;
      at("bar").value = event.step / event.steps;
      say(`step ${event.step} of ${event.steps}`);
    } else {
      const seed = event.seed === undefined ? "" : `, seed ${event.seed}`;
      say(`${((performance.now() - begin) / 1000).toFixed(1)} s${seed}`);
      regions(event.regions || []);
    }
  });
}

function url(file) {
  return new Promise((resolve, reject) => {
    const reader = Object.assign(new FileReader(), { onload: () => resolve(reader.result), onerror: () => reject(reader.error) });
    reader.readAsDataURL(file);
  });
}

async function ask() {
  const question = at("text").value, messages = [], history = talk; // of this picture, even if another is chosen meanwhile
  for (const [asked, answered] of history) messages.push({ role: "user", content: asked }, { role: "assistant", content: answered });
  messages.push({ role: "user", content: question });
  const file = at("image").files[0];
  if (file) {
    messages[0].content = [{ type: "image_url", image_url: { url: await url(file) } }, { type: "text", text: messages[0].content }];
  }
  const asked = document.createElement("dt"), answered = document.createElement("dd");
  asked.textContent = question;
  at("talk").append(asked, answered);
  await read(await post("v1/chat/completions", JSON.stringify({ messages, stream: true }), true), (event) => {
    if (event.error) throw new Error(event.error.message);
    if (event.choices.length) answered.textContent += event.choices[0].delta.content || "";
  });
  if (answered.textContent) history.push([question, answered.textContent]);
  say(answered.textContent ? "" : "the answer was empty");
}

const RUN = {
  generate: () => draw("v1/images/generations", JSON.stringify({ prompt: at("text").value, ...sampling() }), true),
  edit: () => draw("v1/images/edits", form({ prompt: at("text").value, ...sampling() })),
  segment: () => draw("v1/segment", form({ ...(at("text").value ? { instruction: at("text").value } : {}), ...sampling() })),
  reconstruct: async () => {
    const found = await (await post("v1/reconstruct", form({}))).json();
    picture(found.data[0].b64_json, found.output_format);
    say("");
  },
  ask,
};

at("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (stop) return;
  stop = new AbortController();
  at("go").disabled = true;
  at("stop").disabled = false;
  regions([]);
  say("waiting");
  try {
    await RUN[task()]();
  } catch (error) {
    say(error.name === "AbortError" ? "stopped" : error.message, error.name !== "AbortError");
  } finally {
    stop = null;
    at("go").disabled = false;
    at("stop").disabled = true;
    at("bar").hidden = true;
  }
});
at("stop").addEventListener("click", () => stop && stop.abort());
at("tasks").addEventListener("change", show);
at("image").addEventListener("change", () => { talk = []; at("talk").replaceChildren(); });
at("key").addEventListener("change", greet);

async function greet() {
  try {
    const answer = await fetch("v1/models", { headers: headers({}) });
    at("model").textContent = answer.ok ? (await answer.json()).data[0].id : await failure(answer);
  } catch {
    at("model").textContent = "the server does not answer";
  }
}

show();
greet();
