"""Copy plates, delete and rename their members, list them as a table, and apply functions over positions."""
