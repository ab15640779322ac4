// The OpenAI SDK for TypeScript: Chat Completions.

import OpenAI from "openai";
import {
  ASKED, check, control, HOLD, KEY, main, ONE_URL, squeezed, TEXT, thrown, TIMEOUT, URL_, WORDS,
} from "./report.mjs";

const options = { apiKey: KEY, timeout: TIMEOUT };
const client = new OpenAI({ ...options, baseURL: `${URL_}/v1` });
const alone = new OpenAI({ ...options, baseURL: `${ONE_URL}/v1`, maxRetries: 0 });
const tool = { type: "function", function: { name: "weather", parameters: ASKED.schema } };
const forced = { tools: [tool], tool_choice: { type: "function", function: { name: "weather" } } };
const counted = { stream: true, stream_options: { include_usage: true } };

function asked(content, more = {}) {
  return { model: ASKED.gpt, messages: [{ role: "user", content }], ...more };
}

const create = (told) => client.chat.completions.create(told);

function usageOf(usage) {
  return {
    input: usage.prompt_tokens,
    output: usage.completion_tokens,
    read: usage.prompt_tokens_details.cached_tokens,
    written: usage.prompt_tokens_details.cache_write_tokens,
    reasoning: usage.completion_tokens_details.reasoning_tokens,
  };
}

function seen(completion) {
  const [choice] = completion.choices;
  const calls = choice.message.tool_calls ?? [];
  return {
    text: choice.message.content ?? "",
    tools: calls.map(({ function: f }) => ({ name: f.name, arguments: JSON.parse(f.arguments) })),
    stop: choice.finish_reason,
    ...usageOf(completion.usage),
  };
}

/** A whole answer from a stream's chunks. */
async function gathered(chunks) {
  const calls = [];
  const order = new Set();
  const saw = { text: "", stop: null };
  for await (const chunk of await chunks) {
    for (const { delta, finish_reason } of chunk.choices) {
      saw.text += delta.content ?? "";
      saw.stop = finish_reason ?? saw.stop;
      order.add(finish_reason ? "stop" : delta.tool_calls ? "call" : "text");
      for (const part of delta.tool_calls ?? []) {
        calls[part.index] ??= { name: part.function.name, arguments: "" };
        calls[part.index].arguments += part.function.arguments ?? "";
      }
    }
    if (chunk.usage) {
      Object.assign(saw, usageOf(chunk.usage));
      order.add(chunk.choices.length ? "usage beside a choice" : "usage");
    }
  }
  const tools = calls.map((call) => ({ ...call, arguments: JSON.parse(call.arguments) }));
  return { ...saw, tools, order: [...order] };
}

check("text", async () => seen(await create(asked("say: " + TEXT))));

check("stream", () => gathered(create(asked("say: " + TEXT, counted))));

check("stream_uncounted", () => gathered(create(asked("say: " + TEXT, { stream: true }))));

check("tool", async () => seen(await create(asked("What is the weather?", forced))));

check("tool_stream", () => gathered(create(asked("What is the weather?", { ...forced, ...counted }))));

check("tool_result", async () => {
  const { message } = (await create(asked("What is the weather?", forced))).choices[0];
  const messages = [
    { role: "user", content: "What is the weather?" },
    message,
    { role: "tool", tool_call_id: message.tool_calls[0].id, content: "rain" },
  ];
  return seen(await create({ model: ASKED.gpt, messages, tools: [tool] }));
});

check("structured", async () => {
  const json_schema = { name: "weather", schema: ASKED.schema, strict: true };
  const answer = await create(asked("Where?", { response_format: { type: "json_schema", json_schema } }));
  return { value: JSON.parse(seen(answer).text) };
});

check("large_body", async () => seen(await create(asked("say: " + "é".repeat(600_000), { max_completion_tokens: 300 }))));

check("image", async () => {
  const part = { type: "image_url", image_url: { url: `data:image/png;base64,${ASKED.png}` } };
  return seen(await create(asked([part, { type: "text", text: "?" }])));
});

check("pdf", async () => {
  const file = { filename: "gate.pdf", file_data: `data:application/pdf;base64,${ASKED.pdf}` };
  return seen(await create(asked([{ type: "file", file }, { type: "text", text: "?" }])));
});

check("reasoning", async () => seen(await create(asked("Consider.", { reasoning_effort: "high" }))));

check("cache", async () => {
  const rules = { role: "system", content: "Rules of the gate. ".repeat(600) };
  const told = { model: ASKED.gpt, messages: [rules, { role: "user", content: "say: " + TEXT }] };
  return { first: seen(await create(told)), second: await gathered(create({ ...told, ...counted })) };
});

check("stops", async () => {
  const wanted = {
    stop: asked("say: one END two", { stop: ["END"] }),
    length: asked("tokens: 50", { max_completion_tokens: 5 }),
    tool_calls: asked("What is the weather?", forced),
    content_filter: asked("refuse:empty"),
    function_call: asked("say: stop:function_call"),
  };
  const found = {};
  for (const [name, told] of Object.entries(wanted)) {
    found[name] = [seen(await create(told)).stop, (await gathered(create({ ...told, ...counted }))).stop];
  }
  return found;
});

check("refusal", async () => {
  let streamed = "";
  for await (const chunk of await create(asked("refuse:message", { stream: true }))) {
    streamed += chunk.choices[0]?.delta.refusal ?? "";
  }
  return { whole: (await create(asked("refuse:message"))).choices[0].message.refusal, streamed };
});

check("errors", async () => {
  const found = {};
  for (const word of WORDS) {
    for (const stream of [false, true]) {
      const told = asked(`fault:${word}`, { stream });
      found[word + (stream ? " streamed" : "")] = await thrown(() => alone.chat.completions.create(told));
    }
  }
  return found;
});

check("gateways_retries", async () => seen(await create(asked("fault:twice hello"))));

check("one_owner", () => thrown(() => create(asked("fault:busy"))));

check("wrong_key", () => {
  const stranger = new OpenAI({ baseURL: `${URL_}/v1`, apiKey: "wrong-" + "key" });
  return thrown(() => stranger.chat.completions.create(asked("hello")));
});

async function* texts(chunks) {
  for await (const chunk of chunks) {
    const text = chunk.choices[0]?.delta.content;
    if (text) yield text;
  }
}

async function broken(prompt) {
  let text = "";
  const told = await thrown(async () => {
    for await (const piece of texts(await create(asked(prompt, { stream: true })))) text += piece;
  });
  return { text, ...told };
}

check("error_event", () => broken("tokens: 120 fault:event"));

check("cut", () => broken("tokens: 120 fault:cut"));

check("no_terminal", () => broken("tokens: 120 fault:short"));

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
  const call = thrown(() => client.chat.completions.create(asked("hold:answer"), { signal: leave.signal }));
  await control("arrived");
  leave.abort();
  return { cancelled: (await call).error };
});

check("keep_alive", async () => {
  const found = [];
  for (let n = 0; n < 5; n++) found.push(seen(await create(asked(`say: ${n}`))).text);
  return { texts: found };
});

check("models", async () => {
  const ids = (await client.models.list()).data.map((model) => model.id);
  return { ids, one: (await client.models.retrieve(ids[0])).id };
});

function answered(response) {
  const calls = response.output.filter((item) => item.type === "function_call");
  return {
    text: response.output_text,
    tools: calls.map((call) => ({ name: call.name, arguments: JSON.parse(call.arguments) })),
    input: response.usage.input_tokens,
    output: response.usage.output_tokens,
  };
}

async function streamedAnswer(told) {
  const kinds = [];
  const numbers = [];
  let pieces = "";
  const stream = client.responses.stream({ model: ASKED.gpt, ...told });
  for await (const event of stream) {
    kinds.push(event.type);
    numbers.push(event.sequence_number);
    if (event.type === "response.output_text.delta") pieces += event.delta;
  }
  const in_order = numbers.every((number, at) => at === 0 || numbers[at - 1] < number);
  return { ...answered(await stream.finalResponse()), pieces, events: squeezed(kinds), in_order };
}

check("responses", async () => {
  const input = "say: " + TEXT;
  return { whole: answered(await client.responses.create({ model: ASKED.gpt, input })), streamed: await streamedAnswer({ input }) };
});

check("responses_tool", async () => {
  const tools = [{ type: "function", name: "weather", parameters: ASKED.schema, strict: true }];
  const told = { tools, tool_choice: { type: "function", name: "weather" }, input: "What is the weather?" };
  const whole = await client.responses.create({ model: ASKED.gpt, ...told });
  const call = whole.output.find((item) => item.type === "function_call");
  const input = [{ type: "function_call_output", call_id: call.call_id, output: "rain" }];
  const again = await client.responses.create({ model: ASKED.gpt, previous_response_id: whole.id, input, tools });
  return { whole: answered(whole), streamed: await streamedAnswer(told), again: again.output_text };
});

check("responses_cut", async () => {
  let text = "";
  let wrong = null;
  const { error } = await thrown(async () => {
    const told = { model: ASKED.gpt, input: "tokens: 120 fault:cut", stream: true };
    for await (const event of await client.responses.create(told)) {
      if (event.type === "response.output_text.delta") text += event.delta;
      if (event.type === "error" || event.type === "response.failed") wrong = event.type;
    }
  });
  return { text, error: error ?? wrong };
});

check("embeddings", async () => {
  const told = { model: ASKED.embedding, input: ["a gate", "a canal"] };
  const packed = await client.embeddings.create(told);
  const plain = await client.embeddings.create({ ...told, encoding_format: "float" });
  const gaps = packed.data[1].embedding.map((value, at) => Math.abs(value - plain.data[1].embedding[at]));
  return { length: gaps.length, apart: Math.max(...gaps), input: packed.usage.prompt_tokens };
});

await main();
