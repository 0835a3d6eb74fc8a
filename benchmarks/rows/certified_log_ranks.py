"""Certified log-ranks of float contexts, beside the singular values of the centred log P."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import numpy as np
import scipy.linalg

import rankbound as rb
from benchmarks.races import Entries, Race, Seconds, Wanted
from rankbound.certificates.checker import check
from rankbound.errors import Undecided

CERTIFICATE = 600.0  # seconds allowed to the certificate at n = 1024


def bounds(n: int) -> Entries:
    """Both sides of the log-rank of a context taken as it stands."""
    P = rb.random_context(n, 0)
    log_P = np.log(P)
    centred = log_P - log_P.mean(axis=0)

    def verdict(found: Any) -> tuple[bool, dict[str, Any]]:
        one = found["rankbound"]
        return one.lower == one.upper == n - 1, {"by": one.method}

    return Entries(
        lambda: rb.certified_log_rank(P),
        lambda: np.linalg.svd(centred, compute_uv=False),
        lambda: scipy.linalg.lapack.dpotrf(scipy.linalg.blas.dsyrk(1.0, centred[:, 1:])),
        verdict=verdict,
    )


def certificate(n: int) -> Entries:
    """A certificate written and accepted, where one is; its size is kept."""
    known = rb.certified_log_rank(rb.random_context(n, 0))
    facts: dict[str, Any] = {}

    def write() -> Seconds:
        start = time.process_time()
        try:
            done = known.certify()
        except Undecided as why:
            facts["refused"] = str(why)
            return Seconds(time.process_time() - start)
        seconds = time.process_time() - start
        start = time.process_time()
        facts["accepted"] = bool(check(done.certificate).accepted)
        facts["seconds to check"] = time.process_time() - start
        facts["bytes of JSON"] = len(done.to_json())
        return Seconds(seconds)

    return Entries(write, verdict=lambda found: (facts.get("accepted"), facts))


RACES = (
    *(
        Race(
            f"certified-log-rank-{n}",
            f"certified log-rank of floats, n = {n}",
            "`numpy.linalg.svd` of the centred log P",
            "Gram matrix and Cholesky",
            Wanted(3),
            partial(bounds, n),
        )
        for n in (256, 512, 1024)
    ),
    Race(
        "log-rank-certificate",
        "its certificate written and checked, n = 1024",
        "",
        "",
        Wanted(CERTIFICATE, "seconds"),
        partial(certificate, 1024),
        rounds=1,
    ),
)
