# make book    environment, EF and EFP fits live on real data, the HTML book      (the first command)
# make test    everything that CI checks                                          (the second)
# make quick   style, types and the tests that are not slow, within a minute
# make serve   open the book; make lab opens JupyterLab on the chapters
# make editions  notebooks for readers, students, instructors and otter-grader, in _build/editions
#
# PYTHON=python3.13 chooses the interpreter (3.11 or newer), PIP_ARGS adds pip options. On Linux, PyPI's torch
# comes with several GB of CUDA libraries; PyTorch's own index has builds without them:
#   make book PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"

PYTHON ?= python3
PIP_ARGS ?=
VENV ?= .venv
PORT ?= 8000
BIN := $(VENV)/bin
export PATH := $(abspath $(BIN)):$(PATH)

book: $(VENV)/installed
	@echo "== training EF and EFP potentials on first-principles sodium (chapter 0, profile smoke)"
	python -m mlipbook run --profile smoke --live ch00_teaser
	@echo "== building the book from the stored notebooks"
	jupyter-book build . -W -n --keep-going -q
	@echo "Open $(abspath _build/html/index.html) in a browser, or: make serve"

html: $(VENV)/installed
	jupyter-book build . -W -n --keep-going -q

serve: $(VENV)/installed
	python -m webbrowser "http://127.0.0.1:$(PORT)/book/index.html" || true
	python -m http.server --bind 127.0.0.1 --directory _build/html $(PORT)

lab: $(VENV)/installed
	jupyter lab --notebook-dir book

editions: $(VENV)/installed
	python -m mlipbook edition reader _build/editions/book
	python -m mlipbook edition student _build/editions/student
	python -m mlipbook edition instructor _build/editions/instructor
	python -m mlipbook edition otter _build/editions/otter

test: $(VENV)/installed
	python scripts/test.py

quick: $(VENV)/installed
	python scripts/test.py size style format types fast

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "mlipbook needs Python 3.11 or newer; choose one with: make PYTHON=python3.13 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP_ARGS) -c constraints.txt -e ".[test]"
	touch $@

clean:
	rm -rf _build

.PHONY: book html serve lab editions test quick clean
