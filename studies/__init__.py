"""Command line, sweeps, plots and one folder for each reproduced paper."""
