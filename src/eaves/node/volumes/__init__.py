"""Volumes: folders that outlive the apps that use them. Identity is id and generation; another generation is another, empty volume."""
