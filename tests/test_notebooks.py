"""Every notebook runs, and says now what it was saved saying.

All text of a cell tagged ``checked`` must come out as it was saved. Cells without the tag show
what rounding or the machine may change (a last digit, a picture); they have to run, and to show as
many pictures. After a wanted change, ``jupyter execute --inplace notebooks/NAME.ipynb`` saves the
new outputs.
"""

from __future__ import annotations

import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import rankbound as rb

nbformat = pytest.importorskip("nbformat", reason="notebooks run with the extra rankbound[dev]")
pytest.importorskip("nbclient", reason="notebooks run with the extra rankbound[dev]")
pytest.importorskip("ipykernel", reason="notebooks run with the extra rankbound[dev]")

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "notebooks").glob("*.ipynb"))


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_was_saved_whole(path: Path) -> None:
    """Run from top to bottom in a fresh kernel, without errors; some cell is checked."""
    cells = code_cells(nbformat.read(path, as_version=4))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [
        cell.source for cell in cells if any(out.output_type == "error" for out in cell.outputs)
    ]
    assert any(is_checked(cell) and text(cell) for cell in cells)


# what Jupyter's own modules deprecate in each other says nothing about rankbound
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:(nbclient|jupyter_client|jupyter_core|zmq|tornado)"
)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_says_what_it_was_saved_saying(path: Path, tmp_path: Path) -> None:
    saved = nbformat.read(path, as_version=4)
    for package in saved.metadata.get("needs", []):
        if find_spec(package) is None:  # not imported here: a package that carries a model never is
            pytest.skip(f"the notebook needs {package}")
    fresh = execute(nbformat.read(path, as_version=4), tmp_path)
    for before, after in zip(code_cells(saved), code_cells(fresh), strict=True):
        assert pictures(after) == pictures(before), f"{path.name}, cell {before.id}"
        if is_checked(before):
            assert text(after) == text(before), f"{path.name}, cell {before.id}:\n{before.source}"


def execute(notebook: Any, folder: Path) -> Any:
    """Run a notebook in a kernel of this interpreter; an error in a cell is raised."""
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    manager = AsyncKernelManager(
        kernel_name="here",
        kernel_spec_manager=KernelSpecManager(kernel_dirs=[kernel_here(folder)]),
        connection_file=str(folder / "connection.json"),
    )
    client = NotebookClient(notebook, km=manager, timeout=120, record_timing=False)
    # a manager that it was given is left running, with open sockets, unless it is told otherwise
    return client.execute(cleanup_kc=True)


def kernel_here(folder: Path) -> str:
    """A kernel specification that finds this interpreter and this rankbound, whatever is installed.

    One BLAS thread, as for every check; no configuration or history of the user's.
    """
    home = str(Path(rb.__file__).resolve().parents[1])
    environment = {
        "PYTHONPATH": os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")])),
        "IPYTHONDIR": str(folder / "ipython"),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        **{f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")},
    }
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    specification = {"argv": command, "display_name": "here", "env": environment}
    (folder / "here").mkdir()
    (folder / "here" / "kernel.json").write_text(json.dumps(specification))
    return str(folder)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def is_checked(cell: Any) -> bool:
    return "checked" in cell.metadata.get("tags", [])


def pictures(cell: Any) -> int:
    """How many pictures a cell shows."""
    return sum("image/png" in output.get("data", {}) for output in cell.outputs)


def text(cell: Any) -> str:
    """What a cell printed and showed as text; where a stream is cut is a matter of timing."""
    parts = []
    for output in cell.outputs:
        if output.output_type == "stream":
            parts.append(output.text)
        else:
            data = output.get("data", {})
            parts += [data[kind] for kind in ("text/plain", "text/markdown") if kind in data]
    return "".join(parts)
