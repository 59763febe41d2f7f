"""Tables of energies and areas that several machines share: data, and the schemas that read it."""
