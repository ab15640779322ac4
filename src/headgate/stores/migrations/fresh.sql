CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL,
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
)
--
CREATE TABLE shapes (
	id INTEGER NOT NULL,
	owner TEXT DEFAULT '' NOT NULL,
	way_in TEXT DEFAULT '' NOT NULL,
	dialect TEXT DEFAULT '' NOT NULL,
	endpoint TEXT DEFAULT '' NOT NULL,
	"key" TEXT DEFAULT '' NOT NULL,
	tenant TEXT DEFAULT '' NOT NULL,
	task TEXT DEFAULT '' NOT NULL,
	feature TEXT DEFAULT '' NOT NULL,
	environment TEXT DEFAULT '' NOT NULL,
	model_asked TEXT DEFAULT '' NOT NULL,
	route_model TEXT DEFAULT '' NOT NULL,
	model_served TEXT DEFAULT '' NOT NULL,
	provider TEXT DEFAULT '' NOT NULL,
	ending TEXT DEFAULT '' NOT NULL,
	error_code TEXT DEFAULT '' NOT NULL,
	error_kind TEXT DEFAULT '' NOT NULL,
	price_version TEXT DEFAULT '' NOT NULL,
	stop_reason TEXT DEFAULT '' NOT NULL,
	outcome TEXT DEFAULT '' NOT NULL,
	attempt_error_kind TEXT DEFAULT '' NOT NULL,
	provider_code TEXT DEFAULT '' NOT NULL,
	service TEXT DEFAULT '' NOT NULL,
	stream BIGINT DEFAULT 0 NOT NULL,
	status BIGINT DEFAULT 0 NOT NULL,
	attempts BIGINT DEFAULT 0 NOT NULL,
	estimated BIGINT DEFAULT 0 NOT NULL,
	client_retries BIGINT DEFAULT 0 NOT NULL,
	simulated BIGINT DEFAULT 0 NOT NULL,
	attempt_status BIGINT DEFAULT 0 NOT NULL, cache TEXT DEFAULT '' NOT NULL,
	PRIMARY KEY (id)
)
--
CREATE TABLE exchange_rows (
	id TEXT NOT NULL,
	shape INTEGER NOT NULL,
	started FLOAT NOT NULL,
	ended FLOAT,
	user TEXT DEFAULT '' NOT NULL,
	session TEXT DEFAULT '' NOT NULL,
	tags TEXT DEFAULT '' NOT NULL,
	correlation_id TEXT DEFAULT '' NOT NULL,
	request_id TEXT DEFAULT '' NOT NULL,
	upstream_gateway TEXT DEFAULT '' NOT NULL,
	input_tokens BIGINT DEFAULT 0 NOT NULL,
	cache_read_tokens BIGINT DEFAULT 0 NOT NULL,
	cache_write_tokens BIGINT DEFAULT 0 NOT NULL,
	cache_write_long_tokens BIGINT DEFAULT 0 NOT NULL,
	output_tokens BIGINT DEFAULT 0 NOT NULL,
	reasoning_tokens BIGINT DEFAULT 0 NOT NULL,
	web_searches BIGINT DEFAULT 0 NOT NULL,
	cost_nano BIGINT DEFAULT 0 NOT NULL,
	estimated_nano BIGINT DEFAULT 0 NOT NULL,
	waited_ms FLOAT,
	first_byte FLOAT,
	first_content FLOAT,
	attempt_started FLOAT,
	attempt_ended FLOAT,
	bound_nano BIGINT, asked TEXT DEFAULT '' NOT NULL,
	PRIMARY KEY (id)
)
 WITHOUT ROWID


--
CREATE TABLE attempt_rows (
	exchange_id TEXT NOT NULL,
	number INTEGER NOT NULL,
	owner TEXT DEFAULT '' NOT NULL,
	provider TEXT DEFAULT '' NOT NULL,
	model TEXT DEFAULT '' NOT NULL,
	started FLOAT NOT NULL,
	bound_nano BIGINT,
	outcome TEXT DEFAULT '' NOT NULL,
	ended FLOAT,
	status BIGINT DEFAULT 0 NOT NULL,
	error_kind TEXT DEFAULT '' NOT NULL,
	provider_code TEXT DEFAULT '' NOT NULL,
	model_served TEXT DEFAULT '' NOT NULL,
	input_tokens BIGINT DEFAULT 0 NOT NULL,
	cache_read_tokens BIGINT DEFAULT 0 NOT NULL,
	cache_write_tokens BIGINT DEFAULT 0 NOT NULL,
	cache_write_long_tokens BIGINT DEFAULT 0 NOT NULL,
	output_tokens BIGINT DEFAULT 0 NOT NULL,
	reasoning_tokens BIGINT DEFAULT 0 NOT NULL,
	web_searches BIGINT DEFAULT 0 NOT NULL,
	cost_nano BIGINT DEFAULT 0 NOT NULL,
	estimated BIGINT DEFAULT 0 NOT NULL,
	price_version TEXT DEFAULT '' NOT NULL,
	waited_ms FLOAT,
	first_byte FLOAT,
	first_content FLOAT,
	stop_reason TEXT DEFAULT '' NOT NULL,
	request_id TEXT DEFAULT '' NOT NULL,
	service TEXT DEFAULT '' NOT NULL,
	PRIMARY KEY (exchange_id, number)
)
 WITHOUT ROWID


--
CREATE TABLE intents (
	id INTEGER NOT NULL,
	owner TEXT NOT NULL,
	intents TEXT NOT NULL,
	PRIMARY KEY (id)
)
--
CREATE VIEW attempts AS SELECT
    exchange_id, number, owner, provider, model, started, bound_nano, outcome, ended, status, error_kind, provider_code,
    model_served, input_tokens, cache_read_tokens, cache_write_tokens, cache_write_long_tokens, output_tokens,
    reasoning_tokens, web_searches, cost_nano, estimated, price_version, waited_ms, first_byte, first_content,
    stop_reason, request_id, service
FROM attempt_rows WHERE NOT EXISTS (
    SELECT 1 FROM exchange_rows WHERE exchange_rows.id = attempt_rows.exchange_id AND attempt_started IS NOT NULL
)
UNION ALL SELECT
    exchange_rows.id, 1, owner, provider, CASE route_model WHEN '' THEN model_asked ELSE route_model END,
    attempt_started, bound_nano, outcome, attempt_ended, attempt_status, attempt_error_kind, provider_code,
    model_served, input_tokens, cache_read_tokens, cache_write_tokens, cache_write_long_tokens, output_tokens,
    reasoning_tokens, web_searches, cost_nano, estimated, price_version, waited_ms, first_byte, first_content,
    stop_reason, request_id, service
FROM exchange_rows LEFT JOIN shapes ON shapes.id = exchange_rows.shape WHERE attempt_started IS NOT NULL
--
CREATE TABLE owners (
	id TEXT NOT NULL,
	pid INTEGER NOT NULL,
	started FLOAT NOT NULL,
	heartbeat FLOAT NOT NULL,
	session BIGINT DEFAULT 0 NOT NULL,
	PRIMARY KEY (id)
)
--
CREATE TABLE keys (
	id TEXT NOT NULL,
	name TEXT NOT NULL,
	hash TEXT NOT NULL,
	last4 TEXT NOT NULL,
	tenant TEXT DEFAULT '' NOT NULL,
	environment TEXT DEFAULT '' NOT NULL,
	created FLOAT NOT NULL,
	rotated FLOAT,
	revoked FLOAT,
	may_speak_for_tenants BIGINT DEFAULT 0 NOT NULL,
	PRIMARY KEY (id),
	UNIQUE (hash)
)
--
CREATE TABLE accounts (
	id INTEGER NOT NULL,
	budget TEXT NOT NULL,
	scope TEXT NOT NULL,
	period_start FLOAT NOT NULL,
	period_end FLOAT NOT NULL,
	spent_nano BIGINT DEFAULT 0 NOT NULL,
	spent_tokens BIGINT DEFAULT 0 NOT NULL,
	held_nano BIGINT DEFAULT 0 NOT NULL,
	held_tokens BIGINT DEFAULT 0 NOT NULL,
	alerted BIGINT DEFAULT 0 NOT NULL,
	alerted_tokens BIGINT DEFAULT 0 NOT NULL,
	PRIMARY KEY (id),
	UNIQUE (budget, scope, period_start)
)
--
CREATE TABLE caps (
	budget TEXT NOT NULL,
	scope TEXT NOT NULL,
	cap_nano BIGINT,
	cap_tokens BIGINT,
	changed FLOAT NOT NULL,
	PRIMARY KEY (budget, scope)
)
--
CREATE TABLE homes (
	id TEXT NOT NULL,
	provider TEXT DEFAULT '' NOT NULL,
	model TEXT DEFAULT '' NOT NULL,
	place BIGINT DEFAULT 0 NOT NULL,
	owner TEXT DEFAULT '' NOT NULL,
	made FLOAT NOT NULL,
	PRIMARY KEY (id)
)
--
CREATE TABLE meta (
	name TEXT NOT NULL,
	value TEXT NOT NULL,
	PRIMARY KEY (name)
)
--
CREATE TABLE approvals (
	id TEXT NOT NULL,
	created FLOAT NOT NULL,
	expires FLOAT NOT NULL,
	state TEXT NOT NULL,
	"key" TEXT DEFAULT '' NOT NULL,
	tenant TEXT DEFAULT '' NOT NULL,
	user TEXT DEFAULT '' NOT NULL,
	session TEXT DEFAULT '' NOT NULL,
	task TEXT DEFAULT '' NOT NULL,
	feature TEXT DEFAULT '' NOT NULL,
	environment TEXT DEFAULT '' NOT NULL,
	call_id TEXT DEFAULT '' NOT NULL,
	tool TEXT DEFAULT '' NOT NULL,
	arguments TEXT DEFAULT '' NOT NULL,
	place TEXT DEFAULT '' NOT NULL,
	edited TEXT,
	exchange_id TEXT DEFAULT '' NOT NULL,
	digest TEXT DEFAULT '' NOT NULL,
	answer TEXT DEFAULT '' NOT NULL,
	decided_by TEXT DEFAULT '' NOT NULL,
	decided_at FLOAT,
	note TEXT DEFAULT '' NOT NULL,
	PRIMARY KEY (id)
)
--
CREATE VIEW exchanges AS SELECT
    exchange_rows.id AS id, started, ended, way_in, dialect, endpoint, "key", tenant, "user", session, task, feature,
    environment, tags, model_asked, CASE model_served WHEN '' THEN route_model ELSE model_served END AS model_served,
    provider, stream, ending, status, error_code, error_kind, attempts, input_tokens, cache_read_tokens,
    cache_write_tokens, cache_write_long_tokens, output_tokens, reasoning_tokens, web_searches, cost_nano, estimated,
    estimated_nano, price_version, (ended - started) * 1000.0 AS latency_ms,
    (first_content - started) * 1000.0 AS ttft_ms, waited_ms, stop_reason, correlation_id, request_id, client_retries,
    simulated, upstream_gateway, cache, asked
FROM exchange_rows LEFT JOIN shapes ON shapes.id = exchange_rows.shape
--
CREATE TABLE incidents (
	id TEXT NOT NULL,
	kind TEXT NOT NULL,
	scope TEXT NOT NULL,
	value TEXT NOT NULL,
	"to" TEXT DEFAULT '' NOT NULL,
	rate BIGINT DEFAULT 0 NOT NULL,
	"by" TEXT DEFAULT '' NOT NULL,
	why TEXT DEFAULT '' NOT NULL,
	since FLOAT NOT NULL,
	expires FLOAT NOT NULL,
	lifted FLOAT,
	lifted_by TEXT DEFAULT '' NOT NULL,
	PRIMARY KEY (id)
)
--
CREATE TABLE people (
	name TEXT NOT NULL,
	role TEXT DEFAULT '' NOT NULL,
	tenant TEXT DEFAULT '' NOT NULL,
	password TEXT DEFAULT '' NOT NULL,
	created FLOAT NOT NULL,
	changed FLOAT NOT NULL,
	sessions_from FLOAT NOT NULL,
	PRIMARY KEY (name)
)
--
CREATE TABLE sessions (
	id TEXT NOT NULL,
	person TEXT DEFAULT '' NOT NULL,
	began FLOAT NOT NULL,
	seen FLOAT NOT NULL,
	address TEXT DEFAULT '' NOT NULL,
	PRIMARY KEY (id)
)
--
CREATE TABLE api_tokens (
	id TEXT NOT NULL,
	name TEXT DEFAULT '' NOT NULL,
	hash TEXT DEFAULT '' NOT NULL,
	role TEXT DEFAULT '' NOT NULL,
	tenant TEXT DEFAULT '' NOT NULL,
	made_by TEXT DEFAULT '' NOT NULL,
	created FLOAT NOT NULL,
	expires FLOAT,
	revoked FLOAT,
	PRIMARY KEY (id)
)
--
CREATE TABLE audit_log (
	number INTEGER NOT NULL,
	at FLOAT NOT NULL,
	actor TEXT DEFAULT '' NOT NULL,
	role TEXT DEFAULT '' NOT NULL,
	way TEXT DEFAULT '' NOT NULL,
	address TEXT DEFAULT '' NOT NULL,
	action TEXT DEFAULT '' NOT NULL,
	subject TEXT DEFAULT '' NOT NULL,
	tenant TEXT DEFAULT '' NOT NULL,
	"before" TEXT DEFAULT '' NOT NULL,
	"after" TEXT DEFAULT '' NOT NULL,
	previous TEXT DEFAULT '' NOT NULL,
	hash TEXT DEFAULT '' NOT NULL,
	PRIMARY KEY (number)
)
--
CREATE TRIGGER audit_log_no_update BEFORE UPDATE ON audit_log BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END
--
CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END
--
CREATE TABLE alerts (
	id TEXT NOT NULL,
	rule TEXT DEFAULT '' NOT NULL,
	scope TEXT DEFAULT '' NOT NULL,
	severity TEXT DEFAULT '' NOT NULL,
	since FLOAT NOT NULL,
	last FLOAT NOT NULL,
	value FLOAT NOT NULL,
	threshold FLOAT NOT NULL,
	summary TEXT DEFAULT '' NOT NULL,
	evidence TEXT DEFAULT '' NOT NULL,
	count BIGINT DEFAULT 0 NOT NULL,
	resolved FLOAT,
	acknowledged FLOAT,
	acknowledged_by TEXT DEFAULT '' NOT NULL,
	told FLOAT NOT NULL,
	firers TEXT DEFAULT '' NOT NULL,
	PRIMARY KEY (id)
)
--
CREATE TABLE alert_outbox (
	id TEXT NOT NULL,
	place TEXT DEFAULT '' NOT NULL,
	alert TEXT DEFAULT '' NOT NULL,
	body TEXT DEFAULT '' NOT NULL,
	created FLOAT NOT NULL,
	next_try FLOAT NOT NULL,
	tries BIGINT DEFAULT 0 NOT NULL,
	claimed_by TEXT DEFAULT '' NOT NULL,
	claimed_until FLOAT NOT NULL,
	state TEXT DEFAULT '' NOT NULL,
	error TEXT DEFAULT '' NOT NULL,
	ended FLOAT,
	PRIMARY KEY (id)
)
--
INSERT INTO alembic_version VALUES ('0007')
