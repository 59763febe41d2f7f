"""Attention in memory (machine kind ``pim``)."""
