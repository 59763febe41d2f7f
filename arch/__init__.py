"""Machine specifications: schema, loader and one YAML per machine."""
