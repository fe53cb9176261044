"""What was answered, built and run before, by a key of everything that decides it."""

from flyteplugins.codegen.record.opening import open_record
from flyteplugins.codegen.record.record import Entry, Record, key_of, local_record
from flyteplugins.codegen.record.shelf import Listed, LocalShelf, Shelf

__all__ = ["Entry", "Listed", "LocalShelf", "Record", "Shelf", "key_of", "local_record", "open_record"]
