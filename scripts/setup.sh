#!/usr/bin/env bash
# Make .venv from a hash-locked file. Needs python3 (3.11 or newer) and pip; installs what else is missing.
#   scripts/setup.sh run    what the gateway and the command line need
#   scripts/setup.sh dev    the same, and everything the tests need
set -euo pipefail
cd "$(dirname "$0")/.."
kind="${1:-run}"
lock="requirements/${kind}.lock"
stamp=".venv/.headgate-${kind}"
want="$(cat "$lock" pyproject.toml scripts/setup.sh | sha256sum | cut -d' ' -f1)"

if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ] && .venv/bin/python -c "import headgate" 2>/dev/null; then
  exit 0
fi
python="${PYTHON:-python3}"
command -v "$python" >/dev/null || { echo "setup: no '$python' on the PATH. Headgate needs Python 3.11 or newer." >&2; exit 2; }
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "setup: $("$python" --version) is too old. Headgate needs Python 3.11 or newer (set PYTHON=python3.12, say)." >&2; exit 2; }

if [ ! -x .venv/bin/pip ]; then
  rm -rf .venv
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    # Debian and Ubuntu ship venv apart from python3.
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
      echo "setup: installing python3-venv from the system's packages"
      apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null
    else
      echo "setup: python3 has no venv module. Install it (Debian: apt-get install python3-venv) and run make again." >&2; exit 2
    fi
  fi
  echo "setup: making .venv with $("$python" --version)"
  "$python" -m venv .venv
fi
echo "setup: installing $(grep -c '==' "$lock") locked packages (${kind}); this takes a minute the first time"
compile=(--compile)
# Of what the tests need, a third is ever imported: that is compiled when it is, by two processes at once.
[ "$kind" = dev ] && compile=(--no-compile)
.venv/bin/python -m pip install --quiet --disable-pip-version-check "${compile[@]}" --require-hashes -r "$lock"
# The build backend is in the lock file too, so nothing unlocked is fetched for our own editable install.
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
echo "$want" > "$stamp"
[ "$kind" = dev ] && echo "$(cat requirements/run.lock pyproject.toml scripts/setup.sh | sha256sum | cut -d' ' -f1)" > .venv/.headgate-run
echo "setup: done"
