"""Measuring kernels on a GPU with torch, triton and numpy alone."""
