#!/bin/bash
# The life of the Debian package, where systemd runs: installed, used, upgraded,
# removed. A line of output begins with "ok" or "FAIL".
set -u
cd /out || exit
unit=rtmps-edge.service
export SYSTEMD_COLORS=0

# check NAME COMMAND…
check() {
	if "${@:2}" >last 2>&1; then
		echo "ok $1"
	else
		echo "FAIL $1"
		sed 's/^/    /' last
	fi
}

# soon COMMAND…: until it succeeds
soon() {
	local i
	for ((i = 0; i < 200; i++)); do
		"$@" && return
		sleep 0.1
	done
	return 1
}

shows() { systemctl show -p "$1" --value $unit; }
# shellcheck disable=SC2053 # it is a pattern
is() { echo "$1 is $(shows "$1")" && [[ $(shows "$1") == $2 ]]; }
status() { grep "^$1:" "/proc/$(shows MainPID)/status" && grep -q "^$1:[[:space:]]*$2\$" "/proc/$(shows MainPID)/status"; }
said() { journalctl -u $unit --no-pager -o cat | grep -q "$1"; }
owned() { stat -c '%U:%G %a' "$1" && [ "$(stat -c '%U:%G %a' "$1")" = "$2" ]; }
probe() { rtmps-edge probe --ca /var/lib/rtmps-edge/tls/ca.pem "rtmps://localhost:$1/live/$key"; }
listen_at() { sed -i "s|^address = .*|address = \"$1\"|" /etc/rtmps-edge/edge.toml; }

ip link set lo up
nginx -c /out/nginx.conf &

# Installed: it runs, as nobody, with one privilege.
check "install" dpkg --force-unsafe-io -i first.deb
check "runs after the installation" is ActiveState active
check "is enabled" systemctl is-enabled $unit
check "says so to systemd" is StatusText running
check "has no user of this machine" bash -c "! grep -q \"^[^:]*:[^:]*:$(awk '/^Uid/ { print $2 }' "/proc/$(shows MainPID)/status"):\" /etc/passwd"
check "may open low ports, and nothing else" status CapEff 0000000000000400
check "cannot get more" status CapBnd 0000000000000400
check "gains no privilege" status NoNewPrivs 1
check "calls the kernel through a filter" status Seccomp 2
check "keeps keys from others" owned /etc/rtmps-edge/keys.toml "root:_rtmps-edge 640"
check "has man pages" test -n "$(man -w rtmps-edge-probe)"
check "completes" bash -c '. /usr/share/bash-completion/completions/rtmps-edge && complete -p rtmps-edge'

# Used: a key, a stream, reloads.
key=$(rtmps-edge key add alice -c /etc/rtmps-edge/edge.toml 2>key.log)
check "a key leaves owner and mode" owned /etc/rtmps-edge/keys.toml "root:_rtmps-edge 640"
check "the key is read" soon said "read again.*keys.toml"
check "publishing is accepted" probe 1936
listen_at :443
check "reload" systemctl reload $unit
check "is ready again" is StatusText "running, reloaded"
check "a low port is opened" probe 443
listen_at here
check "reload of a fault" systemctl reload $unit
check "the fault is told" is StatusText "running, not reloaded*"
check "and changes nothing" probe 443
listen_at :443

# Upgraded: nothing that runs is disturbed, nothing that was changed is lost.
before=$(shows MainPID)
check "upgrade" dpkg --force-unsafe-io -i second.deb
mv last upgrade
check "says how the new version comes into force" grep "systemctl restart rtmps-edge" upgrade
check "the running one goes on" is MainPID "$before"
check "the configuration stays" grep -q '":443"' /etc/rtmps-edge/edge.toml
check "restart" systemctl restart $unit
check "the key still publishes" probe 443

# A stream has the time that drain_timeout gives it, whatever systemd would give.
mkdir -p /etc/systemd/system/$unit.d
printf '[Service]\nTimeoutStopSec=1s\n' >/etc/systemd/system/$unit.d/hurry.conf
printf '[limits]\ndrain_timeout = "3s"\n' >>/etc/rtmps-edge/edge.toml
systemctl daemon-reload
systemctl reload $unit
ffmpeg -nostdin -v error -re -f lavfi -i testsrc2=s=64x64:r=5 -t 60 -c:v libx264 -preset ultrafast -g 5 -f flv "rtmps://localhost:443/live/$key" >ffmpeg.log 2>&1 &
check "a stream runs" soon said "stream started.*encoder=.*Lavf"
check "stop" systemctl stop $unit
check "the stream was waited for" said "streams were ended that still ran"
check "and the edge ended well" is Result success
rm -r /etc/systemd/system/$unit.d

# A socket of systemd, without any privilege, as the example says.
cp /usr/share/doc/rtmps-edge/examples/systemd/rtmps-edge.socket /etc/systemd/system/
mkdir -p /etc/systemd/system/$unit.d
cp /usr/share/doc/rtmps-edge/examples/systemd/no-capability.conf /etc/systemd/system/$unit.d/
listen_at systemd:rtmps
systemctl daemon-reload
check "the socket" systemctl enable --now rtmps-edge.socket
check "starts the edge" systemctl start $unit
check "and is served" probe 443
check "without any privilege" status CapEff 0000000000000000
systemctl disable --quiet --now rtmps-edge.socket $unit
rm -r /etc/systemd/system/rtmps-edge.socket /etc/systemd/system/$unit.d
systemctl daemon-reload

# Bad configuration: it ends, and is not started again and again.
listen_at here
check "a bad configuration does not start" bash -c "! systemctl start $unit"
check "status 2" is ExecMainStatus 2
check "and stays down" is NRestarts 0

# Removed: keys and configuration stay. Purged: they go.
listen_at :443
systemctl enable --quiet --now $unit
check "remove" dpkg --force-unsafe-io -r rtmps-edge
check "ends it" bash -c "! systemctl is-active $unit"
check "the program is gone" test ! -e /usr/bin/rtmps-edge
check "keys stay" grep -q alice /etc/rtmps-edge/keys.toml
check "install again" dpkg --force-unsafe-io -i second.deb
check "runs as before the removal" is ActiveState active
check "the key publishes as before" probe 443
systemctl disable --quiet --now $unit
check "upgrade of what is disabled" dpkg --force-unsafe-io -i second.deb
check "starts nothing" is ActiveState inactive
check "and enables nothing" bash -c "! systemctl is-enabled $unit"
check "remove again" dpkg --force-unsafe-io -r rtmps-edge
check "purge" dpkg --force-unsafe-io -P rtmps-edge
check "nothing is left" bash -c '! ls -d /etc/rtmps-edge /var/lib/rtmps-edge /var/lib/private/rtmps-edge /usr/share/doc/rtmps-edge /etc/systemd/system/*.wants/rtmps-edge* 2>/dev/null'
echo "done"
