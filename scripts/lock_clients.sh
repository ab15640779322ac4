#!/usr/bin/env bash
# Write the locks of the clients that tests/clients drives anew: Python's with hashes, npm's with integrity.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=".venv/bin/uv"; [ -x "$uv" ] || uv=uv
common=(--universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --quiet)
for name in frameworks instructor; do
  "$uv" pip compile "requirements/clients-$name.in" "${common[@]}" --upgrade --output-file "requirements/clients-$name.lock"
done
cd tests/clients
rm -f package-lock.json
npm install --package-lock-only --ignore-scripts --no-audit --no-fund --omit-lockfile-registry-resolved --loglevel=error
