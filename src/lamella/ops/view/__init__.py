"""Images and plates as one picture that can be zoomed: where each field lies, and tiles of pixels."""
