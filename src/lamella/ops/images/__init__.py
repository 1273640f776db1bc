"""Work on single images: writing one in one call, changes of metadata and channels, regions in physical units."""
