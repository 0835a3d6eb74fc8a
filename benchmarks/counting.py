"""Counts of what linear algebra is asked for: operations by shapes, memory by allocations.

:func:`install` comes before rankbound is imported. Then `@` in its modules is compiled to a call
that counts, and the functions of NumPy and SciPy that multiply or decompose are wrapped; what they
call inside is in the count of the outer one. Nothing is timed, so a busy machine counts the same.
"""

from __future__ import annotations

import ast
import builtins
import operator
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from math import prod
from typing import Any

import numpy as np

HOOK = "__counted_matmul__"  # a name that every module finds, among the builtins


@dataclass
class Tally:
    """What was asked for."""

    operations: float = 0.0  # additions and multiplications of floats
    calls: Counter[str] = field(default_factory=Counter)
    bytes: int = 0  # the most that was allocated at once, through Python's allocators

    def add(self, name: str, operations: float) -> None:
        """Count a call."""
        self.operations += operations
        self.calls[name] += 1


TALLY = Tally()


# The operations of a decomposition of m × n, m >= n (Golub & Van Loan 2013, for each algorithm)

COSTS: dict[str, Callable[[float, float], float]] = {
    "svd": lambda m, n: 4 * m * n * n - 4 * n**3 / 3,
    "vectors": lambda m, n: 14 * m * n * n + 8 * n**3,  # an SVD with its vectors
    "qr": lambda m, n: 2 * m * n * n - 2 * n**3 / 3,
    "cholesky": lambda m, n: n**3 / 3,
    "inv": lambda m, n: 2 * n**3,
    "solve": lambda m, n: 2 * n**3 / 3,
    "least squares": lambda m, n: 4 * m * n * n + 8 * n**3,
    "eigh": lambda m, n: 9 * n**3,
    "eigvalsh": lambda m, n: 4 * n**3 / 3,
    "eigvals": lambda m, n: 10 * n**3,
    "triangular": lambda m, n: n**3 / 3,
    "gram": lambda m, n: m * n * n,
}
SAME = {  # functions whose cost is another's
    "svdvals": "svd",
    "matrix_rank": "svd",
    "pinv": "vectors",
    "cond": "svd",
    "null_space": "svd",
    "orth": "svd",
    "schur": "eigvals",
    "det": "solve",
    "slogdet": "solve",
    "lu_factor": "solve",
    "lu": "solve",
    "cho_factor": "cholesky",
    "solve_triangular": "triangular",
    "dpotrf": "cholesky",
    "dpstrf": "cholesky",
    "dpotri": "triangular",
    "dtrtri": "triangular",
    "dtrtrs": "triangular",
    "dgetrf": "solve",
    "dgetri": "inv",
    "dgesv": "solve",
    "lstsq": "least squares",
    "dgeqrf": "qr",
    "dgeqp3": "qr",
    "dorgqr": "qr",
    "dgesdd": "svd",
    "dgesvd": "svd",
    "dsyevd": "eigh",
    "dsyrk": "gram",
    "ssyrk": "gram",
}


def decomposed(name: str) -> Callable[..., float]:
    """The operations of a decomposition, from its largest argument; a batch counts each."""
    kind = SAME.get(name, name)

    def operations(result: Any, *arrays: Any) -> float:
        cost = COSTS["vectors" if kind == "svd" and isinstance(result, tuple) else kind]
        shape = max((np.shape(one) for one in arrays), key=prod)
        rows, columns = (1, 1, *shape)[-2:]
        return float(prod(shape[:-2]) * cost(max(rows, columns), min(rows, columns)))

    return operations


def gram(result: Any, *arrays: Any) -> float:
    """Of a symmetric product, half of those of a product."""
    return float(np.size(arrays[0]) * np.shape(result)[-1])


def multiplied(result: Any, left: Any, right: Any, *rest: Any) -> float:
    """Two operations per entry of the left factor and column of the right."""
    columns = np.shape(right)[-1] if np.ndim(right) > 1 else 1
    batch = max(prod(np.shape(left)[:-2]), prod(np.shape(result)[:-2]), 1)
    return float(2 * batch * prod(np.shape(left)[-2:]) * columns)


def summed(result: Any, *arrays: Any) -> float:
    """At most two per pair of entries that meet, of a sum of products in a result."""
    return float(2 * max(np.size(result), 1) * max(np.size(one) for one in arrays) ** 0.5)


def counted(name: str, function: Any, operations: Callable[..., float]) -> Any:
    """The function, counting its calls."""

    @wraps(function, updated=())
    def call(*arguments: Any, **keywords: Any) -> Any:
        result = function(*arguments, **keywords)
        given = [one for one in (*arguments, *keywords.values()) if isinstance(one, np.ndarray)]
        if given and given[0].dtype.kind in "fc":
            TALLY.add(name, operations(result, *given))
        return result

    return call


def install() -> None:
    """Count from here on; once per process, before rankbound is imported."""
    import scipy.linalg
    import scipy.linalg.blas
    import scipy.linalg.lapack

    if any(name.partition(".")[0] == "rankbound" for name in sys.modules):
        raise RuntimeError("rankbound is imported already: what it multiplies is not counted.")
    for module in (np.linalg, scipy.linalg, scipy.linalg.lapack):
        for name in (*COSTS, *SAME):
            if hasattr(module, name) and name not in ("dsyrk", "ssyrk"):
                _wrap(module, name, decomposed(name))
    for name in ("dsyrk", "ssyrk"):
        _wrap(scipy.linalg.blas, name, gram)
    for name in ("dgemm", "sgemm", "dtrmm"):
        _wrap(scipy.linalg.blas, name, lambda result, a, *_: 2.0 * a.size * result.shape[-1])
    _wrap(scipy.linalg.blas, "dtrsm", lambda result, a, b, *_: float(len(a) * b.size))
    setattr(builtins, HOOK, counted("matmul", operator.matmul, multiplied))
    for name in ("matmul", "dot"):
        _wrap(np, name, multiplied)
    _wrap(np, "tensordot", summed)
    sys.meta_path.insert(0, _Finder())


def _wrap(module: Any, name: str, operations: Callable[..., float]) -> None:
    setattr(module, name, counted(name, getattr(module, name), operations))


class _Finder(PathFinder):
    """Finds the modules of rankbound, to be compiled with products that count."""

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: Any = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] != "rankbound":
            return None
        spec = super().find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    """Compiles a module whose `@` counts, and keeps no bytecode of it."""

    def path_stats(self, path: Any) -> Any:
        raise OSError  # then bytecode is neither read nor written

    # typeshed has it static, as that of InspectLoader is; importlib calls it on the loader
    def source_to_code(self, data: Any, path: Any, **_: Any) -> Any:  # type: ignore[override]
        tree = _Products().visit(ast.parse(data, path))
        return compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)


class _Products(ast.NodeTransformer):
    """``a @ b`` as a call."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.op, ast.MatMult):
            return node
        name = ast.Name(HOOK, ast.Load())
        return ast.copy_location(ast.Call(name, [node.left, node.right], []), node)

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        if isinstance(node.op, ast.MatMult):
            raise SyntaxError(f"line {node.lineno}: @= would not be counted; expected a = a @ b.")
        return self.generic_visit(node)


@contextmanager
def tally() -> Iterator[Tally]:
    """What is asked for within, with the memory that is allocated beyond what was there."""
    TALLY.operations = 0.0
    TALLY.calls.clear()
    tracemalloc.start()
    try:
        yield TALLY
        TALLY.bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
