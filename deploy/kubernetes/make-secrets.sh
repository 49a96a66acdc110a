#!/bin/sh
# Makes what the Secrets hold, as files, so that no secret stands in a command line:
#   sh make-secrets.sh FOLDER API_KEY_FILE
# FOLDER must not exist yet; choose one in memory, such as /dev/shm/postern-secrets. ../README.md says what comes next.
set -eu
folder=$1
key_file=$2
here=$(dirname "$0")

umask 077
random() { head -c 32 /dev/urandom | od -A n -t x1 | tr -d ' \n'; }
digest() { if command -v sha256sum > /dev/null; then sha256sum; else shasum -a 256; fi | cut -c 1-64; }

mkdir "$folder" "$folder/postern" "$folder/postern-redis"
cp "$key_file" "$folder/postern/api-key"
random > "$folder/postern/admin-token"
random > "$folder/postern/redis-password"
sum=$(digest < "$folder/postern/redis-password")
sed "s/SHA256_OF_THE_PASSWORD/$sum/" "$here/redis/users.acl" > "$folder/postern-redis/users.acl"
