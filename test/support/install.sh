#!/bin/sh
# Installs what the tests start as real processes and this machine lacks: a Redis server (with REDIS_URL set, too: tests
# of failures start and kill their own) and promtool, which ships in Debian's prometheus package. Does nothing where both
# are found. npm runs it as pretest.
set -eu

say() { printf 'postern tests: %s\n' "$*"; }
die() { printf 'postern tests: %s\n' "$*" >&2; exit 1; }

# Debian keeps servers in sbin, which the PATH of an ordinary user may lack.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
export PATH

missing() { ! command -v "$1" >/dev/null 2>&1; }

packages=''
if missing redis-server; then packages='redis-server'; fi
if missing promtool; then packages="${packages:+$packages }prometheus"; fi
[ -n "$packages" ] || exit 0

remedy='install redis-server and promtool yourself, then run the tests again'
missing apt-get && die "missing here: $packages, and there is no apt-get to install it with; $remedy"

as_root=''
if [ "$(id -u)" -ne 0 ]; then
  missing sudo && die "missing here: $packages; installing needs root, and there is no sudo; $remedy"
  as_root='sudo'
fi

# The packages would start their servers as services. policy-rc.d is Debian's way to say no; an existing one is left alone.
policy=/usr/sbin/policy-rc.d
if [ -z "$as_root" ] && [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  trap 'exit 130' INT TERM
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi

apt_get() {
  # env comes after sudo, which would drop a variable set before it. The lock timeout waits for another apt.
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=120 "$@"
}

say "installing with apt-get: $packages"
log=$(mktemp)
# shellcheck disable=SC2086 # the list is meant to split
if ! { apt_get update && apt_get install -y --no-install-recommends $packages; } >"$log" 2>&1; then
  tail -n 20 "$log" >&2
  rm -f "$log"
  die "apt-get could not install $packages; $remedy"
fi
rm -f "$log"

if missing redis-server; then die "redis-server is still missing; $remedy"; fi
if missing promtool; then die "promtool is still missing; $remedy"; fi
say "installed: $packages"
