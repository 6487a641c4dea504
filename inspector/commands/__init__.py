"""The commands of epm-inspector, one file each; `inspector.cli` parses their arguments."""
