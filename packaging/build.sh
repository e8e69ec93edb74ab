#!/usr/bin/env bash
# Builds what a release is made of, and nothing that depends on where, when or by
# whom it is built: the same commit and the same Go give the same bytes.
#
#   packaging/build.sh all|deb [DIRECTORY]     "deb" is the package for this machine alone
#
# VERSION, SOURCE_DATE_EPOCH, ARCHES ("amd64 arm64") and MAINTAINER may be set.
set -euo pipefail
umask 022
export LC_ALL=C TZ=UTC
export GOFLAGS=-trimpath # and none of the user's own, which would be built in
unset GOEXPERIMENT GODEBUG
what=$1 out=${2:-dist}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$(dirname "$0")/.."

version=${VERSION:-$(packaging/version.sh)}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
# Given to the compiler here: the toolchain itself sees none in a linked worktree.
commit=$(git rev-parse --short=12 HEAD)
case $version in *+changes) commit=$commit+changes ;; esac
maintainer=${MAINTAINER:-The rtmps-edge authors <maintainers@rtmps-edge.invalid>}
here=$(go env GOHOSTARCH)
arches=${ARCHES:-amd64 arm64}
[ "$what" = all ] || arches=$here
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

# program ARCH FILE
program() {
	CGO_ENABLED=0 GOOS=linux GOARCH=$1 GOAMD64=v1 GOARM64=v8.0 go build -trimpath -buildvcs=false \
		-ldflags "-s -w -X main.version=$version -X main.revision=$commit" -o "$2" ./cmd/rtmps-edge
}

# put FILE DESTINATION: a file that everybody reads
put() { install -D -m 0644 "$1" "$2"; }

# Man pages, completion and documents are the same on every machine.
common() {
	mkdir -p "$stage/man" "$stage/completion"
	go test -trimpath -count=1 -run '^TestManPages$' ./cmd/rtmps-edge -args -man "$stage/man" >/dev/null
	program "$here" "$stage/rtmps-edge"
	for shell in bash zsh fish; do
		"$stage/rtmps-edge" completion $shell >"$stage/completion/$shell"
	done
}

# documents DIRECTORY: all that people read, in the same places, for the links in it
documents() {
	local f
	for f in README.md CHANGELOG.md LICENSE edge.toml $(git ls-files docs examples packaging/docker/README.md packaging/docker/edge.toml packaging/systemd/rtmps-edge.service); do put "$f" "$1/$f"; done
	for f in $(git ls-files packaging/systemd) packaging/debian/edge.toml; do put "$f" "$1/examples/systemd/${f##*/}"; done
}

# bill ARCH: what is in the program of that machine
bill() {
	go run -trimpath ./packaging/sbom -version "$version" -notices "$stage/$1.notices" "$stage/$1/rtmps-edge" >"$stage/$1.cdx.json"
}

# still DIRECTORY: every time in it is that of the commit
still() { find "$1" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +; }

# archive ARCH
archive() {
	local name=rtmps-edge-$version-linux-$1 dir
	dir=$stage/tar/$name
	install -D -m 0755 "$stage/$1/rtmps-edge" "$dir/rtmps-edge"
	put "$stage/$1.notices" "$dir/NOTICES"
	documents "$dir"
	for f in "$stage"/man/*; do put "$f" "$dir/man/${f##*/}"; done
	for f in "$stage"/completion/*; do put "$f" "$dir/completion/${f##*/}"; done
	put packaging/systemd/rtmps-edge.service "$dir/rtmps-edge.service"
	still "$dir"
	tar -C "$stage/tar" --sort=name --owner=0 --group=0 --numeric-owner --format=gnu -cf - "$name" | gzip -9n >"$out/$name.tar.gz"
	put "$stage/$1.cdx.json" "$out/$name.cdx.json"
}

# zipped FILE DESTINATION: as Debian wants man pages and the like
zipped() {
	mkdir -p "$(dirname "$2")"
	gzip -9nc "$1" >"$2"
	chmod 0644 "$2"
}

# deb ARCH. Before a release, a version is older for Debian with "~" in it.
deb() {
	local root=$stage/deb/$1 debian=${version//-/\~} doc f
	doc=$root/usr/share/doc/rtmps-edge
	install -D -m 0755 "$stage/$1/rtmps-edge" "$root/usr/bin/rtmps-edge"
	put packaging/systemd/rtmps-edge.service "$root/usr/lib/systemd/system/rtmps-edge.service"
	put packaging/debian/edge.toml "$root/etc/rtmps-edge/edge.toml"
	put "$stage/completion/bash" "$root/usr/share/bash-completion/completions/rtmps-edge"
	put "$stage/completion/zsh" "$root/usr/share/zsh/vendor-completions/_rtmps-edge"
	put "$stage/completion/fish" "$root/usr/share/fish/vendor_completions.d/rtmps-edge.fish"
	put packaging/debian/lintian-overrides "$root/usr/share/lintian/overrides/rtmps-edge"
	for f in "$stage"/man/*; do zipped "$f" "$root/usr/share/man/man1/${f##*/}.gz"; done
	documents "$doc"
	{ cat packaging/debian/copyright.in; sed '1,/^Copyright/d; s/^$/./; s/^/ /; 1d' LICENSE; } >"$stage/copyright"
	put "$stage/copyright" "$doc/copyright"
	put "$stage/$1.cdx.json" "$doc/sbom.cdx.json"
	zipped "$stage/$1.notices" "$doc/NOTICES.gz"
	printf 'rtmps-edge (%s) stable; urgency=medium\n\n  * See CHANGELOG.md.\n\n -- %s  %s\n' \
		"$debian" "$maintainer" "$(date -R -d "@$SOURCE_DATE_EPOCH")" >"$stage/changelog"
	zipped "$stage/changelog" "$doc/changelog.gz"
	control "$1" "$root" "$debian"
	still "$root"
	dpkg-deb --root-owner-group -Zxz --threads-max=1 --build "$root" "$out/rtmps-edge_${debian}_$1.deb" >/dev/null
}

# control ARCH ROOT VERSION
control() {
	local size
	size=$(find "$2" -type f -printf '%s\n' | awk '{ n += int(($1 + 1023) / 1024) } END { print n }')
	mkdir -p "$2/DEBIAN"
	(cd "$2" && find etc usr -type f | sort | xargs md5sum >DEBIAN/md5sums)
	sed -e "s|@VERSION@|$3|; s|@ARCH@|$1|; s|@SIZE@|$size|; s|@MAINTAINER@|$maintainer|" packaging/debian/control.in >"$2/DEBIAN/control"
	put packaging/debian/conffiles "$2/DEBIAN/conffiles"
	install -m 0755 packaging/debian/postinst packaging/debian/prerm packaging/debian/postrm "$2/DEBIAN/"
}

common
for arch in $arches; do
	mkdir -p "$stage/$arch"
	if [ "$arch" = "$here" ]; then
		cp "$stage/rtmps-edge" "$stage/$arch/rtmps-edge"
	else
		program "$arch" "$stage/$arch/rtmps-edge"
	fi
	bill "$arch"
	deb "$arch"
	[ "$what" = deb ] || archive "$arch"
done
cd "$out"
if [ "$what" = all ]; then
	sha256sum rtmps-edge*"$version"*.tar.gz rtmps-edge*"$version"*.cdx.json rtmps-edge_"${version//-/\~}"_*.deb >SHA256SUMS
	echo "in $out:" && cat SHA256SUMS
else
	ls "$out/rtmps-edge_${version//-/\~}_$here.deb"
fi
