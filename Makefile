# Everything a developer runs. On a fresh Debian 12, as root, each of these works at once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
INSTALL := tests/install_debian.sh

# Program=package, of all that the tests start.
SERVERS := nginx=nginx-light varnishd=varnish curl=curl memcached=memcached php=php-cli \
	php-memcached=php-memcached php-fpm8.2=php-fpm php-apcu=php-apcu redis-server=redis-server \
	sshd=openssh-server ssh=openssh-client varnish-modules=varnish-modules \
	ip=iproute2 unshare=util-linux nsenter=util-linux haproxy=haproxy chromium=chromium \
	systemd-analyze=systemd crontab=cron rsync=rsync git=git \
	cap=capistrano fab=fabric ansible-playbook=ansible-core phing=phing

.DEFAULT_GOAL := help
.PHONY: help demo test lint format bench clean

help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/installed ## See cachekit warm a small site on this machine
	@$(BIN)/cachekit demo

test: $(VENV)/installed-dev ## Run all tests; ARGS="-k demo" chooses
	@$(INSTALL) $(SERVERS)
	$(BIN)/python -m pytest -n 2 $(ARGS)

lint: $(VENV)/installed-dev ## Check format, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/installed-dev ## Bring the code into its format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/installed-dev ## Measure against the usual tools and loops; ARGS="throughput" chooses
	@$(INSTALL) $(SERVERS) wrk=wrk hey=hey siege=siege
	$(BIN)/python -m tests.benchmarks $(ARGS)

clean: ## Remove all that was made here
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* htmlcov build dist
	find cachekit tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Debian's python3 has no ensurepip, without which `venv` fails half way, until python3-venv is there.
$(BIN)/python:
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(INSTALL) ensurepip=python3-venv
	$(PYTHON) -m venv --clear $(VENV)

$(VENV)/installed: pyproject.toml $(BIN)/python
	$(PIP) install --editable .
	@touch $@

# Dependency groups take pip 25.1.
$(VENV)/installed-dev: $(VENV)/installed
	$(PIP) install --upgrade 'pip>=25.1'
	$(PIP) install --editable . --group dev
	@touch $@
