# make demo    see it work, on embedded defaults; needs Go only
# make test    the whole test suite; installs the Debian packages that it lacks
# make test-trixie  OBS 30, and with it TLS 1.3: installs a Debian 13 of 0.8 GB in the user's cache; root only
# make bench   CPU and memory beside nginx, HAProxy and stunnel, floods, and what limits cost, in one run
# make build   the program, ./rtmps-edge
# make man     its man pages, in dist/man
# make deb     the Debian package for this machine, in dist
# make image   the container image rtmps-edge, with docker, or podman: make image DOCKER=podman
# make test-image  builds the image with podman and publishes through it; installs podman, and a Debian in the user's cache; root only
# make release archives and packages for amd64 and arm64, with checksums and bills of materials, in dist

DOCKER = docker

.PHONY: build man docs deb image release demo test test-trixie test-image short lint deps bench

build:
	go build -trimpath -o rtmps-edge ./cmd/rtmps-edge

# From the same commands that explain themselves with -h.
man:
	@mkdir -p dist/man
	@go test -count=1 -run '^TestManPages$$' ./cmd/rtmps-edge -args -man '$(CURDIR)/dist/man'

# What docs/configuration.md has of edge.toml.
docs:
	@go test -count=1 -run '^TestConfigurationPage$$' ./cmd/rtmps-edge -args -docs

# The same commit and the same Go give the same bytes: packaging/build.sh.
deb:
	@packaging/build.sh deb dist

release:
	@packaging/build.sh all dist

image:
	$(DOCKER) build $(IMAGE_FLAGS) -f packaging/docker/Dockerfile --build-arg VERSION="$$(packaging/version.sh)" \
		--build-arg COMMIT="$$(git rev-parse --short=12 HEAD)" -t rtmps-edge .

demo:
	@go run ./cmd/rtmps-edge demo

# One core for the proxy, one for the load: needs a machine with nothing else to do.
bench: build
	@go run ./bench -edge ./rtmps-edge $(BENCH)

# The real programs that the tests run: ffmpeg, OBS, GStreamer, nginx-rtmp …
deps:
	@./e2e/deps.sh

test: deps
	go test -race -p 1 -timeout 15m ./... # one package at a time: the programs that e2e runs need the cores

# What the OBS of Debian 12 cannot show. Apart from the others for its size.
test-trixie: deps
	@./e2e/trixie.sh
	go test -race -tags trixie -count=1 -v -run TLS13 ./e2e

test-image:
	@packaging/docker/test.sh

# What needs nothing installed but Go.
short:
	go test -short $$(go list ./... | grep -v /e2e)

lint:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$unformatted" || { echo "gofmt would change:"; echo "$$unformatted"; exit 1; }
	go vet ./...
	go vet -tags trixie ./e2e
	go tool staticcheck ./...
