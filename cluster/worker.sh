#!/usr/bin/env bash
# Join this machine to a cluster, in the foreground: worker.sh HEAD:PORT [options of `ray start`]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ $# -ge 1 ] || { echo "usage: bash cluster/worker.sh HEAD:PORT" >&2; exit 2; }
head=$1
shift
bash cluster/install.sh
. cluster/env.sh
[ -s "$RAY_AUTH_TOKEN_PATH" ] || {
  echo "error: no token at $RAY_AUTH_TOKEN_PATH; copy the head's file there (mode 0600)" >&2
  exit 1
}
serve_ingress "/tmp/avrec-h-$(id -u)"
exec .venv/bin/ray start --block --address "$head" --disable-usage-stats "$@"
