// For the clients' programs in JavaScript: what report.py is for those in Python.

import { readFileSync } from "node:fs";

export const ASKED = JSON.parse(readFileSync(process.env.HG_ASKED, "utf8"));
export const TEXT = ASKED.text;
export const KEY = process.env.HG_KEY;
export const URL_ = process.env.HG_URL;
export const ONE_URL = process.env.HG_ONE_URL;
export const TIMEOUT = 20_000;
export const HOLD = "tokens: 120 hold:stream";
export const WORDS = ["429", "overloaded", "500", "400", "401", "403", "404", "413"];
const checks = new Map();

export function check(name, run) {
  checks.set(name, run);
}

export async function control(order) {
  return (await fetch(`${process.env.HG_CONTROL}/${order}`)).json();
}

/** Without repetitions of what came last. */
export function squeezed(kinds) {
  return kinds.filter((kind, at) => at === 0 || kinds[at - 1] !== kind);
}

/** What an SDK's error tells. */
export function toldOf(error) {
  const family = [];
  for (let kind = Object.getPrototypeOf(error); kind && kind !== Object.prototype; kind = Object.getPrototypeOf(kind)) {
    family.push(kind.constructor.name);
  }
  const header = (name) => error.headers?.get?.(name) ?? error.responseHeaders?.[name] ?? null;
  return {
    error: family[0],
    family,
    status: error.status ?? error.statusCode ?? null,
    retry_after: header("retry-after"),
    should_retry: header("x-should-retry"),
    request_id: header("request-id") ?? header("x-request-id"),
    message: String(error.message ?? error).slice(0, 300),
  };
}

/** The error that `run` throws; {} where it throws none. */
export async function thrown(run) {
  try {
    await run();
  } catch (error) {
    return toldOf(error);
  }
  return {};
}

export async function main() {
  const wanted = process.argv.slice(2);
  for (const [name, run] of checks) {
    if (wanted.length && !wanted.includes(name)) continue;
    await control(`begin/${name}`);
    let saw;
    try {
      saw = await run();
    } catch (error) {
      saw = { wrong: String(error.stack ?? error) };
    }
    process.stdout.write(JSON.stringify({ check: name, saw }) + "\n");
  }
  await control("begin/end");
}
