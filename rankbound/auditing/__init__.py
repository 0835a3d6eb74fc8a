"""Audits of pretrained models: what head size each head uses."""
