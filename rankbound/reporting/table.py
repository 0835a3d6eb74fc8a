"""The one table of all reports; its home is :mod:`rankbound.table`, which any floor may import."""

from rankbound.table import Column, Table, Tabular

__all__ = ["Column", "Table", "Tabular"]
