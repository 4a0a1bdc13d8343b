"""What people bring becomes a version: recognised by its content, scanned, converted in confinement, proved equal, measured."""
