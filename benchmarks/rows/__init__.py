"""The races, one file per topic; their order is that of the table."""

from benchmarks.races import Race
from benchmarks.rows import (
    audits,
    certified_log_ranks,
    certified_ranks,
    commands,
    exact_ranks,
    fits,
    logit_spectra,
    masked_heads,
)

ROOMS = (
    logit_spectra,
    certified_ranks,
    certified_log_ranks,
    exact_ranks,
    fits,
    masked_heads,
    audits,
    commands,
)
RACES: dict[str, Race] = {race.name: race for room in ROOMS for race in room.RACES}
