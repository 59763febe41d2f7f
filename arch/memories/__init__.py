"""DRAM devices: schema, loader and one YAML per device."""
