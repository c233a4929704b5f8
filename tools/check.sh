#!/usr/bin/env bash
# Everything that can be known without running the tests; each failing step is named, all of them run.
set -u
cd "$(dirname "$0")/.."
failed=()
step() {
  local name=$1; shift
  printf 'check: %s\n' "$name"
  "$@" || failed+=("$name")
}
step format .venv/bin/ruff format --check --quiet .
step lint .venv/bin/ruff check --quiet .
step types .venv/bin/mypy
step layers .venv/bin/lint-imports --no-logo
step "wire drift" .venv/bin/python tools/generate_wire.py --check
step "settings reference" .venv/bin/python tools/generate_settings_reference.py --check
step "lock drift" env UV_PYTHON_DOWNLOADS=never .venv/bin/uv lock --check --quiet
if [ ${#failed[@]} -gt 0 ]; then printf 'check: failed: %s (make fix repairs format, lint and drift)\n' "${failed[*]}" >&2; exit 1; fi
echo "check: ok"
