# make demo      the road, shown on real parts
# make test      every check and every test
# make bench     every figure of docs/performance.md, measured anew; FULL=1 takes its time
# make deb       the Debian package, in build/
# make system-test   a day of that package on booted Debian 12 and 13
# make cluster-test  several booted hosts with links that are cut, and a simulation of hundreds
# make install   to /usr/local, or to PREFIX=/usr; DESTDIR=… for a package

PREFIX = /usr/local
DESTDIR =
PYTHON = /usr/bin/python3
ROOM = -m lab.room --
CHECKED = journalrelay lab tests bench

library = $(PREFIX)/lib/journalrelay
manuals = $(wildcard man/*.[158])
units = $(wildcard units/*.service units/*.timer)
# Debian's zsh looks for what a package brings in another place than for what an operator does
zsh_functions = $(if $(filter /usr,$(PREFIX)),vendor-completions,site-functions)
# sendmail's configuration looks for features in this place only
features = /usr/share/sendmail/cf/feature

.PHONY: all setup demo test lint pytest bench deb system-test cluster-test install clean

all: test

setup:
	@tools/setup --dev

demo:
	@tools/setup
	@$(PYTHON) $(ROOM) $(PYTHON) -m lab.demo

test: lint pytest

lint: setup
	.venv/bin/ruff check $(CHECKED)
	.venv/bin/ruff format --check $(CHECKED)
	.venv/bin/mypy --strict $(CHECKED)

pytest: setup
	$(PYTHON) $(ROOM) .venv/bin/python -m pytest

bench:
	@tools/setup
	@tools/setup --bench
	@$(PYTHON) $(ROOM) $(PYTHON) -m bench --write $(if $(FULL),--full)

deb:
	@tools/deb

system-test:
	@tools/setup --system
	@$(PYTHON) -m lab.systemtest $(RELEASES)

cluster-test:
	@tools/setup
	@tools/setup --system
	@$(PYTHON) -m lab.clustertest
	@$(PYTHON) $(ROOM) $(PYTHON) -m lab.simulation

# $(call program,DIRECTORY,NAME,FUNCTION): a program that calls a function of journalrelay.programs
define program
install -d $(DESTDIR)$(1)
printf '%s\n' '#!$(PYTHON)' 'import sys' '' 'sys.path.insert(0, "$(library)")' \
  'from journalrelay.programs import $(3)' '' 'sys.exit($(3)())' >$(DESTDIR)$(1)/$(2)
chmod 755 $(DESTDIR)$(1)/$(2)
endef

install:
	find journalrelay -name '*.py' -exec install -D -m 644 '{}' '$(DESTDIR)$(library)/{}' ';'
	$(PYTHON) -m compileall -q -s '$(DESTDIR)' '$(DESTDIR)$(library)'
	$(call program,$(PREFIX)/bin,journalrelay,journalrelay)
	$(call program,$(PREFIX)/bin,poprelayd,poprelayd)
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/lib/systemd/system $(units)
	sed -i 's,/usr/bin/,$(PREFIX)/bin/,' \
	  $(addprefix $(DESTDIR)$(PREFIX)/lib/systemd/system/,$(notdir $(units)))
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/doc/poprelayd units/poprelayd-resolve.conf \
	  units/poprelayd-postfix.conf
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/doc/poprelayd/several-hosts \
	  $(wildcard units/several-hosts/*)
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/doc/poprelayd/examples/prometheus \
	  packaging/prometheus/poprelayd.rules.yml
	install -D -m 644 units/poprelayd.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/poprelayd.conf
	install -D -m 644 units/poprelayd.tmpfiles $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/poprelayd.conf
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/lib/systemd/catalog units/poprelayd.catalog
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/bash-completion/completions completion/bash/*
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/zsh/$(zsh_functions) completion/zsh/*
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d completion/fish/*
	install -D -m 644 -t $(DESTDIR)$(features) sendmail/feature/poprelay.m4
	for page in $(manuals); do \
	  install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man$${page##*.} $$page; done

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
