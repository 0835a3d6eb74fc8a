"""Mutation of the rooms that decide: which small wrong changes do the fast tests not notice?

    python scripts/mutants.py                       every mutant of the six rooms: hours
    python scripts/mutants.py --sample 300 --seed 1 a random sample
    python scripts/mutants.py --file rankbound/ranks/exact.py
    python scripts/mutants.py --record              the sample of CI, and the tests that kill it

The operators are mutmut's. A mutant lives in memory only, so nothing that reads the repository or
starts another Python sees it, and such a test cannot kill. Each mutant meets the tests that execute
its statement, the fastest first, until one fails; that test must pass without the mutant. One
process has imported all and collected the tests, and is forked with new code in the functions that
changed; where the change is in what ran on the way there, a fork imports the package with the
module's source replaced. docs/mutants.md has the rules.
"""

from __future__ import annotations

import argparse
import ast
import gc
import hashlib
import importlib
import json
import math
import os
import resource
import signal
import sys
import time
import traceback
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import _lru_cache_wrapper, cache, cached_property, partial
from importlib.machinery import SourceFileLoader
from itertools import accumulate, islice
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import coverage
import libcst as cst
import pytest
from libcst import matchers
from libcst.metadata import ByteSpanPositionProvider, MetadataWrapper
from mutmut.mutation.mutators import mutation_operators

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("exact", "ranks", "certificates", "attention", "theory", "registry")
# The fast tests: those of the rooms, and those across them: of arguments, records and results.
ACROSS = (
    "bad_arguments",
    "bad_matrices",
    "context",
    "errors_verdict",
    "every_argument",
    "numerical_adversaries",
    "records",
    "results",
)
TESTS = [*(f"tests/{room}" for room in ROOMS), *(f"tests/test_{name}.py" for name in ACROSS)]
RECORD = ROOT / "tests" / "mutants.json"
COVERED = ROOT / ".mutants-coverage.json"
SAMPLE, SEED = 60, 14  # of CI
LEAST_KNOWN = 0.7  # of what is on record: where the code has lost more, it is to be drawn again
# Seconds are those of the processor: a machine that does other work too judges as a quiet one does.
FIRST, GRACE, FACTOR = 8, 20.0, 4.0  # tests of the first round; seconds; times the usual duration
COLLECTING = 60.0  # seconds more where all is imported and collected anew
IDLE = 10  # the clock may show so many times the seconds allowed, for what waits and does nothing
MOST = 60.0  # seconds of tests for one mutant: what only later tests would notice survives
MANY = 1000  # tests of each kind, for what ran at import
LONG = 0.1  # seconds: what takes them is counted for each test that uses it
ROOM = 60.0  # seconds that the tests of a room take, about
MEMORY = 8 * 2**30  # a mutant that allocates without end fails instead of swapping
PRELOADED = ("numpy", "scipy.linalg", "scipy.optimize", "sympy", "mpmath", "flint", "hypothesis")
OPTIONS = [
    "-q",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:anyio",
    "-W",
    "ignore::pytest.PytestAssertRewriteWarning",
]
RAISED = ("Error", "Undecided", "NotRepresentable")  # how the names of our exceptions end
PIECES = (cst.SimpleString, cst.FormattedStringText)
STRINGS = (cst.SimpleString, cst.FormattedString, cst.ConcatenatedString)

Coverage = dict[str, dict[str, list[str]]]


@dataclass(frozen=True)
class Mutant:
    """One change of one expression or statement."""

    path: str  # from the root
    line: int
    lines: tuple[int, int]  # where its statement starts, and the expression
    operator: str  # mutmut's name
    was: str
    now: str
    start: int  # in bytes
    length: int
    id: str  # of path, statement, change: stays when another place is edited
    within: tuple[str, ...]  # the names that are the first arguments of the calls around it

    def source(self) -> str:
        """The module with the change."""
        text = (ROOT / self.path).read_bytes()
        after = text[self.start + self.length :]
        return (text[: self.start] + self.now.encode() + after).decode()

    def differs(self) -> bool:
        """Does it compile, and to another program?"""
        try:
            return ast.dump(ast.parse(self.source())) != _program(self.path)
        except SyntaxError:
            return False


@cache
def _program(path: str) -> str:
    return ast.dump(ast.parse((ROOT / path).read_bytes()))


class _Walk(cst.CSTVisitor):
    """The changes of one module, less what docs/mutants.md leaves out."""

    METADATA_DEPENDENCIES = (ByteSpanPositionProvider,)

    def __init__(self, module: cst.Module, guards: bool) -> None:
        super().__init__()
        self.module, self.guards, self.depth = module, guards, 0
        self.statement: list[cst.CSTNode] = []
        self.raising = self.prose = 0
        self.calls: list[cst.Call] = []
        self.found: list[tuple[cst.CSTNode, cst.CSTNode, cst.CSTNode, str, tuple[str, ...]]] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        self.prose += _is_prose(node)
        if isinstance(node, cst.Call):
            self.calls.append(node)
        if isinstance(node, (cst.Annotation, cst.Decorator, cst.Import, cst.ImportFrom)):
            return False
        if isinstance(node, cst.Expr) and isinstance(node.value, STRINGS):
            return False  # a docstring
        if isinstance(node, cst.Call) and _name(node.func) in ("TypeVar", "cast", "ParamSpec"):
            return False
        if isinstance(node, cst.SimpleString) and (self.prose or " " in node.value):
            return False
        if isinstance(node, cst.Arg) and not self.guards and _is_strict(node, self.calls):
            return False
        if self.raising and isinstance(node, STRINGS):
            return False  # the wording of a message
        if isinstance(node, cst.Assign) and not self.depth:
            names = {_name(target.target) for target in node.targets}
            if "__all__" in names or isinstance(node.value, cst.Subscript):
                return False  # what is exported; a name for a type
        self.depth += isinstance(node, (cst.FunctionDef, cst.ClassDef, cst.Lambda))
        self.raising += _raises(node)
        if isinstance(node, (cst.BaseSmallStatement, cst.BaseCompoundStatement)):
            self.statement.append(node)
        for kind, operator in mutation_operators:
            if isinstance(node, kind) and not (
                isinstance(node, cst.Call)
                and (_raises(node) or _name(node.func) in ("len", "isinstance"))
            ):
                for new in operator(node):
                    if not self.guards and _unguarded(node, new):
                        continue
                    kind_name = operator.__name__.removeprefix("operator_")
                    within = tuple(filter(None, map(_first, self.calls)))
                    self.found.append((self.statement[-1], node, new, kind_name, within))
        return True

    def on_leave(self, node: cst.CSTNode) -> None:
        self.depth -= isinstance(node, (cst.FunctionDef, cst.ClassDef, cst.Lambda))
        self.raising -= _raises(node)
        self.prose -= _is_prose(node)
        if isinstance(node, cst.Call):
            self.calls.pop()
        if self.statement and self.statement[-1] is node:
            self.statement.pop()


def _name(node: cst.CSTNode) -> str:
    if isinstance(node, cst.Attribute):
        return node.attr.value
    return node.value if isinstance(node, cst.Name) else ""


def _first(call: cst.Call) -> str:
    """The name that a call is given first, such as the id of a claim."""
    value = call.args[0].value if call.args else None
    text = value.raw_value if isinstance(value, cst.SimpleString) else ""
    return text if len(text) > 3 and " " not in text else ""


def _is_prose(node: cst.CSTNode) -> bool:
    """Is it a literal of several pieces, a space in one of them?"""
    if not isinstance(node, cst.ConcatenatedString):
        return False
    texts = matchers.findall(node, matchers.SimpleString() | matchers.FormattedStringText())
    return any(" " in piece.value for piece in texts if isinstance(piece, PIECES))


def _is_strict(arg: cst.Arg, calls: Sequence[cst.Call]) -> bool:
    """Is it the `strict` of a ``zip``, the last of these calls?"""
    named = arg.keyword is not None and arg.keyword.value == "strict"
    return named and bool(calls) and _name(calls[-1].func) == "zip"


def _unguarded(old: cst.CSTNode, new: cst.CSTNode) -> bool:
    """Do two calls of ``zip`` differ in nothing but `strict`?"""
    code = cst.Module([]).code_for_node
    given = [
        [code(arg.value) for arg in call.args if not _is_strict(arg, [call])]
        for call in (old, new)
        if isinstance(call, cst.Call) and _name(call.func) == "zip"
    ]
    return len(given) == 2 and given[0] == given[1]


def _raises(node: cst.CSTNode) -> bool:
    """Is it a ``raise``, or the making of an exception?"""
    return isinstance(node, cst.Raise) or (
        isinstance(node, cst.Call) and _name(node.func).endswith(RAISED)
    )


def mutants(path: str) -> Iterator[Mutant]:
    """Each change of one module."""
    text = (ROOT / path).read_bytes()
    wrapper = MetadataWrapper(cst.parse_module(text), unsafe_skip_copy=True)
    # the checker reads what anyone has written, and may rest on a `strict`
    walk = _Walk(wrapper.module, guards="/checker/" in path)
    wrapper.visit(walk)
    ends = [at for at, byte in enumerate(text) if byte == ord("\n")]
    spans = wrapper.resolve(ByteSpanPositionProvider)
    seen: Counter[str] = Counter()
    for statement, node, new, operator, within in walk.found:
        span, now = spans[node], wrapper.module.code_for_node(new)
        was = text[span.start : span.start + span.length].decode()
        whole = spans[statement]
        around = text[whole.start : whole.start + whole.length].decode()
        if isinstance(statement, cst.BaseCompoundStatement):
            around = around.splitlines()[0]
        key = "\0".join((path, around, was, now))
        seen[key] += 1
        digest = hashlib.sha256(f"{key}\0{seen[key]}".encode()).hexdigest()[:10]
        at = (bisect_left(ends, whole.start) + 1, bisect_left(ends, span.start) + 1)
        yield Mutant(path, at[1], at, operator, was, now, span.start, span.length, digest, within)


def every(paths: Sequence[str] = ()) -> list[Mutant]:
    """The mutants of these files, or of the six rooms."""
    files = [
        str(p.relative_to(ROOT)) for r in ROOMS for p in (ROOT / "rankbound" / r).rglob("*.py")
    ]
    return [mutant for path in sorted(paths or files) for mutant in mutants(path)]


def sample(population: list[Mutant], count: int, seed: int) -> list[Mutant]:
    """The first `count` by a hash of seed and change: an edit elsewhere hardly changes the draw."""
    mixed = sorted(population, key=lambda m: hashlib.sha256(f"{seed}{m.id}".encode()).digest())
    return list(islice((mutant for mutant in mixed if mutant.differs()), count))


class _Plugin:
    """Runs the tests in the order given; notes which fail; no shrinking of examples."""

    def __init__(self, order: Sequence[str] = (), cover: coverage.Coverage | None = None) -> None:
        self.place = {test: i for i, test in enumerate(order)}
        self.cover, self.failed, self.now = cover, set[str](), ""
        self.seconds: dict[str, float] = {}
        self.users = defaultdict[str, set[str]](set)  # of what a test has worked out, others
        self.makers: dict[Any, str] = {}  # of a fixture that tests share, the first of them

    def pytest_collection(self) -> None:
        from hypothesis import Phase, settings

        phases = (Phase.explicit, Phase.generate)
        settings.register_profile("mutants", settings.get_profile("rankbound"), phases=phases)
        settings.load_profile("mutants")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: self.place.get(item.nodeid, math.inf))
        if self.cover:
            for module in {getattr(item, "module", item) for item in items}:
                for name, value in list(vars(module).items()):
                    if isinstance(value, _lru_cache_wrapper):
                        setattr(module, name, self.noted(value))

    def noted(self, cached: Any) -> Callable[..., Any]:
        """A function that notes which test uses what another has worked out."""
        first: dict[Any, str] = {}

        def call(*given: Any, **named: Any) -> Any:
            maker = first.setdefault((given, *named.items()), self.now)
            self.users[maker].add(self.now)
            return cached(*given, **named)

        return call

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: Any) -> Iterator[None]:
        if self.cover:
            self.cover.switch_context(item.nodeid)
        self.now = item.nodeid
        start = time.process_time()
        outcome = yield
        self.seconds[item.nodeid] = time.process_time() - start
        for fixtures in item._fixtureinfo.name2fixturedefs.values():
            if maker := self.makers.get(fixtures[-1]):
                self.users[maker].add(item.nodeid)
        return outcome

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        start = time.process_time()
        made = yield
        if fixturedef.scope != "function" and time.process_time() - start > LONG:
            self.makers[fixturedef] = self.now
        return made

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.add(report.nodeid)


def forked(work: Any, limit: float) -> Any:
    """What `work` returns in a process of its own; "timeout", or None if it died."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        if limit < math.inf:
            seconds = math.ceil(limit)
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 9))
        heard, silent = os.dup(2), os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silent, stream)
        try:
            os.write(writing, json.dumps(work()).encode())
        except Exception:  # of this driver: pytest reports those of tests
            os.write(heard, traceback.format_exc().encode())
        finally:
            os._exit(0)
    os.close(writing)
    end, done, status = time.monotonic() + IDLE * limit, 0, 0
    while not done and time.monotonic() < end:
        time.sleep(0.005)
        done, status = os.waitpid(child, os.WNOHANG)
    with suppress(ProcessLookupError):  # its workers too, which may outlive it
        os.killpg(child, signal.SIGKILL)
    if not done:
        os.waitpid(child, 0)
    late = not done or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU)
    with os.fdopen(reading) as answer:
        text = "" if late else answer.read()
    return json.loads(text) if text else "timeout" if late else None


def import_as(path: str, source: str) -> None:
    """From now on, this file is imported with this source."""
    original, where = SourceFileLoader.get_code, str(ROOT / path)

    def get_code(self: SourceFileLoader, fullname: str) -> Any:
        if self.path == where:
            return compile(source, where, "exec", dont_inherit=True)
        return original(self, fullname)

    SourceFileLoader.get_code = get_code  # type: ignore[assignment,method-assign]


def tested(tests: Sequence[str], path: str = "", source: str = "") -> list[Any]:
    """Exit code of pytest on these tests, with the mutated source; and the first that failed."""
    if source:
        import_as(path, source)
    plugin = _Plugin(tests)
    code = pytest.main(["-x", *OPTIONS, *tests], plugins=[plugin])
    return [int(code), *sorted(plugin.failed)[:1]]


def new_code(old: CodeType, new: CodeType, ran: set[CodeType]) -> dict[CodeType, CodeType] | None:
    """What takes the place of which code; None if what changes ran already, or has no match."""
    inner = [[c for c in code.co_consts if isinstance(c, CodeType)] for code in (old, new)]
    if [c.co_name for c in inner[0]] != [c.co_name for c in inner[1]]:
        return None
    if old in ran and _own(old) != _own(new):
        return None
    found = {old: new}
    for before, after in zip(inner[0], inner[1], strict=True):
        changed = new_code(before, after, ran)
        if changed is None:
            return None
        found |= changed
    return found


def _own(code: CodeType) -> list[Any]:
    """What a code does, less the functions defined in it and where its lines are."""
    fields = ("code", "names", "varnames", "freevars", "cellvars", "flags", "argcount")
    consts = [repr(c) for c in code.co_consts if not isinstance(c, CodeType)]
    return [consts, code.co_kwonlyargcount, *(getattr(code, f"co_{field}") for field in fields)]


class Server:
    """A process that has collected tests, of the rooms say, and runs some of them in forks."""

    def __init__(self, paths: Sequence[str]) -> None:
        asked, self.asking = os.pipe()
        self.heard, answered = os.pipe()
        self.process = os.fork()
        if not self.process:
            os.close(self.asking)
            os.close(self.heard)
            errors = os.dup(2)
            silent = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(silent, stream)
            try:
                serving = _Serve(os.fdopen(asked), os.fdopen(answered, "w"))
                sys.setprofile(serving.note)
                pytest.main([*OPTIONS, *paths], plugins=[serving])
            except BaseException:
                os.write(errors, traceback.format_exc().encode())
            finally:
                os._exit(0)
        os.close(asked)
        os.close(answered)
        self.answers = os.fdopen(self.heard)

    def run(self, tests: Sequence[str], limit: float, path: str = "", source: str = "") -> Any:
        """As `tested` in a fork does; "import" where it would have to be imported anew."""
        os.write(self.asking, json.dumps([list(tests), limit, path, source]).encode() + b"\n")
        return json.loads(self.answers.readline())


class _Serve(_Plugin):
    """Collects, and then answers what is asked in place of running all."""

    def __init__(self, asked: Any, answers: Any) -> None:
        super().__init__()
        self.asked, self.answers, self.ran = asked, answers, set[CodeType]()

    def note(self, frame: Any, event: str, _: Any) -> None:
        """What runs while the package is imported and the tests are collected."""
        if event == "call":
            self.ran.add(frame.f_code)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        sys.setprofile(None)
        self.items = {item.nodeid: item for item in session.items}
        gc.unfreeze()  # tests/conftest.py freezes what is frozen again below
        self.functions = [thing for thing in gc.get_objects() if type(thing) is FunctionType]
        gc.freeze()  # what is here now is of no concern to the processes that are forked
        for line in self.asked:
            tests, limit, path, source = json.loads(line)
            answer = forked(partial(self.answer, tests, path, source), limit)
            print(json.dumps(answer), file=self.answers, flush=True)
        return True

    def answer(self, tests: list[str], path: str, source: str) -> Any:
        if source and not self.mutate(path, source):
            return "import"
        ids = [[test] if test in self.items else self.within(test) for test in tests]
        if not all(ids):
            return [int(pytest.ExitCode.USAGE_ERROR)]
        items = [self.items[one] for those in ids for one in those]
        for item, following in zip(items, [*items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self.failed:
                return [int(pytest.ExitCode.TESTS_FAILED), *self.failed]
        return [int(pytest.ExitCode.OK)]

    def within(self, place: str) -> list[str]:
        """The tests of a folder, a file, a class or a function."""
        return [
            one for one in self.items if one.startswith((f"{place}/", f"{place}::", f"{place}["))
        ]

    def mutate(self, path: str, source: str) -> bool:
        """Put the new code into the functions; False if what changed ran already."""
        where = str(ROOT / path)
        if all(getattr(module, "__file__", "") != where for module in [*sys.modules.values()]):
            import_as(path, source)
            return True
        old, new = (
            compile(text, where, "exec", dont_inherit=True)
            for text in ((ROOT / path).read_bytes(), source)
        )
        codes = new_code(old, new, self.ran)
        found = [f for f in self.functions if f.__code__.co_filename == where]
        if codes is None or any(
            f.__code__ not in codes or codes[f.__code__].co_freevars != f.__code__.co_freevars
            for f in found
        ):
            return False
        for function in found:
            function.__code__ = codes[function.__code__]
        return True


def covered(paths: Sequence[str]) -> dict[str, Any]:
    """The tests that pass, their durations, and which execute each line."""

    def work() -> None:
        cover = coverage.Coverage(
            data_file=None, include=[f"{ROOT}/rankbound/{r}/*" for r in ROOMS]
        )
        plugin = _Plugin(cover=cover)
        cover.start()
        pytest.main([*OPTIONS, *paths], plugins=[plugin])
        cover.stop()
        data = cover.get_data()
        lines: Coverage = {}
        for file in data.measured_files():
            by_line = data.contexts_by_lineno(file).items()
            lines[str(Path(file).relative_to(ROOT))] = {
                str(line): sorted(
                    {*tests}.union(*(plugin.users[test] for test in tests)) - plugin.failed
                )
                for line, tests in by_line
            }
        alone = dict(plugin.seconds)  # with what others have worked out, as if it did that itself
        for maker, users in plugin.users.items():
            for test in (users - {maker}) & {*alone}:
                alone[test] += plugin.seconds.get(maker, 0.0)
        seconds = {t: s for t, s in alone.items() if t not in plugin.failed}
        COVERED.write_text(json.dumps({"seconds": seconds, "lines": lines}))

    forked(work, math.inf)
    return dict(json.loads(COVERED.read_text()))


def killers(mutant: Mutant, known: dict[str, Any]) -> list[str]:
    """The tests that execute its statement; if it ran at import, those of its module and room.

    Before these come the tests of the claim whose registration it is part of.
    """
    lines, seconds = known["lines"].get(mutant.path, {}), known["seconds"]
    tests = {test for line in mutant.lines for test in lines.get(str(line), ())}
    if "" not in tests:
        return _fastest(tests, seconds, MOST)
    tests -= {""}
    near = {test for those in lines.values() for test in those} - tests - {""}
    room = f"{room_of(mutant)}/"  # what a module holds is read elsewhere too
    far = {test for test in seconds if test.startswith(room)} - near - tests
    named = {t for t in near | far if any(name in t.partition("[")[2] for name in mutant.within)}
    others = (some - named for some in (tests, near, far))
    first = _fastest(named, seconds, MOST)
    return first + [one for some in others for one in _fastest(some, seconds, MOST / 3)[:MANY]]


def _fastest(tests: set[str], known: dict[str, float], most: float) -> list[str]:
    """As many as fit in these seconds, one at least."""
    seconds = {test: known.get(test, math.inf) for test in tests}
    order = sorted(tests, key=lambda test: (seconds[test], test))
    spent = accumulate(seconds[test] for test in order)
    return [test for test, so_far in zip(order, spent, strict=True) if so_far <= most] or order[:1]


class Judge:
    """Runs mutants, and each test that killed one also without it."""

    def __init__(self, known: dict[str, Any], tests: Sequence[str] = ()) -> None:
        self.known, self.sound, self.tests = known, dict[tuple[Any, ...], bool](), tests

    @cached_property
    def server(self) -> Server:
        """Started when first needed."""
        return Server(sorted({test.split("::")[0] for test in self.tests}) or TESTS)

    def vouch(self) -> None:
        """Run all of its tests at once without a mutant, in both ways; those pass by themselves."""
        for live in (True, False):
            if self.outcome(self.tests, 600, live, None) == [0]:
                self.sound.update({(live, test): True for test in self.tests})

    def outcome(self, tests: Sequence[str], limit: float, live: bool, mutant: Mutant | None) -> Any:
        """What pytest says of these tests, in functions that are replaced or in an import anew."""
        changed = () if mutant is None else (mutant.path, mutant.source())
        if live:
            return self.server.run(tests, limit, *changed)
        return forked(partial(tested, tests, *changed), limit)

    def passes(self, tests: Sequence[str], live: bool) -> bool:
        """Do they pass in this way of running them when nothing is mutated?"""
        key = (live, *tests)
        if key not in self.sound:
            self.sound[key] = self.outcome(tests, 600, live, None) == [0]
        return self.sound[key]

    def judge(self, mutant: Mutant, tests: Sequence[str]) -> tuple[str, str]:
        """Word and killer: killed, survived, timeout, died, uncovered."""
        if not tests:
            return "uncovered", ""
        seconds, live = self.known["seconds"], True
        rest, size = list(tests), FIRST
        while rest:
            now, later = rest[:size], rest[size:]
            limit = GRACE + FACTOR * sum(seconds.get(test, 1.0) for test in now)
            limit += 0 if live else COLLECTING
            answer = self.outcome(now, limit, live, mutant)
            if answer == "import":
                live, size = False, len(rest)  # each round would import and collect anew
                continue
            rest, size = later, 5 * size
            if answer == "timeout":
                return "timeout", now[0]
            if answer is None:  # out of memory, a signal: seen, but by no test
                return "died", now[0]
            if answer != [0]:  # a test failed, or all did: the module was not even imported
                failed = answer[1:] or now
                if self.passes(failed, live):
                    return "killed", failed[0]
                if not answer[1:]:  # one is gone, since the coverage was collected
                    failed = [test for test in now if not self.passes([test], live)] or now
                # in a file or a folder it would fail again: that place says no more
                rest = [test for test in now if not failed[0].startswith(test)] + rest
        return "survived", ""


def interval(hits: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion."""
    z, p = 1.959964, hits / count
    middle, whole = p + z * z / (2 * count), 1 + z * z / count
    half = z * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count))
    return (middle - half) / whole, (middle + half) / whole


def listed() -> str:
    """The survivors explained in docs/mutants.md."""
    return (ROOT / "docs" / "mutants.md").read_text()


def run(
    drawn: list[Mutant],
    tests: Callable[[Mutant], Iterable[list[str]]],
    known: Any,
    log: Any,
    recorded: Sequence[str] = (),
) -> dict[str, list[Any]]:
    """Judge each mutant by each of these lists of tests, until one kills it.

    Of the tests on record, which kill nearly all, only the files are collected at first, and they
    are run without a mutant all at once.
    """
    judge, outcome = Judge(known), defaultdict(list)
    quick = Judge(known, recorded)
    gc.freeze()
    if recorded:
        quick.vouch()
    for mutant in drawn:
        word, killer = "survived", ""
        for these in tests(mutant):
            word, killer = (quick if {*these} <= {*recorded} else judge).judge(mutant, these)
            if word == "killed":
                break
        outcome[word].append((mutant, killer))
        line = {**asdict(mutant), "outcome": word, "killer": killer}
        print(json.dumps(line), file=log, flush=True)
    return outcome


def on_record(mutant: Mutant, record: dict[str, list[str]]) -> Iterator[list[str]]:
    """The test on record, then its file, then its room: tests are renamed and moved.

    None for a survivor that is explained.
    """
    _, test = record[mutant.id]
    if test:
        yield [test]
        if (ROOT / (file := test.split("::")[0])).exists():
            yield [file]
    if test or mutant.id not in listed():
        yield [room_of(mutant)]


def room_of(mutant: Mutant) -> str:
    """Where the tests of its room are."""
    return f"tests/{mutant.path.split('/')[1]}"


def report(outcome: dict[str, list[Any]]) -> None:
    """The figures, and each mutant that was not killed."""
    explained = listed()
    for word in ("survived", "uncovered", "timeout", "died"):
        for mutant, _ in outcome[word]:
            note = " (explained)" if mutant.id in explained else ""
            print(f"{word} {mutant.id} {mutant.path}:{mutant.line}{note}")
            print(f"    - {mutant.was}\n    + {mutant.now}")
    for title, left_out in (("all", ""), ("but arguments dropped or None", "arg_removal")):
        judged = [(w, m) for w in sorted(outcome) for m, _ in outcome[w]]
        words = Counter(w for w, m in judged if m.operator != left_out)
        if count := words.total():
            rate, (low, high) = words["killed"] / count, interval(words["killed"], count)
            noticed = (count - words["survived"] - words["uncovered"]) / count
            print(f"{title}: {count} mutants, {', '.join(f'{w} {c}' for w, c in words.items())};")
            print(f"    {rate:.1%} killed, 95 % interval {low:.1%} to {high:.1%};")
            print(f"    {noticed:.1%} where a timeout or a death counts, as it does elsewhere")


def main() -> int:
    """The command line; 1 if a mutant was not killed and docs/mutants.md does not say why."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--sample", type=int, help="as many, at random")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--file", action="append", default=[], help="only this file")
    parser.add_argument("--id", action="append", default=[], help="only this mutant")
    parser.add_argument("--log", default=".mutants.jsonl", help="one line for each mutant")
    parser.add_argument("--fresh", action="store_true", help="collect the coverage again")
    parser.add_argument("--record", action="store_true", help="write tests/mutants.json")
    parser.add_argument("--ci", action="store_true", help="the sample of CI, by its record")
    args = parser.parse_args()
    os.chdir(ROOT)
    sys.dont_write_bytecode = False  # what is sound is compiled once, not for each mutant
    for name in PRELOADED:
        importlib.import_module(name)
    if args.ci:
        record = json.loads(RECORD.read_text())
        files = sorted({file for file, _ in record.values() if (ROOT / file).exists()})
        drawn = [mutant for mutant in every(files) if mutant.id in record]
        if len(drawn) < LEAST_KNOWN * len(record):
            print(f"of {len(record)} mutants on record {len(drawn)} are left: run with --record")
            return 1
        drawn = sample(drawn, args.sample or len(drawn), args.seed)
        known = {"seconds": {f"tests/{room}": ROOM for room in ROOMS}}
        with open(os.devnull, "w") as log:
            killing = {record[mutant.id][1] for mutant in drawn}
            there = sorted(test for test in killing if (ROOT / test.split("::")[0]).is_file())
            outcome = run(drawn, lambda mutant: on_record(mutant, record), known, log, there)
    else:
        population = [m for m in every(args.file) if not args.id or m.id in args.id]
        count = SAMPLE if args.record else args.sample or len(population)
        drawn = sample(population, count, args.seed)
        whole = not args.fresh and COVERED.exists()
        known = json.loads(COVERED.read_text()) if whole else covered(TESTS)
        tests = {mutant.id: [killers(mutant, known)] for mutant in drawn}
        del known["lines"]
        if args.record and RECORD.exists():  # what killed one is likely to kill it again
            for name, (_, test) in json.loads(RECORD.read_text()).items():
                if test in known["seconds"] and name in tests:
                    tests[name].insert(0, [test])
        with open(args.log, "a") as log:
            outcome = run(drawn, lambda mutant: tests[mutant.id], known, log)
    if args.record:
        judged = [one for each in outcome.values() for one in each]
        record = {mutant.id: [mutant.path, killer] for mutant, killer in judged}
        RECORD.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
    report(outcome)
    missing = [m for w in outcome if w != "killed" for m, _ in outcome[w] if m.id not in listed()]
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
