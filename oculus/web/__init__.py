"""The web: pages, fragments, REST API and health endpoints. The only package that imports bottle."""
