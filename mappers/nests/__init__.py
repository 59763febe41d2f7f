"""Spaces of loop nests: what may vary, how a candidate becomes a nest, and the pruned search through them."""
