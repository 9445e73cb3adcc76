"""The parts of the web page: its style, its markup and its script."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --ink: #1d2329; --soft: #56616b; --line: #cfd6dc; --paper: #fff; --card: #f4f6f8;
  --accent: #18794e; --wrong: #b3311b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9ed; --soft: #a0acb6; --line: #3a444e; --paper: #12171c;
  --card: #1a2127; --accent: #4cc38a; --wrong: #ff8f7a; } }
* { box-sizing: border-box; }
body { margin: 0; font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); }
main { max-width: 60rem; margin: 0 auto; padding: clamp(1rem, 4vw, 3rem); }
h1 { font-size: clamp(1.4rem, 1.1rem + 1.6vw, 2.1rem); line-height: 1.2; margin: 0; overflow-wrap: anywhere; }
p { margin: .3rem 0; }
.soft { color: var(--soft); }
#columns { display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr));
  margin-top: 1.5rem; align-items: start; }
#columns > * { min-width: 0; }
#drop { display: grid; place-items: center; align-content: center; gap: .6rem; text-align: center;
  min-height: 14rem; padding: 1rem;
  border: 2px dashed var(--line); border-radius: .6rem; background: var(--card); cursor: pointer; }
#drop:hover, #drop.over { border-color: var(--accent); }
#drop:focus-within { outline: 3px solid var(--accent); outline-offset: 3px; }
#photo { position: absolute; opacity: 0; width: 1px; height: 1px; }
#shown { max-width: 100%; max-height: 22rem; border-radius: .4rem; display: block; }
#answer h2 { font-size: clamp(1.6rem, 1.2rem + 2vw, 2.4rem); line-height: 1.15; margin: 0; overflow-wrap: anywhere; }
ol { list-style: none; margin: 1rem 0; padding: 0; display: grid; gap: .7rem; }
li { display: grid; grid-template-columns: 1fr auto; column-gap: 1rem; }
li span { min-width: 0; overflow-wrap: anywhere; }
.percent { font-variant-numeric: tabular-nums; }
.bar { grid-column: 1 / -1; height: .6rem; border-radius: .3rem; background: var(--card); border: 1px solid var(--line);
  overflow: hidden; }
.bar div { height: 100%; background: var(--accent); }
#answer.stale { opacity: .45; }
#problem { color: var(--wrong); font-weight: 600; overflow-wrap: anywhere; }
[hidden] { display: none !important; }
"""

BODY = """<main>
<h1>What is in this photo?</h1>
<p class="soft">{name}: {facts}</p>
<div id="columns">
<label id="drop" for="photo">
<img id="shown" alt="the photo that you chose" hidden>
<span id="hint"><strong>Choose a photo</strong>, drop one here, or paste one</span>
<input id="photo" type="file" accept="image/*" aria-describedby="hint">
</label>
<section aria-live="polite" aria-label="Answer">
<p id="state" class="soft">No photo yet. It is sent to this server only and is not kept.</p>
<p id="problem" role="alert" hidden></p>
<div id="answer" hidden><h2 id="label"></h2><ol id="top"></ol><p id="facts" class="soft"></p></div>
</section>
</div>
</main>"""

SCRIPT = """
"use strict";
const at = (id) => document.getElementById(id);
const percent = (value) => (100 * value).toFixed(1) + " %";
let running = null;

function row(score) {
  const item = document.createElement("li"), name = document.createElement("span");
  const value = document.createElement("span"), bar = document.createElement("div"), fill = document.createElement("div");
  name.textContent = score.label;
  value.textContent = percent(score.probability);
  value.className = "percent";
  bar.className = "bar";
  bar.setAttribute("aria-hidden", "true");
  fill.style.width = 100 * score.probability + "%";
  bar.append(fill);
  item.append(name, value, bar);
  return item;
}

function tell(state, problem) {
  at("state").textContent = state;
  at("state").hidden = !state;
  at("problem").textContent = problem;
  at("problem").hidden = !problem;
}

function preview(file) {
  const image = at("shown");
  if (image.src) URL.revokeObjectURL(image.src);
  image.onload = () => { image.hidden = false; at("hint").textContent = "Choose, drop or paste another"; };
  image.onerror = () => { image.hidden = true; at("hint").textContent = file.name || "This browser cannot show it"; };
  image.src = URL.createObjectURL(file);
}

async function ask(file) {
  if (running) running.abort();
  const mine = running = new AbortController();
  preview(file);
  at("answer").classList.add("stale");
  tell("Looking ...", "");
  try {
    const reply = await fetch("/v1/predict", { method: "POST", body: file, signal: mine.signal,
      headers: { "Content-Type": "application/octet-stream" } });
    const answer = await reply.json();
    if (mine !== running) return;
    if (!reply.ok) throw new Error(answer.error);
    at("label").textContent = answer.label;
    at("top").replaceChildren(...answer.top.map(row));
    at("facts").textContent = answer.variant + " answered in " + answer.ms.toFixed(0) + " ms";
    at("answer").classList.remove("stale");
    at("answer").hidden = false;
    tell("", "");
  } catch (error) {
    if (mine !== running) return;
    at("answer").hidden = true;
    tell("", error instanceof TypeError ? "The server does not answer." : error.message);
  }
}

function first(files) {
  if (files && files.length) ask(files[0]);
}

at("photo").addEventListener("change", (event) => { first(event.target.files); event.target.value = ""; });
document.addEventListener("paste", (event) => first(event.clipboardData.files));
document.addEventListener("dragover", (event) => { event.preventDefault(); at("drop").classList.add("over"); });
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) at("drop").classList.remove("over"); });
document.addEventListener("drop", (event) => {
  event.preventDefault();
  at("drop").classList.remove("over");
  first(event.dataTransfer.files);
});
"""
