"""What a machine can check of the house: who imports what, and how long things are."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("cluster", "controller", "broker", "client", "node")

#: Imports go down only; packages of one level never import each other.
MAY_IMPORT = {
    "cluster": {"cluster"},
    "controller": {"cluster", "controller"},
    "broker": {"cluster", "broker"},
    "client": {"cluster", "client"},
    "node": {"cluster", "controller", "broker", "client", "node"},
}

#: Modules through which time, chance, processes, files and sockets come; everything else sees them as seams.
ADAPTERS = ("cluster/host/", "cluster/net/", "client/", "node/")
OUTSIDE = {
    "ctypes", "datetime", "fcntl", "grpc", "io", "multiprocessing", "os", "pathlib", "platform", "random", "secrets",
    "select", "shutil", "signal", "socket", "ssl", "subprocess", "tempfile", "threading", "time", "uuid", "uvloop",
}  # fmt: skip

#: Modules that run effects: they await and log. All others are pure: values, state machines, logs over a seam.
SHELL = (
    "broker/api/",
    "broker/connection.py",
    "broker/controller_link.py",
    "broker/listener.py",
    "broker/log_keeper.py",
    "broker/replication/flusher.py",
    "broker/replication/follower_streams.py",
    "broker/replication/group_commit.py",
    "broker/replication/isr_keeper.py",
    "broker/replication/leader_streams.py",
    "broker/replication/manager.py",
    "broker/server.py",
    "controller/metadata_log.py",
    "controller/proposals.py",
    "controller/raft/quorum.py",
    "controller/raft/transport.py",
    "controller/rebalancer.py",
    "controller/server.py",
    "controller/service.py",
    "controller/sessions.py",
)
EFFECTS = {"asyncio", "logging"}

#: How bytes are read as code, or code from bytes.
NEVER = {"dill", "marshal", "pickle", "shelve"}

MODULE_LINES_MAX = 700
FUNCTION_LINES_MAX = 70


def modules() -> list[Path]:
    return [
        path
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if not path.name.endswith("_pb2.py")
    ]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def imports_of(path: Path) -> Iterator[str]:
    """The top-level names that a module imports, also inside functions and for type checkers only."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}:{node.lineno} imports by a relative path"
            yield (node.module or "").split(".")[0]


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_go_down_only(path: Path) -> None:
    package = name_of(path).split("/")[0]
    ours = {name for name in imports_of(path) if name in PACKAGES}
    assert ours <= MAY_IMPORT[package]


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_the_world_outside_is_reached_through_seams_only(path: Path) -> None:
    if not name_of(path).startswith(ADAPTERS):
        assert not set(imports_of(path)) & OUTSIDE


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_what_is_pure_neither_awaits_nor_logs(path: Path) -> None:
    if not name_of(path).startswith((*ADAPTERS, *SHELL)):
        assert not set(imports_of(path)) & EFFECTS
        assert not any(
            isinstance(node, ast.AsyncFunctionDef) for node in ast.walk(tree_of(path)) if not in_protocol(path)
        )


def in_protocol(path: Path) -> bool:
    return name_of(path) == "cluster/seams.py"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_no_bytes_become_code(path: Path) -> None:
    assert not set(imports_of(path)) & NEVER


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_modules_and_functions_are_short_and_say_what_they_are(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= MODULE_LINES_MAX
    if text.strip():
        assert ast.get_docstring(tree_of(path)), "a module begins with what it is"
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= FUNCTION_LINES_MAX, f"{node.name} has {length} lines"


def test_every_shell_module_exists() -> None:
    """A stale exception to a rule is a hole in it."""
    for name in SHELL:
        assert (ROOT / name).exists(), name


def test_no_test_folder_shadows_a_package() -> None:
    names = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()}
    assert not names & set(PACKAGES)
