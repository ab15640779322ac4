#!/usr/bin/env bash
# Write requirements/*.lock anew from pyproject.toml. Hashes, no index addresses.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=".venv/bin/uv"; [ -x "$uv" ] || uv=uv
common=(--universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --quiet)
printf 'hatchling>=1.27\neditables>=0.5\n' | "$uv" pip compile pyproject.toml - --extra gateway --extra cli --extra demo "${common[@]}" --output-file requirements/run.lock
"$uv" pip compile pyproject.toml --extra gateway --extra cli --extra demo --group dev "${common[@]}" --constraint requirements/run.lock --output-file requirements/dev.lock
"$uv" pip compile requirements/legacy.in "${common[@]}" --output-file requirements/legacy.lock
