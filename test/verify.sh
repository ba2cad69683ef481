#!/usr/bin/env bash
# Says whether the generated files and go.mod are what the commands make of the sources. Works on a copy.
set -euo pipefail
cd "$(dirname "$0")/.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
# What git knows and what it does not ignore, less what has been deleted and not yet committed.
git ls-files -co --exclude-standard -z | while IFS= read -r -d '' file; do
  if [ -e "$file" ] || [ -L "$file" ]; then printf '%s\0' "$file"; fi
done | xargs -0 cp --parents --no-dereference -t "$copy"
git="git -C $copy -c user.name=verify -c user.email=verify@localhost"
$git init -q
$git add -A
$git commit -qm verify
(cd "$copy" && make -s generate >/dev/null && go mod tidy &&
  (cd test/tools/computegen && GOWORK=off go mod tidy) && (cd test/tools/helm && GOWORK=off go mod tidy) &&
  (cd test/tools/dashboards && GOWORK=off go mod tidy))
if [ -n "$($git status --porcelain)" ]; then # new files too
  $git add -A
  $git --no-pager diff --cached
  echo "verify: run 'make generate' and 'go mod tidy', and commit what they change" >&2
  exit 1
fi
echo "verify: generated files and go.mod are up to date"
