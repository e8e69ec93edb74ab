#!/usr/bin/env bash
# Installs the Debian packages that the tests run: encoders, players, origins,
# an ACME authority, a judge of TLS, and the C compiler of the race detector.
# Does nothing where they are all installed. Root installs; anybody else is told
# what to install.
set -euo pipefail

packages=(
  gcc libc6-dev
  ffmpeg
  gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good
  gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav glib-networking
  rtmpdump
  nginx-light libnginx-mod-rtmp haproxy
  obs-studio libgl1-mesa-dri xvfb x11-utils ca-certificates
  pebble testssl.sh openssl redis-server
  chromium prometheus
  systemd systemd-container man-db git
)

# Interpreters, for the recipes of the documentation: any will do.
command -v python3 >/dev/null || packages+=(python3-minimal)
command -v php >/dev/null || packages+=(php-cli)
command -v node >/dev/null || packages+=(nodejs)

if ! command -v dpkg-query >/dev/null; then
  echo "e2e/deps.sh: this is neither Debian nor Ubuntu; install what these packages hold: ${packages[*]}" >&2
  exit 1
fi

missing=()
for p in "${packages[@]}"; do
  case $(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null || true) in
    installed) ;;
    *) missing+=("$p") ;;
  esac
done
[ ${#missing[@]} -gt 0 ] || exit 0

install=(apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 "${missing[@]}")
if [ "$(id -u)" -ne 0 ]; then
  echo "The tests need these packages. As root:" >&2
  echo "  apt-get update && apt-get install -y --no-install-recommends ${missing[*]}" >&2
  exit 1
fi

# nginx comes with a service. The tests start their own, so nothing may start
# by itself, unless this machine has its own rule for that.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  trap 'rm -f $policy' EXIT
  printf '#!/bin/sh\nexit 101\n' >$policy
  chmod +x $policy
fi

echo "Installing what the tests lack: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
log=$(mktemp)
if ! "${install[@]}" >"$log" 2>&1; then
  tail -n 40 "$log" >&2
  exit 1
fi
rm -f "$log"
