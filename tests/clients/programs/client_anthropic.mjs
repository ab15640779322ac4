// The Anthropic SDK for TypeScript.

import Anthropic from "@anthropic-ai/sdk";
import {
  ASKED, check, control, HOLD, KEY, main, ONE_URL, squeezed, TEXT, thrown, TIMEOUT, URL_, WORDS,
} from "./report.mjs";

const options = { apiKey: KEY, timeout: TIMEOUT };
const client = new Anthropic({ ...options, baseURL: URL_ });
const alone = new Anthropic({ ...options, baseURL: ONE_URL, maxRetries: 0 });
const tool = { name: "weather", description: "the weather", input_schema: ASKED.schema };
const forced = { tools: [tool], tool_choice: { type: "tool", name: "weather" } };

function asked(content, more = {}) {
  return { model: ASKED.claude, max_tokens: 300, messages: [{ role: "user", content }], ...more };
}

function seen(message) {
  const tools = message.content.filter((block) => block.type === "tool_use");
  return {
    text: message.content.map((block) => block.text ?? "").join(""),
    tools: tools.map((block) => ({ name: block.name, arguments: block.input })),
    stop: message.stop_reason,
    input: message.usage.input_tokens,
    output: message.usage.output_tokens,
    written: message.usage.cache_creation_input_tokens,
    read: message.usage.cache_read_input_tokens,
  };
}

const create = (told) => client.messages.create(told);
const streamed = (told) => client.messages.stream(told).finalMessage();

check("text", async () => seen(await create(asked("say: " + TEXT))));

check("stream", async () => {
  const events = [];
  const stream = client.messages.stream(asked("say: " + TEXT));
  stream.on("streamEvent", (event) => events.push(event.type));
  return { ...seen(await stream.finalMessage()), events: squeezed(events) };
});

check("tool", async () => seen(await create(asked("What is the weather?", forced))));

check("tool_stream", async () => seen(await streamed(asked("What is the weather?", forced))));

check("tool_result", async () => {
  const first = await create(asked("What is the weather?", forced));
  const call = first.content.find((block) => block.type === "tool_use");
  const messages = [
    { role: "user", content: "What is the weather?" },
    { role: "assistant", content: first.content },
    { role: "user", content: [{ type: "tool_result", tool_use_id: call.id, content: "rain" }] },
  ];
  return seen(await create({ model: ASKED.claude, max_tokens: 300, messages, tools: [tool] }));
});

check("large_body", async () => seen(await create(asked("say: " + "é".repeat(600_000), { model: ASKED.claude_large }))));

check("image", async () => {
  const source = { type: "base64", media_type: "image/png", data: ASKED.png };
  return seen(await create(asked([{ type: "image", source }, { type: "text", text: "?" }])));
});

check("pdf", async () => {
  const source = { type: "base64", media_type: "application/pdf", data: ASKED.pdf };
  return seen(await create(asked([{ type: "document", source }, { type: "text", text: "?" }])));
});

const considering = { thinking: { type: "enabled", budget_tokens: 1024 }, max_tokens: 2000 };

async function thought(first) {
  const block = first.content.find((one) => one.type === "thinking");
  const messages = [
    { role: "user", content: "Consider." },
    { role: "assistant", content: first.content },
    { role: "user", content: "say: " + TEXT },
  ];
  const again = await create({ model: ASKED.claude, max_tokens: 2000, messages });
  return { thinking: block.thinking, signature: block.signature, again: seen(again).text };
}

check("thinking", async () => thought(await create(asked("Consider.", considering))));

check("thinking_stream", async () => thought(await streamed(asked("Consider.", considering))));

check("cache", async () => {
  const system = [{ type: "text", text: "Rules of the gate. ".repeat(300), cache_control: { type: "ephemeral" } }];
  const told = asked("say: " + TEXT, { model: ASKED.claude_large, system });
  return { first: seen(await create(told)), second: seen(await streamed(told)) };
});

check("stops", async () => {
  const wanted = {
    end_turn: asked("say: done"),
    max_tokens: asked("tokens: 50", { max_tokens: 5 }),
    stop_sequence: asked("say: one END two", { stop_sequences: ["END"] }),
    tool_use: asked("What is the weather?", forced),
    refusal: asked("refuse:empty"),
    pause_turn: asked("say: stop:pause_turn"),
    model_context_window_exceeded: asked("say: stop:model_context_window_exceeded"),
  };
  const found = {};
  for (const [name, told] of Object.entries(wanted)) {
    found[name] = [(await create(told)).stop_reason, (await streamed(told)).stop_reason];
  }
  return found;
});

check("errors", async () => {
  const found = {};
  for (const word of WORDS) {
    found[word] = await thrown(() => alone.messages.create(asked(`fault:${word}`)));
    found[`${word} streamed`] = await thrown(() => alone.messages.create(asked(`fault:${word}`, { stream: true })));
  }
  return found;
});

check("gateways_retries", async () => seen(await create(asked("fault:twice hello"))));

check("one_owner", async () => thrown(() => create(asked("fault:busy"))));

check("wrong_key", async () =>
  thrown(() => new Anthropic({ baseURL: URL_, apiKey: "wrong-" + "key" }).messages.create(asked("hello"))));

async function broken(prompt) {
  let text = "";
  const told = await thrown(async () => {
    const stream = client.messages.stream(asked(prompt));
    stream.on("text", (piece) => (text += piece));
    await stream.finalMessage();
  });
  return { text, ...told };
}

check("error_event", () => broken("tokens: 120 fault:event"));

check("cut", () => broken("tokens: 120 fault:cut"));

check("no_terminal", () => broken("tokens: 120 fault:short"));

async function* texts(stream) {
  for await (const event of stream) {
    if (event.type === "content_block_delta" && event.delta.type === "text_delta") yield event.delta.text;
  }
}

check("progress", async () => {
  const pieces = texts(await create(asked(HOLD, { stream: true })));
  const first = (await pieces.next()).value;
  const { sent } = await control("release");
  let whole = first;
  for await (const piece of pieces) whole += piece;
  return { first, sent, whole };
});

check("cancel_stream", async () => {
  const stream = await create(asked(HOLD, { stream: true }));
  const first = (await texts(stream).next()).value;
  stream.controller.abort();
  return { first };
});

check("cancel_whole", async () => {
  const leave = new AbortController();
  const call = thrown(() => client.messages.create(asked("hold:answer"), { signal: leave.signal }));
  await control("arrived");
  leave.abort();
  return { cancelled: (await call).error };
});

check("keep_alive", async () => {
  const found = [];
  for (let n = 0; n < 5; n++) found.push(seen(await create(asked(`say: ${n}`))).text);
  return { texts: found };
});

check("count_tokens", async () => {
  const messages = [{ role: "user", content: TEXT }];
  return { input: (await client.messages.countTokens({ model: ASKED.claude, messages })).input_tokens };
});

check("models", async () => {
  const ids = (await client.models.list({ limit: 5 })).data.map((model) => model.id);
  return { ids, one: (await client.models.retrieve(ids[0])).id };
});

await main();
