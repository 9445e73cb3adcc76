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

function showStatus(state, problem) {
  at("state").textContent = state;
  at("state").hidden = !state;
  at("problem").textContent = problem;
  at("problem").hidden = !problem;
}

function preview(file) {
  const image = at("shown");
  if (image.src) URL.revokeObjectURL(image.src);
  image.onload = () => { image.hidden = false; at("hint").textContent = "Choose, drop or paste another"; };
  image.onerror = () => { image.hidden = true; at("hint").textContent = file.name || "This browser cannot display the photo"; };
  image.src = URL.createObjectURL(file);
}

async function classify(file) {
  if (running) running.abort();
  const current = running = new AbortController();
  preview(file);
  at("answer").classList.add("stale");
  showStatus("Classifying ...", "");
  try {
    const reply = await fetch("/v1/predict", { method: "POST", body: file, signal: current.signal,
      headers: { "Content-Type": "application/octet-stream" } });
    const answer = await reply.json();
    if (current !== running) return;
    if (!reply.ok) throw new Error(answer.error);
    at("label").textContent = answer.label;
    at("top").replaceChildren(...answer.top.map(row));
    at("facts").textContent = answer.variant + " answered in " + answer.ms.toFixed(0) + " ms";
    at("answer").classList.remove("stale");
    at("answer").hidden = false;
    showStatus("", "");
  } catch (error) {
    if (current !== running) return;
    at("answer").hidden = true;
    showStatus("", error instanceof TypeError ? "The server does not respond." : error.message);
  }
}

function first(files) {
  if (files && files.length) classify(files[0]);
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
