# Every target is one line into `python -m lab` or one tool; `make` alone lists them.
# CI calls `python -m lab` itself, since make turns every failure into exit status 2.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
LAB := $(VENV)/bin/python -m lab
CODE := lab faults experiments tests
OPTIONS = $(foreach option,PROFILE SEED TENANTS MODE SYSTEM DEFECT,$(if $($(option)),--$(shell \
	echo $(option) | tr A-Z a-z) $($(option)))) $(if $(JSON),--json)

.PHONY: help setup check test test-docker bench drills experiment experiments chaos images up down \
	ps logs judge heal doctor lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.stamp ## Make .venv from the locked requirements (a second time costs nothing)

$(VENV)/.stamp: requirements/dev.txt bin/setup
	@PYTHON=$(PYTHON) bin/setup $(VENV) requirements/dev.txt

check: setup ## Lint, format and types
	$(VENV)/bin/ruff check $(CODE) compose benchmarks
	$(VENV)/bin/ruff format --check $(CODE) compose benchmarks
	$(VENV)/bin/basedpyright

test: check images ## Everything: check, and the tests of all three rings (engine and images first)
	$(VENV)/bin/python -m pytest

test-docker: images ## Only the tests that need the engine
	$(VENV)/bin/python -m pytest -m docker

bench: images ## Measure the lab itself: start, overhead, accuracy of its faults
	$(VENV)/bin/python -m benchmarks

drills: images ## Kill, freeze and hinder the lab: nothing may be left [DRILLS= SEED= SYSTEM=]
	$(VENV)/bin/python -m benchmarks.drills $(if $(DRILLS),--points $(DRILLS)) \
		$(if $(SEED),--seed $(SEED)) $(if $(SYSTEM),--system $(SYSTEM))

experiment: setup ## Run one: NAME= [PROFILE= SEED= TENANTS= MODE= SYSTEM= DEFECT= JSON=1]
	@test -n "$(NAME)" || { echo 'say NAME=...; `make experiments` lists them' >&2; exit 2; }
	$(LAB) run $(NAME) $(OPTIONS)

experiments: setup ## List the experiments
	$(LAB) experiments $(if $(JSON),--json)

chaos: setup ## The CI stage: every experiment that applies [PROFILE= SEED= MODE= SYSTEM= JSON=1]
	$(LAB) chaos $(OPTIONS)

images: setup ## Make sure of the engine and of every image [SYSTEM=]
	$(LAB) images $(if $(SYSTEM),--system $(SYSTEM))

up: setup ## Stand a system up and leave it up [SYSTEM= MODE= DEFECT=]
	$(LAB) up $(OPTIONS)

down: setup ## Take down what `make up` left up [RUN= ALL=1]
	$(LAB) down $(RUN) $(if $(ALL),--all)

ps: setup ## Show every container of the lab
	$(LAB) ps

logs: setup ## Show the logs of a stack that is up [SERVICE= RUN=]
	$(LAB) logs $(SERVICE) $(if $(RUN),--run $(RUN))

judge: setup ## Judge a recorded run again, without a container: RUN= [JSON=1]
	@test -n "$(RUN)" || { echo 'say RUN=...; `lab runs` lists them' >&2; exit 2; }
	$(LAB) judge $(RUN) $(if $(JSON),--json)

heal: setup ## Undo what a killed lab left, its faults and its stacks [RUN=]
	$(LAB) heal $(RUN)

doctor: setup ## Check engine, machine and images, and say how to mend what is wrong
	$(LAB) doctor

lock: ## Lock the requirements anew, with hashes
	bin/lock

clean: ## Remove caches and build folders (runs/ and images stay)
	rm -rf $(VENV) .build .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
