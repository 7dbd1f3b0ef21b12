"""Records at rest: the journal that a recorder writes, and the lake of published hours that is made of it."""
