#!/usr/bin/env bash
# Lint, types, tests: the tests begin while mypy still looks, for one core would stand idle meanwhile.
#   scripts/test.sh [what pytest is to be told]
set -euo pipefail
cd "$(dirname "$0")/.."
# Where it is set, each of the hundreds of processes that tests start compiles Headgate anew.
unset PYTHONDONTWRITEBYTECODE

.venv/bin/ruff check .
.venv/bin/ruff format --check .
said="$(mktemp)"
.venv/bin/mypy >"$said" 2>&1 &
types=$!
trap 'kill "$types" 2>/dev/null || true; rm -f "$said"' EXIT

tested=0
# One worker more than cores: a third of what tests take is waiting for processes, disks and browsers.
.venv/bin/python -m pytest -q -n "$(($(getconf _NPROCESSORS_ONLN) + 1))" --dist worksteal "$@" || tested=$?
typed=0
wait "$types" || typed=$?
cat "$said"
[ "$tested" = 0 ] && [ "$typed" = 0 ]
