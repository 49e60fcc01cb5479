"""House rules of layout: short files, short functions, modules that import alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"
FILES = sorted(
    path for room in ("src", "tests", "bench", "tools") for path in (ROOT / room).rglob("*.py")
)

MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 70

# Forks for every module, so that each finds an interpreter into which none of kraal was
# imported before, and the interpreter itself starts only once. What others wrote is imported
# before: it takes most of the time.
IMPORT_EACH_ALONE = """
import importlib, os, sys, traceback
failed = False
for name in (
    "asyncio", "click", "concurrent.futures", "cramjam", "ctypes", "dataclasses", "difflib",
    "email.message", "html", "http.client", "ipaddress", "json", "kazoo.client",
    "logging.handlers", "multiprocessing", "prometheus_client", "prompt_toolkit", "pytest",
    "random", "rich.live", "rich.table", "ssl", "starlette.applications", "starlette.responses",
    "statistics", "structlog", "tempfile", "urllib.request", "uuid", "uvicorn", "uvloop",
):
    importlib.import_module(name)
for name in sys.argv[1:]:
    child = os.fork()
    if not child:
        try:
            importlib.import_module(name)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status:
        print("cannot be imported alone:", name, file=sys.stderr)
        failed = True
sys.exit(failed)
"""


def test_files_are_short() -> None:
    too_long = {
        str(path.relative_to(ROOT)): lines
        for path in FILES
        if (lines := len(path.read_bytes().splitlines())) >= MAX_FILE_LINES
    }
    assert too_long == {}


def test_functions_are_short() -> None:
    too_long = {
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}": lines
        for path in FILES
        for node in ast.walk(ast.parse(path.read_bytes(), str(path)))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and (lines := node.end_lineno - node.lineno + 1) >= MAX_FUNCTION_LINES
    }
    assert too_long == {}


@pytest.mark.timeout(360)  # a process for each, on a machine that may be busy
def test_every_module_imports_alone_and_without_warnings() -> None:
    modules = [
        ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
        for path in FILES
        if SOURCE in path.parents
    ]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT_EACH_ALONE, *modules],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
