#!/bin/sh
# Runs a command with the secrets that the service takes as variables only, read from the files that stand for them.
set -eu
for name in S3_ACCESS_KEY S3_SECRET_KEY; do
  file="${SECRETS_DIR:-/run/secrets}/hypernet_$(echo "$name" | tr '[:upper:]' '[:lower:]')"
  if [ -f "$file" ]; then
    value=$(cat "$file")
    export "HYPERNET_$name=$value"
  fi
done
exec "$@"
