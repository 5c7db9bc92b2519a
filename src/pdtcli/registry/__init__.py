"""OCI registries: a small async client, image layouts in directories, and copies of images between them."""
