"""A user's own data: files and the hub by the library ``datasets``, in batches that any number of processes share."""
