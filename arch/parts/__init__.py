"""Parts that machines of several kinds have."""
