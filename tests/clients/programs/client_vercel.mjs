// The Vercel AI SDK. HG_DIALECT says which provider; OpenAI's is Responses by default, and Chat Completions on request.

import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, jsonSchema, Output, stepCountIs, streamText, tool } from "ai";
import { ASKED, check, control, HOLD, KEY, main, ONE_URL, TEXT, thrown, URL_, WORDS } from "./report.mjs";

const anthropic = process.env.HG_DIALECT === "anthropic";

function model(url = URL_) {
  const told = { apiKey: KEY, baseURL: `${url}/v1` };
  if (anthropic) return createAnthropic(told)(ASKED.claude);
  const openai = createOpenAI(told);
  return process.env.HG_API === "responses" ? openai(ASKED.gpt) : openai.chat(ASKED.gpt);
}

const asked = (prompt, more = {}) => ({ model: model(), prompt, maxOutputTokens: 300, maxRetries: 0, ...more });

async function seen(result) {
  const usage = await result.usage;
  const calls = await result.toolCalls;
  return {
    text: await result.text,
    tools: calls.map((call) => ({ name: call.toolName, arguments: call.input })),
    input: usage.inputTokens,
    output: usage.outputTokens,
  };
}

const weather = { description: "the weather", inputSchema: jsonSchema(ASKED.schema) };
const forced = { tools: { weather: tool(weather) }, toolChoice: { type: "tool", toolName: "weather" } };
const quiet = { onError: () => {} };

check("text", async () => seen(await generateText(asked("say: " + TEXT))));

check("stream", async () => seen(streamText(asked("say: " + TEXT))));

check("tool", async () => seen(await generateText(asked("What is the weather?", forced))));

check("tool_stream", async () => seen(streamText(asked("What is the weather?", forced))));

check("tool_run", async () => {
  const called = [];
  const execute = async (input) => {
    called.push(input);
    return "rain";
  };
  const tools = { weather: tool({ ...weather, execute }) };
  const result = await generateText(asked("Use weather.", { tools, stopWhen: stepCountIs(3) }));
  return { called, text: result.text };
});

check("structured", async () => {
  const output = Output.object({ schema: jsonSchema(ASKED.schema) });
  return { value: (await generateText(asked("Where?", { output }))).output };
});

check("image", async () => {
  const content = [{ type: "image", image: ASKED.png, mediaType: "image/png" }, { type: "text", text: "?" }];
  const told = asked(undefined, { messages: [{ role: "user", content }] });
  return { text: (await generateText(told)).text };
});

check("pdf", async () => {
  const file = { type: "file", data: ASKED.pdf, mediaType: "application/pdf", filename: "gate.pdf" };
  const told = asked(undefined, { messages: [{ role: "user", content: [file, { type: "text", text: "?" }] }] });
  return { text: (await generateText(told)).text };
});

check("errors", async () => {
  const found = {};
  for (const word of WORDS) {
    const { family, ...told } = await thrown(() => generateText(asked(`fault:${word}`, { model: model(ONE_URL) })));
    found[word] = told;
  }
  return found;
});

check("one_owner", async () => {
  const { family, ...told } = await thrown(() => generateText(asked("fault:busy")));
  return told;
});

async function broken(prompt) {
  let text = "";
  let wrong = null;
  const stream = streamText(asked(prompt, { onError: ({ error }) => (wrong = error) }));
  for await (const piece of stream.textStream) text += piece;
  return { text, error: wrong && (wrong.name ?? wrong.type ?? "error"), message: String(wrong?.message ?? JSON.stringify(wrong)) };
}

check("error_event", () => broken("tokens: 120 fault:event"));

check("cut", () => broken("tokens: 120 fault:cut"));

check("no_terminal", () => broken("tokens: 120 fault:short"));

check("progress", async () => {
  const pieces = streamText(asked(HOLD)).textStream[Symbol.asyncIterator]();
  const first = (await pieces.next()).value;
  const { sent } = await control("release");
  let whole = first;
  for (let next = await pieces.next(); !next.done; next = await pieces.next()) whole += next.value;
  return { first, sent, whole };
});

check("cancel_stream", async () => {
  const leave = new AbortController();
  const pieces = streamText(asked(HOLD, { abortSignal: leave.signal, ...quiet })).textStream[Symbol.asyncIterator]();
  const first = (await pieces.next()).value;
  leave.abort();
  return { first };
});

check("cancel_whole", async () => {
  const leave = new AbortController();
  const call = thrown(() => generateText(asked("hold:answer", { abortSignal: leave.signal })));
  await control("arrived");
  leave.abort();
  return { cancelled: (await call).error };
});

check("keep_alive", async () => {
  const found = [];
  for (let n = 0; n < 5; n++) found.push((await generateText(asked(`say: ${n}`))).text);
  return { texts: found };
});

await main();
