"""The DVID side: export files, their CSV indices, Arrow rows and label blocks."""
