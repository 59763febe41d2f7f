"""Searches over mappings."""
