# The doors of the repository. A fresh machine needs python3 (3.11+), pip and make; nothing else.
.PHONY: setup run demo test test-long bench lint lock clean

setup: ## .venv with everything, hash-locked
	@scripts/setup.sh dev

run: ## the gateway on http://127.0.0.1:8484 (the built-in simulator if no provider key is set)
	@scripts/setup.sh run
	@.venv/bin/headgate serve $(ARGS)

demo: ## a minute of mixed traffic from the real SDKs through both ways in
	@scripts/setup.sh dev
	@.venv/bin/headgate demo $(ARGS)

test: setup ## lint, types, tests
	@scripts/test.sh $(ARGS)

test-long: setup ## the same, with thirty times as many examples of each property
	@scripts/test.sh --hypothesis-profile=long $(ARGS)

lint: setup
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy

bench: ## every number of the README, with nginx and wrk in the same run
	@scripts/setup.sh dev
	@.venv/bin/python -m benchmarks $(ARGS)

lock: ## write requirements/*.lock anew
	@scripts/lock.sh

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
