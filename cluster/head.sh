#!/usr/bin/env bash
# Start the head node of a cluster, in the foreground. Every node needs the same token file:
# make it once here, copy it to the other machines (mode 0600), never into the repository.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash cluster/install.sh
. cluster/env.sh
cluster_token "$RAY_AUTH_TOKEN_PATH"
serve_ingress "/tmp/avrec-h-$(id -u)"
echo "token file: $RAY_AUTH_TOKEN_PATH"
echo "workers:    bash cluster/worker.sh ADDRESS_OF_THIS_MACHINE:${AVREC_RAY_PORT:-6379}"
exec .venv/bin/ray start --head --block --port "${AVREC_RAY_PORT:-6379}" \
  --dashboard-host "${AVREC_DASHBOARD_HOST:-127.0.0.1}" \
  --dashboard-port "${AVREC_DASHBOARD_PORT:-8265}" --disable-usage-stats "$@"
