"""The plugin for napari: a reader and a writer, declared in ``napari.yaml``. napari is not needed to import them."""
