"""Every name that a span, an event or an attribute of ours has, in one place.

`gen_ai.*` is in development: nothing of it is stable, and it moves. `LATEST` is
https://github.com/open-telemetry/semantic-conventions-genai at `REVISION`, with the names that the Anthropic SDK 2.11
emits for the same calls; `V1_36` is https://github.com/open-telemetry/semantic-conventions at v1.36.0, which is what
instrumentation emits unless `OTEL_SEMCONV_STABILITY_OPT_IN` has `gen_ai_latest_experimental`.
"""

from __future__ import annotations

from dataclasses import dataclass

REVISION = "002c8a6ea1c8a42b14a4527db83b3cabcded610a"
SCOPE = "headgate"

# Of every span, stable.
ERROR_TYPE = "error.type"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
HTTP_STATUS = "http.response.status_code"
SERVICE_NAME = "service.name"
SERVICE_VERSION = "service.version"
USER = "user.id"


@dataclass(frozen=True, slots=True, eq=False)  # there are two, and each is itself
class GenAI:
    """The names of one revision; "" = it has no name for that."""

    schema_url: str
    operation: str
    provider: str
    conversation: str
    request_model: str
    request_max_tokens: str
    request_choices: str
    request_stream: str
    response_model: str
    response_finish_reasons: str
    response_first_chunk: str
    input_tokens: str
    output_tokens: str
    cache_read_tokens: str
    cache_write_tokens: str
    cache_creation_tokens: str
    reasoning_tokens: str
    input_messages: str  # content as attributes, in JSON
    output_messages: str
    user_event: str  # content as events
    choice_event: str


LATEST = GenAI(
    schema_url="",  # there is no tagged release yet
    operation="gen_ai.operation.name",
    provider="gen_ai.provider.name",
    conversation="gen_ai.conversation.id",
    request_model="gen_ai.request.model",
    request_max_tokens="gen_ai.request.max_tokens",
    request_choices="gen_ai.request.choice.count",
    request_stream="gen_ai.request.stream",
    response_model="gen_ai.response.model",
    response_finish_reasons="gen_ai.response.finish_reasons",
    response_first_chunk="gen_ai.response.time_to_first_chunk",
    input_tokens="gen_ai.usage.input_tokens",
    output_tokens="gen_ai.usage.output_tokens",
    cache_read_tokens="gen_ai.usage.cache_read.input_tokens",
    cache_write_tokens="gen_ai.usage.cache_write.input_tokens",  # as SDKs emit it; renamed from the next
    cache_creation_tokens="gen_ai.usage.cache_creation.input_tokens",
    reasoning_tokens="gen_ai.usage.reasoning.output_tokens",
    input_messages="gen_ai.input.messages",
    output_messages="gen_ai.output.messages",
    user_event="",
    choice_event="",
)

V1_36 = GenAI(
    schema_url="https://opentelemetry.io/schemas/1.36.0",
    operation="gen_ai.operation.name",
    provider="gen_ai.system",
    conversation="gen_ai.conversation.id",
    request_model="gen_ai.request.model",
    request_max_tokens="gen_ai.request.max_tokens",
    request_choices="gen_ai.request.choice.count",
    request_stream="",
    response_model="gen_ai.response.model",
    response_finish_reasons="gen_ai.response.finish_reasons",
    response_first_chunk="",
    input_tokens="gen_ai.usage.input_tokens",
    output_tokens="gen_ai.usage.output_tokens",
    cache_read_tokens="",
    cache_write_tokens="",
    cache_creation_tokens="",
    reasoning_tokens="",
    input_messages="",
    output_messages="",
    user_event="gen_ai.user.message",
    choice_event="gen_ai.choice",
)

BY_SETTING = {"latest": LATEST, "1.36": V1_36}

CHAT, EMBEDDINGS = "chat", "embeddings"
OPERATIONS = {"messages": CHAT, "chat": CHAT, "responses": CHAT, "embeddings": EMBEDDINGS}
"""By `core.exchange.Request.endpoint`. Others are not inference, and get no `gen_ai.*`."""

# Ours.
EXCHANGE_SPAN = "headgate.exchange"
ATTEMPT_SPAN = "headgate.attempt"  # of what is no inference
EXCHANGE_ID = "headgate.exchange.id"
OUTCOME = "headgate.outcome"
ATTEMPTS = "headgate.attempts"
ATTEMPT_NUMBER = "headgate.attempt.number"
COST = "headgate.cost_usd"
ESTIMATED = "headgate.estimated"
BOUND = "headgate.bound_usd"
MODEL_ASKED = "headgate.model.asked"
MODEL_SERVED = "headgate.model.served"
TENANT = "headgate.tenant"
KEY = "headgate.key"
TASK = "headgate.task"
FEATURE = "headgate.feature"
ENVIRONMENT = "headgate.environment"
TAG = "headgate.tag."
CORRELATION = "headgate.correlation_id"
CACHE = "headgate.cache"
VERDICT = "headgate.verdict"
DEGRADED = "headgate.degraded"
SIMULATED = "headgate.simulated"
REQUEST_ID = "headgate.request_id"
ERROR_CODE = "headgate.error.code"
USAGE = "headgate.usage."
"""Before input_tokens, cache_read_tokens, cache_write_tokens, output_tokens, reasoning_tokens: always there, and in no
vendor's sums."""
OVERHEAD = "headgate.overhead_ms"

WAIT_EVENT = "headgate.wait"
WAIT_FOR = "headgate.wait.for"
WAIT_MS = "headgate.wait.ms"
FIRST_BYTE_EVENT = "headgate.first_byte"
FIRST_CONTENT_EVENT = "headgate.first_content"
FINDING_EVENT = "headgate.finding"
GUARD = "headgate.guard"
REASONS = "headgate.reasons"
CHANNEL = "headgate.channel"

# OpenInference: https://github.com/Arize-ai/openinference, spec/semantic_conventions.md.
OI_KIND = "openinference.span.kind"
OI_LLM, OI_CHAIN, OI_EMBEDDING = "LLM", "CHAIN", "EMBEDDING"
OI_MODEL = "llm.model_name"
OI_PROVIDER = "llm.provider"
OI_SYSTEM = "llm.system"
OI_PROMPT = "llm.token_count.prompt"
OI_COMPLETION = "llm.token_count.completion"
OI_TOTAL = "llm.token_count.total"
OI_CACHE_READ = "llm.token_count.prompt_details.cache_read"
OI_CACHE_WRITE = "llm.token_count.prompt_details.cache_write"
OI_REASONING = "llm.token_count.completion_details.reasoning"
OI_COST = "llm.cost.total"
OI_INPUT, OI_INPUT_TYPE = "input.value", "input.mime_type"
OI_OUTPUT, OI_OUTPUT_TYPE = "output.value", "output.mime_type"
OI_TEXT = "text/plain"
OI_INPUT_ROLE, OI_INPUT_CONTENT = "llm.input_messages.0.message.role", "llm.input_messages.0.message.content"
OI_OUTPUT_ROLE, OI_OUTPUT_CONTENT = "llm.output_messages.0.message.role", "llm.output_messages.0.message.content"
OI_SESSION, OI_USER = "session.id", "user.id"
