#!/bin/bash
# Boots systemd in a container whose files are those of this machine, with all that
# is changed in them forgotten afterwards, and with a network of its own. It runs
# inside.sh and ends. The caller has given this script mounts of its own.
#
#   nspawn.sh WORK OUT     OUT is /out inside, and has inside.sh
set -euo pipefail
work=$1 out=$2 root=$1/root
mkdir -p "$work"
mount -t tmpfs tmpfs "$work"
mkdir "$work/upper" "$work/over" "$root" /run/systemd/nspawn 2>/dev/null || true
mount -t overlay overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/over" "$root"
mount -t tmpfs tmpfs /run/systemd/nspawn

# Nothing starts but what is tested.
rm -rf "$root"/etc/systemd/system/*.wants "$root/usr/sbin/policy-rc.d" "$root/var/lib/man-db/auto-update"
ln -sf /dev/null "$root/etc/systemd/system/systemd-networkd-wait-online.service"
ln -sf /dev/null "$root/etc/systemd/system/NetworkManager-wait-online.service"
: >"$root/etc/fstab"
[ -s "$root/etc/machine-id" ] || echo 0123456789abcdef0123456789abcdef >"$root/etc/machine-id"
cat >"$root/etc/systemd/system/inside.service" <<'UNIT'
[Unit]
Requires=basic.target
After=basic.target
SuccessAction=exit
FailureAction=exit

[Service]
Type=oneshot
ExecStart=/bin/bash /out/inside.sh
StandardOutput=append:/out/log
StandardError=append:/out/log
TimeoutStartSec=120
UNIT

# Where systemd is not this machine's first process, the container needs a place in
# the tree of cgroups.
place=()
if [ ! -d /run/systemd/system ]; then
	place=(--keep-unit)
	cgroup=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)$(sed -n 's/^0:://p' /proc/self/cgroup)/rtmps-edge-e2e
	mkdir -p "$cgroup"
	echo $$ >"$cgroup/cgroup.procs"
fi
exec systemd-nspawn -D "$root" --register=no "${place[@]}" --private-network --bind="$out:/out" -M rtmps-edge-e2e --link-journal=no \
	--boot --console=pipe --quiet -- --unit=inside.service --log-level=warning --show-status=no
