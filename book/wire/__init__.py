"""The venue's wire format, both ways: the only place that knows the venue's field names.

``decode`` reads one frame of any era, ``batch`` many frames into columns, ``encode`` writes what the venue sends,
``commands`` what a client sends, ``rest`` the documents of the REST interface.
"""
