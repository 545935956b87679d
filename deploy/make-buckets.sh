#!/bin/sh
# Makes the two buckets, without versions, and a user for the service that reaches them and nothing else.
set -eu
secret() { cat "/run/secrets/$1"; }
user=$(secret hypernet_s3_access_key)

mc alias set --quiet store http://minio:9000 "$(secret minio_root_user)" "$(secret minio_root_password)" > /dev/null
# Versions are the store's own; in a bucket with versions of its own a server need not keep conditions.
mc mb --quiet --ignore-existing store/adapters store/adapters-keys
mc admin user add store "$user" "$(secret hypernet_s3_secret_key)" > /dev/null
mc admin policy create store hypernet /opt/service-policy.json > /dev/null
if ! said=$(mc admin policy attach store hypernet --user "$user" 2>&1); then
  case $said in
    *"already in effect"*) ;;
    *) echo "$said" >&2; exit 1 ;;
  esac
fi
echo "adapters and adapters-keys are there"
