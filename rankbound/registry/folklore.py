"""Statements that are often heard and are false; each with a witness."""

from __future__ import annotations

from rankbound.certificates.certificates import Counterexample
from rankbound.certificates.matrices import Matrix
from rankbound.certificates.statements import RankAboveHeadSize
from rankbound.exact.elimination import pivots_modulo_prime
from rankbound.ranks.exact import exact_rank
from rankbound.registry.claim import Formula, Instance, Instances, Mutant, Source, Trial, make_claim
from rankbound.theory.decision import log_rank
from rankbound.verdict import Verdict

Table = list[list[int]]


def _exponents(n: int) -> Table:
    return [[i * j for j in range(n)] for i in range(n)]


def _powers_of_two(M: Table) -> Table:
    return [[2**x for x in row] for row in M]


def check_context_rank(
    trial: Trial,
    *,
    context: Formula = _powers_of_two,
    bound: Formula = lambda M: int(log_rank(logits=M)),
) -> Instances:
    """P ∝ 2^{ij}: a head of size 1 has it, and its exact rank is n.

    Dividing the columns of 2^M by their sums gives P and leaves the rank alone. The head size is
    that of the exact head for M (Theorem A): q_j = j log 2, k_i = i.
    """
    for n in range(2, trial.count(12, 24)):
        M = _exponents(n)
        label, rank = f"P ∝ 2^(ij), n = {n}", int(exact_rank(context(M)))
        proofs = (witness(M),)
        yield Instance(label, rank, bound(M), Verdict.CERTIFIED, certificates=proofs)


def witness(M: Table) -> Counterexample:
    """The certificate for exponents M[i, j] = i j: keys i and queries j of one coordinate."""
    line = Matrix.of_integers([list(range(len(M)))])
    rows, columns, prime = pivots_modulo_prime(_powers_of_two(M))
    statement = RankAboveHeadSize(Matrix.of_integers(M), line, line)
    return Counterexample(statement, rows, columns, prime)


CLAIMS = (
    make_claim(
        "folklore-context-rank",
        "The context matrix of a head has rank at most its head size.",
        check_context_rank,
        Mutant("measures log P instead of P", {"context": lambda M: M}),
        Mutant("bounds by n", {"bound": len}),
        source=Source("rankbound", "section 0", "folklore; no paper is quoted, and it is false"),
        hypotheses=("softmax over keys",),
        relation="<=",
        status=Verdict.REFUTED,
    ),
)
