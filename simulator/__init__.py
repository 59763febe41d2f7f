"""Mapping, Program tree, Evaluation and one lowering for each kind of machine."""
