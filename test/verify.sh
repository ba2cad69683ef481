#!/usr/bin/env bash
# Says whether the generated files and go.mod are what the commands make of the sources. Works on a copy.
set -euo pipefail
cd "$(dirname "$0")/.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git ls-files -co --exclude-standard -z | xargs -0 cp --parents -t "$copy" 2>/dev/null || true
(cd "$copy" && git init -q && git add -A && git -c user.name=verify -c user.email=verify@localhost commit -qm verify &&
  make -s generate >/dev/null && go mod tidy)
if ! git -C "$copy" diff --exit-code; then
  echo "verify: run 'make generate' and 'go mod tidy', and commit what they change" >&2
  exit 1
fi
echo "verify: generated files and go.mod are up to date"
