"""The operator as a process: kopf watches the custom resources, the rest is wired together here."""
