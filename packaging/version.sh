#!/bin/sh
# Prints the version of what is checked out: that of its tag (v1.2.3), or else one
# that sorts before every release, with the commit's day and number.
set -eu
cd "$(dirname "$0")/.."
if tag=$(git describe --tags --exact-match --match 'v[0-9]*' 2>/dev/null); then
	version=${tag#v}
else
	version=0.0.0-git$(TZ=UTC git log -1 --date=format-local:%Y%m%d%H%M --format=%cd.%h --abbrev=12)
fi
if [ -n "$(git status --porcelain --untracked-files=no)" ]; then
	version=$version+changes
fi
echo "$version"
