"""Triton kernels, their naive references and the tracer."""
