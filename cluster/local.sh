#!/usr/bin/env bash
# Everything on this machine: install, one Ray node on loopback, the pipeline, the service.
#
#   bash cluster/local.sh                                        the embedded sample
#   bash cluster/local.sh --media DIR --events FILE [--items FILE] [--config FILE]   your own files
#   bash cluster/local.sh stop                                   end exactly what this started
#
# State is kept in .avrec (AVREC_HOME moves it); run again, it reuses what is done.
set -euo pipefail
caller=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
home=$(realpath -m "${AVREC_HOME:-.avrec}")
temp=/tmp/avrec-$(id -u)-$(echo "$home" | sha256sum | cut -c1-8) # short: Unix sockets lie below it
media='' events='' items='' config='' stop=''

fail() { echo "error: $*" >&2; exit 1; }
say() { printf '\n== %s\n' "$*"; }
path_of() { (cd "$caller" && case $1 in *://*) echo "$1" ;; *) realpath -m -- "$1" ;; esac); }
quoted() { .venv/bin/python -c 'import json, sys; print(json.dumps(sys.argv[1]))' "$1"; }
started_at() { cut -d')' -f2- "/proc/$1/stat" 2>/dev/null | cut -d' ' -f21; }

# The recorded node, if it is still the process that was started and not a later one of that id.
node_pid() {
  [ -s "$home/ray.pid" ] || return 1
  local pid at
  read -r pid at <"$home/ray.pid"
  [ -n "$at" ] && [ "$(started_at "$pid")" = "$at" ] && echo "$pid"
}

read_arguments() {
  while [ $# -gt 0 ]; do
    case $1 in
      --media | --events | --items | --config)
        [ $# -ge 2 ] || fail "$1 needs a value"
        printf -v "${1#--}" %s "$(path_of "$2")"
        shift 2
        ;;
      stop) stop=yes && shift ;;
      -h | --help) sed -n '2,8s/^# \{0,1\}//p' cluster/local.sh && exit 0 ;;
      *) fail "unknown argument '$1'; see: bash cluster/local.sh --help" ;;
    esac
  done
  [ -z "$media$events$items" ] || [ -n "$events" ] || fail "your own files need --events FILE: who played what, when"
  local given
  for given in "$media" "$events" "$items" "$config"; do
    case $given in '' | *://*) ;; *) [ -e "$given" ] || fail "no such file or folder: $given" ;; esac
  done
}

lock() {
  mkdir -p -m 700 "$home"
  exec 9>>"$home/lock"
  flock -n 9 || fail "another cluster/local.sh is at work in $home (process $(cat "$home/lock.pid" 2>/dev/null)); wait for it, or end it"
  echo $$ >"$home/lock.pid"
}

stop_node() {
  local pid
  pid=$(node_pid) || { rm -f "$home/ray.pid"; fail "nothing to stop: no node started from $home is running"; }
  kill "$pid"
  for _ in $(seq 120); do
    [ -d "/proc/$pid" ] || { rm -rf "$home/ray.pid" "$temp" && echo "stopped" && return; }
    sleep 0.5
  done
  fail "process $pid does not end; its log is $home/ray.log"
}

choose_ports() {
  [ -s "$home/ports" ] && [ -n "$(node_pid)" ] && return
  .venv/bin/python - "${AVREC_PORT:-8000}" >"$home/ports" <<'PYTHON'
import socket, sys

NAMES = "GCS DASHBOARD CLIENT AGENT AGENT_GRPC RUNTIME_ENV METRICS OBJECTS NODE HAPROXY_METRICS HAPROXY_STATS".split()
NAMES += ["AUTOSCALER_METRICS", "DASHBOARD_METRICS", "FALLBACK"]

def bound(port):
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind(("127.0.0.1", port))
    except OSError:
        held.bind(("127.0.0.1", 0))
    return held

sockets = [bound(int(sys.argv[1]))] + [bound(0) for _ in NAMES]
for name, held in zip(["SERVE", *NAMES], sockets):
    print(f"{name}_PORT={held.getsockname()[1]}")
PYTHON
}

dashboard_answers() {
  .venv/bin/python - "http://127.0.0.1:$DASHBOARD_PORT/api/jobs/" "$RAY_AUTH_TOKEN_PATH" <<'PYTHON' 2>/dev/null
import pathlib, sys, urllib.request

token = pathlib.Path(sys.argv[2]).read_text()
asked = urllib.request.Request(sys.argv[1], headers={"Authorization": f"Bearer {token}"})
urllib.request.urlopen(asked, timeout=5)
PYTHON
}

start_node() {
  local pid
  if pid=$(node_pid); then
    echo "Ray node is running (process $pid)"
    return
  fi
  # Train's workers, the driver and the serving replica share the cores: count at least 6.
  local cpus
  cpus=$(nproc)
  [ "$cpus" -ge 6 ] || cpus=6
  setsid .venv/bin/ray start --head --block --node-ip-address 127.0.0.1 --port "$GCS_PORT" \
    --dashboard-host 127.0.0.1 --dashboard-port "$DASHBOARD_PORT" \
    --ray-client-server-port "$CLIENT_PORT" --dashboard-agent-listen-port "$AGENT_PORT" \
    --dashboard-agent-grpc-port "$AGENT_GRPC_PORT" --runtime-env-agent-port "$RUNTIME_ENV_PORT" \
    --metrics-export-port "$METRICS_PORT" --object-manager-port "$OBJECTS_PORT" \
    --node-manager-port "$NODE_PORT" --num-cpus "$cpus" --temp-dir "$temp/r" \
    --disable-usage-stats >"$home/ray.log" 2>&1 </dev/null 9>&- &
  pid=$!
  echo "$pid $(started_at "$pid")" >"$home/ray.pid"
  for _ in $(seq 240); do
    [ -d "/proc/$pid" ] || fail "the Ray node did not start: $(tail -n 1 "$home/ray.log")"
    dashboard_answers && return
    sleep 0.5
  done
  fail "the Ray node does not answer; its log is $home/ray.log"
}

read_arguments "$@"
lock
[ -z "$stop" ] || { stop_node; exit; }
begun=$SECONDS
say "install"
bash cluster/install.sh 9>&-
. cluster/env.sh
RAY_AUTH_TOKEN_PATH=$home/ray-token
cluster_token "$RAY_AUTH_TOKEN_PATH"
choose_ports
set -a && . "$home/ports" && set +a
export RAY_ADDRESS=127.0.0.1:$GCS_PORT       # no other node of this machine is ever meant
export RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0   # makes Ray's own servers bind 127.0.0.1 only
export AUTOSCALER_METRIC_PORT=$AUTOSCALER_METRICS_PORT DASHBOARD_METRIC_PORT=$DASHBOARD_METRICS_PORT
export RAY_SERVE_HAPROXY_METRICS_PORT=$HAPROXY_METRICS_PORT RAY_SERVE_HAPROXY_STATS_PORT=$HAPROXY_STATS_PORT
export RAY_SERVE_FALLBACK_PROXY_HTTP_PORT=$FALLBACK_PORT
installed=$SECONDS
[ ! -e "$temp" ] || [ -O "$temp" ] || fail "$temp belongs to somebody else; remove it"
mkdir -p -m 700 "$temp"
serve_ingress "$temp/h"

say "Ray node"
start_node
dashboard=http://127.0.0.1:$DASHBOARD_PORT

say "pipeline"
workspace=$home/workspace
settings=()
if [ -n "$events" ]; then
  workspace=$home/own
  settings+=(--set "events.uri=$(quoted "$events")")
  [ -z "$media" ] || settings+=(--set "media.inputs=[$(quoted "$media")]")
  [ -z "$items" ] || settings+=(--set "media.items=$(quoted "$items")")
  config=${config:-$PWD/jobs/default.toml}
fi
config=${config:-$PWD/jobs/demo.toml}
job() { .venv/bin/ray job "$1" --address "$dashboard" --log-style record --log-color false "${@:2}"; }
end_job() { job stop "$(cat "$home/job")" >/dev/null 2>&1 && rm -f "$home/job"; }
[ ! -s "$home/job" ] || end_job || true      # left by a start that was cut off
trap 'end_job; exit 130' INT TERM
echo "pipeline-$$-$SECONDS$RANDOM" >"$home/job"
# What Ray says of itself is left out, and so is the end of the log, which it repeats on failure.
job submit --submission-id "$(cat "$home/job")" -- \
  "$PWD/.venv/bin/python" -m jobs.pipeline --config "$config" \
  --set "workspace=$(quoted "$workspace")" "${settings[@]}" 2>&1 9>&- |
  sed -u -e 's/\x1b\[[0-9;]*m//g' -e '/ cli\.py:.*Status message/,$d' -e '/^$/d' -e '/^  *model = DataParallel/d' \
    -e '/ cli\.py:/d; / sdk\.py:/d; /job_manager\.py/d; /core_worker\.cc/d; /Progress bars disabled/d' \
    -e '/PYTHON worker processes/d; /Failed to kill actor/d; /execution finished in/d' || { rm -f "$home/job"; exit 1; }
rm -f "$home/job"
trap - INT TERM

say "service"
.venv/bin/python -m jobs.deploy --workspace "$workspace" --home "$home" --dashboard "$dashboard" \
  --port "$SERVE_PORT" 9>&- || fail "the service did not start; logs are below $temp"

say "answer"
.venv/bin/python -m jobs.ask --workspace "$workspace" --key-file "$home/api-key" \
  --url "http://127.0.0.1:$SERVE_PORT"
echo
report=$(find "$workspace/report" -name report.html -printf '%T@ %p\n' 2>/dev/null | sort -n | tail -1 | cut -d' ' -f2- || true)
[ -z "$report" ] || printf 'what was understood, to open in a browser:\n%s\n\n' "$report"
echo "took $((SECONDS - begun)) s, $((installed - begun)) s of them to install; end it with: bash cluster/local.sh stop"
