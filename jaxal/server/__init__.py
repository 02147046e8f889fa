"""What readers' programs talk to over HTTP: MONAI Label's interface, as 3D Slicer's extensions call it, and pages for a browser.

It is a thin layer over a `Desk` (`desk.py`), which knows the project. Nothing here trains, scores or reads an image.
"""
