"""What each verb of the command line does: one module for each, imported when the verb is used."""
