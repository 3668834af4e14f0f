# Read by the scripts beside it: what every Ray process of avrec has in its environment.
export RAY_USAGE_STATS_ENABLED=0
export RAY_AUTH_MODE=token
export RAY_AUTH_TOKEN_PATH=${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}
export HF_HUB_OFFLINE=${HF_HUB_OFFLINE:-1}
export RAY_TRAIN_V2_ENABLED=1
export RAY_SERVE_THROUGHPUT_OPTIMIZED=1

# cluster_token FILE: make a token with mode 0600 unless there is one.
cluster_token() {
  [ -s "$1" ] && return
  mkdir -p -m 700 "$(dirname "$1")"
  (umask 077 && .venv/bin/python -c 'import secrets; print(secrets.token_hex(32), end="")' >"$1")
}
