#!/usr/bin/env bash
# Builds the image with podman, which needs no service, and uses it as README.md
# beside this says: keys, check, a published stream, reload, health, end. Root only.
#
# Instead of the image that the Dockerfile begins with, which only a registry has,
# stands a Debian made here with this machine's Go in it. Modules come from this
# machine's module cache. All is kept in the user's cache: 1.2 GB.
set -euo pipefail

cache=${XDG_CACHE_HOME:-$HOME/.cache}/rtmps-edge/image
cd "$(dirname "$0")/../.."

docker() {
	local how=("$1")
	# As many files and processes as this machine allows, whatever podman would ask for.
	[ "$1" != run ] || how+=(--ulimit "nofile=$(ulimit -Hn):$(ulimit -Hn)" --ulimit nproc=4096:4096)
	podman --log-level fatal --root "$cache/store" --runroot "$cache/run" --storage-driver vfs --cgroup-manager cgroupfs --runtime crun "${how[@]}" "${@:2}"
}

install_tools() {
	local missing=() p
	for p in podman crun debootstrap jq ffmpeg nginx-light libnginx-mod-rtmp make; do
		dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null | grep -qx installed || missing+=("$p")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# base makes what stands for the image in the Dockerfile's first FROM.
base() {
	local name suite mirror
	name=$(sed -n 's/^FROM \(golang:\S*\) AS build$/\1/p' packaging/docker/Dockerfile)
	suite=${name##*-}
	if [ ! -e "$cache/$suite/etc/debian_version" ]; then
		mirror=${MIRROR:-$(apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' | sed -n 's/^Debian|Debian|//p' | head -n 1)}
		echo "Installing $suite from $mirror into $cache/$suite" >&2
		rm -rf --one-file-system "$cache/$suite.new"
		debootstrap --variant=minbase --include=ca-certificates "$suite" "$cache/$suite.new" "$mirror" >"$cache/debootstrap.log"
		mv "$cache/$suite.new" "$cache/$suite"
	fi
	rm -rf --one-file-system "$cache/store" "$cache/run" # images of the last time
	tar -c -C "$cache/$suite" . -C "$(go env GOROOT)/.." --transform "s|^$(basename "$(go env GOROOT)")|./usr/local/go|" "$(basename "$(go env GOROOT)")" |
		docker import -q --change "ENV PATH=/usr/local/go/bin:/usr/sbin:/usr/bin:/sbin:/bin" --change "ENV GOTOOLCHAIN=local" \
			--change "ENV GOPROXY=file:///modules" --change "ENV GOSUMDB=off" - "$name" >/dev/null
}

build() {
	go mod download
	mkdir -p "$cache/go-build"
	export -f docker
	export cache
	make -s image DOCKER=docker SHELL=/bin/bash IMAGE_FLAGS="--isolation chroot --pull=never --format docker -q --layers=false \
--volume $(go env GOMODCACHE)/cache/download:/modules:ro --volume $cache/go-build:/root/.cache/go-build" >/dev/null
}

failed=0
# check NAME COMMAND…
check() {
	if "${@:2}" >"$work/last" 2>&1; then
		echo "ok $1"
	else
		echo "FAIL $1"
		tail -n 20 "$work/last" | sed 's/^/    /'
		failed=1
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

says() { # TEXT COMMAND…
	local said
	said=$("${@:2}" 2>&1) || true
	echo "$said"
	grep -q -- "$1" <<<"$said"
}
is() { # TEXT COMMAND…
	local said
	said=$("${@:2}" 2>&1)
	echo "it is $said"
	[ "$said" = "$1" ]
}
config() { docker image inspect rtmps-edge | jq -c ".[0].Config.$1"; }
edge() { docker run --rm --read-only --cap-drop ALL --security-opt no-new-privileges "$@"; }
start() {
	docker run -d --name edge --read-only --cap-drop ALL --security-opt no-new-privileges --stop-timeout 40 \
		-p 443:1936 -v "$srv:/etc/rtmps-edge:ro" -v edge-state:/var/lib/rtmps-edge rtmps-edge
}
of_edge() { grep "^$1:" "/proc/$(docker inspect -f '{{.State.Pid}}' edge)/status" | cut -f 2-; }

contents() {
	local at
	at=$(docker image mount rtmps-edge)
	check "nothing else is in it" is "LICENSE NOTICES ca-certificates.crt rtmps-edge sbom.cdx.json" \
		bash -c "cd $at && find . -type f -printf '%f\n' | LC_ALL=C sort | paste -sd ' '"
	check "it is below 40 MB" test "$(du -sm "$at" | cut -f 1)" -lt 40
	check "the program needs no library" says "statically linked\|not a dynamic executable" ldd "$at/usr/bin/rtmps-edge"
	check "the program belongs to root" is "0:0 755" stat -c '%u:%g %a' "$at/usr/bin/rtmps-edge"
	check "certificates are for the edge alone" is "65532:65532 700" stat -c '%u:%g %a' "$at/var/lib/rtmps-edge"
	check "what is above them belongs to root" is "0:0 755" stat -c '%u:%g %a' "$at/var/lib"
	check "authorities are in it" says "BEGIN CERTIFICATE" head -c 100 "$at/etc/ssl/certs/ca-certificates.crt"
	check "the bill is of this program" says "$(sha256sum <"$at/usr/bin/rtmps-edge" | cut -d ' ' -f 1)" cat "$at/usr/share/doc/rtmps-edge/sbom.cdx.json"
	docker image unmount rtmps-edge >/dev/null
	check "it runs as nobody" is '"65532:65532"' config User
	check "it ends by SIGTERM" is '"SIGTERM"' config StopSignal
	check "its state is a volume" is '{"/var/lib/rtmps-edge":{}}' config Volumes
	check "its port is told" is '{"1936/tcp":{}}' config ExposedPorts
	check "it has no shell" says "executable file.*not found" docker run --rm --entrypoint sh rtmps-edge -c true
	check "it knows its version and commit" says "rtmps-edge $(packaging/version.sh), commit $(git rev-parse --short=12 HEAD)" edge rtmps-edge version
}

# use follows README.md.
use() {
	srv=$work/srv
	install -d -o 65532 -g 65532 "$srv"
	cp packaging/docker/edge.toml "$srv/"
	key=$(docker run --rm -v "$srv:/etc/rtmps-edge" rtmps-edge key add alice --app live 2>/dev/null)
	check "a key is for the edge alone" is "65532:65532 600" stat -c '%u:%g %a' "$srv/keys.toml"
	check "it starts" start
	check "and listens" soon says "msg=listening" docker logs edge
	gateway=$(docker inspect -f '{{.NetworkSettings.Gateway}}' edge)
	sed "s|127.0.0.1|$gateway|" e2e/testdata/package/nginx.conf | sed "s|/out/|$work/|; s|/run/|$work/|" >"$work/nginx.conf"
	nginx -c "$work/nginx.conf" &
	nginx=$!
	check "is healthy without an origin" docker healthcheck run edge
	check "and says so" soon says "^not ready: no origin healthy" docker exec edge rtmps-edge status --alive
	sed -i "s|^servers .*|servers = [\"$gateway:1935\"]|" "$srv/edge.toml"
	check "a changed file is seen through the volume" soon says "msg=reloaded" docker logs edge
	check "it is ready" soon says "^ready" docker exec edge rtmps-edge status
	check "check finds nothing" edge -v "$srv:/etc/rtmps-edge:ro" -v edge-state:/var/lib/rtmps-edge rtmps-edge check
	check "runs without any capability" is "0000000000000000" of_edge CapEff
	check "can get none" is "1" of_edge NoNewPrivs
	check "as nobody" says "65532.*65532" of_edge Uid

	docker cp edge:/var/lib/rtmps-edge/tls/ca.pem "$work/ca.pem"
	ffmpeg -nostdin -v error -re -f lavfi -i testsrc2=s=64x64:r=5 -t 120 -c:v libx264 -preset ultrafast -g 5 -f flv "rtmps://localhost:443/live/$key" >"$work/ffmpeg.log" 2>&1 &
	check "a stream runs" soon says "good.*live/alice" docker exec edge rtmps-edge sessions
	docker kill -s HUP edge >/dev/null
	check "SIGHUP reloads" soon is 2 bash -c "$(declare -f docker); cache=$cache; docker logs edge 2>&1 | grep -c msg=reloaded"
	check "the stream goes on" says "alice" docker exec edge rtmps-edge sessions
	check "stop" docker stop edge
	check "waits for streams" says "streams were ended that still ran" docker logs edge
	check "and ends well" is 0 docker inspect -f '{{.State.ExitCode}}' edge
	wait $! || true
	docker rm edge >/dev/null

	check "another one starts" start
	check "and listens again" soon says "msg=listening" docker logs edge
	docker cp edge:/var/lib/rtmps-edge/tls/ca.pem "$work/ca2.pem"
	check "with the same certificates" cmp "$work/ca.pem" "$work/ca2.pem"
	check "probe gets in" docker run --rm --network host -v "$work:/work:ro" rtmps-edge probe --ca /work/ca.pem "rtmps://localhost/live/$key"
	docker rm -f edge >/dev/null
	kill $nginx
}

forget() {
	docker rm -f edge >/dev/null 2>&1 || true
	docker volume rm -f edge-state >/dev/null 2>&1 || true
	[ -z "${nginx:-}" ] || kill "$nginx" 2>/dev/null || true
	rm -rf --one-file-system "$work"
}

if [ "${1:-}" != inside ]; then
	[ "$(id -u)" -eq 0 ] || { echo "packaging/docker/test.sh: only root can" >&2; exit 1; }
	mkdir -p "$cache"
	exec 9>"$cache/lock"
	flock 9 # one at a time
	install_tools
	base
	build
	# Mounts and a network of its own: nothing of this machine is changed.
	exec unshare --mount --net --propagation private "$0" inside
fi
ip link set lo up
if [ "$(stat -f -c %T /sys/fs/cgroup)" != cgroup2fs ]; then # crun knows no other
	umount -R /sys/fs/cgroup
	mount -t cgroup2 none /sys/fs/cgroup
fi
work=$(mktemp -d)
chmod 755 "$work"
printf '[containers]\ncgroups = "disabled"\n[engine]\nevents_logger = "file"\n' >"$work/containers.conf"
export CONTAINERS_CONF=$work/containers.conf
trap forget EXIT
docker rm -f edge >/dev/null 2>&1 || true
docker volume rm -f edge-state >/dev/null 2>&1 || true
contents
use
[ $failed = 0 ] && echo "the image is well"
exit $failed
