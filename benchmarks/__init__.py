"""What the toolkit's promises about speed come to: races, memory, growth, workers and a guard.

``python -m benchmarks.run`` measures all and writes ``results.json``, from which docs/speed.md and
two figures are made. ``python -m benchmarks.guard`` counts instead of timing, and fails where a
routine does more than it should.
"""
