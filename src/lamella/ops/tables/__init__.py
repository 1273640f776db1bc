"""Tables beside images: their files, measurements and regions of interest."""
