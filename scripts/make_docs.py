"""Lay out the sources of the documentation: what is written, and what follows from the code.

Written pages (docs/, the notebooks, the figures) are copied; their links to files outside docs/ are
made links to pages. Generated are a page for each file of the registry, the sources of the proofs
that they name, and the API from ``rankbound.__all__``. ``links.json`` says where what is named in
code stands: docs/conf.py makes links of it.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import ModuleType

import rankbound as rb
from rankbound.mathematics import latex, marked
from rankbound.registry.catalogue import PAPERS
from rankbound.registry.claim import Claim
from rankbound.registry.machine_checked import machine_checked, standing

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PROOFS = ROOT / "proofs"
PACKAGE = resources.files("rankbound")
KINDS = json.loads((PACKAGE / "certificates" / "claims.json").read_text("utf-8"))
PAGES_OF_SOURCES = ("theory", "papers")  # where statements are proved, or told
RUN_IN = re.compile(r"^(?=\*\*([^*]+)\*\*)", re.MULTILINE)  # a paragraph that begins in bold
SECTION = re.compile(r"^## (\d+)\. ", re.MULTILINE)
FIGURES = {  # of a file of the registry: which figure shows it
    "theorems": "cliff",
    "theorem_c": "masks",
    "any_tokens": "reach",
    "theorem_2": "witness",
    "approximation": "ranks",
    "selection": "price",
}
MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|$~])")
TO_PROOF = re.compile(r"\[([^\]]+)\]\(\.\./proofs/(\w+)\.v#L(\d+)\)")
TO_OUTSIDE = re.compile(r"\[([^\]]*)\]\(\.\./([^)#]+)\)")


def plain(text: str) -> str:
    """A text in which nothing is Markdown."""
    return MARKDOWN.sub(r"\\\1", text)


def prose(text: str) -> str:
    """A docstring's text, in which only code in backticks is Markdown."""
    parts = re.split(r"(`+[^`]+`+)", text)
    return "".join(f"`{p.strip('`')}`" if p[:1] == "`" else plain(p) for p in parts)


def typeset(text: str) -> str:
    """A page in which formulas are typeset, in code and in prose; not in blocks of code."""
    parts = re.split(r"(^```.*?^```|^#.*?$|^(?: {4}|\|--).*?$|`[^`]+`)", text, flags=re.S | re.M)
    return "".join(map(_typeset, parts))


def _typeset(part: str) -> str:
    if part.startswith(("```", "#", "    ", "|--")):
        return part
    if part.startswith("`"):
        found = latex(" ".join(part.strip("`").split()))
        return part if found is None else f"${found}$"
    lines = []
    for line in part.split("\n"):
        begin = re.match(r"\s*(?:[-*] |\d+\. )?", line)
        at = begin.end() if begin else 0
        lines.append(line[:at] + marked(line[at:]))
    return "\n".join(lines)


def slug(text: str) -> str:
    """A name for an anchor."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


# What is written


def outside(link: re.Match[str]) -> str:
    """A link of a page in docs/ to a file outside it, as a link from the root of the site."""
    words, path = link.groups()
    return words if (ROOT / path).is_dir() else f"[{words}](/{path})"


def anchors(text: str) -> dict[int, str]:
    """Where paragraphs begin in bold and sections with a number, and the names of their anchors."""
    found = {m.start(): f"section-{m[1]}" for m in SECTION.finditer(text)}
    found |= {m.start(): slug(m[1]) for m in RUN_IN.finditer(text)}
    return dict(sorted(found.items()))


def page(path: Path) -> str:
    """A page of docs/, with an anchor where something may point to."""
    text = path.read_text(encoding="utf-8")
    if path.stem in PAGES_OF_SOURCES:
        for position, name in reversed(anchors(text).items()):
            text = f"{text[:position]}({path.stem}-{name})=\n{text[position:]}"
        text = typeset(text)
    up = "../" * len(path.relative_to(DOCS).parents[:-1])
    text = TO_PROOF.sub(rf'<a href="{up}proofs/\2.html#L-\3">\1</a>', text)
    return TO_OUTSIDE.sub(outside, text)


def written() -> Iterator[tuple[str, str | Path]]:
    """What is in the repository."""
    for path in sorted(DOCS.rglob("*.md")):
        yield path.relative_to(DOCS).as_posix(), page(path)
    for name in ("CHANGELOG", "CONTRIBUTING"):
        text = (ROOT / f"{name}.md").read_text(encoding="utf-8")
        yield f"{name}.md", text.replace("](docs/", "](")
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        yield f"tutorials/{path.name}", path
    for path in sorted((ROOT / "figures").rglob("*.*")):
        if path.suffix in (".png", ".csv"):
            yield path.relative_to(ROOT).as_posix(), path


# Theorem by theorem


@dataclass(frozen=True)
class Group:
    """A file of the registry, which is a page."""

    module: ModuleType
    is_paper: bool

    @property
    def name(self) -> str:
        """The name of the file."""
        return self.module.__name__.rpartition(".")[2]

    @property
    def title(self) -> str:
        """What the file says of itself, to the first colon; of a paper, who wrote it when."""
        return self._parts()[0]

    @property
    def about(self) -> str:
        """What it says then."""
        return self._parts()[1]

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The claims, in the order of the file."""
        found: tuple[Claim, ...] = self.module.CLAIMS
        return found

    def _parts(self) -> tuple[str, str]:
        first, _, rest = (inspect.getdoc(self.module) or "").partition("\n")
        title, _, more = first.partition(": ")
        if self.is_paper:  # authors and the year
            title, _, more = re.split(r"(?<=\d{4})(, |: )(?!\d)", first, maxsplit=1)
        return title, "\n\n".join(filter(None, (f"{more[:1].upper()}{more[1:]}", rest.strip())))


def groups() -> list[Group]:
    """The files of the registry, in the order of its claims."""
    catalogue = vars(importlib.import_module("rankbound.registry.catalogue")).values()
    found = [one for one in catalogue if isinstance(one, ModuleType)]
    order = {id: place for place, id in enumerate(rb.claims)}
    found.sort(key=lambda module: order[module.CLAIMS[0].id])
    return [Group(module, module in PAPERS) for module in found]


def passage(claim: Claim, texts: Mapping[str, str]) -> tuple[str, str]:
    """The page and the anchor where a claim's statement is proved or told; ("", "") if nowhere.

    That is where its id stands, or its source and place, or the key of its source.
    """
    place = claim.source.place
    theory, papers = texts["theory"], texts["papers"]
    wanted = [(theory, f"`{claim.id}`")]
    if claim.source.key in ("rankbound", "bhojanapalli2020"):
        parts = (place, place.partition(", ")[0], place.partition(", ")[2])
        wanted += [(theory, f"**{p}") for p in parts if p]
        wanted += [(theory, f"B20, {p}") for p in parts if p]
        wanted += [(theory, f"## {m[1]}. ") for m in re.finditer(r"section (\d)", place)]
    wanted += [(papers, f"(`{claim.source.key}`)"), (papers, f"`{claim.id}`")]
    wanted += [(theory, f"(`{claim.id.partition('-')[0]}")]
    for text, words in wanted:
        at = text.lower().find(words.lower())
        if at >= 0:
            before = [name for position, name in anchors(text).items() if position <= at]
            if before:
                return ("theory" if text is theory else "papers"), before[-1]
    return "", ""


def coq_statement(name: str) -> str:
    """A theorem as Coq has it, without its proof."""
    theorem = machine_checked()[name]
    lines = (PROOFS / theorem.file).read_text(encoding="utf-8").splitlines()[theorem.line - 1 :]
    end = next(i for i, line in enumerate(lines) if line.startswith(("Proof", "by ")))
    return "\n".join(lines[:end])


def bibliography() -> dict[str, str]:
    """Each source in one line."""
    text = (PACKAGE / "references.bib").read_text(encoding="utf-8")
    found = {}
    for entry in re.split(r"^@\w+\{", text, flags=re.MULTILINE)[1:]:
        field = dict(re.findall(r"^\s+(\w+)\s*=\s*\{(.+)\},?$", entry, flags=re.MULTILINE))
        names = [one.partition(",")[0].strip("{}") for one in field["author"].split(" and ")]
        who = f"{names[0]} et al." if len(names) > 3 else " & ".join(names)
        line = f"{who} {field['year']}, *{plain(re.sub('[{}]', '', field['title']))}*"
        if re.fullmatch(r"\d{4}\.\d{5}|\d{4}\.\d{4}", field.get("eprint", "")):
            line += f", [arXiv {field['eprint']}](https://arxiv.org/abs/{field['eprint']})"
        found[entry.partition(",")[0]] = line
    return found


def section(claim: Claim, texts: Mapping[str, str], sources: Mapping[str, str]) -> str:
    """All that the registry says of a claim."""
    source = claim.source
    told = f"{sources.get(source.key, source.key)}: {plain(source.place)}. "
    rows = [("Source", f"{told}{plain(source.note[:1].upper() + source.note[1:])}.")]
    where, name = passage(claim, texts)
    if name:
        words = {"theory": "proof in the theory", "papers": "told with its paper"}[where]
        rows.append(("Read", f"[{words}](#{where}-{name})"))
    said = "; ".join(marked(hypothesis, plain) for hypothesis in claim.hypotheses)
    rows.append(("Hypotheses", f"{said}."))
    what = {"iff": "holds if and only if predicted", "exists": "a witness exists"}
    relation = what.get(claim.relation.value, f"measured {claim.relation.value} predicted")
    rows.append(("Checked", f"{plain(relation)}; `rankbound verify {claim.id}`"))
    rows.append(("Evidence", f"**{claim.status.value}**: {claim.status.meaning}."))
    if kinds := KINDS.get(claim.id):
        said = ", ".join(f"`{kind}`" for kind in kinds)
        rows.append(("Certificates", f"{said} ([what these state](/certificates.md#statements))"))
    wrong = "; ".join(plain(mutant.name) for mutant in claim.mutants)
    rows.append(("Mutants caught", f"{wrong}."))
    for kind, reason in claim.without.items():
        rows.append((f"No mutant “{kind}”", f"{plain(reason)}."))
    table = "\n".join(f":{name}: {text}" for name, text in rows)
    text = f"({claim.id})=\n## `{claim.id}`\n\n> {marked(claim.statement, plain)}\n\n{table}\n"
    return text + (coq(claim) if claim.theorem in machine_checked() else "")


def coq(claim: Claim) -> str:
    """The machine-checked theorem of a claim."""
    theorem = machine_checked()[claim.theorem]
    part = f" It says this part: {plain(claim.theorem_part)}." if claim.theorem_part else ""
    file = theorem.file.removesuffix(".v")
    assumes = ", ".join(f"`{axiom}`" for axiom in theorem.axioms) or "no axioms"
    return (
        f"\n{standing(claim).capitalize()}: "
        f'<a href="../proofs/{file}.html#L-{theorem.line}">'
        f"{theorem.file}, line {theorem.line}</a>. "
        f"{prose(theorem.statement)}{part} Assumes {assumes}; "
        f"[what is trusted](/machine-checked.md#what-is-trusted).\n\n"
        f"```coq\n{coq_statement(claim.theorem)}\n```\n"
    )


def evidence(claims: tuple[Claim, ...]) -> str:
    """How many claims of each word."""
    return ", ".join(f"{n} {word}" for word, n in Counter(c.status.value for c in claims).items())


def alt_texts() -> dict[str, str]:
    """What each figure shows, as its recipe says."""
    sys.path.insert(0, str(ROOT / "figures"))
    recipes = importlib.import_module("recipes").FIGURES
    return {name: recipe.alt for name, recipe in recipes.items()}


def theorems(texts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """A page for each file of the registry, and their list."""
    sources, found = bibliography(), groups()
    for group in found:
        parts = [f"# {plain(group.title)}", prose(group.about)]
        if group.name in FIGURES:
            figure = FIGURES[group.name]
            parts.append(f"![{alt_texts()[figure]}](/figures/{figure}.png)")
        parts += [section(claim, texts, sources) for claim in group.claims]
        yield f"claims/{group.name}.md", "\n\n".join(parts)
    every = tuple(rb.claims.values())
    coqs = sum(bool(standing(c)) for c in every)
    parts = [
        "# Theorem by theorem",
        f"The registry holds {len(every)} claims: {evidence(every)}. {coqs} name a machine-checked "
        "theorem, which is shown with its statement in Coq. A claim has a statement, a source, "
        "hypotheses that each instance meets, a check, and mutants: wrong versions that the check "
        "must catch. `rankbound verify` runs them all. [The mathematics](/theory.md) proves them.",
    ]
    for title, papers in (("The theory", False), ("Papers around the bottleneck", True)):
        chosen = [group for group in found if group.is_paper is papers]
        rows = [
            f"| [{plain(g.title)}]({g.name}.md) | {evidence(g.claims)} | "
            f"{sum(bool(standing(c)) for c in g.claims) or ''} |"
            for g in chosen
        ]
        tree = "\n".join(g.name for g in chosen)
        head = "| page | claims | machine-checked |\n|---|---|---:|"
        parts += [f"## {title}", "\n".join([head, *rows]), f"```{{toctree}}\n:hidden:\n{tree}\n```"]
    yield "claims/index.md", "\n\n".join(parts)


def proofs() -> Iterator[tuple[str, str]]:
    """The proofs that a page names, with a place to point to in each line."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name

    linked = HtmlFormatter(lineanchors="L", linenos="inline", anchorlinenos=True)
    names = sorted({theorem.file for theorem in machine_checked().values()} | {"model.v"})
    for name in names:
        code = (PROOFS / name).read_text(encoding="utf-8")
        shown = highlight(code, get_lexer_by_name("coq"), linked)
        text = f"---\norphan: true\n---\n# proofs/{name}\n\n"
        yield f"proofs/{name.removesuffix('.v')}.md", f"{text}```{{raw}} html\n{shown}```\n"


# The API


def rooms() -> dict[str, list[str]]:
    """The public names, by the folder or file where they live."""
    stub = (PACKAGE / "__init__.pyi").read_text("utf-8")
    lines = re.findall(r"^from \.(\w+)\S* import (\w+) as", stub, re.MULTILINE)
    found: dict[str, list[str]] = {}
    for room, name in lines:
        found.setdefault(room, []).append(name)
    return found


def directive(module: str, name: str) -> str:
    """What documents a name."""
    thing = getattr(importlib.import_module(module), name)
    if inspect.isclass(thing):
        about = "".join(f"\n   {line}" for line in field_list(thing))
        return f".. autoclass:: {module}.{name}\n   :members:\n{about}\n"
    if callable(thing):
        return f".. autofunction:: {module}.{name}\n"
    return f".. py:data:: {name}\n\n   {CLAIMS}\n"


def field_list(kind: type) -> list[str]:
    """The fields of a dataclass in reStructuredText: type, and what the source says beside each.

    Those that its docstring describes are left to it, and those that no record shows.
    """
    told, found = inspect.getdoc(kind) or "", []
    for field in dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ():
        shown = field.repr and field.init and field.metadata.get("written", True)
        if shown and not re.search(rf"^(\w+, )*{field.name}(, \w+)* : ", told, re.MULTILINE):
            owner = next(one for one in kind.__mro__ if field.name in vars(one)["__annotations__"])
            line = rf"^    {field.name}: (.+?)(?: = .*?)?(?:  # (.*))?$"
            read = re.search(line, inspect.getsource(owner), re.MULTILINE)
            type_, words = read.groups() if read else (str(field.type), None)
            found += [f"{field.name} : ``{type_}``", f"   {in_rst(words or '')}"]
    return [".. rubric:: Fields", "", *found] if found else []


def in_rst(text: str) -> str:
    """A comment in reStructuredText, in which only code in backticks is markup."""
    parts = re.split(r"(`+[^`]+`+)", text)
    return "".join(
        f"``{p.strip('`')}``" if p[:1] == "`" else re.sub(r"([\\*|_])", r"\\\1", p) for p in parts
    )


CLAIMS = """The claims of rankbound: a read-only mapping from id to :class:`Claim`. Those that other
   packages register are known to :func:`verify` and to ``rankbound claims``.

   .. rubric:: Examples

   >>> import rankbound as rb
   >>> rb.claims["theorem-a"].relation.value
   'iff'
"""


def room_page(module: str, names: list[str]) -> str:
    """A page of the API."""
    about = (inspect.getdoc(importlib.import_module(module)) or "").partition("\n")[0]
    parts = [f"# {module.partition('.')[2].capitalize()}", prose(about)]
    listed = "\n".join(f"   {module_of(module)}.{name}" for name in names if name != "claims")
    parts.append(f"```{{eval-rst}}\n.. autosummary::\n   :nosignatures:\n\n{listed}\n```")
    for name in names:
        body = directive(module_of(module), name)
        parts.append(f"## `{name}`\n\n```{{eval-rst}}\n.. currentmodule:: rankbound\n\n{body}\n```")
    return "\n\n".join(parts)


def module_of(module: str) -> str:
    """Where users import from."""
    return module if module == "rankbound.testing" else "rankbound"


def api() -> Iterator[tuple[str, str]]:
    """A page for each room, and their list."""
    found = rooms()
    for room, names in found.items():
        yield f"api/{room}.md", room_page(f"rankbound.{room}", names)
    testing = importlib.import_module("rankbound.testing")
    yield "api/testing.md", room_page("rankbound.testing", list(testing.__all__))
    rows = [
        f"| [{room.capitalize()}]({room}.md) | {', '.join(f'`rb.{name}`' for name in names)} |"
        for room, names in found.items()
    ]
    rows.append("| [Testing](testing.md) | `rankbound.testing`: Hypothesis strategies, a gallery |")
    tree = "\n".join([*found, "testing"])
    parts = [
        "# API",
        "```{eval-rst}\n.. automodule:: rankbound\n   :no-index:\n```",
        "\n".join(["| page | names |", "|---|---|", *rows]),
        f"```{{toctree}}\n:hidden:\n{tree}\n```",
    ]
    yield "api/index.md", "\n\n".join(parts)


def links() -> dict[str, tuple[str, str]]:
    """Where what is named in code stands: page and anchor."""
    found = {c.id: (f"claims/{g.name}", c.id) for g in groups() for c in g.claims}
    for room, names in rooms().items():
        for name in names:
            found[f"rb.{name}"] = found[f"rankbound.{name}"] = (f"api/{room}", f"rankbound.{name}")
            if "_" in name or name[0].isupper():
                found[name] = found[f"rb.{name}"]
    return found


def everything() -> dict[str, str | Path]:
    """All sources: a text, or a file to copy."""
    texts = {name: (DOCS / f"{name}.md").read_text("utf-8") for name in PAGES_OF_SOURCES}
    generated = (*theorems(texts), *proofs(), *api(), ("links.json", json.dumps(links())))
    return {**dict(written()), **dict(generated)}


def lay(target: Path) -> None:
    """Write the sources; what has not changed is left, for Sphinx to see that it has not."""
    wanted = everything()
    for path in [path for path in target.rglob("*") if path.is_file()]:
        if path.relative_to(target).as_posix() not in wanted:
            path.unlink()
    for name, source in wanted.items():
        data = source.read_bytes() if isinstance(source, Path) else source.encode()
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not (path.is_file() and path.read_bytes() == data):
            path.write_bytes(data)


if __name__ == "__main__":
    lay(Path(sys.argv[1]))
