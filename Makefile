# tarebench: two commands set everything up, `make run` and `make test`.
#
# A fresh Debian machine with git, make and python3 is enough. setup/ installs what is
# missing (it lists it and asks first; YES=1 does not ask) and keeps .venv up to date.

PYTHON   ?= python3
SCENARIO ?= quick
RUN_ARGS ?=
SCENARIOS ?= quick phases docker cold parallel service ladder density memory io cpu isolation \
    cow registry interference lifecycle system claims
PYTEST_ARGS ?=
SOAK_MINUTES ?= 120
LAB_MINUTES  ?= 60
TEST_MINUTES ?= 80
VENV      = .venv/bin
BOOTSTRAP = $(PYTHON) setup/bootstrap.py
# Done once; without an image, what needs none goes on.
IMAGE     = trap : INT; $(VENV)/tarebench image build || { status=$$?; \
	    [ $$status -ne 130 ] || exit 130; \
	    echo 'tarebench: the image was not built; going on' >&2; }
export YES

.DEFAULT_GOAL := help
.PHONY: help run reference lessons setup test test-all soak test-lab setup-test lint clean-env

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo '  YES=1          do not ask before installing Debian packages'
	@echo '  SCENARIO=$(SCENARIO) RUN_ARGS="--repeat 20 --runtime runc"    for make run'
	@echo '  PYTEST_ARGS="-k channel"                                 for make test'

run: setup ## Set up, build the image once, run SCENARIO, print where the report is
	@$(IMAGE)
	@trap : INT; $(VENV)/tarebench run $(SCENARIO) $(RUN_ARGS); status=$$?; \
	    $(BOOTSTRAP) --give-back; exit $$status

setup: ## Install what is missing; nothing is done twice
	@$(BOOTSTRAP)

test: setup-test ## Set up, then lint, unit, contract and integration tests
	@$(IMAGE)
	@$(VENV)/python -m pytest -m 'not slow and not benchmark' $(PYTEST_ARGS)

test-all: setup-test ## Also slow tests and benchmarks, for 80 minutes; again goes on with the rest
	@$(IMAGE)
	@$(VENV)/python -m pip install -q --progress-bar off -c constraints.txt atheris \
	    || echo 'test-all: atheris was not installed: fuzzing led by coverage is skipped'
	@echo 'test-all: unit, golden, contract, integration, slow tests and benchmarks'
	@TEST_MINUTES=$(TEST_MINUTES) $(VENV)/python -m pytest $(PYTEST_ARGS)

test-lab: setup-test ## KVM, Xen and systemd in emulated machines, an hour at most; PROFILE=kvm
	@$(IMAGE)
	@LAB_MINUTES=$(LAB_MINUTES) $(VENV)/python -m tests.laboratory $(PROFILE) -- $(PYTEST_ARGS)

soak: setup-test ## Two hours and 5,000 trials, watched: nothing may grow, nothing may be left
	@$(IMAGE)
	@$(VENV)/python -m tests.soak --minutes $(SOAK_MINUTES)

reference: setup ## Run every scenario, and keep small copies for results/reference
	@$(IMAGE)
	@trap : INT; for scenario in $(SCENARIOS); do \
	    run=$$($(VENV)/tarebench run $$scenario $(RUN_ARGS)); status=$$?; \
	    [ $$status -le 1 ] || { [ $$status -eq 3 ] && continue; exit $$status; }; \
	    $(VENV)/tarebench export "$$run" --to reference || exit $$?; \
	done; $(BOOTSTRAP) --give-back

lessons: setup-test ## Run the lessons' texts on the reference runs, and write their notebooks
	@$(VENV)/python notebooks/build.py

setup-test:
	@$(BOOTSTRAP) --for-tests

lint: setup-test ## Only the house rules: ruff, mypy, import directions, sizes
	@$(VENV)/python -m pytest tests/unit/test_house.py $(PYTEST_ARGS)

clean-env: ## Remove .venv (the image cache: tarebench image prune)
	rm -rf .venv
