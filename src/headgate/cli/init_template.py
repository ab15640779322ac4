"""The text that `headgate init` writes. Every section of the configuration, commented out where it is not a default.

A line that begins with ``#: `` is an example: the file is still valid with all of those marks taken away, and a test
does that. ``# (providers)`` is where `init` puts the key ``providers`` and those with a key in the environment.
"""

from __future__ import annotations

TEMPLATE = """\
# headgate.yaml: all of it is optional. docs/configuration.md has every key, its default and its range.
#
# Lines that begin with "#: " are examples: take the mark away to switch one on.
# Secrets are references, never literals: env:NAME, file:path, dotenv:NAME, ...
# `headgate doctor` checks this file; `headgate explain --model NAME` shows what it does to a call.

# Who answers. anthropic and openai exist by default, with the keys their SDKs use.
# A provider's `discount: 12.5%` is your contract's, off every rate of the price book.
# (providers)
#:   # A server of your own. base_url as the SDK of its dialect takes it: with /v1 for openai, without for anthropic.
#:   local: {dialect: openai, base_url: http://127.0.0.1:11434/v1, price: free}
#:   acme:
#:     dialect: anthropic
#:     base_url: https://llm.acme.example
#:     api_key: env:ACME_KEY
#:     price: {input: 3, output: 15, cache_read: 0.3}   # USD per million tokens
#:     on_disconnect: drain         # read an abandoned answer to its end, to know its bill; default: close
#:     drain: {seconds: 30, usd: 0.10}   # but not longer, and for no more than this
#:     requests_per_minute: 500     # ceilings that pacing keeps beside the provider's own limits
#:     tokens_per_minute: 200_000
#:     concurrency: 8               # calls at once; default: auto, follows its capacity
#:     timeouts: {first_byte: 5m}   # of its own
#:     breaker: {slow: 2m}          # a route whose answers take longer is left alone for a while; default: on, without

# Prices of single models, where the price book has none or yours differ. USD per million tokens, or free.
#: prices:
#:   local/big-model: {input: 0.2, output: 0.6}

# Virtual models: names of your own for routes, in order of preference, across dialects too.
#: models:
#:   fast: [anthropic/claude-haiku-4-5, openai/gpt-6-luna]
#:   strong: [anthropic/claude-sonnet-5-5, anthropic/claude-opus-5-5]
#:   chat: [openai/gpt-6-luna, local/big-model]

# What callers are doing (x-headgate-task, headgate.caller(task=...)): model, output cap, cache, time, retries.
#: tasks:
#:   classify: {model: fast, max_tokens: 50, cache: 1h, timeout: 20s}
#:   summarise: {model: fast, max_tokens: 400, retry: {attempts: 2}}

# Caps on money, in USD, or on tokens: per tenant, key, user, session, task, feature, model, provider, environment,
# tag:<name>, several of them, or everything together. usd refuses, soft_usd warns. Alerts at 80% and 100%.
#: budgets:
#:   - {per: user, usd: 10, every: day}
#:   - {per: session, usd: 1}
#:   - {per: tenant, usd: 500, every: month, alert_at: [80%, 95%]}
#:   - {usd: 200, every: day, then: degrade fast}
#:   - {per: [tenant, user], usd: 40, soft_usd: 30, every: week, zone: Europe/Berlin}
#:   - {only: {environment: development}, usd: 5, every: day}

# Whose midnight a budget's period begins at, where the budget does not say.
zone: UTC

# An exchange that could cost more than this is refused, whatever is left of its budgets.
#: max_usd_per_call: 5

# Rates of callers: requests or tokens per minute, per the same dimensions as budgets, or per address.
#: limits:
#:   - {per: [tenant, user], requests_per_minute: 60, tokens_per_minute: 100_000}
#:   - {per: address, requests_per_minute: 300}

# A model without a price is refused. Or charge every token of one at a ceiling: {ceiling_usd_per_mtok: 100}
unknown_price: refuse

# What `headgate invoice` adds to cost.
#: invoices: {markup: 20%, minimum_usd: 5, tenants: {acme: {markup: 10%, minimum_usd: 0}}}

# What is told as unusual, and refuses nothing; off = nothing.
#: anomalies: {tokens_per_call: 2x, daily_spend: 2x, session_usd: 5, session_window: 10m, new_model: on}

# What cannot be bounded before it is sent (server tools, stored state): refuse, or hold the most it could cost.
#: unbounded: refuse

# The status of a refusal for money: 429 as the providers have it, or 402.
#: refusal_status: {budget: 402}

# attempts in all, over all routes; 1 = your SDK owns the retries. deadline: to the first content.
# budget: retries per success, for each provider; off = any number.
retry: {attempts: 4, deadline: 120s, budget: 20%}

# Shares of those who wait for the same provider: weights of tenants, and what background work gets at least.
#: fairness: {tenants: {acme: 3}, batch_floor: 10%}

# When no answer can be had: another model, or a sentence that a person can be shown. Tried in order.
#: degrade:
#:   - {on: [overload, timeout, server], model: fast}
# How the answers of `use: last_good` there are kept.
#: last_good: {keep: 7d}

# Which models follow a failure, by its class, where a virtual model does not say so itself.
#: fallback: {context_length: anthropic/claude-sonnet-5-5}

# What may be lost where a call is translated for a provider of the other dialect: refuse, drop, or each by feature.
#: lossy: {server_tools: refuse, top_k: drop}

timeouts: {connect: 5s, pool: 5s, write: 10s, first_byte: 60s, idle: 60s, total: 600s}

# Checks on input and output; the standard profile holds without a word. Tools by name and links by host are the two
# lines that matter most: only you know which are yours (`headgate lab redteam` shows what gets through).
#: guards:
#:   profile: standard              # off, observe, standard, strict
#:   pii: redact-logs
#:   secrets: block
#:   links: {mode: redact, allow: ["*.acme.example"]}
#:   tools: {allow: [search_docs], approve: [send_email]}

# How long answers are kept where they may be; off = never.
#: cache: {default: 1h}

# Answers to questions that are only alike: measured first (docs/similar.md).
#: similar: {embedder: openai/text-embedding-3-small}

# Prefixes of prompts that come again are marked for the provider's own cache, where that pays: auto, off.
#: prompt_caching: auto

# Output caps for tasks of well-known names (summary, extraction, ...) without a max_tokens: off, defaults, enforce.
#: caps: defaults

# The ledger. One process: SQLite. Paths start in the working directory; {pid} = a file for each process.
# Many processes: env:DATABASE_URL, with postgresql://user:password@host:5432/database in it. Trials: memory.
storage: sqlite:///headgate.db
durability: process               # survives kill -9; full: survives a power cut too

# Callers' limits of many replicas: redis://host:6379/0. One process needs none.
shared: memory

# Virtual keys, for the gateway's callers; more with `headgate keys create`. With one, every caller needs one.
#: keys:
#:   - {name: dev, key: env:HEADGATE_KEY, tenant: acme, environment: development}

# What is kept of prompts and answers: off, redacted (without personal data and credentials), full.
#: log: {bodies: redacted, keep: 30d}

# Figures for Prometheus at /metrics of the gateway, and spans for a collector of OpenTelemetry.
#: metrics: {models: 100}
#: traces: {to: "http://127.0.0.1:4318", sample: 10%}

# Pages for people at the gateway's /: on or off.
#: dashboard: on

# How often stores of secrets (vault:, aws-sm:, gcp-sm:, keyring:) are asked for rotated ones.
#: secrets: {refresh: 5m}

# Calls that are answered later: how long they may wait, and how long their answers are kept.
#: jobs: {wait: 1d, keep: 1d}

# Who is told of alerts, and of what. Without a place they are in the log, and in `headgate alerts list`.
#: alerts:
#:   - {to: env:ALERT_WEBHOOK}
#:   - {to: env:SLACK_WEBHOOK, format: slack, severity: critical}
#: alert_rules:
#:   exchange_errors: {over: 1%, minimum: 50}   # `headgate alerts` and docs/alerts.md name them all; off: not told

# The gateway. Other addresses than loopback need a key.
server: {host: 127.0.0.1, port: 8484}
"""
