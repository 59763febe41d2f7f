"""dse: simulator and design-space explorer for attention accelerators.

Importing this package loads nothing else; each room (``dse.arch``, ``dse.workloads``, ...) is imported on
demand.
"""

__version__ = "0.1.0"
