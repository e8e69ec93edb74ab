#!/usr/bin/env bash
# Makes a directory that holds a Debian 13 (trixie) with OBS 30 in it: the OBS of
# Debian 12 knows TLS up to 1.2. Prints the directory. Takes about 0.8 GB, in the
# user's cache; does nothing where this has been done already. Root only.
#
# The mirror is the one that this machine's apt has; MIRROR=URL is another.
set -euo pipefail

suite=trixie
packages=(obs-studio libgl1-mesa-dri libegl1)
dir=${XDG_CACHE_HOME:-$HOME/.cache}/rtmps-edge/$suite
made_by=$(sha256sum <"$0") # this script, as it is

die() {
  echo "e2e/trixie.sh: $*" >&2
  exit 1
}

mkdir -p "$(dirname "$dir")"
exec 9>"$dir.lock"
flock 9 # one at a time
if [ "$(cat "$dir/etc/made-by" 2>/dev/null)" = "$made_by" ]; then
  echo "$dir"
  exit 0
fi
[ "$(id -u)" -eq 0 ] || die "only root can install a system into a directory"

export DEBIAN_FRONTEND=noninteractive
if ! command -v debootstrap >/dev/null; then
  apt-get update -qq >&2
  apt-get install -y -qq --no-install-recommends debootstrap >&2
fi

# The first source of Debian itself, not of its security updates nor of anybody else.
mirror() {
  apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' |
    sed -n 's/^Debian|Debian|//p' | head -n 1
}
MIRROR=${MIRROR:-$(mirror)}
[ -n "$MIRROR" ] || die "apt has no mirror of Debian here; set MIRROR to the URL of one"

# Built beside its place, because half a system is none. Mounts are in a name space
# that ends with this script's child, so nothing is ever left mounted.
new=$dir.new
log=$dir.log
rm -rf --one-file-system "$new"
echo "Installing $suite with ${packages[*]} from $MIRROR into $dir" >&2
if ! unshare --mount --propagation private bash -euc '
  suite=$1 new=$2 mirror=$3
  shift 3
  debootstrap --variant=minbase --include=ca-certificates "$suite" "$new" "$mirror"
  printf "#!/bin/sh\nexit 101\n" >"$new/usr/sbin/policy-rc.d"
  chmod +x "$new/usr/sbin/policy-rc.d"
  echo "127.0.0.1 localhost" >"$new/etc/hosts"
  mount -t proc proc "$new/proc"
  mount --rbind /dev "$new/dev"
  chroot "$new" apt-get update -qq
  chroot "$new" apt-get install -y -qq --no-install-recommends "$@"
  chroot "$new" apt-get clean
  rm -rf "$new"/var/lib/apt/lists/*
' bash "$suite" "$new" "$MIRROR" "${packages[@]}" >"$log" 2>&1; then
  tail -n 40 "$log" >&2
  die "it failed; all that was said is in $log"
fi
echo "$made_by" >"$new/etc/made-by" # last: what has it is whole
rm -rf --one-file-system "$dir"
mv "$new" "$dir"
rm -f "$log"
echo "$dir"
