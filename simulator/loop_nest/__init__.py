"""Mappings as loop nests: structure, closed-form counts over arrays of candidates, and their lowering to a Program."""
