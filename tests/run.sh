#!/usr/bin/env bash
# Every test, set-up included: the plain ones first (a process a core, under two minutes on two), then
# the slow ones and those on real Ray nodes, one at a time. Arguments go to pytest:
# `bash tests/run.sh -n auto -m 'not ray and not slow'`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash cluster/install.sh dev
if ! command -v redis-server >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  { apt-get update -qq && apt-get install -y -qq redis-server; } >/dev/null 2>&1 || true  # else skipped, aloud
fi
if ! command -v chromium >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } >/dev/null 2>&1 || true  # else skipped, aloud
fi
export RAY_USAGE_STATS_ENABLED=0 HF_HUB_OFFLINE=1 OMP_NUM_THREADS=2
if [ $# -gt 0 ]; then
  exec .venv/bin/python -m pytest -q "$@"
fi
OMP_NUM_THREADS=1 .venv/bin/python -m pytest -q -n auto --maxprocesses=4 --dist=loadfile \
  -m 'not ray and not slow and not gpu'
.venv/bin/python -m pytest -q -m '(ray or slow) and not gpu'
