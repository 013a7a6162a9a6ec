"""`gmner.probe`: finds out in which coordinate convention a model writes boxes, by asking for boxes of known places."""
