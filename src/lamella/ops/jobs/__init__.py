"""Long jobs: units, the journal of finished units, and the test of whether a unit is done."""
