.PHONY: build test lint

build:
	go build -o rtmps-edge ./cmd/rtmps-edge

lint:
	@test -z "$$(gofmt -l .)" || { gofmt -l .; exit 1; }
	go vet ./...

test:
	go test -race -parallel 8 -timeout 15m ./...
