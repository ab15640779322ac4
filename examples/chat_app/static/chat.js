"use strict";

const $ = (id) => document.getElementById(id);
const turns = []; // what is sent: {role, content}
let leaving = null; // aborts the running answer

function show(kind, text = "") {
  const element = document.createElement("div");
  element.className = kind;
  element.textContent = text; // never innerHTML: a model's words are text, not markup
  $("turns").append(element);
  element.scrollIntoView({ block: "end" });
  return element;
}

function note(text, failed = false) {
  const element = show(failed ? "note failed" : "note", text);
  if (failed) element.setAttribute("role", "alert");
}

/** The events of a text/event-stream body, as {event, data}. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    for (let end; (end = rest.indexOf("\n\n")) >= 0; rest = rest.slice(end + 2)) {
      const fields = {};
      for (const line of rest.slice(0, end).split("\n")) {
        const colon = line.indexOf(":");
        if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 1).trimStart();
      }
      if (fields.data !== undefined) yield { event: fields.event, data: JSON.parse(fields.data) };
    }
  }
}

function busy(now) {
  $("send").disabled = now;
  $("stop").hidden = !now;
  $("status").textContent = now ? "Thinking…" : "";
}

/** Reads one answer into `shown`. Returns true once it is complete. */
async function read(shown) {
  const response = await fetch("/chat", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ turns }),
    signal: leaving.signal,
  });
  if (response.status === 422) throw new Error("This conversation is too long. Reload the page to start a new one.");
  if (!response.ok) throw new Error("Something is wrong on our side. We are looking into it.");
  for await (const { event, data } of events(response)) {
    if (event === "text") {
      $("status").textContent = "";
      shown.textContent += data;
      shown.scrollIntoView({ block: "end" });
    } else if (event === "failed") {
      throw new Error(data);
    } else if (event === "done") {
      if (data) note(data);
      return true;
    }
  }
  throw new Error("The answer broke off. Please try again.");
}

async function ask(question) {
  turns.push({ role: "user", content: question });
  const asked = show("turn user", question);
  const shown = show("turn assistant");
  leaving = new AbortController();
  busy(true);
  try {
    await read(shown);
  } catch (error) {
    if (error.name === "AbortError") note("Stopped.");
    else note(error instanceof TypeError ? "The connection was lost. Please try again." : error.message, true);
  }
  busy(false);
  if (shown.textContent) {
    turns.push({ role: "assistant", content: shown.textContent });
  } else {
    // Nothing was answered: the question goes back to where it can be sent again.
    turns.pop();
    asked.remove();
    shown.remove();
    $("question").value = question;
  }
  $("question").focus();
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = $("question").value.trim();
  if (!question || $("send").disabled) return;
  $("question").value = "";
  ask(question);
});
$("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("form").requestSubmit();
  }
});
$("stop").addEventListener("click", () => leaving?.abort());
