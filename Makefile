# isomount: see README.md. The two commands for everyone are "make demo" and
# "make test"; "make help" lists the rest.

PREFIX  ?= /usr/local
DESTDIR ?=
GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)
BIN     := bin
# where each shell looks for completions, below share/
COMPLETIONS := bash-completion/completions/isomount:bash zsh/site-functions/_isomount:zsh \
  fish/vendor_completions.d/isomount.fish:fish

.PHONY: help demo build test lint torture bench fuzz man install uninstall clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: ## install what is missing, build, mount a disc (IMAGE=file.iso, or one made here), show it, unmount
	@test/demo $(IMAGE)

build: ## build both programs into bin/
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/...

test: ## install what is missing and run every test, real mounts included
	@test/run

lint: ## run the linters
	@test/lint

torture: ## kill, fill and cycle for a long time (about half an hour)
	$(GO) test -timeout 2h -count=1 -v -run 'TestKill|TestThousand|TestCycles' ./test -kills 10000 -drives 1000 -cycles 10000

bench: build ## compare with other user-space mounts, side by side
	@test/bench/run

fuzz: ## fuzz every parser, FUZZTIME each (default 1m)
	@test/fuzz $(or $(FUZZTIME),1m)

man: ## check and show the man pages
	@test/man

install: build ## install below PREFIX (default /usr/local)
	install -Dm755 -t $(DESTDIR)$(PREFIX)/bin $(BIN)/isomount $(BIN)/isomountd
	install -Dm644 -t $(DESTDIR)$(PREFIX)/share/man/man1 docs/man/isomount.1
	install -Dm644 -t $(DESTDIR)$(PREFIX)/share/man/man8 docs/man/isomountd.8
	for s in $(COMPLETIONS); do \
	  install -d $(DESTDIR)$(PREFIX)/share/$${s%/*} && \
	  $(BIN)/isomount completion $${s##*:} >$(DESTDIR)$(PREFIX)/share/$${s%:*}; \
	done
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system $(DESTDIR)$(PREFIX)/lib/systemd/user $(DESTDIR)/usr/sbin
	ln -sf $(PREFIX)/bin/isomount $(DESTDIR)/usr/sbin/mount.isomount
	ln -sf $(PREFIX)/bin/isomount $(DESTDIR)/usr/sbin/mount.fuse.isomount
	for u in isomountd.service isomountd.socket isomount-restore.service; do \
	  sed 's|/usr/bin/|$(PREFIX)/bin/|g' systemd/system/$$u >$(DESTDIR)$(PREFIX)/lib/systemd/system/$$u; \
	  sed 's|/usr/bin/|$(PREFIX)/bin/|g' systemd/user/$$u >$(DESTDIR)$(PREFIX)/lib/systemd/user/$$u; \
	done

uninstall: ## remove what install put there
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/bin/,isomount isomountd)
	rm -f $(DESTDIR)$(PREFIX)/share/man/man1/isomount.1 $(DESTDIR)$(PREFIX)/share/man/man8/isomountd.8
	for s in $(COMPLETIONS); do rm -f $(DESTDIR)$(PREFIX)/share/$${s%:*}; done
	rm -f $(foreach d,system user,$(addprefix $(DESTDIR)$(PREFIX)/lib/systemd/$(d)/,isomountd.service isomountd.socket isomount-restore.service))
	rm -f $(addprefix $(DESTDIR)/usr/sbin/,mount.isomount mount.fuse.isomount)

clean: ## remove what was built
	rm -rf $(BIN)
