"""Language models made smaller: the weights of an OpenVINO decoder in whole numbers, judged by text."""
