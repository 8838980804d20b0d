"""Figures: tables -> panel frames -> pictures.

Each figure is one module with two halves. The panel functions turn tables into tidy frames that hold every
plotted number, printed ones included; the drawing function reads nothing but these frames. What is in a picture can
therefore be read from results/<edition>/figure_data, and the audited variant is the same drawing fed with other
frames.
"""
