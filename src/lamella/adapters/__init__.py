"""Other formats and libraries: each adapter loads its library when it is used."""
