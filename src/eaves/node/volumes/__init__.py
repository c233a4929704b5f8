"""Volumes: storage that outlives the apps that use it. Identity is id and generation; another generation is another volume.

A filesystem volume is a folder that containers mount, a block volume is a disk file that a virtual machine attaches:

- ``model`` names what can be on disk, ``plan`` decides (both pure)
- ``observe`` reads what is there, ``apply`` does one action at a time by the adapters ``disk`` (qemu-img), ``extimage`` (ext4 in a
  file), ``tree`` (folders) and ``quota``
- ``present`` knows what is there, ``records`` what was done, ``working`` starts actions while no app has the volume
- ``service`` keeps all volumes as desired; ``abc`` holds the seams to images, virtual machines and the vault
"""
