"""Einsum cascades, model shapes, traces and the workloads made of them."""
