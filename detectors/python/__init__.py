"""Engine `python`: anybody's class, found, checked, and taken along to workers."""
