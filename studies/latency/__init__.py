"""Measured latencies: tables, the launches assumed behind their rows, errors of the simulation against them.

Modelled: tables as CSV with a description beside them, rules that select rows, kernels of libraries rebuilt from their
public source. Not modelled: measuring (``dse.kernels``) and the law itself (``dse.simulator.gpu``).
"""
