"""Copy stores unchanged: to another store, into an archive, and out of one."""
