"""Calibrations of machines: constants fitted to measurements, one YAML per machine, and the schema that reads them."""
