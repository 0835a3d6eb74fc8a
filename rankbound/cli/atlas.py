"""``rankbound atlas``: what head size each class of patterns needs."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["add_command"]


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "atlas",
        help="what head size each class of patterns needs",
        description=(
            "Compute the head size that classes of patterns of n tokens need: exactly, to any "
            "precision, with bounded logits, and for the same keys to be preferred."
        ),
    )
    parser.add_argument("--n", type=int, required=True, help="tokens, from 3 to 512")
    parser.add_argument("--seed", type=int, default=0, help="of the random patterns (0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the entries there")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Compute and print."""
    from rankbound.atlas.compute import compute_atlas
    from rankbound.reporting.tables import atlas_sources, atlas_table, console

    atlas = compute_atlas(options.n, options.seed)
    if options.json is not None:
        options.json.write_text(atlas.to_json() + "\n", encoding="utf-8")
    console().print(atlas_table(atlas))
    console().print(atlas_sources(atlas))
    return 0
